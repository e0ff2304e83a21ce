"""Sets of rows come back as they were kept."""

from __future__ import annotations

import numpy as np
import pyroaring
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrodict.kernel.errors import FormatError
from retrodict.rows import sets

ROWS = st.sets(st.one_of(st.integers(0, 200), st.integers(0, 1 << 40))).map(
    lambda found: np.array(sorted(found), np.int64)
)


@given(rows=ROWS)
def test_what_is_kept_comes_back(rows: np.ndarray) -> None:
    assert sets.from_ranges(sets.ranges(rows)).tolist() == rows.tolist()
    kept = sets.to_bitmap(rows)
    assert sets.from_bitmap(kept).tolist() == rows.tolist()
    assert list(pyroaring.BitMap64.deserialize(kept)) == rows.tolist()


def test_neighbours_are_one_range() -> None:
    assert sets.ranges(np.array([0, 1, 2, 5, 7, 8])) == [(0, 3), (5, 6), (7, 9)]


@pytest.mark.parametrize("data", [b"", b"\x01", b"not a bitmap at all", b"\xff" * 64])
def test_what_is_no_bitmap_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        sets.from_bitmap(data)
