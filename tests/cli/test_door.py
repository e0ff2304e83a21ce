"""The door itself: one line and an exit code for each failure, whatever was typed; nothing steers a terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command

NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["explian"], 2),
        (["show"], 2),
        (["show", "run"], 2),
        (["show", "a", "b"], 2),
        (["status", "--no-such-option"], 2),
        (["lineage", "a", "--depth", "0"], 2),
        (["demo"], 2),
        (["demo", "no-such-case"], 2),
        (["alias", "a@b", "v1"], 2),
        (["dispute", "1", "--reason", "a", "--resolve", "b"], 2),
        (["predictions", "--csv", "--json"], 2),
        (["predictions", "import", "a.csv", "--map", "date"], 2),
        (["-C", "nowhere", "status"], 2),
        (["-C", "nowhere", "run", "--", "true"], 125),
        (["run"], 125),
        (["run", "--param", "k", "--", "true"], 125),
        (["--agent", "Ada", "run", "--no-such-option"], 125),
    ],
)
def test_misuse_is_one_line_and_its_exit_code(retrodict: Command, arguments: list[str], code: int) -> None:
    retrodict("init")
    outcome = retrodict(*arguments)
    assert outcome.code == code, outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert outcome.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", NOT_UTF8],
        ["models", NOT_UTF8],
        ["lineage", NOT_UTF8],
        ["checkout", NOT_UTF8],
        ["explain", NOT_UTF8],
        ["add", "a", "--name", NOT_UTF8],
        ["predictions", "--caller", NOT_UTF8],
        ["predictions", "--model", NOT_UTF8],
        ["register", NOT_UTF8, "model"],
        ["run", "--name", NOT_UTF8, "--", "true"],
    ],
)
def test_bytes_that_are_no_text_are_refused_in_one_line(retrodict: Command, arguments: list[str]) -> None:
    retrodict("init")
    Path("a").write_text("a")
    outcome = retrodict(*arguments)
    assert outcome.code == (125 if arguments[0] == "run" else 2)
    assert "caf\\xe9" in outcome.err
    assert "unexpected" not in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert len(retrodict("log", "--json").record["rows"]) == 2  # what `init` wrote


@pytest.mark.parametrize(
    "arguments", [["log"], ["log", "--json"], ["predictions", "--csv"], ["lineage", "0"], ["status", "--exit-code"]]
)
def test_a_full_disk_under_the_output_is_one_line(retrodict: Command, arguments: list[str]) -> None:
    retrodict("init")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "retrodict", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "retrodict: what was found cannot be printed: No space left on device.\n"


def test_closed_streams_do_no_harm(retrodict: Command, project: Path) -> None:
    retrodict("init")
    Path("a").write_text("a")
    command = f"{shlex.quote(sys.executable)} -m retrodict"
    script = f"{command} add a <&- >&- 2>&-; echo $?; {command} run -- cp a b <&- >&- 2>&-; echo $?"
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False).stdout.split() == [
        "0",
        "0",
    ]
    assert retrodict("verify").code == 0
    assert {edge["path"] for edge in retrodict("show", "cp", "--json").record["makes"]} == {"b"}


def test_a_locale_without_unicode_changes_no_output(retrodict: Command) -> None:
    retrodict("init")
    Path("naïve ☃").write_text("a")
    assert retrodict("add", "naïve ☃").code == 0
    environment = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for arguments in (["log"], ["log", "--json"], ["lineage", "2"], ["show", "2"]):
        done = subprocess.run(
            [sys.executable, "-m", "retrodict", *arguments], env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0
        assert "naïve ☃" in done.stdout.decode()


def test_a_folder_that_is_gone_is_named_as_that(retrodict: Command, project: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"mkdir gone && cd gone && rmdir ../gone && {shlex.quote(sys.executable)} -m retrodict log"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "not there any more" in done.stderr


def test_a_terminal_is_never_steered_by_what_others_wrote(retrodict: Command) -> None:
    retrodict("init")
    Path("a").write_text("a")
    hostile = "harmless\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.exe"
    retrodict("add", "a", "--reason", hostile, "--source", hostile)
    for arguments in (["log"], ["show", "dataset:a"]):
        outcome = retrodict(*arguments)
        assert "harmless\\x1b[2J" in outcome.out
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(outcome.out)
    assert retrodict("log", "--json").record["rows"][0]["reason"] == hostile
