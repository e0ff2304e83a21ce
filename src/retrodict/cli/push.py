"""`retrodict push`."""

from __future__ import annotations

import sys

import click

from retrodict.cli import door


@door.verb("push", example="retrodict push origin")
@click.argument("remote", required=False)
@click.option("--again", is_flag=True, help="Read back what is there already, and bring anew what is damaged.")
def command(remote: str | None, again: bool, as_json: bool) -> None:
    """Bring what is recorded here to REMOTE (a name or an address; default: origin, or the only one).

    The log goes as far as it is signed, under its own name, with the logs of others that are held here; objects go in
    packs. Only what is new travels, and what a push that was cut off has brought is used. Keys stay here. Two who push
    do not lose each other's work: `pull` brings it.

    Exit 0: all of it is there. 1: something is altered, here or there, and is named.
    """
    from retrodict.actions.push import push
    from retrodict.render import exchange

    with door.workspace() as workspace, door.progress("pushing") as progress:
        record = push(workspace, remote, again=again, progress=progress)
    door.show(record, as_json=as_json, text=exchange.pushed)
    sys.exit(1 if record.findings else 0)
