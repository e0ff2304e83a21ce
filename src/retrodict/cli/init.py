"""`retrodict init`."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@door.verb("init", example="retrodict init")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--no-lock", is_flag=True, help="Do not pin what is tracked in retrodict.lock/, for git to keep.")
def command(directory: Path, no_lock: bool, as_json: bool) -> None:
    """Make a workspace (`.retrodict/`) in DIRECTORY, beside `.git` where there is one.

    In a git work tree retrodict.lock/ pins what is tracked, a small file for each name: commit it.
    """
    from retrodict.actions.init import init
    from retrodict.kernel.clock import SystemClock
    from retrodict.render import text

    record = init(directory.absolute(), door.state_root(), SystemClock(), agent=door.agent(), pins=not no_lock)
    door.show(record, as_json=as_json, text=text.initialized)
