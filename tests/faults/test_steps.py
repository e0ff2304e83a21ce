"""A sample of the durable steps of every write path fails; whole: `python -m retrodict.testing.faults`."""

from __future__ import annotations

import errno
import re
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
from retrodict.testing.scenarios import SCENARIOS

SAMPLED = (  # every so manieth step, the fewer the more a scenario has
    (19, ("rotate", "register", "mend", "remake")),
    (41, ("run", "replay", "push", "pull", "bundle", "backup", "url", "lock")),
    (43, ("stream", "derive", "capture", "publish", "sweep", "attach", "witness", "export", "import")),
    (61, ("forget", "files", "tensor", "name", "views", "record", "copy")),
    (97, ("init", "observe", "restore", "table", "review", "clone", "merge")),
)


def test_every_scenario_is_sampled() -> None:
    assert sorted(scenario for _, scenarios in SAMPLED for scenario in scenarios) == sorted(SCENARIOS)


@pytest.mark.long
@pytest.mark.parametrize(("every", "scenarios"), SAMPLED)
def test_a_step_that_fails_loses_nothing_that_was_acknowledged(every: int, scenarios: tuple[str, ...]) -> None:
    # In a process of its own: scenarios are forked from it, and nothing there may have a store open.
    command = [sys.executable, "-m", "retrodict.testing.faults", "--every", str(every), "--first", "3"]
    command += [word for scenario in scenarios for word in ("--scenario", scenario)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = re.findall(r"^(\w+), step \d+: (\d+) faults", done.stdout, re.MULTILINE)
    assert [scenario for scenario, _ in tried] == list(scenarios)
    assert all(int(count) >= 4 for _, count in tried), done.stdout


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
