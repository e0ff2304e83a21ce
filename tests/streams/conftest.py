"""An empty workspace, and what streams are filled with."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrodict.actions import stream_append
from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.kernel.clock import SystemClock
from retrodict.workspace import Workspace

AGENT = "Ada Lovelace <ada@example.com>"


def open_at(root: Path) -> Workspace:
    return open_workspace(root, root.parent / "state", SystemClock(), agent=AGENT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    init(folder, tmp_path / "state", SystemClock(), agent=AGENT)
    return folder


@pytest.fixture
def workspace(root: Path) -> Iterator[Workspace]:
    with open_at(root) as opened:
        yield opened


def append(workspace: Workspace, name: str, text: bytes) -> stream_append.StreamAppended:
    return stream_append.append(workspace, name, io.BytesIO(text))
