"""Five hundred writers are killed at random instants: nothing that was acknowledged is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

KILL = """
import json, sys
from pathlib import Path
from retrodict.testing.kills import check, kill_writers, prepare

folder, count = Path(sys.argv[1]), int(sys.argv[2])
prepare(folder)
result = kill_writers(folder, count, seed=1, at_once=4)
check(folder, result)
told = len(result.acknowledged)
print(json.dumps([dict(result.killed), told, sorted(result.lost), result.findings]))
"""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_five_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    # In a process of its own: writers are forked from it, and nothing there may have a store open.
    command = [sys.executable, "-c", KILL, str(tmp_path), "500"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stderr
    killed, acknowledged, lost, findings = json.loads(done.stdout.splitlines()[-1])
    assert (lost, findings) == ([], [])
    assert sum(killed.values()) == 500
    assert set(killed) == {"add", "predict", "publish", "run", "serve"}
    assert acknowledged > 100
