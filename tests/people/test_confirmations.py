"""Who held what was forgotten is confirmed by their own log, or by the removal of a backup, and by nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.people.test_tables_in_clones import KINDS, PUT, give_keys
from tests.remotes.conftest import Person, ada, bob, hub

from retrodict.actions import table_change
from retrodict.actions.backup_keys import backup_keys
from retrodict.actions.export import export
from retrodict.actions.forget import forget, reach
from retrodict.actions.forget_status import forget_status
from retrodict.actions.keys import identity
from retrodict.actions.show import show
from retrodict.actions.verify import verify
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Edge, Ref
from retrodict.keys import exchange
from retrodict.objects import open_remote
from retrodict.render import text
from retrodict.workspace import Batch

__all__ = ["ada", "bob", "hub"]

States = dict[str, str]


def begun(person: Person) -> None:
    with person.open() as workspace:
        table_change.create(workspace, "t", ["id"], types=KINDS, subject="who")
        rows = [{"id": i, "who": who, "age": 10 * i, "page": "/"} for i, who in enumerate(["ann", "bo"])]
        table_change.put(workspace, "t", rows, how=PUT)
    person.push()


def states(person: Person, number: int = 0) -> States:
    """Return how everybody stands who held something of one forgetting."""
    with person.open() as workspace:
        found = forget_status(workspace).forgettings[number]
        assert show(workspace, str(found.entry)).holders == found.holders
        for one in found.holders:
            if one.confirmed is not None:
                assert workspace.logs.event(one.confirmed).event.at == one.at
        return {f"{one.kind} {one.where}": one.state for one in found.holders}


def clone_row(person: Person) -> str:
    """Return how somebody is called who was given keys."""
    with person.open() as workspace:
        return f"clone {identity(workspace).key}"


def forgotten(person: Person, who: str) -> None:
    with person.open() as workspace:
        forget(workspace, who)


def test_a_clone_that_pulled_a_forgetting_confirms_it_in_its_own_log(ada: Person, bob: Person, tmp_path: Path) -> None:
    begun(ada)
    bob.clone()
    give_keys(ada, bob, tmp_path / "for-bob")
    forgotten(ada, "ann")
    here = f"workspace {ada.root / '.retrodict'}"
    assert states(ada) == {here: "confirmed", clone_row(bob): "not confirmed"}
    with ada.open() as workspace:
        assert not forget_status(workspace).is_confirmed
        (note,) = (one.message for one in verify(workspace).findings if one.what.startswith("entry"))
        assert "not confirmed by 1 of 2 places" in note
        text.forget_status(forget_status(workspace))
        with pytest.raises(UsageError, match="no forgetting"):
            forget_status(workspace, "0")
    ada.push()
    bob.pull()
    assert states(bob)[clone_row(ada)] == "confirmed"  # who forgets says of its own keys, too, that they are gone
    bob.pull()
    with bob.open() as workspace:
        assert len(list(workspace.ledger.entries_of("keys.destroyed"))) == 1
    assert states(ada)[clone_row(bob)] == "not confirmed"
    bob.push()
    ada.pull()
    assert set(states(ada).values()) == {"confirmed"}
    with ada.open() as workspace:
        (found,) = forget_status(workspace).forgettings
        assert found.holders[1].confirmed is not None
        assert forget_status(workspace, str(found.entry)).forgettings == (found,)
    ada.sound()


def test_nobody_confirms_for_somebody_else(ada: Person, bob: Person, tmp_path: Path) -> None:
    begun(ada)
    bob.clone()
    give_keys(ada, bob, tmp_path / "for-bob")
    forgotten(ada, "ann")
    ada.push()
    eve = Person("Eve", tmp_path / "eve", tmp_path / "eve-keys", ada.url)
    eve.clone()
    bob.pull()
    bob.push()
    with bob.open() as workspace, eve.open() as other, ada.open() as asked:
        (said,) = workspace.ledger.entries_of("keys.destroyed")
        gone = next(asked.ledger.entries_of("subject.forgotten")).event.id
        to, ring = identity(asked).key, other.keys
        assert ring is not None
        batch = Batch(other)
        for proofs in (
            said.event.body["proofs"],  # Bob's, of his log
            [{"to": to, "proof": exchange.prove_holder(ring.exchange_key, to, other.ledger.origin)}],  # Eve's own
            [{"to": to}, "nothing", None],
        ):
            edge = Edge(ref=Ref(gone), role="forgetting", evidence="observed")
            batch.event("keys.destroyed", uses=(edge,), makes=(), body={"forgotten": gone, "proofs": proofs})
        batch.append()
    eve.push()
    place, whole = Path(ada.url), tmp_path / "whole"
    place.rename(whole)
    shutil.copytree(whole, place)  # where Bob's log has not come yet
    with bob.open() as workspace:
        for folder in ("heads", "logs"):
            for path in (place / folder).glob(f"*{workspace.ledger.origin.rsplit('/', 1)[1]}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    ada.pull()
    assert states(ada)[clone_row(bob)] == "not confirmed"
    shutil.rmtree(place)
    whole.rename(place)
    ada.pull()
    assert states(ada)[clone_row(bob)] == "confirmed"


def test_a_copy_of_a_workspace_holds_the_keys_and_confirms_for_itself(ada: Person, tmp_path: Path) -> None:
    begun(ada)
    shutil.copytree(ada.root, tmp_path / "copy")
    copy = Person("Cy", tmp_path / "copy", ada.state, ada.url)
    copy.write("x", "more.csv")
    copy.push()
    ada.pull()
    forgotten(ada, "ann")
    (name,) = [name for name in states(ada) if name.startswith("clone the copy")]
    assert states(ada)[name] == "not confirmed"
    ada.push()
    copy.pull()
    assert [state for name, state in states(copy).items() if name.startswith("clone the workspace")] == ["confirmed"]
    copy.push()
    ada.pull()
    assert states(ada)[name] == "confirmed"


def test_a_backup_of_keys_is_confirmed_once_a_later_one_has_removed_it(ada: Person, tmp_path: Path) -> None:
    begun(ada)
    sticks = {name: open_remote(str(tmp_path / name)) for name in ("first", "second")}
    with ada.open() as workspace:
        for stick in (*sticks.values(), *sticks.values()):
            backup_keys(workspace, stick, b"pass")
        assert [one.kind for one in reach(workspace, "ann").holders] == ["workspace", "backup", "backup"]
        export(workspace, "ann")
        forget(workspace, "ann")
    named = {f"backup {stick.place}": "not confirmed" for stick in sticks.values()}
    assert {name: state for name, state in states(ada).items() if name.startswith("backup ")} == named
    with ada.open() as workspace:
        backup_keys(workspace, sticks["first"], b"pass")
        backup_keys(workspace, sticks["first"], b"pass")
    named[f"backup {sticks['first'].place}"] = "confirmed"
    assert {name: state for name, state in states(ada).items() if name.startswith("backup ")} == named
    (exported,) = [state for name, state in states(ada).items() if name.startswith("export ")]
    assert exported == "not confirmed"  # nobody can see that a file was deleted
    before = states(ada)
    forgotten(ada, "bo")  # whose keys are in the later backups still
    assert states(ada) == before
    here = {f"workspace {ada.root / '.retrodict'}": "confirmed"}
    assert states(ada, 1) == here | {f"backup {stick.place}": "not confirmed" for stick in sticks.values()}
