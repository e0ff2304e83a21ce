"""`retrodict bundle create` and `bundle import`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from retrodict.cli import door

_FILE = click.Path(dir_okay=False, path_type=Path)


@door.verb_group("bundle", example="retrodict bundle create /media/stick/credit.bundle")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Carry logs and objects in one file, to a machine without a network."""
    del as_json
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@door.subverb(command, "create", example="retrodict bundle create /media/stick/credit.bundle")
@click.argument("file", type=_FILE)
def create(file: Path, as_json: bool) -> None:
    """Write what `push` would bring to an empty remote to a new FILE; keys stay here.

    Exit 0: all of it is there. 1: something here is altered, and is named.
    """
    from retrodict.actions.bundle import bundle
    from retrodict.render import exchange

    with door.workspace() as workspace, door.progress("bundling") as progress:
        record = bundle(workspace, file, progress=progress)
    door.show(record, as_json=as_json, text=exchange.pushed)
    sys.exit(1 if record.findings else 0)


@door.subverb(command, "import", example="retrodict bundle import /media/stick/credit.bundle")
@click.argument("file", type=_FILE)
def import_(file: Path, as_json: bool) -> None:
    """Take what FILE holds and this workspace does not, checked as `pull` checks what it takes.

    Exit 0: everything was taken. 1: something was refused, and is named.
    """
    from retrodict.actions.bundle import take_bundle
    from retrodict.render import exchange

    with door.workspace(writes=True) as workspace, door.progress("importing") as progress:
        record = take_bundle(workspace, file, progress=progress)
    door.show(record, as_json=as_json, text=exchange.pulled)
    sys.exit(1 if record.refused else 0)
