"""Two outputs are the same only if every bit is; otherwise it is said by how much they are not."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrodict.predictions import payload
from retrodict.replay.compare import Tolerance, compare

UP = math.nextafter(0.7, 1)
NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]
FRAME = pd.DataFrame({"p": [0.7, 0.2], "d": ["approve", "decline"], "n": [1, 2]}, index=["x", "y"])

SAME: list[Any] = [
    np.array([0.1, -0.0, np.nan]),
    np.array([["a", "b"]]),
    np.array([1j, complex(math.nan, -0.0)]),
    np.array([1.5], "g"),
    np.array([None, "x", (1, 2.5)], dtype=object),
    np.zeros((0, 2)),
    FRAME,
    FRAME["p"],
    pd.DataFrame({"c": pd.Categorical(["a", None]), "i": pd.array([1, None], dtype="Int64")}),
    pd.DataFrame({"t": pd.to_datetime(["2020", None]), "s": ["x", None]}),
    pd.DataFrame({"p": pd.PeriodIndex(["2020-01", None], freq="M"), "i": pd.interval_range(0, 2)}),
    {"score": 0.7, "why": ["x", None], "v": np.arange(3)},
    [1, 2.0, "x", True, None, b"x", NAN],
    0.7,
    2**70,
    "text",
    pa.table({"a": [1.5, None]}),
    pl.DataFrame({"a": [1.5, None], "s": ["x", "y"]}),
]  # fmt: skip


@pytest.mark.parametrize("value", SAME, ids=lambda v: type(v).__name__)
def test_what_came_back_from_the_log_is_replicated(value: Any) -> None:
    encoded = payload.encode(value)
    result = compare(value, payload.decode(encoded.codec, encoded.schema, encoded.batch, encoded.meta))
    assert (result.verdict, result.cells, result.first, result.structure) == ("replicated", 0, None, None)
    assert result.of >= (len(value) if hasattr(value, "__len__") and not isinstance(value, str) else 1)
    assert not result.decision_changed


@pytest.mark.parametrize(
    ("a", "b", "ulp", "gap"),
    [
        (0.7, UP, 1, UP - 0.7),
        (0.0, -0.0, 0, 0.0),
        (-5e-324, 5e-324, 2, 1e-323),
        (1.0, 2.0, 2**52, 1.0),
        (np.float32(1.0), np.nextafter(np.float32(1), np.float32(2)), 1, 2**-23),
        (np.float16(1.0), np.float16(1.001), 1, 2**-10),
        (-1.7976931348623157e308, 1.7976931348623157e308, 2 * 0x7FEF_FFFF_FFFF_FFFF, math.inf),
        (math.nan, NAN, None, None),
        (math.nan, 1.0, None, None),
        (math.inf, 1.0, None, None),
    ],
)
def test_a_difference_is_measured_in_floats_between_and_in_size(
    a: Any, b: Any, ulp: int | None, gap: float | None
) -> None:
    result = compare(np.array([5.0, a]).astype(np.asarray(a).dtype), np.array([5.0, b]).astype(np.asarray(a).dtype))
    assert (result.verdict, result.cells, result.of) == ("differs", 1, 2)
    assert (result.max_ulp, result.max_abs) == (ulp, gap)
    assert result.first is not None
    assert (result.first.row, result.first.column) == (1, "value")
    scalar = compare(a, b)
    assert (scalar.verdict, scalar.max_ulp, scalar.max_abs) == ("differs", ulp, gap)


def test_the_first_difference_is_named_by_row_and_column() -> None:
    other = FRAME.copy()
    other.loc["y", "p"] = 0.3
    result = compare(FRAME, other)
    assert result.first is not None
    assert (result.first.row, result.first.column, result.first.recorded, result.first.replayed) == (1, "p", 0.2, 0.3)
    assert result.of == 6
    matrix = compare(np.array([[0.5, 1.5]]), np.array([[0.5, 1.25]]))
    assert matrix.first is not None
    assert (matrix.first.row, matrix.first.column, matrix.max_abs) == (0, "1", 0.25)
    deep = compare({"a": [1, {"b": "x"}]}, {"a": [1, {"b": "y"}]})
    assert deep.first is not None
    assert (deep.first.row, deep.first.column) == (1, "a.b")


def test_a_decision_is_text_a_truth_an_integer_or_the_likeliest_class() -> None:
    def changed(a: Any, b: Any) -> bool | None:
        return compare(a, b).decision_changed

    assert changed(np.array([0.7]), np.array([UP])) is None
    assert changed(0.7, UP) is None
    assert changed({"p": 0.7, "d": "yes"}, {"p": UP, "d": "yes"}) is False
    assert changed({"p": 0.7, "d": "yes"}, {"p": 0.4, "d": "no"}) is True
    assert changed(np.array([1, 0]), np.array([1, 1])) is True
    assert changed(np.array([True]), np.array([True])) is False
    assert changed(np.array([[0.7, 0.3]]), np.array([[UP, 1 - UP]])) is False
    assert changed(np.array([[0.51, 0.49]]), np.array([[0.49, 0.51]])) is True
    assert changed(np.array([[5.1, 4.9]]), np.array([[4.9, 5.1]])) is None
    assert changed(FRAME, FRAME.assign(d=["approve", "approve"])) is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros(2), np.zeros(3)),
        (np.zeros(2), np.zeros(2, "f4")),
        (np.zeros(2), [0.0, 0.0]),
        (1, 1.0),
        (1, True),
        ({"a": 1}, {"b": 1}),
        ([1], [1, 2]),
        (FRAME, FRAME.rename(columns={"p": "q"})),
        (FRAME, FRAME.iloc[:1]),
        (FRAME, FRAME.astype({"n": "float64"})),
        (pd.Series(["a"], dtype="category"), pd.Series(["a"], dtype="str")),
        (pa.table({"a": [1]}), pa.table({"a": [1.0]})),
    ],
)
def test_another_structure_is_never_within_a_tolerance(a: Any, b: Any) -> None:
    result = compare(a, b, Tolerance(absolute=1e9))
    assert result.verdict == "differs"
    assert result.structure is not None


def test_other_row_labels_are_another_answer() -> None:
    result = compare(FRAME, FRAME.set_axis(["x", "z"]), Tolerance(absolute=1))
    assert result.verdict == "differs"
    assert result.first is not None
    assert result.first.column == "index"


@pytest.mark.parametrize(
    ("tolerance", "a", "b", "verdict"),
    [
        (None, 0.7, UP, "differs"),
        (Tolerance(), 0.7, UP, "differs"),
        (Tolerance(ulp=1), 0.7, UP, "reproduced"),
        (Tolerance(absolute=0.1), 0.7, 0.75, "reproduced"),
        (Tolerance(absolute=0.01), 0.7, 0.75, "differs"),
        (Tolerance(relative=0.1), 100.0, 109.0, "reproduced"),
        (Tolerance(relative=0.1), 100.0, 111.0, "differs"),
        (Tolerance(absolute=1), math.nan, NAN, "reproduced"),
        (Tolerance(absolute=1e308), math.nan, 1.0, "differs"),
        (Tolerance(absolute=1e308), math.inf, 1.0, "differs"),
        (Tolerance(absolute=1), 0.0, -0.0, "reproduced"),
        (Tolerance(absolute=1), "yes", "no", "differs"),
        (Tolerance(absolute=5), 1, 2, "differs"),
        (Tolerance(absolute=1), {"p": 0.5, "d": "a"}, {"p": 0.6, "d": "b"}, "differs"),
    ],
)
def test_within_the_tolerance_that_was_asked_for_is_reproduced(tolerance: Any, a: Any, b: Any, verdict: str) -> None:
    assert compare(a, b, tolerance).verdict == verdict


floats = st.integers(0, 2**64 - 1).map(lambda n: struct.unpack("<d", struct.pack("<Q", n))[0])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(floats, floats), min_size=1, max_size=5))
def test_replicated_means_equal_bytes_and_distances_count_floats(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array(column) for column in zip(*pairs, strict=True))
    result = compare(a, b)
    assert (result.verdict == "replicated") == (a.tobytes() == b.tobytes())
    assert result.cells == sum(struct.pack("<d", x) != struct.pack("<d", y) for x, y in pairs)

    def place(x: float) -> int:
        n: int = struct.unpack("<q", struct.pack("<d", x))[0]
        return n if n >= 0 else -(n + 2**63)

    gaps = [
        abs(place(x) - place(y))
        for x, y in pairs
        if struct.pack("<d", x) != struct.pack("<d", y) and math.isfinite(x) and math.isfinite(y)
    ]
    assert result.max_ulp == (max(gaps) if gaps else None)
