"""Which elements of two sequences belong together: what is unique in both stands still, difflib looks between.

`difflib` alone takes time by the product of the lengths. Elements that stand once on either side, in the same order on
both, are anchors (Bram Cohen's patience diff): of a table's rows nearly all are, and what lies between two is short.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher
from typing import Final, Literal

Opcode = tuple[Literal["equal", "replace", "delete", "insert"], int, int, int, int]

_MATCHED: Final = 4_000_000  # pairs that difflib may have to look at in one gap; beyond, a gap is one replacement


def opcodes(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Opcode]:
    """Return how `a` becomes `b`, as `difflib.SequenceMatcher.get_opcodes` does.

    >>> opcodes("abcd", "axcd")
    [('equal', 0, 1, 0, 1), ('replace', 1, 2, 1, 2), ('equal', 2, 4, 2, 4)]
    """
    start = 0
    while start < len(a) and start < len(b) and a[start] == b[start]:
        start += 1
    end_a, end_b = len(a), len(b)
    while end_a > start and end_b > start and a[end_a - 1] == b[end_b - 1]:
        end_a, end_b = end_a - 1, end_b - 1
    found: list[Opcode] = []
    _put(found, "equal", 0, start, 0, start)
    i, j = start, start
    for next_i, next_j in [*_anchors(a, b, start, end_a, end_b), (end_a, end_b)]:
        _gap(found, a, b, (i, next_i), (j, next_j))
        if next_i < end_a:
            _put(found, "equal", next_i, next_i + 1, next_j, next_j + 1)
        i, j = next_i + 1, next_j + 1
    _put(found, "equal", end_a, len(a), end_b, len(b))
    return found


def _anchors(a: Sequence[Hashable], b: Sequence[Hashable], start: int, end_a: int, end_b: int) -> list[tuple[int, int]]:
    """Return the places of what stands once on either side: as many as keep their order."""
    once_a = {item for item, n in Counter(a[start:end_a]).items() if n == 1}
    once_b = {item for item, n in Counter(b[start:end_b]).items() if n == 1}
    both = once_a & once_b
    place = {b[j]: j for j in range(start, end_b) if b[j] in both}
    pairs = [(i, place[a[i]]) for i in range(start, end_a) if a[i] in both]
    ends: list[int] = []  # the longest increasing run of places in `b`: by length, the last place of the best one
    which: list[int] = []
    before: list[int] = []
    for n, (_, j) in enumerate(pairs):
        length = bisect_left(ends, j)
        before.append(which[length - 1] if length else -1)
        ends[length : length + 1] = [j]
        which[length : length + 1] = [n]
    chain = []
    n = which[-1] if which else -1
    while n >= 0:
        chain.append(pairs[n])
        n = before[n]
    return chain[::-1]


def _gap(
    found: list[Opcode], a: Sequence[Hashable], b: Sequence[Hashable], in_a: tuple[int, int], in_b: tuple[int, int]
) -> None:
    (i1, i2), (j1, j2) = in_a, in_b
    if i1 < i2 and j1 < j2 and (i2 - i1) * (j2 - j1) <= _MATCHED:
        for tag, p1, p2, q1, q2 in SequenceMatcher(None, a[i1:i2], b[j1:j2], autojunk=False).get_opcodes():
            _put(found, tag, i1 + p1, i1 + p2, j1 + q1, j1 + q2)
    elif i1 < i2 or j1 < j2:
        tag = "replace" if i1 < i2 and j1 < j2 else "delete" if i1 < i2 else "insert"
        _put(found, tag, i1, i2, j1, j2)


def _put(
    found: list[Opcode],
    tag: Literal["equal", "replace", "delete", "insert"],
    i1: int,
    i2: int,
    j1: int,
    j2: int,
) -> None:
    """Add one step; it joins the step before it where both are equal."""
    if i1 == i2 and j1 == j2:
        return
    if found and found[-1][0] == tag == "equal":
        i1, j1 = found[-1][1], found[-1][3]
        found.pop()
    found.append((tag, i1, i2, j1, j2))
