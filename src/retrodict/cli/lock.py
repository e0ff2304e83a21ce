"""`retrodict lock`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb_group("lock", example="retrodict lock")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Pin the current version of everything that is tracked in retrodict.lock/, a small file for each name.

    In a git work tree `init` or the first `add` does so by itself. Commit the folder. `add`, `untrack` and `import-url`
    keep it in step, and after a `git checkout` or merge, `retrodict checkout` brings the data to what it says.
    """
    if context.invoked_subcommand is not None:
        return
    from retrodict.actions.lock import lock  # loaded when asked for
    from retrodict.render import versions

    with door.workspace() as workspace:
        record = lock(workspace)
    door.show(record, as_json=as_json, text=versions.locked)


@door.subverb(command, "off", example="retrodict lock off")
def off_command(as_json: bool) -> None:
    """Remove the folder, and do not begin it again by itself; `retrodict lock` does."""
    from retrodict.actions.lock import off  # loaded when asked for
    from retrodict.render import versions

    with door.workspace() as workspace:
        record = off(workspace)
    door.show(record, as_json=as_json, text=versions.locked_off)
