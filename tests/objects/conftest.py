from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrodict.kernel.clock import SystemClock
from retrodict.objects import ObjectStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore.create(tmp_path / "objects", SystemClock()) as made:
        yield made
