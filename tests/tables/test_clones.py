"""One table in two clones: a branch is merged record by record, and a conflict is nobody's to settle in silence."""

from __future__ import annotations

import pytest
from tests.remotes.conftest import Person, ada, bob, hub

from retrodict.actions import table_change, table_merge, table_read, tables
from retrodict.actions.tabling import How
from retrodict.actions.verify import verify
from retrodict.kernel.errors import UsageError

__all__ = ["ada", "bob", "hub"]

PUT = How(verb="put", reason="offline")


def rows(person: Person, branch: str | None = None) -> dict[int, str]:
    with person.open() as workspace:
        found = table_read.read(workspace, "t", branch=branch).to_pylist()
        assert verify(workspace).answer != "no"
    return {row["id"]: row["v"] for row in found}


def test_a_branch_is_merged_record_by_record_and_conflicts_are_shown(ada: Person, bob: Person) -> None:
    with ada.open() as workspace:
        table_change.create(workspace, "t", ["id"], source=[{"id": i, "v": "a"} for i in range(6)])
    ada.push()
    bob.clone()
    with bob.open() as workspace:
        done = table_change.update(workspace, "t", "1", {"v": "bob"}, how=PUT)
        assert (done.branch, done.version) == (workspace.ledger.origin, 2)
        table_change.delete(workspace, "t", ["2"], how=PUT)
        table_change.put(
            workspace, "t", [{"id": 9, "v": "new"}, {"id": 3, "v": "bob"}, {"id": 4, "v": "both"}], how=PUT
        )
        with pytest.raises(UsageError, match="belongs to the log"):
            table_merge.merge(workspace, "t")
    with ada.open() as workspace:
        table_change.put(workspace, "t", [{"id": 3, "v": "ada"}, {"id": 4, "v": "both"}, {"id": 0, "v": "x"}], how=PUT)
    bob.push()
    ada.pull()
    assert rows(ada, bob.origin()) == {0: "a", 1: "bob", 3: "bob", 4: "both", 5: "a", 9: "new"}
    before = rows(ada)
    with ada.open() as workspace:
        refused = table_merge.merge(workspace, "t")
        assert refused.answer == "no"
        (conflict,) = refused.conflicts
        assert (conflict.key, conflict.ours, conflict.theirs) == (
            {"id": 3},
            {"id": 3, "v": "ada"},
            {"id": 3, "v": "bob"},
        )
        assert conflict.our_change is not None
    assert rows(ada) == before
    with ada.open() as workspace:
        merged = table_merge.merge(workspace, "t", take="ours", reason="bob is back")
        assert merged.merged is not None
        assert (merged.merged.creates, merged.merged.updates, merged.merged.deletes) == (1, 1, 1)
        assert tables.list_tables(workspace).rows[0].branches == 0
        last = table_read.history(workspace, "t", "1").changes[-1]
        assert last.how.startswith("merge")
    assert rows(ada) == {0: "x", 1: "bob", 3: "ada", 4: "both", 5: "a", 9: "new"}
    ada.push()
    bob.pull()
    assert rows(bob) == rows(ada)
