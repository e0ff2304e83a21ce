"""Names with brackets, which rich would take for markup: `[red]` would be eaten, and `[/x]` would raise."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Command


def test_where_something_is_refused_or_set_on_both_sides_places_and_names_are_printed_whole(
    retrodict: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    hub, copy, other = (project.parent / name / "[red]/[/x]" for name in ("hub", "copy", "other"))
    data = Path("[red]/[/x]")
    data.parent.mkdir(parents=True)
    data.write_text("x\n1\n")
    retrodict("init")
    retrodict("add", data)
    retrodict("remote", "add", "origin", hub)
    assert f"{hub}: " in retrodict("push").out

    assert retrodict("clone", hub, copy).code == 0
    (copy / data.parent).mkdir(parents=True)
    (copy / data).write_text("x\n2\n")
    retrodict("-C", copy, "add", data)
    retrodict("-C", copy, "push")
    (project / data).write_text("x\n3\n")
    retrodict("add", data)
    both = retrodict("pull")
    assert (both.code, both.err) == (0, "")
    assert f"dataset:{data}" in both.out.partition("Set on both sides")[2]

    own = retrodict("status", "--json").record["origin"]
    (head,) = (head for head in (hub / "heads").iterdir() if own not in head.read_text())
    head.write_bytes(head.read_bytes()[:-9])
    again = retrodict("pull")
    assert again.code == 1
    assert f"Nothing new in {hub}\n" in again.out
    cloned = retrodict("clone", hub, other)
    assert cloned.code == 1
    assert f"{other}: 1 dataset and 0 models from {hub}, which" in cloned.out
    assert f"  retrodict checkout dataset:{data}\n" in cloned.out


def test_columns_are_called_as_they_are(retrodict: Command) -> None:
    Path("rows.csv").write_text("k,[red],[/x]\n1,a,b\n")
    retrodict("init")
    assert retrodict("table", "create", "t", "--key", "k", "--from", "rows.csv").code == 0
    read = retrodict("table", "at", "t")
    assert read.out.splitlines()[0].split() == ["k", "[red]", "[/x]"]
