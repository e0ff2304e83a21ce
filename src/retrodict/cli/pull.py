"""`retrodict pull`."""

from __future__ import annotations

import sys

import click

from retrodict.cli import door


@door.verb("pull", example="retrodict pull origin")
@click.argument("remote", required=False)
@click.option("--only-logs", is_flag=True, help="Leave the objects there; `fetch` takes them later.")
def command(remote: str | None, only_logs: bool, as_json: bool) -> None:
    """Take what REMOTE holds and this workspace does not (a name or an address; default: origin, or the only one).

    The logs of others are checked on arrival, signature and root, against what was held of them before; they are only
    read here, and their entries are called LOG:NUMBER. Names that were set on both sides are listed: `settle` ends it.

    Exit 0: everything was taken. 1: something was refused, and is named.
    """
    from retrodict.actions.pull import pull
    from retrodict.render import exchange

    with door.workspace(writes=True) as workspace, door.progress("pulling") as progress:
        record = pull(workspace, remote, only_logs=only_logs, progress=progress)
    door.show(record, as_json=as_json, text=exchange.pulled)
    sys.exit(1 if record.refused else 0)
