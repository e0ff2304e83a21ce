"""Push, pull, fetch, clone: nobody loses anything, whatever comes is checked, and names that clash are settled."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.remotes.conftest import Person

from retrodict.actions import arriving, names
from retrodict.actions.add import add
from retrodict.actions.alias import alias
from retrodict.actions.backup import backup
from retrodict.actions.bundle import bundle, take_bundle
from retrodict.actions.clone import clone
from retrodict.actions.diff import diff
from retrodict.actions.explain import explain
from retrodict.actions.fetch import fetch
from retrodict.actions.gc import gc
from retrodict.actions.init import init
from retrodict.actions.keys import identity, receive, share
from retrodict.actions.log import log
from retrodict.actions.log_proof import log_proof
from retrodict.actions.open import open_workspace
from retrodict.actions.predict import predict
from retrodict.actions.push import push
from retrodict.actions.register import register
from retrodict.actions.remote import add_remote, remotes, remove_remote
from retrodict.actions.replay import replay
from retrodict.actions.restore import restore
from retrodict.actions.settle import settle
from retrodict.actions.status import status
from retrodict.actions.verify import verify
from retrodict.backups import DamagedRemoteError, Depot, Head
from retrodict.kernel import clock as clocks
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import (
    AmbiguousReferenceError,
    IntegrityError,
    UnavailableError,
    UnknownReferenceError,
    UsageError,
)
from retrodict.kernel.types import EntryNumber, Event, EventId
from retrodict.ledger import ForkError, OldStoreError
from retrodict.objects import digest_of, open_remote
from retrodict.testing.workspaces import AGENT, build
from retrodict.workspace import Batch, publish


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def heads(hub: Path) -> list[Path]:
    return sorted((hub / "heads").iterdir())


def test_what_was_pushed_is_cloned_whole(ada: Person, bob: Person) -> None:
    ada.write("x\n1\n")
    ada.write("y\n" * 200_000, "big.csv")
    ada.push()
    cloned = bob.clone()
    assert (cloned.datasets, cloned.refused) == (2, ())
    assert [(log.origin, log.is_new) for log in cloned.logs] == [(ada.origin(), True)]
    bob.sound()
    with bob.open() as workspace, ada.open() as original:
        (own, other) = workspace.logs.held()
        assert [s.data for s in other.ledger.read()] == [s.data for s in original.ledger.read()]
        last = other.ledger.size() - 1
        assert last >= own.ledger.size()
        with pytest.raises(UnknownReferenceError) as caught:
            names.resolve(workspace, f"{last}")
        assert caught.value.near == (f"{other.name}:{last}",)
        assert names.resolve(workspace, caught.value.near[0]).printed == caught.value.near[0]
        assert other.ledger.checkpoint() == original.ledger.checkpoint()
        assert workspace.objects.get(original.objects.put(b"x\n1\n")) == b"x\n1\n"
        assert own.ledger.event(2).event.kind == "log.pulled"


def test_a_second_push_and_a_second_pull_do_nothing(ada: Person, bob: Person, hub: Path) -> None:
    ada.write("x\n1\n")
    assert ada.push().new_bytes > 0
    before = files(hub)
    again = ada.push()
    assert (again.new_bytes, again.new_packs) == (0, 0)
    assert files(hub) == before
    bob.clone()
    with bob.open() as workspace:
        size = workspace.ledger.size()
    assert (bob.pull().logs, bob.pull().new_packs) == ((), 0)
    with bob.open() as workspace:
        assert workspace.ledger.size() == size


def test_progress_tells_how_much_has_travelled_and_how_fast(ada: Person) -> None:
    ada.write("y\n" * 200_000, "big.csv")
    told: list[tuple[int, int | None, str]] = []
    with ada.open() as workspace:
        push(workspace, progress=lambda done, total, what: told.append((done, total, what)))
    assert any(done == total and re.search(r"[0-9.]+ MiB at [0-9,.]+ MiB/s", what) for done, total, what in told)


def test_two_pushers_lose_nothing_and_see_the_same_order(ada: Person, bob: Person) -> None:
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    for turn in range(3):
        ada.write(f"ada {turn}\n", f"ada{turn}.csv")
        bob.write(f"bob {turn}\n", f"bob{turn}.csv")
        bob.push()
        ada.push()
    ada.pull()
    ada.push()
    bob.pull()
    bob.push()
    ada.pull()
    assert ada.order() == bob.order()
    for person in (ada, bob):
        person.sound()
        with person.open() as workspace:
            assert list(workspace.views.verify()) == []
            found = workspace.views.digest()
            workspace.views.rebuild()
            assert workspace.views.digest() == found
            assert status(workspace).datasets == 7


def test_who_pull_from_each_other_come_to_an_end(ada: Person, bob: Person) -> None:
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    bob.push()
    for person in (ada, bob, ada, bob):
        person.pull()
        person.push()
    sizes = [ada.order(), bob.order()]
    for person in (ada, bob):
        person.pull()
        person.push()
    assert [ada.order(), bob.order()] == sizes


def test_a_log_stays_few_files_however_often_it_is_pushed(ada: Person, bob: Person, hub: Path) -> None:
    for number in range(25):
        ada.write(f"{number}\n")
        ada.push()
    assert len(heads(hub)) == 1
    assert len(list((hub / "logs").iterdir())) <= 6
    bob.clone()
    bob.sound()


def test_third_parties_pass_logs_on(ada: Person, bob: Person, tmp_path: Path) -> None:
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    bob.write("y\n", "bob.csv")
    with bob.open() as workspace:
        remove_remote(workspace, "origin")
        add_remote(workspace, "origin", "hub2", folder=tmp_path)
        assert [remote.url for remote in remotes(workspace).remotes] == [str(tmp_path / "hub2")]
    bob.push()
    cyd = Person("Cyd", tmp_path / "cyd", tmp_path / "cyd-keys", str(tmp_path / "hub2"))
    assert {log.origin for log in cyd.clone().logs} == {ada.origin(), bob.origin()}
    cyd.sound()
    ada.write("x\n2\n")
    ada.push()
    ada.url = str(tmp_path / "hub2")
    with ada.open() as workspace:
        add_remote(workspace, "second", str(tmp_path / "hub2"), folder=tmp_path)
        remove_remote(workspace, "origin")
    ada.push()  # beside what Bob has passed on
    cyd.pull()
    cyd.sound()
    with cyd.open() as workspace:
        assert any(
            row.kind == "dataset.added" and EntryNumber(row.entry).index == 3 for row in log(workspace, of="all").rows
        )


def test_names_that_clash_are_shown_and_settled_by_one_command(ada: Person, bob: Person) -> None:
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    bob.write("bob's\n")
    bob.push()
    ada.write("ada's\n")
    (conflict,) = ada.pull().conflicts
    assert (conflict.name, len(conflict.claims)) == ("dataset:data.csv", 2)
    with ada.open() as workspace:
        assert status(workspace).conflicts == (conflict,)
        assert not diff(workspace).is_changed  # against what was added here
        with pytest.raises(AmbiguousReferenceError) as caught:
            diff(workspace, "data.csv")
        assert set(caught.value.candidates) == {str(claim.entry) for claim in conflict.claims}
        with pytest.raises(UsageError, match="both sides"):
            settle(workspace, "data.csv", "v2")
        with pytest.raises(UnknownReferenceError):
            settle(workspace, "data.csv", "9")
        with pytest.raises(UsageError, match="means one thing only"):
            settle(workspace, "other.csv", "2")
        other = next(claim for claim in conflict.claims if claim.entry.is_of_another_log)
        done = settle(workspace, "dataset:data.csv", str(other.entry), reason="Bob's is right")
        assert done.what == "dataset:data.csv@v3"
        assert status(workspace).conflicts == ()
    ada.push()
    assert bob.pull().conflicts == ()
    with bob.open() as workspace:
        assert status(workspace).conflicts == ()
        digest = workspace.objects.put(b"bob's\n")
        current = [row for row in log(workspace, of="all").rows if row.what == "dataset:data.csv@v3"]
        event = workspace.logs.event(current[0].entry).event
        assert event.body["content"] == digest


def test_both_settle_differently_and_it_is_a_conflict_again(ada: Person, bob: Person) -> None:
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    bob.write("bob's\n")
    bob.push()
    ada.write("ada's\n")
    ada.push()
    found = [person.pull().conflicts for person in (ada, bob)]
    for person, (conflict,) in zip((ada, bob), found, strict=True):
        with person.open() as workspace:
            own = next(claim for claim in conflict.claims if not claim.entry.is_of_another_log)
            settle(workspace, conflict.name, own.event)
        person.push()
    (again,) = ada.pull().conflicts
    assert {claim.what for claim in again.claims} == {"dataset:data.csv@v3"}


def test_models_and_aliases_are_shared_explained_and_settled(tmp_path: Path) -> None:
    built = build(tmp_path / "original")
    ada = Person(AGENT, built.root, built.state, str(tmp_path / "hub"))
    with ada.open() as workspace:
        add_remote(workspace, "origin", ada.url, folder=tmp_path)
    ada.push()
    bob = Person("Bob", tmp_path / "bob", tmp_path / "bob-keys", ada.url)
    bob.clone()
    with bob.open() as workspace:
        answer = predict(workspace, "line@champion", [{"x": 4.0}])
        assert answer.outputs[0] is not None
        explained = explain(workspace, answer.reference)
        assert explained.subject.ref == answer.reference
        name = workspace.logs.held()[1].name
        with ada.open() as original:
            index = original.logs.find(built.prediction)
        assert index is not None
        number = f"{name}:{index.index}.0"
        theirs = explain(workspace, number)
        assert (theirs.subject.ref, theirs.origin) == (number, ada.origin())
        assert replay(workspace, number).verdict == "replicated"
        proof = log_proof(workspace, number.removesuffix(".0"))
        assert proof.index == index.index
        assert proof.origin == ada.origin()
        (bob.root / "model").mkdir()
        for path in (built.root / "model").iterdir():
            shutil.copy(path, bob.root / "model" / path.name)
        (bob.root / "model" / "weights.json").write_text('{"slope": 3.0}')
        register(workspace, str(bob.root / "model"), "line")
        alias(workspace, "line@champion", "v2", reason="better")
    bob.push()
    with ada.open() as workspace:
        (built.root / "model" / "weights.json").write_text('{"slope": 4.0}')
        register(workspace, str(built.root / "model"), "line")
        alias(workspace, "line@champion", "v2", reason="better too")
    found = {conflict.name: conflict for conflict in ada.pull().conflicts}
    assert set(found) == {"model:line", "line@champion"}
    with ada.open() as workspace:
        for conflict in found.values():
            bobs = next(claim for claim in conflict.claims if claim.entry.is_of_another_log)
            settle(workspace, conflict.name, str(bobs.entry))
        assert status(workspace).conflicts == ()
        (row,) = predict(workspace, "line@champion", [{"x": 1.0}]).outputs
        assert list(row.values()) == [3.0]
    ada.sound()
    bob.sound()


def test_keys_do_not_travel_and_can_be_shared(ada: Person, bob: Person, hub: Path, tmp_path: Path) -> None:
    ada.write("x\n1\n")
    with ada.open() as workspace:
        assert workspace.state is not None
        secret = (ada.state / workspace.id / "signing.key").read_bytes()
        wrapping = (ada.state / workspace.id / "wrapping").read_bytes().strip()
        ring = (workspace.folder / "keys.db").read_bytes()
    ada.push()
    for data in files(hub).values():
        assert secret not in data
        assert wrapping not in data
        assert b"Ada: 4" not in data
        assert ring[:4096] not in data
    bob.clone()
    with bob.open() as workspace:
        (row,) = [row for row in log(workspace, of="all").rows if row.kind == "dataset.added"]
        assert row.reason == "(sealed: its key is not held)"
        to = identity(workspace).key
    with ada.open() as workspace:
        share(workspace, to, tmp_path / "for-bob")
    with bob.open() as workspace:
        receive(workspace, tmp_path / "for-bob")
        (row,) = [row for row in log(workspace, of="all").rows if row.kind == "dataset.added"]
        assert (row.reason, row.agent) == ("Ada: 4", "Ada")


# What is refused


def test_an_altered_pack_is_refused_by_name(ada: Person, bob: Person, hub: Path) -> None:
    ada.write("x\n1\n" * 1000)
    ada.push()
    (pack,) = (hub / "packs").iterdir()
    kept = pack.read_bytes()
    pack.chmod(0o644)
    for damaged in (kept[:-1] + bytes([kept[-1] ^ 1]), kept[:40], b""):
        pack.write_bytes(damaged)
        with pytest.raises(DamagedRemoteError, match=pack.name):
            bob.clone()
        assert not (bob.root / ".retrodict").exists()
        assert not bob.state.exists() or not list(bob.state.iterdir())
    assert ada.push(again=True).new_packs == 1
    bob.clone()
    bob.sound()
    pack.unlink()
    assert ada.push().new_packs == 1


@pytest.mark.parametrize("where", ["heads", "logs"])
def test_every_byte_of_a_log_that_is_altered_is_refused(ada: Person, bob: Person, hub: Path, where: str) -> None:
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    ada.write("x\n2\n")
    ada.push()
    with bob.open() as workspace:
        held = workspace.logs.held()[1].ledger.size()
    for path in sorted((hub / where).iterdir()):
        kept = path.read_bytes()
        for at in range(0, len(kept), max(1, len(kept) // 12)):
            path.write_bytes(kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :])
            found = bob.pull()
            assert found.refused, (path.name, at)
            assert found.logs == ()
        path.write_bytes(kept)
    with bob.open() as workspace:
        assert workspace.logs.held()[1].ledger.size() == held
    bob.sound()
    assert bob.pull().refused == ()
    bob.sound()


def fork(ada: Person, tmp_path: Path) -> Person:
    """Return another holder of Ada's keys and store, as a restored machine would be."""
    shutil.copytree(ada.root, tmp_path / "other", symlinks=True)
    shutil.copytree(ada.state, tmp_path / "other-keys")
    other = replace(ada, root=tmp_path / "other", state=tmp_path / "other-keys")
    (folder,) = other.state.iterdir()
    place = json.loads((folder / "place").read_text())
    here = (other.root / ".retrodict").stat()
    place.update(path=str((other.root / ".retrodict").resolve()), device=here.st_dev, inode=here.st_ino)
    (folder / "place").write_text(json.dumps(place))
    return other


def test_a_forked_log_is_refused_by_name_on_both_sides(ada: Person, bob: Person, tmp_path: Path) -> None:
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    other = fork(ada, tmp_path)
    other.write("mine\n")
    other.sound()
    ada.write("x\n2\n")
    ada.push()
    bob.pull()
    with pytest.raises(ForkError, match=ada.origin()):
        other.push()
    with pytest.raises(ForkError, match=ada.origin()):
        other.pull()
    other.url = str(tmp_path / "elsewhere")
    with other.open() as workspace:
        remove_remote(workspace, "origin")
        add_remote(workspace, "origin", other.url, folder=tmp_path)
    other.write("mine too\n")
    other.push()
    with bob.open() as workspace:
        remove_remote(workspace, "origin")
        add_remote(workspace, "origin", other.url, folder=tmp_path)
        before = workspace.logs.held()[1].ledger.size()
    (refused,) = bob.pull().refused
    assert refused.what == ada.origin()
    assert "are not those that" in refused.because
    with bob.open() as workspace:
        assert workspace.logs.held()[1].ledger.size() == before
    bob.sound()


def test_an_old_store_neither_pushes_nor_pulls(ada: Person, tmp_path: Path) -> None:
    ada.write("x\n1\n")
    ada.push()
    other = fork(ada, tmp_path)
    ada.write("x\n2\n")
    ada.push()
    for verb in (other.push, other.pull):
        with pytest.raises(OldStoreError):
            verb()


def forged(hub: Path, **fields: object) -> None:
    """Write a head that differs from the one that is there, under its right name."""
    (path,) = heads(hub)
    head = replace(Head.decode(path.read_bytes()), **fields)  # type: ignore[arg-type]
    (hub / head.name).write_bytes(head.encode())


def test_what_another_key_signed_is_refused_and_does_not_hide_the_true_one(
    ada: Person, bob: Person, hub: Path, tmp_path: Path
) -> None:
    ada.write("x\n1\n")
    ada.push()
    eve = Person("Eve", tmp_path / "eve", tmp_path / "eve-keys", str(tmp_path / "hub-of-eve")).begin()
    eve.write("y\n")
    eve.push()
    (evil,) = heads(tmp_path / "hub-of-eve")
    theirs = Head.decode(evil.read_bytes())
    (true,) = heads(hub)
    head = Head.decode(true.read_bytes())
    for fields in (
        {"key": theirs.key},
        {"note": theirs.note, "size": theirs.size, "root": theirs.root},
        {"size": head.size + 7, "note": head.note.replace(f"\n{head.size}\n", f"\n{head.size + 7}\n")},
        {"root": "00" * 32},
    ):
        forged(hub, **fields)
        state = replace(bob, root=tmp_path / f"bob{len(list(tmp_path.iterdir()))}")
        cloned = state.clone()
        assert [(log.origin, log.entries) for log in cloned.logs] == [(head.origin, head.size)]
        state.sound()
        for path in heads(hub):
            if path != true:
                path.unlink()


def test_a_killed_pull_is_taken_up(ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    ada.write("x\n2\n")
    ada.push()
    for step in ("_record", "destroy_forgotten"):
        ada.write(step)
        ada.push()

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(arriving, step, die)
            with pytest.raises(KeyboardInterrupt):
                bob.pull()
        bob.pull()
        with bob.open() as workspace:
            other = workspace.logs.held()[1]
            said = next(workspace.ledger.entries_of("log.pulled"))
            assert said.event.body["size"] == other.ledger.size()
        bob.sound()


def test_content_can_be_left_and_fetched_for_one_thing(ada: Person, bob: Person) -> None:
    ada.write("x\n" * 300_000, "big.csv")
    ada.write("small\n", "small.csv")
    (ada.root / "folder").mkdir()
    for number in range(20):
        (ada.root / "folder" / f"{number}.txt").write_text(f"{number}\n" * 50)
    with ada.open() as workspace:
        (folder,) = add(workspace, [ada.root / "folder"])
    ada.push()
    clone(bob.url, bob.root, bob.state, SystemClock(), agent="Bob", folder=bob.root, only_logs=True)
    with bob.open() as workspace:
        assert workspace.objects.packs() == []
        found = verify(workspace)
        assert found.answer == "yes"
        assert any(finding.level == "note" and "are not held" in finding.message for finding in found.findings)
        done = fetch(workspace, only="dataset:folder")
        assert (done.new_packs, done.missing) == (1, 0)
        assert workspace.objects.state(folder.content) == "held"
        assert fetch(workspace, only="dataset:folder").new_packs == 0
        with pytest.raises(UnknownReferenceError):
            fetch(workspace, only="dataset:nothing")
        done = fetch(workspace, only="dataset:big.csv")
        assert (done.new_packs > 0, done.missing) == (True, 0)
        assert fetch(workspace).new_packs == 1
    bob.sound()


def test_what_was_swept_here_does_not_come_back_until_an_entry_needs_it(ada: Person, bob: Person) -> None:
    with ada.open() as workspace:  # in one pack
        workspace.objects.put_many([b"kept\n", b"left over\n"])
    ada.write("kept\n")
    ada.push()
    bob.clone()
    with bob.open() as workspace:
        assert gc(workspace, apply=True, grace_s=0).swept.records == 1
    for turn in range(2):
        ada.write(f"{turn}\n", "other.csv")
        ada.push()
        assert bob.pull().new_packs == 1
        with bob.open() as workspace:
            assert fetch(workspace).new_packs == 0
            assert not workspace.objects.has(digest_of(b"left over\n"))
    ada.write("left over\n", "again.csv")
    ada.push()
    assert bob.pull().new_packs == 1
    with bob.open() as workspace:
        assert workspace.objects.get(digest_of(b"left over\n")) == b"left over\n"
    assert bob.pull().new_packs == 0
    bob.sound()


def test_a_pushed_copy_brings_the_log_that_it_copied(ada: Person, bob: Person, tmp_path: Path) -> None:
    ada.write("x\n1\n")
    shutil.copytree(ada.root, tmp_path / "copy", symlinks=True)
    copy = replace(ada, root=tmp_path / "copy")
    copy.write("from the copy\n")
    ada.write("from the original\n")
    copy.push()
    assert {log.origin for log in bob.clone().logs} == {ada.origin(), copy.origin()}
    ada.push()
    (conflict,) = copy.pull().conflicts
    assert len(conflict.claims) == 2
    assert len(ada.pull().logs) == 1
    bob.pull()
    for person in (ada, copy, bob):
        person.sound()
    orders = [person.order() for person in (ada, copy, bob)]
    common = set.intersection(*map(set, orders))
    assert len(common) >= 6
    assert len({tuple(event for event in order if event in common) for order in orders}) == 1


def test_entries_of_two_logs_are_told_apart(ada: Person, bob: Person) -> None:
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    with bob.open() as workspace:
        own, other = workspace.logs.held()
        for index in range(other.ledger.size()):
            number = EntryNumber.of(other.tag, index)
            assert workspace.logs.event(number).event == other.ledger.event(index).event
            assert EntryNumber(int(number)) == number
            assert str(number) == f"{other.name}:{index}"
        assert workspace.logs.event(0).event == own.ledger.event(0).event


def test_nothing_is_cloned_from_an_empty_place(bob: Person, hub: Path) -> None:
    with pytest.raises(UsageError, match="no log lies in"):
        bob.clone()
    assert not bob.root.exists()
    assert not hub.exists()


def test_a_place_can_hold_a_backup_too(ada: Person, bob: Person) -> None:
    ada.write("x\n1\n")
    with ada.open() as workspace:
        backup(workspace, open_remote(ada.url))
    assert ada.push().new_packs == 0
    bob.clone()
    with ada.open() as workspace:
        assert not backup(workspace, open_remote(ada.url)).findings
    bob.pull()
    bob.sound()
    assert Depot(open_remote(ada.url)).contents().heads


def test_a_backup_holds_the_logs_of_others_too(ada: Person, bob: Person, tmp_path: Path) -> None:
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    bob.write("bob\n", "bob.csv")
    place = tmp_path / "backup"
    with bob.open() as workspace:
        assert not backup(workspace, open_remote(str(place))).findings
        order = [entry.event.id for _, entry in workspace.logs.read({}, workspace.logs.counts())]
    shutil.rmtree(bob.root / ".retrodict")
    restored = restore(open_remote(str(place)), bob.root, bob.state, SystemClock(), agent="Bob")
    assert restored.standing == "continues"
    assert bob.order()[: len(order) - 1] == order[:-1]
    with bob.open() as workspace:
        assert [log.ledger.origin for log in workspace.logs.held()[1:]] == [ada.origin()]
        found = verify(workspace)
        assert not [finding for finding in found.findings if finding.what.startswith("logs/")], found.findings
        assert not [finding for finding in found.findings if finding.what == "format.json"], found.findings


def test_a_received_log_that_is_no_longer_listed_is_named(ada: Person, bob: Person) -> None:
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    path = bob.root / ".retrodict" / "format.json"
    value = json.loads(path.read_bytes())
    value["logs"] = value["logs"][:1]
    path.write_text(json.dumps(value))
    with bob.open() as workspace:
        found = verify(workspace)
        assert found.answer == "no"
        assert any(f.what == "format.json" and ada.origin() in f.message for f in found.findings)


def test_a_bundle_carries_everything_to_a_machine_without_a_network(ada: Person, bob: Person, tmp_path: Path) -> None:
    ada.write("x\n" * 100_000)
    with ada.open() as workspace:
        made = bundle(workspace, tmp_path / "a.bundle")
        assert made.new_packs >= 1
        with pytest.raises(UsageError, match="exists already"):
            bundle(workspace, tmp_path / "a.bundle")
    bob.begin()
    with bob.open() as workspace:
        taken = take_bundle(workspace, tmp_path / "a.bundle")
        assert [log.origin for log in taken.logs] == [ada.origin()]
        again = take_bundle(workspace, tmp_path / "a.bundle")
        assert (again.logs, again.new_packs) == ((), 0)
    bob.sound()
    data = (tmp_path / "a.bundle").read_bytes()
    cyd = replace(bob, name="Cyd", root=tmp_path / "cyd", state=tmp_path / "cyd-keys").begin()
    for at in range(0, len(data), max(1, len(data) // 40)):
        (tmp_path / "bad.bundle").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with cyd.open() as workspace, suppress(IntegrityError, UnavailableError, UsageError):
            take_bundle(workspace, tmp_path / "bad.bundle")  # what is taken is as it was made: see below
    for cut in (0, 10, len(data) // 2, len(data) - 1):
        (tmp_path / "bad.bundle").write_bytes(data[:cut])
        with cyd.open() as workspace, pytest.raises(IntegrityError):
            take_bundle(workspace, tmp_path / "bad.bundle")
    with cyd.open() as workspace:
        with pytest.raises(UsageError):
            take_bundle(workspace, tmp_path / "none.bundle")
        take_bundle(workspace, tmp_path / "a.bundle")
    cyd.sound()
    assert not list(tmp_path.glob(".a.bundle*"))


class Ahead(SystemClock):
    """A clock that is two days ahead."""

    def now_ns(self) -> int:
        return super().now_ns() + 2 * 24 * 3600 * 1_000_000_000


def test_a_log_of_a_clock_that_is_far_ahead_is_refused(ada: Person, tmp_path: Path) -> None:
    eve = Person("Eve", tmp_path / "eve", tmp_path / "eve-keys", ada.url)
    init(eve.root, eve.state, Ahead(), agent="Eve")
    with open_workspace(eve.root, eve.state, Ahead(), agent="Eve") as workspace:
        add_remote(workspace, "origin", eve.url, folder=eve.root)
        push(workspace)
    (refused,) = ada.pull().refused
    assert "tick" in refused.because
    ada.sound()


def drafted(kind: str, body: dict[str, object], event: str | None = None) -> Event:
    clock = SystemClock()
    return Event(
        id=EventId(event) if event else clocks.event_id(clock),
        kind=kind,
        at=clocks.rfc3339(clock.now_ns()),
        agent="a-00000000000000000000",
        uses=(),
        makes=(),
        body=body,
    )


def test_entries_of_others_that_no_view_can_fold_stop_nobody(ada: Person, tmp_path: Path) -> None:
    ada.write("x\n1\n")
    eve = Person("Eve", tmp_path / "eve", tmp_path / "eve-keys", ada.url).begin()
    with eve.open() as workspace:
        bodies: list[dict[str, object]] = [{}, {"name": 7, "version": {}, "content": None}, {"name": "data.csv"}]
        for body in bodies:
            for kind in ("dataset.added", "model.registered", "alias.set", "prediction.made", "run.finished"):
                workspace.ledger.append([drafted(kind, body)])
        publish(workspace)
        push(workspace)
    assert ada.pull().refused == ()
    ada.sound()
    with ada.open() as workspace:
        assert list(workspace.views.verify()) == []
        assert status(workspace).conflicts == ()
    ada.write("x\n2\n")


def test_a_log_that_takes_the_events_of_another_is_refused(ada: Person, tmp_path: Path) -> None:
    ada.write("x\n1\n")
    with ada.open() as workspace:
        stolen = workspace.ledger.event(2).event.id
    eve = Person("Eve", tmp_path / "eve", tmp_path / "eve-keys", ada.url).begin()
    with eve.open() as workspace:
        workspace.ledger.append([drafted("anything.said", {}, stolen)])
        publish(workspace)
        push(workspace)
    (refused,) = ada.pull().refused
    assert "lies in another log" in refused.because
    ada.sound()


def test_another_log_neither_renames_nor_vouches_for_the_agents_of_this_one(ada: Person, tmp_path: Path) -> None:
    ada.write("x\n1\n")
    with ada.open() as workspace:
        agent = workspace.ledger.event(2).event.agent
    eve = Person("Eve", tmp_path / "eve", tmp_path / "eve-keys", ada.url).begin()
    with eve.open() as workspace:
        batch = Batch(workspace)
        sealed = batch.seal("Not Ada")
        workspace.ledger.append(
            [drafted("agent.named", {"agent": agent, "name": sealed, "how": "claimed"})], batch.blobs
        )
        publish(workspace)
        push(workspace)
    ada.pull()
    with ada.open() as workspace:
        assert {row.agent for row in log(workspace).rows} == {"Ada"}


def test_a_forged_head_of_the_own_log_stops_neither_push_nor_pull(ada: Person, bob: Person, hub: Path) -> None:
    ada.write("x\n1\n")
    ada.push()
    (true,) = heads(hub)
    head = Head.decode(true.read_bytes())
    for size in (head.size, head.size + 7):
        note = head.note.replace(f"\n{head.size}\n", f"\n{size}\n")
        forged(hub, size=size, root="00" * 32, note=note)
        ada.pull()
        ada.write(f"{size}\n")
        done = ada.push()
        assert done.behind == ()
        with ada.open() as workspace:
            assert done.logs[0].entries == workspace.ledger.size() - done.unsigned
        for path in heads(hub):
            if b'"root":"0000' in path.read_bytes():
                path.unlink()
        (true,) = heads(hub)
        head = Head.decode(true.read_bytes())
    bob.clone()
    bob.sound()
