"""Rows that were handed out, and those of them that were used."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

Positions = "npt.NDArray[np.int64]"


class Source:
    """One version of a table, as it was handed out.

    Args:
        label: What was read: `loans@v12`.
        rows: The identities of its rows, in the order in which they were handed out: n whole numbers.
    """

    def __init__(self, label: str, rows: npt.NDArray[np.int64]) -> None:
        self.label = label
        self.rows = rows
        self._used = np.zeros(len(rows), dtype=bool)
        _alive.add(self)

    def __len__(self) -> int:
        return len(self.rows)

    def use(self, positions: npt.NDArray[np.int64] | None = None) -> None:
        """Note that rows were looked at, by their positions; all of them, if none are given. Negative: no row."""
        if positions is None:
            self._used[:] = True
        else:
            self._used[positions[positions >= 0]] = True

    def used(self) -> npt.NDArray[np.int64]:
        """Return the identities of the rows that were looked at, in ascending order."""
        return np.sort(self.rows[self._used])

    @property
    def is_all(self) -> bool:
        """Whether every row was looked at."""
        return bool(self._used.all())


_alive: weakref.WeakSet[Source] = weakref.WeakSet()


def _before_fork() -> None:
    # The copy of this process can look at whatever was read, and nobody would hear of it.
    for source in list(_alive):
        source.use()


os.register_at_fork(before=_before_fork)


class Trace:
    """For each row of a frame, the rows that it was made of: positions in one or more sources (-1: in none).

    A frame that is one table joined with itself has that source twice.
    """

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[tuple[Source, npt.NDArray[np.int64]]]) -> None:
        self.parts = tuple(parts)

    def __len__(self) -> int:
        return len(self.parts[0][1])

    def take(self, places: npt.NDArray[Any]) -> Trace:
        """Return the trace of a frame with the rows at these places (whole numbers; negative: none), or of a mask."""
        if places.dtype == bool:
            return Trace([(source, positions[places]) for source, positions in self.parts])
        return Trace([(source, np.where(places < 0, -1, positions[places])) for source, positions in self.parts])

    def joined(self, other: Trace) -> Trace:
        """Return the trace of a frame whose rows are made of a row of each."""
        return Trace([*self.parts, *other.parts])

    def use(self) -> None:
        """Note that all of it was looked at."""
        for source, positions in self.parts:
            source.use(positions)


class Inside(threading.local):
    """Whether this thread is inside an operation that is followed: what it looks at needs no noting."""

    depth = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Be inside."""
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
