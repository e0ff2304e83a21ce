"""A log to write to, and events to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrodict.kernel.clock import SystemClock, event_id, rfc3339
from retrodict.kernel.types import Event
from retrodict.keys import StateDirectory
from retrodict.ledger import Ledger

Draft = Callable[..., Event]


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def draft(clock: SystemClock) -> Draft:
    def make(**body: object) -> Event:
        now = rfc3339(clock.now_ns())
        return Event(id=event_id(clock), kind="thing.happened", at=now, agent="a-1", uses=(), makes=(), body=body)

    return make


@pytest.fixture
def state(tmp_path: Path, clock: SystemClock) -> StateDirectory:
    (tmp_path / "store").mkdir()
    return StateDirectory.create(tmp_path / "state", "0123456789abcdef", tmp_path / "store", clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "ledger.db"


@pytest.fixture
def ledger(path: Path, state: StateDirectory, clock: SystemClock) -> Iterator[Ledger]:
    ledger = Ledger.create(path, state.origin, clock)
    yield ledger
    ledger.close()
