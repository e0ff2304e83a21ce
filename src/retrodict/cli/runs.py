"""`retrodict runs`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("runs", example="retrodict runs --name train")
@click.option("--name", help="Only runs of this name.")
def command(name: str | None, as_json: bool) -> None:
    """List what was run, newest first."""
    from retrodict.actions.runs import runs
    from retrodict.render import text

    with door.workspace() as workspace:
        record = runs(workspace, name=name)
    door.show(record, as_json=as_json, text=text.runs)
