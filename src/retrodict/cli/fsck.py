"""`retrodict fsck`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from retrodict.cli import door


@door.verb("fsck", example="retrodict fsck --repair-from origin")
@click.option(
    "--repair-from",
    metavar="REMOTE|PATH",
    help="Mend it with copies from there: a remote, a backup, a bundle, or another workspace's folder.",
)
def command(repair_from: str | None, as_json: bool) -> None:
    """Read all objects again, and name what is altered or missing; with --repair-from, mend it.

    Each byte that is taken is checked first, and a bad copy goes only once the good one is on the disk. What was let go
    on purpose is not brought back. Of the log itself `verify` says whether it is whole.

    Exit 0: nothing is altered or missing (any more). 1: something is.
    """
    from retrodict.actions.fsck import fsck
    from retrodict.render import keeping

    is_repair = repair_from is not None
    with (
        door.workspace(writes=is_repair, read_only=not is_repair) as workspace,
        door.progress("reading") as progress,
    ):
        record = fsck(workspace, repair_from=repair_from, folder=Path.cwd(), progress=progress)
    door.show(record, as_json=as_json, text=keeping.checked)
    sys.exit(door.ANSWER_EXITS[record.answer])
