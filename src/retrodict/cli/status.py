"""`retrodict status`."""

from __future__ import annotations

import os
import sys

import click

from retrodict.cli import door


@door.verb("status", example="retrodict status --exit-code\nretrodict status --buckets")
@click.option("--exit-code", is_flag=True, help="Exit 1 when something has changed.")
@click.option("--buckets", is_flag=True, help="Ask attached buckets, too, what has changed in them.")
def command(exit_code: bool, buckets: bool, as_json: bool) -> None:
    """Say what has changed since it was versioned, and how the record stands."""
    from retrodict.actions.status import status
    from retrodict.render import lines

    with door.workspace() as workspace:
        record = status(workspace, buckets=dict(os.environ) if buckets else None)
    door.show(record, as_json=as_json, text=lines.status)
    sys.exit(1 if exit_code and record.is_changed else 0)
