"""Texts: the lines that differ, as a unified diff or numbered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import islice, zip_longest
from typing import Final

from retrodict.diffs.align import Opcode, opcodes

TEXT_BYTES: Final = 16 << 20  # larger texts are not compared line by line


class _Aligned(SequenceMatcher[str]):
    def __init__(self, a: Sequence[str], b: Sequence[str]) -> None:
        super().__init__(None, (), (), autojunk=False)  # it would index what it does not need to
        self._sides = a, b

    def get_opcodes(self) -> list[Opcode]:
        """Return the steps, found by what is unique on both sides."""
        return opcodes(*self._sides)


def unified(old: str, new: str, *, context: int, limit: int | None) -> tuple[tuple[str, ...], int]:
    r"""Return the first lines of a unified diff (without the names of the files), and how many there are.

    Args:
        old: A text.
        new: Another one.
        context: How many equal lines stand round what differs.
        limit: How many lines are returned; None: all.

    >>> unified("a\nb\n", "a\nc\n", context=0, limit=None)
    (('@@ -2 +2 @@', '-b', '+c'), 3)
    """
    a, b = _split(old), _split(new)
    found = _hunks(a, b, context)
    first = tuple(islice(found, limit))
    return first, len(first) + sum(1 for _ in found)


def numbered(before: Sequence[str], after: Sequence[str]) -> tuple[list[tuple[str, ...]], int]:
    """Return the changes, each the lines that took the place of one another, numbered; and how many lines changed.

    >>> numbered(["a", "b"], ["a", "c"])
    ([('- 2: b', '+ 2: c')], 1)
    """
    changes, changed = [], 0
    for tag, i1, i2, j1, j2 in opcodes(before, after):
        if tag != "equal":
            changed += max(i2 - i1, j2 - j1)
            olds = [f"- {n + 1}: {before[n]}" for n in range(i1, i2)]
            news = [f"+ {n + 1}: {after[n]}" for n in range(j1, j2)]
            changes += [tuple(line for line in pair if line is not None) for pair in zip_longest(olds, news)]
    return changes, changed


def _split(text: str) -> list[str]:
    """Return the lines; that the last one does not end is a line of its own, as `diff` says it."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    else:
        lines[-1] += "\n\\ No newline at end of file"
    return lines


def _hunks(a: Sequence[str], b: Sequence[str], context: int) -> Iterator[str]:
    for group in _Aligned(a, b).get_grouped_opcodes(context):
        first, last = group[0], group[-1]
        yield f"@@ -{_span(first[1], last[2])} +{_span(first[3], last[4])} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {line}" for line in a[i1:i2])
                continue
            yield from (f"-{line}" for line in a[i1:i2])
            yield from (f"+{line}" for line in b[j1:j2])


def _span(start: int, stop: int) -> str:
    length = stop - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


def text_of(data: bytes) -> str | None:
    """Return the bytes as text, or None where they are none."""
    if b"\0" in data[:8192]:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
