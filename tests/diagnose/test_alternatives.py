"""How many answers another model would change: decisions and values are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrodict.diagnose.alternatives import NO_CHANGES, changes, interval
from retrodict.diagnose.errors import NotTabularError
from retrodict.diagnose.tables import as_outputs, as_rows, targets

GIVEN = pd.DataFrame({"probability": [0.2, 0.6, 0.7, np.nan], "decision": ["no", "yes", "yes", "no"]})


def test_decisions_and_values_are_counted_apart() -> None:
    instead = pd.DataFrame({"probability": [0.2, 0.4, 0.75, np.nan], "decision": ["no", "no", "yes", "no"]})
    found = changes(GIVEN, instead)
    assert (found.rows, found.decisions, found.values, found.has_decisions) == (4, 1, 2, True)
    assert dict(found.largest)["probability"] == pytest.approx(0.2)
    assert changes(GIVEN, GIVEN).values == 0
    assert changes(GIVEN, instead, rows=[0, 2]).decisions == 0


def test_answers_of_another_shape_differ() -> None:
    assert changes(GIVEN, GIVEN[["decision"]]).values == 4
    assert changes(GIVEN[["probability"]], GIVEN).values == 4
    assert not changes(GIVEN[["probability"]], GIVEN).has_decisions


def test_probabilities_have_a_most_probable_class() -> None:
    a, b = np.array([[0.4, 0.6], [0.9, 0.1]]), np.array([[0.6, 0.4], [0.8, 0.2]])
    assert (changes(a, b).decisions, changes(a, b).values) == (1, 2)
    assert [part.name for part in targets(a[:1])] == ["answer[1]"]
    assert [part.name for part in targets(np.array([[0.5, 0.2, 0.3]]))] == ["answer[0]"]
    assert not as_outputs(np.array([[0.5, 0.7]]))[-1].derived


def test_whole_numbers_of_a_vector_are_classes_and_floats_are_not() -> None:
    assert changes(np.array([1, 2]), np.array([1, 3])).decisions == 1
    assert not changes(np.array([1.0]), np.array([2.0])).has_decisions
    assert as_outputs(["a", "b"])[0].is_decision
    with pytest.raises(NotTabularError):
        as_outputs("one text")


def test_batches_add_up() -> None:
    other = GIVEN.assign(decision="yes")
    total = NO_CHANGES + changes(GIVEN, other) + changes(GIVEN, GIVEN)
    assert (total.rows, total.decisions, total.values) == (8, 2, 2)


@pytest.mark.parametrize(
    "value",
    [
        GIVEN,
        GIVEN["decision"],
        np.array([[1, 2], [3, 4]], dtype="int8"),
        {"a": np.array([1.5, 2.5]), "b": np.array(["x", "y"])},
        [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
    ],
)
def test_rows_give_back_the_container_they_came_in(value: Any) -> None:
    rows = as_rows(value)
    back: Any = rows.restore(rows.frame)
    assert type(back) is type(value)
    match value:
        case pd.DataFrame():
            pd.testing.assert_frame_equal(back, value)
        case pd.Series():
            pd.testing.assert_series_equal(back, value)
        case np.ndarray():
            assert back.dtype == value.dtype
            assert (back == value).all()
        case dict():
            assert all((back[k] == value[k]).all() for k in value)
        case _:
            assert back == value


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_holds_the_share_and_narrows(count: int, rest: int) -> None:
    rows = count + rest
    low, high = interval(count, rows)
    assert 0 <= low <= high <= 1
    if rows:
        assert low <= count / rows <= high
        wide, narrow = interval(count, rows), interval(10 * count, 10 * rows)
        assert narrow[1] - narrow[0] < wide[1] - wide[0]
