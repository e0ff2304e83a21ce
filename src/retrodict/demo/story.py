"""Telling a demonstration: headings, words, and real commands that are shown as they are run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from retrodict.kernel.errors import RetrodictError


class DemonstrationError(RetrodictError):
    """A step of the demonstration did not do what it shows."""

    slug = "demonstration"
    hint = "Please report it, with what was printed above."


class Story:
    """Runs the steps in `folder` and tells them on the console.

    Args:
        environment: What the commands see; RETRODICT_AGENT is set for each.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], console: Console) -> None:
        self.folder = folder
        self._environment = dict(environment)
        self._console = console
        self._step = 0

    def step(self, title: str, words: str = "") -> None:
        """Begin a step."""
        self._step += 1
        self._console.print()
        self._console.print(Text(f"{self._step}. {title}", style="bold cyan"))
        if words:
            self.say(words)

    def say(self, words: str) -> None:
        """Tell something."""
        self._console.print(Text(words), soft_wrap=False)

    def retrodict(
        self, *arguments: str, agent: str, expect: int = 0, show: bool = True, lines: int | None = None
    ) -> str:
        """Run a retrodict command and show it with what it prints; return its standard output.

        Args:
            *arguments: What follows `retrodict`.
            agent: Who acts.
            expect: The exit code that the step shows.
            show: False: run it silently.
            lines: Show at most so many lines.

        Raises:
            DemonstrationError: Another exit code.
        """
        command = [sys.executable, "-m", "retrodict", *arguments]
        return self._run(command, f"retrodict {shlex.join(arguments)}", agent, expect, show=show, lines=lines)

    def command(self, *command: str) -> str:
        """Run another command, and show it."""
        return self._run(list(command), shlex.join(command), "", 0, show=True, lines=None)

    def _run(
        self, command: Sequence[str], shown: str, agent: str, expect: int, *, show: bool, lines: int | None
    ) -> str:
        if show:
            self._console.print(Text(f"$ {shown}", style="bold"), soft_wrap=True)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self._environment, "RETRODICT_AGENT": agent},
            capture_output=True,
            text=True,
            check=False,
        )
        printed = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        if show:
            for line in printed[:lines]:
                self._console.print(Text(f"  {line.rstrip()}", style="dim"), soft_wrap=True)
            if lines is not None and len(printed) > lines:
                self._console.print(Text(f"  ... ({len(printed) - lines} more lines)", style="dim"))
        if done.returncode != expect:
            if not show:
                self.say(done.stdout + done.stderr)
            raise DemonstrationError(f"`{shown}` ended with {done.returncode}, not {expect}")
        return done.stdout


def environment_for_commands() -> dict[str, str]:
    """Return the environment for the story's commands: this one, with this interpreter's scripts first."""
    environment = dict(os.environ)  # noqa: TID251 - a door
    environment["PATH"] = os.path.dirname(sys.executable) + os.pathsep + environment.get("PATH", "")
    environment["COLUMNS"] = "110"
    return environment
