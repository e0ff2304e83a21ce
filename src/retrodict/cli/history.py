"""`retrodict history`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("history", example="retrodict history data/credit_codes.csv")
@click.argument("name", shell_complete=door.complete_reference)
def command(name: str, as_json: bool) -> None:
    """List the versions of the dataset NAME, newest first: when, by whom, from where and why.

    Of FOLDER/PATH: those in which that path was added, changed or removed.
    """
    from retrodict.actions.history import history

    with door.workspace(records=True, is_silent=True) as workspace:
        record = history(workspace, name)
    door.show(record, as_json=as_json, text="versions.history")
