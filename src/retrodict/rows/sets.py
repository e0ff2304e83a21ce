"""A set of rows as it is kept: a few ranges, or a bitmap.

A bitmap is a 64-bit Roaring bitmap in the portable format (https://github.com/RoaringBitmap/RoaringFormatSpec), which
readers in every language take: some 1.4 bits a row where rows are chosen by chance, nothing to speak of for runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from retrodict.kernel.errors import FormatError, MissingExtraError

if TYPE_CHECKING:
    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

MOST_RANGES: Final = 16


def ranges(rows: Rows) -> list[tuple[int, int]]:
    """Return ascending rows as ranges [start, stop)."""
    if not len(rows):
        return []
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    starts, stops = rows[np.r_[0, breaks]], rows[np.r_[breaks - 1, len(rows) - 1]] + 1
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def from_ranges(found: Sequence[Sequence[int]]) -> Rows:
    """Return the rows of ranges."""
    return np.concatenate([np.arange(start, stop, dtype=np.int64) for start, stop in found] or [np.zeros(0, np.int64)])


def to_bitmap(rows: Rows) -> bytes:
    """Return rows as a bitmap.

    Raises:
        MissingExtraError: pyroaring is not installed.
    """
    bitmap = _roaring().BitMap64(rows.astype(np.uint64).tolist())
    bitmap.run_optimize()
    return bytes(bitmap.serialize())


def from_bitmap(data: bytes) -> Rows:
    """Return the rows of a bitmap.

    Raises:
        FormatError: It is none.
    """
    try:
        return np.array(_roaring().BitMap64.deserialize(data).to_array(), dtype=np.int64)
    except (ValueError, TypeError, IndexError) as error:
        raise FormatError(f"a bitmap of rows cannot be read: {error}") from error


def _roaring() -> Any:
    try:
        import pyroaring  # an extra
    except ImportError as error:
        raise MissingExtraError("keeping which rows were used", "tables") from error
    return pyroaring
