"""A run whose recorder is killed still gets its end on record, from the next run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SLOW = """
import pathlib, time
rows = pathlib.Path("in.txt").read_text()
pathlib.Path("begun").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.02)
pathlib.Path("out.txt").write_text(rows.upper())
pathlib.Path("done").touch()
"""


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def _left(project: Path) -> list[str]:
    return [name for name in os.listdir(project / ".retrodict") if "run-" in name]


@pytest.mark.usefixtures("seccomp")
def test_the_next_run_records_what_a_killed_recorder_could_not(project: Path, retrodict: Any) -> None:
    assert retrodict("init").code == 0
    (project / "in.txt").write_text("read by the run")
    (project / "slow.py").write_text(SLOW)
    program = os.path.join(os.path.dirname(sys.executable), "retrodict")
    recorder = subprocess.Popen([program, "run", "--param", "C=1", "--", sys.executable, "slow.py"], cwd=project)
    _until((project / "begun").exists)
    recorder.send_signal(signal.SIGKILL)
    recorder.wait()
    assert retrodict("run", "--", "true").code == 0
    assert len(_left(project)) == 1, "the command still runs: it is left alone"
    (project / "go").touch()
    _until((project / "done").exists)

    def is_finished() -> bool:
        assert retrodict("run", "--", "true").code == 0
        return not _left(project)

    _until(is_finished)
    rows = retrodict("runs", "--json").record["rows"]
    (slow,) = [row for row in rows if row["name"] == "slow"]
    assert slow["exit_code"] == 0
    shown = retrodict("show", str(slow["entry"]), "--json").record
    assert "in.txt" in [edge["path"] for edge in shown["uses"]]
    assert "out.txt" in [edge["path"] for edge in shown["makes"]]
    assert "the recorder was killed" in shown["body"]["capture"]
    assert retrodict("verify").code == 0


def test_a_run_of_this_process_that_was_killed_leaves_no_folder_for_ever(project: Path, retrodict: Any) -> None:
    assert retrodict("init").code == 0
    code = "import os, retrodict as rd\nwith rd.run('x'):\n    os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], cwd=project, check=False)
    assert len(_left(project)) == 1
    assert retrodict("run", "--", "true").code == 0
    assert _left(project) == []
    assert [row["exit_code"] for row in retrodict("runs", "--json").record["rows"]].count(None) == 1
