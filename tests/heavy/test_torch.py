"""The tests of PyTorch, in an environment of their own: it is too large for everybody's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(900)
def test_models_of_pytorch() -> None:
    made = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrodict" / "tests"
    if not os.environ.get("CI") and not any(made.glob("torch-*/.made")):
        pytest.skip(f"PyTorch's environment (0.9 GB) is not made: tests/heavy/environment.sh {sys.executable}")
    script = [str(HERE / "environment.sh"), sys.executable]
    python = subprocess.run(script, check=True, capture_output=True, text=True).stdout.strip()
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(HERE / "torch_cases.py")]
    ended = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
