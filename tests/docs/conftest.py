"""Shell sessions in documents, run as they stand and compared with what they show."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

END = "-- end of the command: "
# What differs from day to day and from machine to machine, and what stands for it.
VOLATILE = (
    (r"b3-[0-9a-f]{6,}", "DIGEST"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"retrodict\.local/\S+", "LOG"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( UTC|Z)?", "TIME"),
    (r"\b\d+(\.\d+)? (ms|µs|s|min)\b", "DURATION"),
    (r"\b\d+(\.\d+)? (B|kB|MB)\b", "SIZE"),
    (r"\b[0-9a-f]{10,64}\b", "HEX"),
    (r"\bPython \d\S+", "PYTHON"),
    (r"\b\d+ distributions", "N distributions"),
    (r"seen by \S+ \(\S+\)", "SEEN"),
    (r"watched: \S+", "WATCHED"),
    (r"█+", ""),
)
NUMBER = re.compile(r"(?<![\w.])([−+-]?)(\d+\.\d+(?:e[-+]?\d+)?)(?![\w.])")


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a document, and the lines that are shown below it."""

    text: str
    shown: tuple[str, ...]


def sessions(page: str) -> list[Command]:
    """Return the commands of a page's `console` blocks, in order; "> " continues one."""
    found: list[Command] = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Command(line[2:], ()))
            elif line.startswith("> ") or line == ">":
                found[-1] = Command(f"{found[-1].text}\n{line[2:]}", ())
            else:
                found[-1] = Command(found[-1].text, (*found[-1].shown, line))
    return found


def calm(line: str) -> str:
    """Return a line with everything volatile replaced, numbers to three digits and every gap one space."""
    for pattern, word in VOLATILE:
        line = re.sub(pattern, word, line)
    line = NUMBER.sub(lambda found: f"{found[1]}{float(found[2]):.3g}", line)
    return " ".join(line.split())


def fits(shown: tuple[str, ...], printed: str) -> bool:
    """Say whether all of `printed` is what is shown; "..." is any text, on a line of its own any lines."""
    pattern = ""
    for line in shown:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(re.escape(calm(part)) for part in line.split("...")).replace(".*?", " ?.*? ?") + r"\n"
    lines = [calm(line) for line in printed.splitlines()]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


class Shell:
    """One bash that runs a document's commands, one after the other."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[str, int]:
        """Return what a command printed, and its exit code."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        # The exit code is put back, so that the document can print it with `echo $?`.
        self._bash.stdin.write(f"{command}\ncode=$?; printf '\\n{END}%d\\n' $code; (exit $code)\n")
        self._bash.stdin.flush()
        printed = ""
        for line in self._bash.stdout:
            if line.startswith(END):
                return printed.removesuffix("\n"), int(line.removeprefix(END))
            printed += line
        raise AssertionError(f"the shell ended in: {command}\n{printed}")

    def close(self) -> None:
        """End the shell and what it left running."""
        os.killpg(self._bash.pid, signal.SIGTERM)
        self._bash.communicate(timeout=30)


def walk(page: str, shell: Shell, *, compare: bool) -> str:
    """Run a page's commands and return what they print.

    Each must end with 0, unless the page shows its code, and print what the page shows, if that is to be compared.
    """
    commands, everything = sessions(page), ""
    following = [*(command.text for command in commands[1:]), ""]
    for command, after in zip(commands, following, strict=True):
        printed, code = shell.run(command.text)
        everything += printed
        assert code == 0 or after == "echo $?", f"$ {command.text}\nended with {code}:\n{printed}"
        shown = "\n".join(command.shown)
        assert not compare or fits(command.shown, printed), f"$ {command.text}\n{printed}\nis not\n{shown}"
    return everything


@pytest.fixture
def open_shell() -> Iterator[Callable[[Path, Mapping[str, str]], Shell]]:
    """Start shells, and end them with what they left running."""
    shells: list[Shell] = []

    def start(folder: Path, environment: Mapping[str, str]) -> Shell:
        shells.append(Shell(folder, environment))
        return shells[-1]

    yield start
    for shell in shells:
        shell.close()


@pytest.fixture
def run_page(open_shell: Callable[[Path, Mapping[str, str]], Shell]) -> Callable[[str, Path, Mapping[str, str]], str]:
    """Run the commands of a page in a folder; return what they print."""
    return lambda page, folder, environment: walk(page, open_shell(folder, environment), compare=False)


@pytest.fixture
def follow_page(
    open_shell: Callable[[Path, Mapping[str, str]], Shell],
) -> Callable[[str, Path, Mapping[str, str]], str]:
    """Run the commands of a page in a folder; each must print what the page shows."""
    return lambda page, folder, environment: walk(page, open_shell(folder, environment), compare=True)


@pytest.fixture
def matches() -> Callable[[tuple[str, ...], str], bool]:
    """Say whether lines of a page are what was printed."""
    return fits
