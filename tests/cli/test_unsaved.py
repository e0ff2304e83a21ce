"""What lies only on this disk is warned of: not on the first day, and not once a backup or a push has saved it."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Command

from retrodict.actions.add import add
from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.testing.clock import FixedClock


def test_what_was_never_saved_is_warned_of_until_it_is(retrodict: Command, project: Path, tmp_path: Path) -> None:
    clock = FixedClock()  # years ago
    init(project, tmp_path / "state", clock, agent="Ada")
    assert "only here" not in retrodict("status").out + retrodict("verify").err  # there is nothing yet
    (project / "a.txt").write_text("1")
    with open_workspace(project, tmp_path / "state", clock, agent="Ada") as workspace:
        add(workspace, [project / "a.txt"])
    warned = retrodict("status")
    assert (warned.code, retrodict("status", "--json").record["unsaved"]["was_saved"]) == (0, False)
    assert "Never backed up: 3 entries exist only here, the oldest for" in " ".join(warned.out.split())
    verified = retrodict("verify", "--json")
    assert verified.code == 0
    assert verified.record["answer"] == "yes"
    assert verified.err.startswith("retrodict: Never backed up: 3 entries")
    assert verified.err.count("\n") == 1
    retrodict("remote", "add", "origin", str(tmp_path / "hub"))
    retrodict("push")
    assert "only here" not in retrodict("status").out + retrodict("verify").err
    (project / "a.txt").write_text("2")
    retrodict("add", "a.txt")
    assert "2 entries are in no backup, and were pushed nowhere" in " ".join(retrodict("status").out.split())
    assert retrodict("verify").err == ""  # it is new
    retrodict("backup", "to", str(tmp_path / "backup"))
    assert "no backup" not in retrodict("status").out
    retrodict("backup", "drill", str(tmp_path / "backup"))
    retrodict("remote", "remove", "origin")
    assert retrodict("status", "--json").record["unsaved"] == {"entries": 0, "seconds": 0.0, "was_saved": True}


def test_a_project_of_today_is_left_in_peace(retrodict: Command, project: Path) -> None:
    retrodict("init")
    (project / "a.txt").write_text("1")
    retrodict("add", "a.txt")
    assert "only here" not in retrodict("status").out + retrodict("verify").err
    found = retrodict("status", "--json").record["unsaved"]
    assert (found["entries"] > 0, found["was_saved"]) == (True, False)
