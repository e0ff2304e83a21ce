"""A sample of the durable steps of every write path fails; whole: `python -m retrodict.testing.faults`."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.actions.verify import verify
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.durable import RealDisk
from retrodict.kernel.errors import UnavailableError


# The longer scenarios have hundreds of steps, and are sampled half as often.
@pytest.mark.parametrize(
    ("scenario", "every"),
    [
        ("init", 23),
        ("record", 23),
        ("rotate", 11),
        ("register", 11),
        ("run", 11),
        ("stream", 23),
        ("views", 23),
        ("backup", 23),
        ("restore", 23),
        ("copy", 23),
        ("push", 11),
        ("pull", 11),
    ],
)
def test_a_step_that_fails_loses_nothing_that_was_acknowledged(scenario: str, every: int) -> None:
    # In a process of its own: scenarios are forked from it, and nothing there may have a store open.
    command = [
        sys.executable,
        "-m",
        "retrodict.testing.faults",
        "--every",
        str(every),
        "--first",
        "3",
        "--scenario",
        scenario,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) >= 5, done.stdout


@pytest.mark.parametrize("part", [".retrodict", "objects"])
def test_an_init_that_the_disk_fails_in_its_last_steps_says_so_and_can_be_repeated(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, state = tmp_path / "project", tmp_path / "state"

    def rename(disk: RealDisk, source: Path, target: Path) -> None:
        if target.name == "format.json" and target.parent.name == part:
            raise OSError(errno.EIO, "Input/output error", str(target))
        source.rename(target)

    with monkeypatch.context() as patched:
        patched.setattr(RealDisk, "rename", rename)
        with pytest.raises(UnavailableError):
            init(project, state, SystemClock(), agent="Ada")
    init(project, state, SystemClock(), agent="Ada")
    with open_workspace(project, state, SystemClock(), read_only=True) as workspace:
        assert verify(workspace).answer == "yes"
