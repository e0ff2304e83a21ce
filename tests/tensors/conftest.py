"""An empty workspace for arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.kernel.clock import SystemClock
from retrodict.workspace import Workspace

AGENT = "Ada Lovelace <ada@example.com>"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    root = tmp_path / "project"
    init(root, tmp_path / "state", SystemClock(), agent=AGENT)
    with open_workspace(root, tmp_path / "state", SystemClock(), agent=AGENT) as opened:
        yield opened
