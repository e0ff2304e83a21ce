"""Command lines as people type them, parsed to the last option and not run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

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


def commands(line: str) -> Iterator[list[str]]:
    """Yield the words of every retrodict command in a line for the shell: pipes, redirections and variables are cut."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    is_file = False  # what follows is where a stream goes, or comes from
    for token in [*lexer, ";"]:
        if not set(token) <= set("|&;<>"):
            if not is_file:
                words.append(token)
            is_file = False
            continue
        is_file = set(token) <= set("<>")
        if is_file:
            continue
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words.pop(0)
        if words and words[0].removeprefix(".venv/bin/") == "retrodict":
            yield words[1:]
        words = []
