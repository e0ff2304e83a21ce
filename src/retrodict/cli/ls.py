"""`retrodict ls`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("ls", example="retrodict ls\nretrodict ls data/images@v3 train")
@click.argument("reference", required=False, shell_complete=door.complete_reference)
@click.argument("path", required=False)
@click.option("-R", "--recursive", is_flag=True, help="With everything in the folders that are listed.")
def command(reference: str | None, path: str | None, recursive: bool, as_json: bool) -> None:
    """List what is versioned; or what lies in the version REFERENCE, or at PATH in it."""
    from retrodict.actions.ls import ls
    from retrodict.render import versions

    with door.workspace(is_silent=True) as workspace:
        record = ls(workspace, reference, path, deep=recursive)
    door.show(record, as_json=as_json, text=versions.listed)
