"""An empty workspace, and loan inquiries as the tutorial has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.kernel.clock import SystemClock
from retrodict.workspace import Workspace

AGENT = "Ada Lovelace <ada@example.com>"

LOANS = """\
InquiryID,CustomerID,Purpose,Amount,Since,Approved,Note
1001,C07,car,4500.00,2020-10-01,true,
1002,C11,education,12000.50,2020-10-02,false,""
1003,C42,"radio, TV",800.00,2020-10-02,false,"said ""call"" me"
"""


def open_at(root: Path, agent: str = AGENT) -> Workspace:
    return open_workspace(root, root.parent / "state", SystemClock(), agent=agent)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    init(folder, tmp_path / "state", SystemClock(), agent=AGENT)
    return folder


@pytest.fixture
def workspace(root: Path) -> Iterator[Workspace]:
    with open_at(root) as opened:
        yield opened


@pytest.fixture
def loans(root: Path) -> Path:
    path = root / "loans.csv"
    path.write_text(LOANS)
    return path
