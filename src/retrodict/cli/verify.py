"""`retrodict verify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from retrodict.cli import door
from retrodict.kernel.errors import IntegrityError


@door.verb("verify", example="retrodict verify --key log.vkey --since kept.checkpoint")
@click.argument("reference", required=False, shell_complete=door.complete_reference)
@door.key_option("--key", help_="The log's public key, or a file that holds it, to check against.")
@click.option(
    "--since",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A checkpoint that you kept, or a receipt: nothing before it may have changed.",
)
@door.key_option(
    "--witness",
    "witnesses",
    multiple=True,
    help_="A witness's public key, or its file: it must have cosigned this log.",
)
@click.option(
    "--signers",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="An allowed_signers file: whose key may sign for whom, instead of what the log has recorded.",
)
def command(
    reference: str | None,
    key: str | None,
    since: Path | None,
    witnesses: tuple[str, ...],
    signers: Path | None,
    as_json: bool,
) -> None:
    """Re-derive every claim of the record (or of what REFERENCE depends on); name what is altered or missing.

    Exit 0: everything is as the record says. 1: something is altered or missing. 2: the record agrees with itself, but
    nothing says who made it.
    """
    from retrodict.actions.verify import unreadable, verify
    from retrodict.render import text

    try:
        with door.workspace(read_only=True) as workspace, door.progress("verifying") as progress:
            record = verify(
                workspace,
                reference,
                key=key,
                since=None if since is None else door.read(since),
                witnesses=witnesses,
                signers=None if signers is None else door.read(signers).decode(errors="replace"),
                progress=progress,
            )
            if reference is None:
                door.warn_unsaved(workspace)
    except IntegrityError as error:
        record = unreadable(error)
    door.show(record, as_json=as_json, text=text.verification)
    sys.exit(door.ANSWER_EXITS[record.answer])
