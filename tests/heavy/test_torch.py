"""The tests of PyTorch, in an environment of their own: it is too large for everybody's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MAKE = HERE.parent / "environments" / "make.sh"
MADE = os.environ.get("RETRODICT_TEST_ENVIRONMENTS") or (
    f"{os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}/retrodict/test-environments"
)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_models_of_pytorch() -> None:
    if not os.environ.get("CI") and not any(Path(MADE).glob("torch-*/.made")):
        pytest.skip("PyTorch's environment (0.9 GB) is not made: tests/environments/make.sh torch")
    script = ["bash", str(MAKE), "torch", "beside"]
    python = subprocess.run(script, check=True, capture_output=True, text=True).stdout.strip()
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(HERE / "torch_cases.py")]
    ended = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
