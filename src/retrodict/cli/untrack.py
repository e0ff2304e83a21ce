"""`retrodict untrack`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("untrack", example='retrodict untrack data/old.csv --reason "replaced by data/new.csv"')
@click.argument("name", shell_complete=door.complete_reference)
@click.option("--reason", help="Why it is no longer followed.")
def command(name: str, reason: str | None, as_json: bool) -> None:
    """Follow the dataset NAME no longer: `status` and the lock folder leave it out. Its versions and its file stay."""
    from retrodict.actions.untrack import untrack
    from retrodict.render import versions

    with door.workspace(writes=True) as workspace:
        record = untrack(workspace, name, reason=reason)
    door.show(record, as_json=as_json, text=versions.untracked)
