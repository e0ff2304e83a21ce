"""What other models say to the same questions, and how many of the answers that were given each would change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

from retrodict.diagnose.tables import as_outputs, same

_Z95: Final = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How a model's answers differ from those that were given.

    Attributes:
        rows: How many were compared.
        decisions: In how many of them a choice differs (the most probable class too).
        values: In how many of them anything at all differs.
        has_decisions: The answers hold a choice; without one `decisions` is 0 and says nothing.
        largest: For each quantity the largest absolute difference, by name.
    """

    rows: int
    decisions: int
    values: int
    has_decisions: bool
    largest: tuple[tuple[str, float], ...]

    def __add__(self, other: Changes) -> Changes:
        largest = dict(self.largest)
        for name, size in other.largest:
            largest[name] = max(size, largest.get(name, 0.0))
        return Changes(
            rows=self.rows + other.rows,
            decisions=self.decisions + other.decisions,
            values=self.values + other.values,
            has_decisions=self.has_decisions or other.has_decisions,
            largest=tuple(largest.items()),
        )


NO_CHANGES: Final = Changes(rows=0, decisions=0, values=0, has_decisions=False, largest=())


def changes(given: object, instead: object, rows: Sequence[int] | None = None) -> Changes:
    """Compare two batches of answers to the same n questions.

    Args:
        given: n answers, as they were given.
        instead: n answers by another model.
        rows: Which of them count; None: all.
    """
    import numpy as np  # 90 ms

    before, after = as_outputs(given), {part.name: part for part in as_outputs(instead)}
    n = len(before[0].values) if before else 0
    chosen = np.arange(n) if rows is None else np.asarray(rows, dtype="intp")
    decision, anything = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    largest: list[tuple[str, float]] = []
    for part in before:
        other = after.pop(part.name, None)
        if other is None or len(other.values) != n:
            differs = np.ones(n, dtype=bool)
        else:
            differs = _differs(part.values, other.values)
            if not part.is_decision and np.asarray(part.values).dtype.kind in "iuf" and len(chosen):
                size = np.abs(np.asarray(part.values, "float64") - np.asarray(other.values, "float64"))[chosen]
                largest.append((part.name, float(np.nanmax(size, initial=0.0))))
        anything |= differs
        if part.is_decision:
            decision |= differs
    if after:  # it answers something that was not answered before
        anything[:] = True
    return Changes(
        rows=len(chosen),
        decisions=int(decision[chosen].sum()),
        values=int(anything[chosen].sum()),
        has_decisions=any(part.is_decision for part in before),
        largest=tuple(largest),
    )


def _differs(given: Any, instead: Any) -> Any:
    import numpy as np  # 90 ms

    if isinstance(given, list) or isinstance(instead, list):  # they have no type in common
        return np.array([not same(x, y) for x, y in zip(given, instead, strict=True)], dtype=bool)
    a, b = np.asarray(given), np.asarray(instead)
    if a.dtype.kind in "iufb" and b.dtype.kind in "iufb":
        return (a != b) & ~(np.isnan(a.astype("float64")) & np.isnan(b.astype("float64")))
    return np.array([not same(x, y) for x, y in zip(given, instead, strict=True)], dtype=bool)


def interval(count: float, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share that was counted on a sample.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927).

    >>> interval(0, 0)
    (0.0, 1.0)
    """
    if rows == 0:
        return 0.0, 1.0
    share, z2 = count / rows, _Z95**2
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = _Z95 / (1 + z2 / rows) * sqrt(share * (1 - share) / rows + z2 / (4 * rows**2))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
