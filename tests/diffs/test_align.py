"""Alignment: what it returns turns one sequence into the other, and lines that stand still are found fast."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from retrodict.diffs.align import opcodes
from retrodict.diffs.lines import unified

SEQUENCES = st.lists(st.integers(0, 12), max_size=40)


@settings(deadline=None)
@given(SEQUENCES, SEQUENCES)
def test_the_steps_turn_one_sequence_into_the_other(a: list[int], b: list[int]) -> None:
    made: list[int] = []
    i = j = 0
    for tag, i1, i2, j1, j2 in opcodes(a, b):
        assert (i1, j1) == (i, j)
        if tag == "equal":
            assert a[i1:i2] == b[j1:j2]
        made += b[j1:j2]
        assert (i1 < i2) == (tag != "insert")
        assert (j1 < j2) == (tag != "delete")
        i, j = i2, j2
    assert (i, j) == (len(a), len(b))
    assert made == b


def test_a_row_in_front_moves_nothing() -> None:
    rows = list(range(200_000))
    found = opcodes(rows, [-1, *rows[:150_000], *rows[150_010:]])
    assert [step[0] for step in found] == ["insert", "equal", "delete", "equal"]


def test_a_unified_diff_is_what_diff_prints() -> None:
    old = "".join(f"{n}\n" for n in range(20))
    new = old.replace("7\n", "seven\n", 1).replace("19\n", "19")
    lines, total = unified(old, new, context=1, limit=None)
    assert lines == (
        "@@ -7,3 +7,3 @@", " 6", "-7", "+seven", " 8",
        "@@ -19,2 +19,2 @@", " 18", "-19", "+19\n\\ No newline at end of file",
    )  # fmt: skip
    assert total == len(lines)
    assert unified(old, new, context=1, limit=2) == (lines[:2], total)
