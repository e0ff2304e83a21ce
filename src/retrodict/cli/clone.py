"""`retrodict clone`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from retrodict.cli import door


@door.verb("clone", example="retrodict clone s3://team/credit")
@click.argument("address")
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--only-logs", is_flag=True, help="Leave the objects there; `fetch` takes them later.")
def command(address: str, directory: Path | None, only_logs: bool, as_json: bool) -> None:
    """Make a workspace that holds what lies at ADDRESS, in DIRECTORY (default: the last part of ADDRESS).

    It begins a log of its own; the logs of others are checked on arrival and only read. Keys do not come: what is
    sealed stays so until `retrodict keys share` gives them. Versioned files are then written with `retrodict checkout`.

    Exit 0: everything was taken. 1: something was refused, and is named.
    """
    from retrodict.actions.clone import clone
    from retrodict.kernel.clock import SystemClock
    from retrodict.render import exchange

    into = directory or Path(address.rstrip("/").rsplit("/", 1)[-1])
    with door.progress("cloning") as progress:
        record = clone(
            address,
            into.absolute(),
            door.state_root(),
            SystemClock(),
            agent=door.agent(),
            folder=Path.cwd(),
            only_logs=only_logs,
            progress=progress,
        )
    door.show(record, as_json=as_json, text=exchange.cloned)
    sys.exit(1 if record.refused else 0)
