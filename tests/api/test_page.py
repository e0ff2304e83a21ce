"""`docs/python.md` runs as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_page_runs_as_it_is_written(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    folder = tmp_path / "project"
    folder.mkdir()
    env = {**os.environ, "RETRODICT_STATE": str(tmp_path / "state"), "RETRODICT_AGENT": "Ada"}
    env.pop("RETRODICT_WORKSPACE", None)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    index, other = re.findall(r"^(\d+) after (\d+)$", done.stdout, re.MULTILINE)[0]
    assert int(index) == int(other) + 1
