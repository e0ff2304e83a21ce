"""How many answers another model would change: decisions and values are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrodict.diagnose.alternatives import NO_CHANGES, changes, interval
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


IMAGE = np.arange(48, dtype="uint8").reshape(4, 4, 3)


@pytest.mark.parametrize(
    ("given", "instead"),
    [
        ([["a", "b"], ["a"]], [["a", "b"], ["b"]]),  # ranked lists
        ([["a", "b"], ["a", "b"]], [["a", "b"], ["b", "a"]]),
        ([IMAGE, IMAGE], [IMAGE, IMAGE + np.uint8(1)]),
        (np.stack([IMAGE, IMAGE]), np.stack([IMAGE, IMAGE + np.uint8(1)])),
        ([{"items": ["a"], "at": {"x": 1}}, {"items": []}], [{"items": ["a"], "at": {"x": 1}}, {"items": ["a"]}]),
        ({"items": [["a"], []], "n": [1, 2]}, {"items": [["a"], ["b"]], "n": [1, 2]}),
        ([b"\x89PNG", b"\0"], [b"\x89PNG", b"\1"]),
        (["a", ["b"]], ["a", "b"]),
    ],
)
def test_what_is_no_table_is_this_or_another(given: object, instead: object) -> None:
    assert changes(given, given).values == 0
    found = changes(given, instead)
    assert (found.rows, found.values, found.decisions) == (2, 1, 1)


@pytest.mark.parametrize("value", ["one text", IMAGE, {"answer": "yes", "sure": [0.5, 0.25]}, [], 3.5])
def test_an_answer_that_is_one_value_is_one_row(value: object) -> None:
    assert changes(value, value).values == 0
    assert changes("one text", "another").decisions == 1


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
