"""`retrodict import-url`."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@door.verb("import-url", example="retrodict import-url https://example.org/rates.csv data/rates.csv")
@click.argument("url")
@click.argument("destination", required=False, type=click.Path(path_type=Path))
@click.option("--name", help="What the versions are called (default: the path in the workspace).")
@click.option("--reason", help="Why it is imported.")
def command(url: str, destination: Path | None, name: str | None, reason: str | None, as_json: bool) -> None:
    """Fetch URL (http, https, s3, gs, az) to DESTINATION and version it, with what the origin says of it.

    Again: the origin is asked whether it has changed, and nothing is sent where it has not.
    """
    from retrodict.actions.import_url import import_url
    from retrodict.render import versions

    with door.workspace(writes=True) as workspace, door.progress("fetching") as progress:
        record = import_url(workspace, url, destination, folder=Path.cwd(), name=name, reason=reason, progress=progress)
    door.show(record, as_json=as_json, text=versions.imported_url)
