"""`retrodict fetch`."""

from __future__ import annotations

import os
import sys

import click

from retrodict.cli import door


@door.verb(
    "fetch", example="retrodict fetch origin --only credit@champion --with-causes\nretrodict fetch --only loans@v3/2026"
)
@click.argument("remote", required=False)
@click.option(
    "--only",
    metavar="REF",
    help="What this needs: a model, a dataset, an entry.",
    shell_complete=door.complete_reference,
)
@click.option("--with-causes", is_flag=True, help="And what everything that it rests on needs.")
def command(remote: str | None, only: str | None, with_causes: bool, as_json: bool) -> None:
    """Take objects from REMOTE that are not held here; no log is taken or written.

    What is pinned in an attached bucket is taken from there, and recorded.

    Exit 0: what was asked for is held. 1: some of it is not there either.
    """
    from retrodict.actions.fetch import fetch
    from retrodict.render import exchange

    with door.workspace(is_silent=True) as workspace, door.progress("fetching") as progress:
        record = fetch(
            workspace, remote, only=only, with_causes=with_causes, environment=dict(os.environ), progress=progress
        )
    door.show(record, as_json=as_json, text=exchange.fetched)
    sys.exit(1 if record.missing else 0)
