"""A sample of the durable steps of every write path fails; whole: `python -m retrodict.testing.faults`."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("scenario", ["init", "record", "rotate", "register", "run", "views", "backup", "restore"])
def test_a_step_that_fails_loses_nothing_that_was_acknowledged(scenario: str) -> None:
    # In a process of its own: scenarios are forked from it, and nothing there may have a store open.
    command = [
        sys.executable,
        "-m",
        "retrodict.testing.faults",
        "--every",
        "11",
        "--first",
        "3",
        "--scenario",
        scenario,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) >= 5, done.stdout
