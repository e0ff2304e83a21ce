"""`retrodict completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from retrodict.cli import door


@click.command("completion", epilog='\b\nExample:\n  $ eval "$(retrodict completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete retrodict's commands and options."""
    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(door.cli, {}, "retrodict", "_RETRODICT_COMPLETE").source())
