"""`retrodict keys`: give another clone what it needs to read sealed values, and take it from one."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@door.verb_group("keys", example="retrodict keys")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Share the keys of people and of texts with another clone; by itself, print the key to share with this one.

    They are never pushed with the data: without them, sealed values stay sealed.
    """
    if context.invoked_subcommand is None:
        _identity(as_json)


@door.subverb(command, "identity", example="retrodict keys identity")
def identity_command(as_json: bool) -> None:
    """Print the public key by which others share keys with this workspace."""
    _identity(as_json)


def _identity(as_json: bool) -> None:
    from retrodict.actions.keys import identity  # loaded when asked for
    from retrodict.render import text

    with door.workspace(is_silent=True) as workspace:  # a clone without keys makes its own
        record = identity(workspace)
    door.show(record, as_json=as_json, text=text.key_identity)


@door.subverb(command, "share", example="retrodict keys share --to x25519:0i8ALv... --out for-ann.keys")
@click.option("--to", required=True, metavar="KEY", help="The other workspace's public key: `keys identity` prints it.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to send there.")
@click.option("--subject", "subjects", multiple=True, metavar="ID", help="Only this person's key. Repeatable.")
def share_command(to: str, out: Path, subjects: tuple[str, ...], as_json: bool) -> None:
    """Write a file that only the holder of KEY can open; that it was made is recorded."""
    from retrodict.actions.keys import share  # loaded when asked for
    from retrodict.render import text

    with door.workspace(writes=True) as workspace:
        record = share(workspace, to, out, subjects=subjects)
    door.show(record, as_json=as_json, text=text.keys_shared)


@door.subverb(command, "receive", example="retrodict keys receive for-ann.keys")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def receive_command(file: Path, as_json: bool) -> None:
    """Take in the keys of FILE, but none that the log calls forgotten; recorded."""
    from retrodict.actions.keys import receive  # loaded when asked for
    from retrodict.render import text

    with door.workspace(writes=True) as workspace:
        record = receive(workspace, file)
    door.show(record, as_json=as_json, text=text.keys_received)


@door.subverb(command, "export-signing", example="retrodict keys export-signing /etc/retrodict/scoring.key")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export_signing_command(file: Path, as_json: bool) -> None:
    """Write this workspace's keys to FILE, for a service that runs as another user: `--key-file` takes it.

    The service can then sign the log and open what is sealed, as you can. FILE and what is written beside it
    (FILE.checkpoint, FILE.wrapping, FILE.place) belong together, in a folder that the service can write.
    """
    from retrodict.actions.export_key import export_key  # loaded when asked for
    from retrodict.render import text

    with door.workspace() as workspace:
        record = export_key(workspace, file)
    door.show(record, as_json=as_json, text=text.key_exported)
