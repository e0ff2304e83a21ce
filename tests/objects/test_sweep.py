"""Letting go: what nothing needs goes after a grace; what something needs stays, whatever happens in between."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.durable import REAL_DISK
from retrodict.kernel.errors import AlteredObjectError, MissingObjectError
from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore, TreeEntry
from retrodict.testing.stores import Room


def large(seed: int) -> bytes:
    """Return 600 kB in three parts, the middle one of which all share."""
    own = random.Random(seed)
    return own.randbytes(200_000) + random.Random(-1).randbytes(200_000) + own.randbytes(200_000)


def entry(name: str, digest: Digest, size: int, kind: str = "file") -> TreeEntry:
    return TreeEntry(name=name.encode(), kind=kind, digest=digest, size=size)  # type: ignore[arg-type]


class Sweeping(RuleBasedStateMachine):
    """Objects are stored, needed, no longer needed, doomed, spared, stored again and swept, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[Digest, bytes] = {}  # blobs
        self.trees: dict[Digest, list[Digest]] = {}
        self.roots: set[Digest] = set()
        self.swept = False

    @initialize(folder=st.uuids())
    def begin(self, folder: object) -> None:
        self.folder = Path("/tmp") / f"sweep-{folder}"
        self.store = ObjectStore.create(self.folder, SystemClock())

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    @rule(number=st.integers(0, 5), is_large=st.booleans(), is_needed=st.booleans())
    def put(self, number: int, is_large: bool, is_needed: bool) -> None:
        data = large(number) if is_large else f"small {number}".encode() * 50
        digest = self.store.put(data)
        self.known[digest] = data
        if is_needed:
            self.roots.add(digest)

    @precondition(lambda self: self.roots & self.known.keys())
    @rule(is_needed=st.booleans())
    def put_folder(self, is_needed: bool) -> None:
        below = sorted(self.roots & self.known.keys())
        entries = [entry(f"f{i}", digest, len(self.known[digest])) for i, digest in enumerate(below)]
        tree = self.store.put_tree(entries)
        self.trees[tree] = below
        if is_needed:
            self.roots.add(tree)

    @precondition(lambda self: self.roots)
    @rule(data=st.data())
    def need_no_more(self, data: st.DataObject) -> None:
        self.roots.discard(data.draw(st.sampled_from(sorted(self.roots))))

    @rule()
    def doom(self) -> None:
        self.store.doom(self.store.needed(self.roots))

    @rule()
    def spare(self) -> None:
        self.store.spare()
        assert self.store.doomed() == (self.store.weigh(set()), None)

    @rule()
    def sweep(self) -> None:
        live = self.store.needed(self.roots)
        before = self.store.doomed()[0].records
        went = self.store.sweep(live, grace_ns=0)
        assert went.records <= before
        assert self.store.doomed()[0].records == 0

    @rule()
    def collect_all(self) -> None:
        live = self.store.needed(self.roots)
        self.store.doom(live)
        self.store.sweep(live, grace_ns=0)
        assert self.store.dead(live).records == 0

    @rule()
    def sweep_in_grace(self) -> None:
        assert self.store.sweep(self.store.needed(self.roots), grace_ns=10**15).records == 0

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = ObjectStore.open(self.folder, SystemClock())

    @invariant()
    def what_is_needed_is_there(self) -> None:
        if not hasattr(self, "store"):
            return
        for root in self.roots:
            for digest in self.trees.get(root, [root]):
                assert self.store.get(digest) == self.known[digest]
        assert list(self.store.verify()) == []


Sweeping.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestSweeping = Sweeping.TestCase


def collect(store: ObjectStore, *roots: Digest) -> None:
    live = store.needed(roots)
    store.doom(live)
    store.sweep(live, grace_ns=0)


def test_what_goes_gives_its_bytes_back(store: ObjectStore) -> None:
    kept, lost = store.put(large(1)), store.put(large(2))
    before = sum(path.stat().st_size for path in store.folder.rglob("*.pack"))
    collect(store, kept)
    assert sum(path.stat().st_size for path in store.folder.rglob("*.pack")) < before - 350_000
    assert store.get(kept) == large(1)
    with pytest.raises(MissingObjectError):
        store.get(lost)


def test_what_is_stored_again_in_the_grace_stays(store: ObjectStore) -> None:
    data = large(3)
    digest = store.put(data)
    store.doom(store.needed(()))
    live = store.needed(())  # asked before somebody stores it again, and records that
    assert store.put(data) == digest
    store.sweep(live, grace_ns=0)
    assert store.get(digest) == data


def test_another_process_reads_on_while_packs_are_written_again(store: ObjectStore) -> None:
    kept = store.put(b"kept" * 100)
    store.put(b"lost" * 100)
    with ObjectStore.open(store.folder, SystemClock(), read_only=True) as other:
        assert other.get(kept) == b"kept" * 100
        collect(store, kept)
        assert other.get(kept) == b"kept" * 100


def test_a_crash_before_the_old_pack_is_removed_loses_nothing(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, lost = store.put_many([b"kept" * 100, b"lost" * 100])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(REAL_DISK), "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            collect(store, kept)
    assert store.get(kept) == b"kept" * 100
    store.close()
    with ObjectStore.open(store.folder, SystemClock()) as again:
        assert again.get(kept) == b"kept" * 100
        assert list(again.verify()) == []
        collect(again, kept)
        assert not again.has(lost)


def test_a_listing_that_cannot_be_read_stops_it(store: ObjectStore) -> None:
    digest = store.put(b"some bytes " * 30)
    tree = store.put_tree([entry("f", digest, 330)])
    for pack in store.folder.rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
        pack.chmod(0o644)
        pack.write_bytes(data)
    with pytest.raises(AlteredObjectError):
        store.needed([tree])


def test_a_raw_file_goes_whole_or_stays(room: Room, tmp_path: Path) -> None:
    source = room.folder / "big"
    source.write_bytes(random.Random(5).randbytes(70 << 20))
    with ObjectStore.create(room.folder / "objects", SystemClock(), disk=room.disk) as store:
        digest = store.put_file(source)
        collect(store, digest)
        assert store.state(digest) == "held"
        collect(store)
        assert store.state(digest) == "missing"
        assert list(store.verify()) == []
