"""A table about people in two clones: merged record by record, and who is forgotten in one is gone from the other."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.remotes.conftest import Person, ada, bob, hub

from retrodict.actions import forget, keys, table_change, table_merge, table_read
from retrodict.actions.tabling import How
from retrodict.actions.verify import verify
from retrodict.tables.errors import SealedRecordsError

__all__ = ["ada", "bob", "hub"]

PUT = How(verb="put", reason="offline")
KINDS = {"id": "int64", "who": "text", "age": "int64", "page": "text"}


def rows(person: Person, branch: str | None = None) -> dict[object, tuple[object, ...]]:
    with person.open() as workspace:
        found = table_read.read(workspace, "t", branch=branch).to_pylist()
        assert verify(workspace).answer != "no"
    return {row["id"]: (row["who"], row["age"], row["page"]) for row in found}


def give_keys(giver: Person, taker: Person, path: Path) -> None:
    with taker.open() as workspace:
        to = keys.identity(workspace).key
    with giver.open() as workspace:
        keys.share(workspace, to, path)
    with taker.open() as workspace:
        keys.receive(workspace, path)


@pytest.mark.parametrize("columns", [["age"], []], ids=["clear-key", "all-personal"])
def test_a_branch_about_people_is_merged_and_who_is_forgotten_is_gone_from_both(
    ada: Person, bob: Person, tmp_path: Path, columns: list[str]
) -> None:
    with ada.open() as workspace:
        table_change.create(workspace, "t", ["id"], types=KINDS, subject="who", personal=columns)
        first = [{"id": i, "who": who, "age": 10 * i, "page": "/"} for i, who in enumerate(["ann", "bo", "cy", "di"])]
        table_change.put(workspace, "t", first, how=PUT)
    ada.push()
    bob.clone()
    with bob.open() as workspace, pytest.raises(SealedRecordsError):
        table_change.update(workspace, "t", "1", {"page": "/b"}, how=PUT)
    give_keys(ada, bob, tmp_path / "for-bob")
    with bob.open() as workspace:
        table_change.update(workspace, "t", "0", {"age": 1}, how=PUT)
        table_change.update(workspace, "t", "1", {"age": 11}, how=PUT)
        table_change.delete(workspace, "t", ["2"], how=PUT)
        table_change.put(
            workspace, "t", [{"id": 9, "who": "new", "age": 9}, {"id": 8, "who": "ann", "age": 8}], how=PUT
        )
    with ada.open() as workspace:
        table_change.update(workspace, "t", "1", {"age": 12}, how=PUT)
        table_change.update(workspace, "t", "3", {"page": "/a"}, how=PUT)
    bob.push()
    ada.pull()
    with ada.open() as workspace, pytest.raises(SealedRecordsError):
        table_merge.merge(workspace, "t")  # of somebody new Bob alone has the key
    give_keys(bob, ada, tmp_path / "for-ada")
    theirs = {0: ("ann", 1, "/"), 1: ("bo", 11, "/"), 3: ("di", 30, "/"), 8: ("ann", 8, None), 9: ("new", 9, None)}
    assert rows(ada, bob.origin()) == theirs
    with ada.open() as workspace:
        refused = table_merge.merge(workspace, "t")
        (conflict,) = refused.conflicts
        assert refused.answer == "no"
        assert conflict.ours is not None
        assert conflict.theirs is not None
        assert (conflict.ours["age"], conflict.theirs["age"]) == (12, 11)
        viewed = next(workspace.ledger.entries_of("personal.viewed")).event
        assert (viewed.body["by"], len(viewed.body["subjects"])) == ("table", 1)  # type: ignore[arg-type]
    with ada.open() as workspace:
        forget.forget(workspace, "ann")
    erased = (None, None, "/") if columns else (None, None, None)
    key = 0 if columns else None
    assert rows(ada) == {key: erased, 1: ("bo", 12, "/"), 2: ("cy", 20, "/"), 3: ("di", 30, "/a")}
    with ada.open() as workspace:
        merged = table_merge.merge(workspace, "t", take="theirs")
        assert merged.erased == 2
        assert merged.merged is not None
        assert (merged.merged.creates, merged.merged.updates, merged.merged.deletes) == (1, 1, 1)
    both = {key: erased, 1: ("bo", 11, "/"), 3: ("di", 30, "/a"), 9: ("new", 9, None)}
    assert rows(ada) == both
    ada.push()
    ring = bob.root / ".retrodict" / "keys.db"
    before = ring.read_bytes()
    bob.pull()
    assert rows(bob) == both
    now = ring.read_bytes()
    ring.write_bytes(before)  # put back from a copy: it is destroyed again
    with bob.open() as workspace:
        assert workspace.keys is not None
        assert workspace.keys.find_subjects("ann") == []
    ring.write_bytes(now)
    left = rows(bob, bob.origin())
    assert {left.get(0, (None,))[0], left.get(8, (None,))[0]} == {None}
    with bob.open() as workspace:
        assert workspace.keys is not None
        assert workspace.keys.find_subjects("ann") == []
        table_change.delete(workspace, "t", ["1"], how=PUT)  # the branch goes on after it
    bob.push()
    ada.pull()
    with ada.open() as workspace:
        assert table_merge.merge(workspace, "t").answer == "yes"
    assert 1 not in rows(ada)
    ada.sound()
