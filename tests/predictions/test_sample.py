"""An even sample of the answered calls of one model version, drawn without a look at the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from retrodict import predictions
from retrodict.actions.predict import predict
from retrodict.kernel.clock import SystemClock, event_id
from retrodict.kernel.types import Event, EventId
from retrodict.serving import ModelFailedError
from retrodict.testing.workbench import make_workspace, register_source
from retrodict.workspace import Workspace

MODEL = "def predict(rows):\n    return [10 / row['x'] for row in rows]\n"


@dataclass
class Trail:
    """A workspace with many calls of two versions of a model.

    Attributes:
        model: The event of the first version; `answered` are the entries of its answered calls.
        call: One of them, in the middle.
    """

    workspace: Workspace
    model: EventId
    event: Event
    answered: list[int]
    call: int

    def add(self, count: int) -> None:
        """Append copies of an answered call."""
        clock = SystemClock()
        events = [replace(self.event, id=event_id(clock), tick=0) for _ in range(count)]
        self.answered += [done.index for done in self.workspace.ledger.append(events)]

    def sample(self, limit: int, seed: int = 0, without: int | None = None) -> tuple[list[int], int]:
        return predictions.sample(self.workspace.views.database(), self.model, limit, seed=seed, without=without)


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    with make_workspace(tmp_path) as workspace:
        model = register_source(workspace, "m", MODEL).event
        answer = predict(workspace, "m@v1", [{"x": 1.0}])
        found = workspace.ledger.find(answer.event)
        assert found is not None
        trail = Trail(workspace, EventId(model), found.event, [answer.index], 0)
        trail.add(9)
        with pytest.raises(ModelFailedError):
            predict(workspace, "m@v1", [{"y": 1}])
        register_source(workspace, "m", MODEL + "\n")
        predict(workspace, "m@v2", [{"x": 1.0}])
        trail.add(10)
        trail.call = trail.answered[10]
        yield trail


def test_all_answered_calls_of_the_version_are_drawn_from_and_no_others(trail: Trail) -> None:
    assert trail.sample(100) == (trail.answered, 20)
    assert trail.sample(100, without=trail.call) == ([i for i in trail.answered if i != trail.call], 19)


def test_the_same_seed_draws_the_same_calls_in_the_order_of_the_log(trail: Trail) -> None:
    drawn, total = trail.sample(5, seed=1, without=trail.call)
    assert (drawn, total) == trail.sample(5, seed=1, without=trail.call)
    assert total == 19
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 5
    assert drawn != trail.sample(5, seed=2, without=trail.call)[0]


@pytest.mark.parametrize("limit", [1, 5])
def test_every_call_is_drawn_equally_often(trail: Trail, limit: int) -> None:
    draws = 3000
    found = Counter(i for seed in range(draws) for i in trail.sample(limit, seed=seed, without=trail.call)[0])
    expected = draws * limit / 19
    assert set(found) == set(trail.answered) - {trail.call}
    # Binomial: six standard deviations either side.
    assert all(abs(count - expected) < 6 * expected**0.5 for count in found.values())


def test_a_draw_looks_at_no_more_calls_when_there_are_more(trail: Trail) -> None:
    def steps() -> int:
        taken = 0

        def count() -> bool:
            nonlocal taken
            taken += 1
            return False

        database = trail.workspace.views.database()
        database.set_progress_handler(count, 1)
        predictions.sample(database, trail.model, 5, seed=0, without=trail.call)
        database.set_progress_handler(None)
        return taken

    few = steps()
    trail.add(5000)
    assert 0 < steps() <= few
