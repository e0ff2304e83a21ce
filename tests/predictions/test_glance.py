"""Reading one row quickly gives what decoding the whole call gives."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrodict.predictions import payload
from retrodict.predictions.glance import _plain_row, read_row

FRAME = pd.DataFrame(
    {
        "whole": np.array([1, 2**53 + 1, -3], dtype="int64"),
        "other": np.array([4, 5, 6], dtype="int64"),
        "real": [-0.0, math.nan, 1e300],
        "small": np.array([0.1, 0.2, 0.3], dtype="float32"),
        "yes": [True, False, True],
        "word": ["a", None, "ü"],
        "mixed": pd.Series([1, "x", None], dtype="object"),
        "kind": pd.Categorical(["u", None, "v"]),
        "maybe": pd.array([1, None, 3], dtype="Int64"),
        "perhaps": pd.array([True, None, False], dtype="boolean"),
    }
)
VALUES: list[Any] = [
    FRAME,
    FRAME[["real"]],
    FRAME.assign(day=pd.to_datetime(["2019-11-07", None, "2019-11-08"])),
    FRAME.set_index("word"),
    pd.DataFrame(np.arange(12.0).reshape(3, 4)),
    pd.DataFrame(
        np.asfortranarray(np.arange(12.0).reshape(3, 4)), columns=pd.Index(["a", "b", "c", "d"], dtype="object")
    ),
    FRAME["whole"],
    FRAME["word"],
    np.arange(3, dtype=">i2"),
    np.arange(6.0).reshape(3, 2),
    np.arange(24).reshape(3, 4, 2),
    np.array(["a", "b", "c"], dtype="object"),
    np.array(["2019-11-07", "NaT", "2020-01-01"], dtype="M8[D]"),
    [1, "x", {"deep": [1.5]}],
    [{"a": 1, "b": None}, {"a": 2, "b": "x"}, {"a": dt.date(2019, 11, 7), "b": 0.5}],
    {"a": np.arange(3), "b": np.array(["x", "y", "z"])},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_a_glance_is_what_decoding_says(value: Any) -> None:
    encoded = payload.encode(value)
    parts = (encoded.codec, encoded.schema, encoded.batch, encoded.meta)
    for i in range(3):
        whole = payload.row(payload.decode(*parts), i)
        glance = read_row(*parts, i)
        assert list(glance) == list(whole)
        assert repr(glance) == repr(whole)
    with pytest.raises(IndexError):
        read_row(*parts, 3)


def test_a_plain_frame_is_read_without_libraries() -> None:
    encoded = payload.encode(FRAME)
    code = (
        "import sys; from retrodict.predictions.glance import read_row; "
        f"row = read_row({encoded.codec!r}, {encoded.schema!r}, {encoded.batch!r}, {dict(encoded.meta)!r}, 1); "
        "assert row['whole'] == 2**53 + 1, row; assert not {'pandas', 'pyarrow', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


COLUMNS = {
    "int8": st.integers(-128, 127),
    "uint64": st.integers(0, 2**64 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float32": st.floats(width=32),
    "float64": st.floats(),
    "bool": st.booleans(),
    "str": st.one_of(st.none(), st.text(st.characters(codec="utf-8"))),
    "object": st.one_of(st.none(), st.text(st.characters(codec="utf-8")), st.integers(), st.floats(), st.booleans()),
    "Int32": st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
    "category": st.sampled_from(["a", "b", "c"]),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=8), st.integers(1, 20), st.data())
def test_any_plain_frame_is_read_as_it_is_decoded(kinds: list[str], rows: int, data: st.DataObject) -> None:
    columns = [
        pd.Series(data.draw(st.lists(COLUMNS[kind], min_size=rows, max_size=rows)), dtype=kind, name=f"{kind} {j}")
        for j, kind in enumerate(kinds)
    ]
    encoded = payload.encode(pd.concat(columns, axis=1))
    parts = (encoded.codec, encoded.schema, encoded.batch, encoded.meta)
    i = data.draw(st.integers(0, rows - 1))
    whole = payload.row(payload.decode(*parts), i)
    assert repr(read_row(*parts, i)) == repr(whole)
    assert repr(_plain_row(*parts, i)) == repr(whole)  # not by decoding after all
