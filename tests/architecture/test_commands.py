"""Every command of the command line: it loads, prints its record as JSON, and shows an example that parses."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from retrodict.cli.door import VERBS, cli
from retrodict.testing.commandline import commands, parse

# What they print is not a record: a script for the shell, a server's log, a story, the bytes of a file.
WITHOUT_RECORD = {"completion", "serve", "demo", "cat"}


def _command(verb: str) -> click.Command:
    command: click.Command | None = cli
    for word in verb.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    return command


def _all() -> list[str]:
    """Return every verb, and every command below one, by its words."""
    found = []
    for verb in VERBS:
        command = _command(verb)
        found += [verb, *(f"{verb} {name}" for name in getattr(command, "commands", {}))]
    return found


COMMANDS = _all()


def _examples(command: click.Command) -> list[str]:
    return re.findall(r"^\s*\$ (retrodict .*)$", command.epilog or "", re.MULTILINE)


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_verb_prints_its_record_as_json(verb: str) -> None:
    options = {option for parameter in _command(verb).params for option in parameter.opts}
    assert "--json" in options or verb in WITHOUT_RECORD


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_says_what_the_verb_does_and_ends_with_an_example(verb: str) -> None:
    command = _command(verb)
    result = CliRunner().invoke(cli, [*verb.split(), "--help"], prog_name="retrodict")
    assert result.exit_code == 0, result.output
    assert "Example:" in result.output
    assert command.help
    assert command.help.splitlines()[0].endswith(".")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts} has no help"


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_example_of_a_verb_parses(verb: str) -> None:
    if verb == "completion":
        return  # its example is the shell's `eval`
    examples = _examples(_command(verb))
    assert examples
    for words in (words for example in examples for words in commands(example)):
        parse(words)
        assert words[: len(verb.split())] == verb.split()


def test_the_list_of_verbs_is_told_without_loading_them() -> None:
    result = CliRunner().invoke(cli, ["--help"], prog_name="retrodict")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.split("Begin:\n")[1].splitlines() if line.startswith("  ")] == [
        *VERBS
    ]


def test_a_group_tells_each_command_with_its_whole_first_sentence() -> None:
    for verb in VERBS:
        result = CliRunner().invoke(cli, [verb, "--help"], prog_name="retrodict")
        cut = [line for line in result.output.splitlines() if line.endswith("...") and "Usage:" not in line]
        assert cut == [], f"{verb}: {cut}"


def test_a_mistyped_verb_gets_near_matches() -> None:
    result = CliRunner().invoke(cli, ["explian"], prog_name="retrodict")
    assert result.exit_code == 2
    assert "Did you mean explain" in result.output
