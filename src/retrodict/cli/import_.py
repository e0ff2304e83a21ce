"""`retrodict import`: what another system has versioned."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from retrodict.cli import door


@door.verb_group("import", example="retrodict import dvc ../old-project")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Take over what another system has versioned; that system's files are only read."""
    del as_json
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@door.subverb(command, "dvc", example="retrodict import dvc ../old-project")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--no-remotes", is_flag=True, help="Look in the local cache and in git only.")
def dvc_command(folder: Path | None, no_remotes: bool, as_json: bool) -> None:
    """Take over a DVC repository (default: the one here): every version of every git commit, every stage that ran.

    Each file is checked against its md5. Exit 1: something is not held in the cache or a remote, and is named. Again:
    only what is new is taken over.
    """
    from retrodict.actions.import_dvc import import_dvc
    from retrodict.render import versions

    with door.workspace(writes=True) as workspace, door.progress("importing") as progress:
        record = import_dvc(workspace, folder or Path.cwd(), remotes=not no_remotes, progress=progress)
    door.show(record, as_json=as_json, text=versions.imported_dvc)
    sys.exit(1 if record.missing else 0)
