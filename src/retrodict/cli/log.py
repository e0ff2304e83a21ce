"""`retrodict log`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("log", example="retrodict log --kind model -n 10")
@click.option("-n", "limit", type=click.IntRange(1), default=30, show_default=True, help="At most so many entries.")
@click.option("--kind", help="Only kinds of events that begin with this.")
def command(limit: int, kind: str | None, as_json: bool) -> None:
    """List the entries of the log, newest first."""
    from retrodict.actions.log import log
    from retrodict.render import text

    with door.workspace() as workspace:
        record = log(workspace, limit=limit, kind=kind)
    door.show(record, as_json=as_json, text=text.log)
