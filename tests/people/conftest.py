"""A workspace with a model whose questions are about people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrodict.serving import Service
from retrodict.testing.commands import Commands
from retrodict.testing.people import make_people
from retrodict.workspace import Workspace


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    with Commands() as made:
        yield made


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with make_people(tmp_path) as made:
        yield made


@pytest.fixture
def service(workspace: Workspace) -> Service:
    return Service(workspace)
