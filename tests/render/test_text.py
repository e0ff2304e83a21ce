"""Text on a terminal: a table cuts nothing that could be pasted, whatever the width, and says every cell."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from retrodict.actions.fetch import Fetched
from retrodict.actions.run import File, Ran
from retrodict.actions.sending import Pushed
from retrodict.kernel.types import Digest, EventId
from retrodict.render import exchange
from retrodict.render.ran import ran
from retrodict.render.text import Printable, table

words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=60)
sentences = st.lists(st.text("abcxyz", min_size=1, max_size=20), max_size=20).map(" ".join)


def drawn(rendered: object, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, emoji=False).print(Printable(rendered), crop=False)  # type: ignore[arg-type]
    return file.getvalue().splitlines()


@given(rows=st.lists(st.tuples(words, words, sentences), min_size=1, max_size=5), width=st.integers(20, 250))
def test_no_width_breaks_what_can_be_pasted(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = drawn(table(["reference", "object", "why"], rows, wrap=["why"]), width)
    for reference, digest, _ in rows:
        assert any(line.startswith(reference) and digest in line for line in lines)


@given(rows=st.lists(st.tuples(words, sentences), min_size=1, max_size=5), width=st.integers(60, 250))
def test_every_word_is_said(rows: list[tuple[str, str]], width: int) -> None:
    said = {word for line in drawn(table(["a", "b"], rows, wrap=["b"]), width) for word in line.split()}
    for _, sentence in rows:
        assert set(sentence.split()) <= said


def test_columns_that_find_no_room_stand_below() -> None:
    rows = [("credit@v1", "b3-000000000000", "the first that was good enough"), ("credit@v2", "b3-111111111111", "")]
    columns = ["model", "object", "why"]
    assert drawn(table(columns, rows, wrap=["why"]), 80) == [
        "model      object           why",
        "credit@v1  b3-000000000000  the first that was good enough",
        "credit@v2  b3-111111111111",
    ]
    assert drawn(table(columns, rows, wrap=["why"]), 40) == [
        "model      object",
        "credit@v1  b3-000000000000",
        "    why: the first that was good enough",
        "credit@v2  b3-111111111111",
    ]


def test_a_terminal_gets_no_control_characters_and_nothing_blank_at_the_ends_of_lines() -> None:
    lines = drawn(table(["a", "b"], [("x\x1b[2J", "caf\udce9"), ("y" * 30, "")]), 80)
    assert lines == ["a" + " " * 31 + "b", "x\\x1b[2J" + " " * 24 + "caf\\xe9", "y" * 30]


def test_a_run_of_many_files_lists_some_and_says_where_the_others_are() -> None:
    files = [
        File(path=f"{i}.txt", role="output", digest=Digest("b3-" + f"{i:064x}"), size_bytes=i, maker=None)
        for i in range(70)
    ]
    record = Ran(
        entry=12, event=EventId("e"), name="n", command="c", exit_code=0, duration_ns=1, mode="seccomp",
        completeness="os-trace", inputs=(), outputs=tuple(files), code=None, environment=Digest("b3-"), warnings=("w",),
    )  # fmt: skip
    lines = ran(record).splitlines()
    assert sum(".txt" in line for line in lines) == 20
    assert lines[-2:] == ["... and 50 more files: retrodict show 12", "warning: w"]


def test_what_stayed_here_and_what_was_not_there_is_yellow_on_a_terminal_and_plain_elsewhere() -> None:
    sent = Pushed(remote="o", place="hub", logs=(), new_packs=0, new_bytes=0, unsigned=2, behind=(), findings=())
    came = Fetched(remote="o", place="hub", only=None, objects=0, new_packs=1, new_bytes=9, missing=3)
    for rendered, notice in (
        (exchange.pushed(sent), "2 entries stayed here: nothing signed covers them yet"),
        (exchange.fetched(came), "3 objects that it needs are not there"),
    ):
        assert drawn(rendered, 80)[1:] == [notice]
        file = io.StringIO()
        Console(file=file, force_terminal=True, color_system="standard").print(Printable(rendered))
        assert file.getvalue().splitlines()[1:] == [f"\x1b[33m{notice}\x1b[0m"]
