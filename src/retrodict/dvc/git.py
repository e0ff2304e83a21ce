"""A git repository, asked through git itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from retrodict.kernel.errors import UnavailableError, UsageError

_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a commit: its path, and the name of its blob."""

    path: str
    blob: str
    is_link: bool


class Repository:
    """The repository round a folder, its objects read by one process."""

    def __init__(self, folder: Path) -> None:
        """Open it.

        Raises:
            UsageError: There is none.
            UnavailableError: git is not installed.
        """
        self._folder = folder
        self._reader: subprocess.Popen[bytes] | None = None
        top = self._run(["rev-parse", "--show-toplevel"])
        if top is None:
            raise UsageError(f"{folder} lies in no git repository", hint="Name a folder that `git clone` made.")
        self.top = Path(os.fsdecode(top.rstrip(b"\n")))

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            assert self._reader.stdin is not None
            assert self._reader.stdout is not None
            self._reader.stdin.close()
            self._reader.stdout.close()
            self._reader.wait()

    def _run(self, words: Sequence[str]) -> bytes | None:
        # Nothing of the repository's own configuration is run: no hooks, no fsmonitor, no pager.
        command = ["git", "-c", "core.fsmonitor=false", "-c", "safe.directory=*", "--no-optional-locks", *words]
        try:
            done = subprocess.run(command, cwd=self._folder, capture_output=True, check=False, timeout=_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(f"git cannot be run: {error}", hint="Install git.") from error
        return None if done.returncode else done.stdout

    def commits(self) -> list[str]:
        """Return every commit of every branch and tag, parents before their children, else by date."""
        words = ["rev-list", "--date-order", "--reverse", "--branches", "--tags", "--remotes", "HEAD"]
        found = self._run(words)
        if found is None:  # no commit yet
            return []
        return found.decode().split()

    def entries(self, commit: str) -> Iterator[Entry]:
        """Yield the files of a commit."""
        listed = self._run(["ls-tree", "-r", "-z", "--full-tree", commit]) or b""
        for line in listed.split(b"\0"):
            head, tab, path = line.partition(b"\t")
            words = head.split()
            if tab and words[1] == b"blob":
                yield Entry(path=os.fsdecode(path), blob=words[2].decode(), is_link=words[0] == b"120000")

    def read(self, name: str) -> bytes:
        """Return the bytes of an object."""
        if self._reader is None:
            command = ["git", "-c", "safe.directory=*", "cat-file", "--batch"]
            self._reader = subprocess.Popen(
                command, cwd=self._folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        stdin, stdout = self._reader.stdin, self._reader.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(name.encode() + b"\n")
        stdin.flush()
        head = stdout.readline().split()
        if len(head) != 3:
            raise UnavailableError(f"git has no object {name}", hint="Fetch it: the clone may be shallow or partial.")
        return _exactly(stdout, int(head[2]))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    stream.read(1)  # the newline behind it
    return data
