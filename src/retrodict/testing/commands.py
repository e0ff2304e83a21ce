"""Commands in processes of their own, forked from one that has imported what they need: no import is paid for twice.

What runs is what `python -m retrodict` runs, with the working directory, variables and streams that it is given.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_FIRST = (
    "pandas",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.parquet",
    "pyarrow.json",
    "cryptography.hazmat.primitives",
)
_FOLDERS = ("retrodict.actions", "retrodict.actions.explain", "retrodict.cli", "retrodict.render")


class Commands:
    """Runs commands, one at a time; ends with the block that it is used in."""

    def __enter__(self) -> Commands:
        ours, theirs = os.pipe(), os.pipe()  # what is asked, and exit codes
        self._server = subprocess.Popen(
            [sys.executable, "-m", "retrodict.testing.commands", str(ours[0]), str(theirs[1])],
            pass_fds=(ours[0], theirs[1]),
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a process that forks has no threads
        )
        for fd in (ours[0], theirs[1]):
            os.close(fd)
        self._asks, self._codes = open(ours[1], "wb", buffering=0), open(theirs[0], "rb", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._asks.close()
        self._codes.close()
        self._server.wait(timeout=60)

    def run(
        self, words: Sequence[str], *, cwd: Path, env: Mapping[str, str], given: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `retrodict WORDS`; return its exit code and what it wrote."""
        written: list[bytes] = [b"", b""]
        given_fd = os.memfd_create("given")
        os.write(given_fd, given)
        pipes = [os.pipe(), os.pipe()]

        def read(number: int) -> None:
            with open(pipes[number][0], "rb") as pipe:
                written[number] = pipe.read()

        readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
        for reader in readers:
            reader.start()
        fds = [given_fd, *(pipe[1] for pipe in pipes)]
        streams = [
            f"/proc/{os.getpid()}/fd/{fd}" for fd in fds
        ]  # opened there anew: as pipes, which no run takes for files
        asked = {"words": list(words), "cwd": str(cwd), "env": dict(env), "streams": streams}
        self._asks.write(json.dumps(asked).encode() + b"\n")
        code = int(self._codes.readline())
        for fd in fds:
            os.close(fd)
        for reader in readers:
            reader.join()
        return subprocess.CompletedProcess(list(words), code, *written)


def _serve(asks: int, codes: int) -> None:
    from retrodict.cli import main

    for name in _FIRST:
        importlib.import_module(name)
    for folder in _FOLDERS:
        for found in pkgutil.iter_modules(importlib.import_module(folder).__path__, folder + "."):
            importlib.import_module(found.name)
    with open(asks, "rb") as lines:
        while line := lines.readline():
            if (process := os.fork()) == 0:
                os.close(codes)
                _become(json.loads(line))
                main()
                return
            _, status = os.waitpid(process, 0)
            os.write(codes, b"%d\n" % os.waitstatus_to_exitcode(status))


def _become(asked: Mapping[str, Any]) -> None:
    """Take the streams, variables, place and words of one command."""
    for fd, (path, mode) in enumerate(zip(asked["streams"], ("rb", "wb", "wb"), strict=True)):
        with open(path, mode) as stream:
            os.dup2(stream.fileno(), fd)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for as long as the process lasts
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv = ["retrodict", *asked["words"]]


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
