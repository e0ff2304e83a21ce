"""`retrodict rotate-key`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("rotate-key", example='retrodict rotate-key --reason "the laptop with the old key was sold"')
@click.option("--reason", required=True, help="Why it is replaced.")
def command(reason: str, as_json: bool) -> None:
    """Let a new key sign the log from now on, and destroy the old one, which signs a last statement that says so.

    The old public key stays good for `verify --key`: the statement leads from it to the new one.
    """
    from retrodict.actions.rotate_key import rotate_key
    from retrodict.render import text

    with door.workspace(writes=True) as workspace:
        record = rotate_key(workspace, reason=reason)
    door.show(record, as_json=as_json, text=text.rotated)
