"""A quarter of a minute of mixed load; an hour of it: `python -m retrodict.testing.soak --seconds 3600`."""

from __future__ import annotations

import subprocess
import sys


def test_under_mixed_load_memory_and_handles_stay_flat_and_the_log_verifies() -> None:
    command = [sys.executable, "-m", "retrodict.testing.soak", "--seconds", "15"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for what in ("predict", "publish", "add", "search", "explain", "run"):
        assert f"'{what}'" in done.stdout
