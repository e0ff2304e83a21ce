"""`retrodict init`."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@door.verb("init", example="retrodict init")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".")
def command(directory: Path, as_json: bool) -> None:
    """Make a workspace (`.retrodict/`) in DIRECTORY, beside `.git` where there is one."""
    from retrodict.actions.init import init
    from retrodict.kernel.clock import SystemClock
    from retrodict.render import text

    record = init(directory.absolute(), door.state_root(), SystemClock(), agent=door.agent())
    door.show(record, as_json=as_json, text=text.initialized)
