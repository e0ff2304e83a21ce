"""`retrodict disputes`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("disputes", example="retrodict disputes --open")
@click.option("--open", "open_only", is_flag=True, help="Only those that have not ended.")
def command(open_only: bool, as_json: bool) -> None:
    """List the complaints, newest first, with their outcome and what fixed it."""
    from retrodict.actions.dispute import disputes  # loaded when asked for
    from retrodict.render import text

    with door.workspace(records=True) as workspace:
        record = disputes(workspace, open_only=open_only)
    door.show(record, as_json=as_json, text=text.disputes)
