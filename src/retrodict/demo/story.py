"""Telling a demonstration: headings, words, and real commands that are shown as they are run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.text import Text

from retrodict.kernel.errors import RetrodictError

T = TypeVar("T")


class DemonstrationError(RetrodictError):
    """A step of the demonstration did not do what it shows."""

    slug = "demonstration"
    hint = "Please report it, with what was printed above."


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Story:
    """Runs the steps in `folder` and tells them on the console.

    Attributes:
        environment: What the commands see; RETRODICT_AGENT is set for each.

    Args:
        main: The command line: reads sys.argv, and exits.
    """

    def __init__(self, folder: Path, console: Console, main: Callable[[], None]) -> None:
        self.folder = folder
        self.environment = _environment(console.width - 2)
        self._main = main
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
        """Tell something, in lines as long as the console's."""
        self._console.print(Text(words))

    def list(self, lines: Sequence[str]) -> None:
        """Show lines to be copied: none is broken."""
        for line in lines:
            self._console.print(Text(f"  {line}"), soft_wrap=True)

    def watch(self, items: Iterable[T], title: str, total: int) -> Iterator[T]:
        """Yield `items`; a terminal shows how far they are."""
        return iter(
            track(items, title, total, console=self._console, transient=True, disable=not self._console.is_terminal)
        )

    def retrodict(
        self,
        *arguments: str,
        agent: str,
        expect: int = 0,
        show: bool = True,
        lines: int | None = None,
        since: str = "",
    ) -> str:
        """Run a retrodict command and show it with what it prints; return its standard output.

        Args:
            *arguments: What follows `retrodict`.
            agent: Who acts.
            expect: The exit code that the step shows.
            show: False: run it silently.
            lines: Show at most so many lines.
            since: Show none before the one that begins so.

        Raises:
            DemonstrationError: Another exit code.
        """
        shown = f"retrodict {shlex.join(arguments)}"
        if show:
            self.announce(shown)
        return self._tell(shown, self._fork(arguments, agent), expect, show=show, lines=lines, since=since)

    def command(self, *command: str) -> str:
        """Run another command, and show it."""
        self.announce(shlex.join(command))
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        return self._tell(shlex.join(command), Done(done.returncode, done.stdout, done.stderr), 0)

    def announce(self, command: str) -> None:
        """Show a command that is run now."""
        self._console.print(Text(f"$ {command}", style="bold"), soft_wrap=True)

    def _fork(self, arguments: Sequence[str], agent: str) -> Done:
        """Run a retrodict command in a process of its own that has everything loaded already."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            sys.stdout.flush()
            sys.stderr.flush()
            child = os.fork()
            if child == 0:
                code = 2
                try:
                    os.dup2(out.fileno(), 1)
                    os.dup2(err.fileno(), 2)
                    os.chdir(self.folder)
                    os.environ.clear()  # noqa: TID251 - a door
                    os.environ.update({**self.environment, "RETRODICT_AGENT": agent})  # noqa: TID251
                    sys.argv = ["retrodict", *arguments]
                    self._main()
                except SystemExit as exited:
                    code = exited.code if isinstance(exited.code, int) else 0
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            out.seek(0)
            err.seek(0)
            return Done(code, out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace"))

    def _tell(
        self, shown: str, done: Done, expect: int, *, show: bool = True, lines: int | None = None, since: str = ""
    ) -> str:
        printed = [line for line in (done.out + done.err).splitlines() if line.strip()]
        if show:
            first = next((i for i, line in enumerate(printed) if line.startswith(since)), 0)
            if first:
                self._console.print(Text(f"  ... ({first} lines before)", style="dim"))
            printed = printed[first:]
            for line in printed[:lines]:
                self._console.print(Text(f"  {line.rstrip()}", style="dim"), soft_wrap=True)
            if lines is not None and len(printed) > lines:
                more = f"{len(printed) - lines} more lines" if lines else f"{len(printed)} lines"
                self._console.print(Text(f"  ... ({more})", style="dim"))
        if done.code != expect:
            if not show:
                self.say(done.out + done.err)
            raise DemonstrationError(f"`{shown}` ended with {done.code}, not {expect}")
        return done.out


def warm_up() -> None:
    """Load what the commands need, once for all of them: half of their time would go into it."""
    import pandas as pd  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sklearn.ensemble
    import sklearn.linear_model
    import sklearn.pipeline  # noqa: F401

    from retrodict.actions import explain, predictions, register, replay  # noqa: F401
    from retrodict.diagnose.attribution import import_shap
    from retrodict.render import explanation, text  # noqa: F401

    import_shap()


def _environment(width: int) -> dict[str, str]:
    """Return the environment for the story's commands: this one, with this interpreter's scripts first."""
    environment = dict(os.environ)  # noqa: TID251 - a door
    environment["PATH"] = os.path.dirname(sys.executable) + os.pathsep + environment.get("PATH", "")
    environment["COLUMNS"] = str(width)
    return environment
