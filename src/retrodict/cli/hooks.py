"""`retrodict hooks`."""

from __future__ import annotations

import sys

import click

from retrodict.cli import door


@door.verb_group("hooks", example="retrodict hooks install")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Let git bring the data along after a checkout or a merge; by itself: say which hooks are there."""
    if context.invoked_subcommand is None:
        from retrodict.actions.hooks import hooks
        from retrodict.render import versions

        with door.workspace(is_silent=True) as workspace:
            record = hooks(workspace)
        door.show(record, as_json=as_json, text=versions.hooks)


@door.subverb(command, "install", example="retrodict hooks install")
@click.option("--chain", is_flag=True, help="Keep a hook of somebody else's, and run it first.")
def install_command(chain: bool, as_json: bool) -> None:
    """Write git's hooks post-checkout and post-merge. One that is not ours is left alone unless --chain is said."""
    from retrodict.actions.hooks import install
    from retrodict.render import versions

    with door.workspace(is_silent=True) as workspace:
        record = install(workspace, interpreter=sys.executable, chain=chain)
    door.show(record, as_json=as_json, text=versions.hooks)


@door.subverb(command, "uninstall", example="retrodict hooks uninstall")
def uninstall_command(as_json: bool) -> None:
    """Remove the hooks that `install` wrote, and put back those that it had kept."""
    from retrodict.actions.hooks import uninstall
    from retrodict.render import versions

    with door.workspace(is_silent=True) as workspace:
        record = uninstall(workspace)
    door.show(record, as_json=as_json, text=versions.hooks)
