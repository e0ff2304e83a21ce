from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.durable import REAL_DISK
from retrodict.objects import ObjectStore
from retrodict.testing.disk import COPYING_DISK
from retrodict.testing.mounts import NotMountedError, mounted
from retrodict.testing.stores import CACHE_KEY, Room


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore.create(tmp_path / "objects", SystemClock(), cache_key=CACHE_KEY) as made:
        yield made


@pytest.fixture(scope="session")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Return where a file system of a kind is mounted; skips, by name, where it cannot be."""
    made: dict[str, Path] = {}
    with ExitStack() as stack:

        def where(kind: str) -> Path:
            if kind not in made:
                try:
                    made[kind] = stack.enter_context(mounted(kind, tmp_path_factory.mktemp(kind), 400 << 20))
                except NotMountedError as error:
                    pytest.skip(f"no {kind} can be mounted here: {error}")
            return made[kind]

        yield where


@pytest.fixture(params=["copying", "btrfs", "xfs"])
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    """An empty folder in which files are cloned: on two file systems that can, and on one that copies instead."""
    if request.param == "copying":
        yield Room(tmp_path, COPYING_DISK, shares=False)
        return
    folder: Path = request.getfixturevalue("mount")(request.param) / tmp_path.name
    folder.mkdir()
    yield Room(folder, REAL_DISK, shares=True)
    shutil.rmtree(folder)
