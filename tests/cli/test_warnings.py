"""What libraries warn of: once each, on one line of stderr, and nowhere else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.cli.conftest import Command

MODEL = """
import warnings

for _ in range(3):
    with warnings.catch_warnings():  # makes Python forget what it has shown
        pass
    warnings.warn("made with an older\\nrelease of the-library", stacklevel=1)


def predict(frame):
    warnings.warn(f"a strange value: {frame['name'].iloc[0]}", stacklevel=1)
    return frame["x"]
"""
WARNED = "warning: made with an older release of the-library\n"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "retrodict", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.fixture
def warning(retrodict: Command, project: Path) -> Path:
    retrodict("init")
    Path("old.py").write_text(MODEL)
    return project


def test_a_warning_is_told_once_and_recorded_nowhere(warning: Path) -> None:
    done = _run("register", "old.py", "old", "--json")
    assert done.stderr == WARNED
    json.loads(done.stdout)
    Path("asked.json").write_text('[{"x": 1, "name": "Ada"}]')
    done = _run("predict", "old", "--input", "asked.json")
    assert done.stderr == WARNED + "warning: a strange value: Ada\n"
    for path in (warning / ".retrodict").glob("*.db*"):
        assert b"a strange value: Ada" not in path.read_bytes()


def test_a_server_does_not_repeat_what_was_asked(warning: Path) -> None:
    _run("register", "old.py", "old")
    serve = [sys.executable, "-m", "retrodict", "serve", "old", "--port", "0", "--json"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        columns = (("x", "INT64", 1), ("name", "BYTES", "planted-name"))
        inputs = [{"name": n, "datatype": kind, "shape": [1], "data": [value]} for n, kind, value in columns]
        assert httpx.post(f"{url}/v2/models/old/infer", json={"inputs": inputs}).status_code == 200
        os.kill(server.pid, signal.SIGTERM)
        _, err = server.communicate(timeout=30)
    assert err.count(WARNED) == 1
    assert "planted-name" not in err
    assert "warning: UserWarning at " in err
