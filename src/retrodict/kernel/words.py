"""Numbers in the words of every report and message."""

from __future__ import annotations


def count(n: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun.

    >>> count(1, "row"), count(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
