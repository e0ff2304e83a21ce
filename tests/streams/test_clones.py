"""One stream in two clones: one owner, branches, and what happens where both take themselves for the owner."""

from __future__ import annotations

import pytest
from tests.remotes.conftest import Person, ada, bob, hub
from tests.streams.conftest import append

from retrodict.actions import stream_append, stream_read, streams
from retrodict.kernel.errors import UsageError

__all__ = ["ada", "bob", "hub"]


def values(person: Person, reference: str, branch: str | None = None) -> list[object]:
    with person.open() as workspace:
        found: list[object] = stream_read.values(stream_read.read(workspace, reference, branch=branch))
        streams.check(workspace, reference.partition("@")[0], branch=branch)
    return found


def test_a_clone_appends_to_a_branch_that_the_owner_merges(ada: Person, bob: Person) -> None:
    with ada.open() as workspace:
        streams.create(workspace, "s")
        append(workspace, "s", b"1\n2\n")
    ada.push()
    bob.clone()
    assert values(bob, "s") == [1, 2]
    with bob.open() as workspace:
        done = append(workspace, "s", b"30\n40\n")
        assert (done.start, done.branch) == (2, workspace.ledger.origin)
        with pytest.raises(UsageError, match="belongs to the log"):
            stream_append.merge(workspace, "s")
    with ada.open() as workspace:
        append(workspace, "s", b"3\n")
    bob.push()
    ada.pull()
    assert values(ada, "s") == [1, 2, 3]
    assert values(ada, "s", bob.origin()) == [1, 2, 30, 40]
    with ada.open() as workspace:
        assert streams.list_streams(workspace).rows[0].branches == 1
        stream_append.merge(workspace, "s")
    ada.push()
    bob.pull()
    assert values(bob, "s") == values(ada, "s") == [1, 2, 3, 30, 40]
    with bob.open() as workspace:
        assert streams.list_streams(workspace).rows[0].branches == 0
        here = streams.digest(workspace, "s").digest
    with ada.open() as workspace:
        assert streams.check(workspace, "s", here).answer == "yes"


def test_two_who_take_themselves_for_the_owner_lose_nothing(ada: Person, bob: Person) -> None:
    with ada.open() as workspace:
        streams.create(workspace, "s")
        append(workspace, "s", b"1\n")
        append(workspace, "s", b"2\n")
    ada.push()
    bob.clone()
    with bob.open() as workspace:
        streams.own(workspace, "s")  # and ada has not heard of it
        append(workspace, "s", b"30\n")
        append(workspace, "s", b"40\n")
        stream_append.compact(workspace, "s")
    with ada.open() as workspace:
        append(workspace, "s", b"3\n")
        stream_append.compact(workspace, "s")
    bob.push()
    ada.pull()
    ada.push()
    bob.pull()
    for person in (ada, bob):
        assert values(person, "s") == [1, 2, 30, 40]
        assert values(person, "s", ada.origin()) == [1, 2, 3]
        person.sound()
    with bob.open() as workspace:
        stream_append.merge(workspace, "s")
        append(workspace, "s", b"5\n")
    assert values(bob, "s") == [1, 2, 30, 40, 3, 5]
