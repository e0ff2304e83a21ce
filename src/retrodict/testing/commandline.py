"""Command lines as people type them, parsed to the last option and not run."""

from __future__ import annotations

from collections.abc import Sequence

import click

from retrodict.cli.door import cli


def parse(words: Sequence[str]) -> click.Context:
    """Parse the words after `retrodict`; return the context of the verb, or of the group where there is none.

    Raises:
        click.ClickException: They are no command of ours.
        click.exceptions.Exit: They asked for help or for the version.
    """
    context = cli.make_context("retrodict", list(words))
    command: click.Command = cli
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]  # noqa: SLF001 - what click's own group hands to its command
        if not rest:
            break
        name, found, arguments = command.resolve_command(context, rest)
        assert found is not None
        command = found
        context = command.make_context(name, arguments, parent=context)
    return context
