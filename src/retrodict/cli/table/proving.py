"""`retrodict table prove` and `check-proof`: one record, shown to a stranger."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from retrodict.cli import door
from retrodict.cli.table.group import command


@door.subverb(command, "prove", example="retrodict table prove loans@v3 1003 --json > record-1003.json")
@click.argument("reference")
@click.argument("key")
def prove_command(reference: str, key: str, as_json: bool) -> None:
    """Print the record KEY of a version with the proof that it is in it, which shows none of the others."""
    from retrodict.actions.table_prove import prove  # loaded when asked for
    from retrodict.render import tables

    with door.workspace(writes=True) as workspace:
        record = prove(workspace, reference, key)
    door.show(record, as_json=as_json, text=tables.proof)


@door.subverb(command, "check-proof", example="retrodict table check-proof record-1003.json --root sha256:" + "5f" * 32)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--root", help="Of the version, as you know it (default: as the proof says, which proves less).")
def check_proof_command(file: Path, root: str | None, as_json: bool) -> None:
    """Check a proof that `table prove --json` printed; needs no workspace. Exit 1 if it does not hold."""
    from retrodict.actions.table_prove import check_proof  # loaded when asked for
    from retrodict.render import tables

    record = check_proof(door.read(file).decode("utf-8", "replace"), root)
    door.show(record, as_json=as_json, text=tables.proof_checked)
    sys.exit(record.answer != "yes")
