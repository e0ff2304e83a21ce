"""`retrodict serve`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from retrodict.cli import door


@door.verb("serve", example="retrodict serve credit@champion --port 8080")
@click.argument("models", nargs=-1, required=True, shell_complete=door.complete_reference)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Other than loopback needs a token.")
@click.option(
    "--token-env",
    default="RETRODICT_TOKEN",
    show_default=True,
    help="The environment variable with the token that callers must send (Authorization: Bearer).",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Lines TOKEN RIGHT...: predict, record, read, personal. Instead of --token-env.",
)
@click.option("--max-body", type=click.IntRange(1), default=64, show_default=True, help="MiB of one request's body.")
@click.option("--max-rows", type=click.IntRange(1), default=100_000, show_default=True, help="Rows of one request.")
@click.option(
    "--max-requests", type=click.IntRange(1), default=1024, show_default=True, help="Requests under way at once."
)
@click.option(
    "--timeout", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds to wait for an answer."
)
def command(
    models: tuple[str, ...],
    port: int,
    host: str,
    token_env: str,
    token_file: Path | None,
    max_body: int,
    max_rows: int,
    max_requests: int,
    timeout: float,
    as_json: bool,
) -> None:
    """Answer for MODELS over HTTP (Open Inference Protocol v2); every answer is on disk before it is given.

    An alias (credit@champion) is looked up for every request, so a moved alias takes effect at once.
    """
    from retrodict.render.json import to_json  # loaded when asked for
    from retrodict.server import Limits, Tokens, serve

    mib = 1024 * 1024
    limits = Limits(
        body_bytes=max_body * mib,
        bodies_bytes=max(256, max_body) * mib,
        rows=max_rows,
        requests=max_requests,
        answer_s=timeout,
    )

    def ready(url: str) -> None:
        door.withhold_warnings()
        click.echo(to_json({"url": url}, indent=None) if as_json else f"Serving {', '.join(models)} at {url}/v2")

    with door.workspace(writes=True) as workspace:
        tokens = Tokens.single(os.environ.get(token_env) or None) if token_file is None else Tokens.read(token_file)
        door.warn_unsaved(workspace)
        serve(workspace, models, host=host, port=port, tokens=tokens, limits=limits, ready=ready)
