"""The rows of a Parquet file, from its footer alone."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from retrodict.actions.explain.parquet import row_count


def footer(table: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    data = sink.getvalue()
    length = int.from_bytes(data[-8:-4], "little")
    return data[-8 - length : -8]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 3000),
    st.lists(
        st.sampled_from(["int64", "float32", "bool", "string", "list", "struct", "date"]), min_size=1, max_size=20
    ),
    st.integers(1, 2000),
)
def test_it_is_what_pyarrow_says(rows: int, kinds: list[str], group: int) -> None:
    values: dict[str, Any] = {
        "int64": range(rows),
        "float32": pa.array([0.5] * rows, pa.float32()),
        "bool": [True, None] * (rows // 2) + [False] * (rows % 2),
        "string": ["x"] * rows,
        "list": [[1, 2]] * rows,
        "struct": [{"a": 1, "b": "y"}] * rows,
        "date": pd.date_range("2019-11-07", periods=rows),
    }
    table = pa.table({f"{kind} {i}": values[kind] for i, kind in enumerate(kinds)})
    data = footer(table, row_group_size=group)
    assert row_count(data) == rows == parquet.read_metadata(pa.BufferReader(_whole(table, group))).num_rows


def _whole(table: Any, group: int) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink, row_group_size=group)
    return sink.getvalue()


def test_other_bytes_are_refused() -> None:
    for data in (b"", b"\x00", b"\xff\xff", footer(pa.table({"a": [1]}))[:4]):
        with pytest.raises(ValueError, match=r"ends too early|no number|type"):
            row_count(data)
