"""`retrodict remote`, with `add` and `remove`."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@door.verb_group("remote", example="retrodict remote add origin s3://team/credit")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the places that `push` and `pull` go to; or add one, or forget one."""
    if context.invoked_subcommand is not None:
        return
    _list(as_json)


def _list(as_json: bool) -> None:
    from retrodict.actions.remote import remotes
    from retrodict.render import exchange

    with door.workspace(read_only=True, is_silent=True) as workspace:
        record = remotes(workspace)
    door.show(record, as_json=as_json, text=exchange.remotes)


@door.subverb(command, "list", example="retrodict remote list")
def list_command(as_json: bool) -> None:
    """List the remotes."""
    _list(as_json)


@door.subverb(command, "add", example="retrodict remote add origin /mnt/share/credit")
@click.argument("name")
@click.argument("address")
def add_command(name: str, address: str, as_json: bool) -> None:
    """Call a place NAME.

    ADDRESS is a folder, or s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH (extra `backup`). Credentials come
    from where the bucket's own tools look for them; they are not kept.
    """
    from retrodict.actions.remote import add_remote
    from retrodict.render import exchange

    with door.workspace(is_silent=True) as workspace:
        record = add_remote(workspace, name, address, folder=Path.cwd())
    door.show(record, as_json=as_json, text=exchange.remote_changed)


@door.subverb(command, "remove", example="retrodict remote remove origin")
@click.argument("name")
def remove_command(name: str, as_json: bool) -> None:
    """Forget the place called NAME; what lies there stays."""
    from retrodict.actions.remote import remove_remote
    from retrodict.render import exchange

    with door.workspace(is_silent=True) as workspace:
        record = remove_remote(workspace, name)
    door.show(record, as_json=as_json, text=exchange.remote_changed)
