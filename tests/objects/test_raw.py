"""Raw files: large blobs whose blocks the store shares with the files that were added and checked out."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import AlteredObjectError, MissingObjectError
from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore, digest_of
from retrodict.objects.errors import ChangedFileError, StoreWriteError
from retrodict.objects.recipe import CUT_FROM
from retrodict.testing.disk import COPYING_DISK, STEPS, CopyingDisk, Crash, Fault, FlakyDisk, Step
from retrodict.testing.stores import CACHE_KEY, Room, bad, changed, patch, rows

LARGE = random.Random(1).randbytes(1_500_000)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 64 MiB take long to test with: here raw files begin at 256 KiB (`test_formats` has a real one)."""
    monkeypatch.setattr("retrodict.objects.add.RAW_FROM", CUT_FROM)


def raw_files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.glob("raw/*")}


def packed(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "packs").iterdir())


def used(place: Path) -> int:
    """Return how many bytes of its file system are taken."""
    subprocess.run(["sync", "-f", str(place)], check=True)
    stat = os.statvfs(place)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


def filled(room: Room, data: bytes = LARGE) -> Digest:
    with room.make() as store:
        digest = store.put_file(room.file("source", data))
    assert raw_files(room.store) == {digest[3:]: len(data)}
    return digest


# What is kept, and how


@pytest.mark.parametrize("name", ["file", "folder"])
def test_a_large_file_is_kept_as_it_is_and_comes_back(room: Room, name: str) -> None:
    (room.folder / "folder").mkdir()
    room.file("folder/small", b"small")
    source = room.file("folder/large" if name == "folder" else "file", LARGE)
    with room.make() as store:
        added = store.add(room.folder / name)
        digest = digest_of(LARGE)
        assert (room.store / "raw" / digest[3:]).read_bytes() == LARGE
        assert added.new_bytes == len(LARGE) + packed(room.store)
        assert packed(room.store) < 3000
        source.write_bytes(b"overwritten")
        assert store.get(digest) == LARGE == b"".join(store.stream(digest))
        assert store.read(digest, 500_000, 90_000) == LARGE[500_000:590_000]
        assert store.size(digest) == len(LARGE)
        assert store.state(added.digest) == "held"
        assert store.resolve_prefix(digest[:20]) == [digest]
        assert store.checkout(added.digest, room.folder / "out") == len(LARGE) + (5 if name == "folder" else 0)
        out = room.folder / ("out/large" if name == "folder" else "out")
        assert out.read_bytes() == LARGE
        assert store.checkout(added.digest, room.folder / "out") == 0
        with out.open("r+b") as file:
            file.write(b"changed by its owner")
        assert store.get(digest) == LARGE
        assert list(store.verify()) == []
        assert list((room.store / "tmp").iterdir()) == []
    with room.open(read_only=True) as store:
        store.checkout(digest, room.folder / "again")
        assert (room.folder / "again").read_bytes() == LARGE


@pytest.mark.parametrize("room", ["btrfs", "xfs"], indirect=True)
def test_its_blocks_are_shared_with_what_was_added_and_with_what_is_checked_out(room: Room) -> None:
    data = random.Random(2).randbytes(20_000_000)
    with room.make() as store:
        source = room.file("source", data)
        before = used(room.folder)
        digest = store.put_file(source)
        assert used(room.folder) - before < 2_000_000
        store.checkout(digest, room.folder / "out")
        assert used(room.folder) - before < 2_000_000
        assert (room.folder / "out").read_bytes() == data


contents = st.one_of(
    st.builds(lambda n, seed: random.Random(seed).randbytes(n), st.integers(0, 1_500_000), st.integers(0, 5)),
    st.builds(lambda n, seed: random.Random(seed).randbytes(90_000) * n, st.integers(0, 12), st.integers(0, 5)),
)
# (where in the last file, what is put there): most of a version is the same as in the one before
edits = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=50)), max_size=3)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(versions=st.lists(st.tuples(contents, edits), min_size=1, max_size=4))
def test_however_versions_are_kept_they_come_back_and_the_index_follows_from_the_bytes(
    room: Room, versions: list[tuple[bytes, list[tuple[float, bytes]]]]
) -> None:
    shutil.rmtree(room.store, ignore_errors=True)
    seen: dict[Digest, bytes] = {}
    with room.make() as store:
        for data, changes in versions:
            for version in [(1.0, b""), *changes]:
                at = int(version[0] * len(data))
                data = data[:at] + version[1] + data[at:]
                digest = store.put_file(room.file("source", data))
                assert digest == digest_of(data)
                seen[digest] = data
    before = rows(room.store)
    ObjectStore.rebuild_index(room.store)
    assert rows(room.store) == before
    assert sum(raw_files(room.store).values()) <= sum(map(len, seen.values()))
    with room.open(read_only=True) as store:
        assert list(store.verify()) == []
        for i, (digest, data) in enumerate(seen.items()):
            assert store.get(digest) == data
            assert store.read(digest, len(data) // 3, 70_000) == data[len(data) // 3 :][:70_000]
            store.checkout(digest, room.folder / f"out{i}")
            assert (room.folder / f"out{i}").read_bytes() == data
            (room.folder / f"out{i}").unlink()


def test_a_version_that_shares_much_stores_only_its_new_chunks(room: Room) -> None:
    digest = filled(room)
    before = packed(room.store)
    with room.open() as store:
        new = LARGE[:700_000] + b"inserted" + LARGE[700_000:]
        store.put_file(room.file("new", new))
        store.put_file(room.file("same", LARGE))
        assert list(raw_files(room.store)) == [digest[3:]]
        assert 0 < packed(room.store) - before < 500_000
        assert store.get(digest_of(new)) == new
        assert store.checkout(digest_of(new), room.folder / "out") == len(new)


def test_what_is_not_worth_a_file_of_its_own_is_packed(room: Room) -> None:
    with room.make() as store:
        store.put(LARGE)  # no file
        store.put_file(room.file("repeats", LARGE[:300_000] * 5))
        store.put_file(room.file("small", LARGE[-CUT_FROM + 1 :]))
        assert raw_files(room.store) == {}
        assert list(store.verify()) == []


def test_from_another_file_system_it_is_copied_into_packs(mount: Callable[[str], Path], tmp_path: Path) -> None:
    there = mount("btrfs") / tmp_path.name
    there.mkdir()
    with ObjectStore.create(there / "objects", SystemClock()) as store:
        (tmp_path / "source").write_bytes(LARGE)
        digest = store.put_file(tmp_path / "source")
        assert store.get(digest) == LARGE
        assert list((there / "objects" / "tmp").iterdir()) == []
    assert raw_files(there / "objects") == {}


def test_a_store_keeps_its_raw_files_where_nothing_can_be_shared(room: Room, tmp_path: Path) -> None:
    digest = filled(room)
    shutil.copytree(room.store, tmp_path / "elsewhere" / "objects")
    with ObjectStore.open(tmp_path / "elsewhere" / "objects", SystemClock()) as store:
        assert store.checkout(digest, tmp_path / "elsewhere" / "out") == len(LARGE)
        assert (tmp_path / "elsewhere" / "out").read_bytes() == LARGE
        assert list(store.verify()) == []


def test_the_same_bytes_may_be_a_pack_and_a_raw_file(room: Room) -> None:
    """Somebody versions the packs of a store, in that store."""
    with room.make() as store:
        store.put(LARGE)
        [pack] = (room.store / "packs").iterdir()
        shutil.copy(pack, room.folder / "source")
        data = pack.read_bytes()
        with room.open() as other:
            before = rows(room.store)
            digest = other.put_file(room.folder / "source")
        assert list(raw_files(room.store)) == [pack.stem]
        assert rows(room.store) != before
        assert store.get(digest) == data
        assert list(store.verify()) == []
    before = rows(room.store)
    ObjectStore.rebuild_index(room.store)
    assert rows(room.store) == before


# Files that change


class Later(SystemClock):
    def now_ns(self) -> int:
        return super().now_ns() + 10**10


def test_what_changes_after_the_snapshot_does_not_matter_and_is_not_taken_for_stored(room: Room) -> None:
    room.make().close()
    source = room.file("source", LARGE)
    with ObjectStore.open(room.store, Later(), disk=room.disk, cache_key=CACHE_KEY) as store:

        def change(done: int, total: int | None, what: str) -> None:
            source.write_bytes(LARGE[::-1])

        assert store.put_file(source, progress=change) == digest_of(LARGE)
        assert store.get(digest_of(LARGE)) == LARGE
        assert store.hash_file(source) == digest_of(LARGE[::-1])


class Meddling(CopyingDisk):
    """Somebody writes to the file just before, or while, it is cloned."""

    def __init__(self, path: Path, times: int) -> None:
        self.path, self.left = path, times

    def clone(self, source: int, fd: int) -> None:
        if self.left:
            self.left -= 1
            with self.path.open("ab") as file:
                file.write(b"more")
        super().clone(source, fd)


def test_a_file_must_come_to_rest_while_it_is_cloned(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    with ObjectStore.create(tmp_path / "objects", SystemClock(), disk=Meddling(source, 1)) as store:
        assert store.put_file(source) == digest_of(LARGE + b"more")
        assert list(raw_files(tmp_path / "objects")) == [digest_of(LARGE + b"more")[3:]]
    with (
        ObjectStore.open(tmp_path / "objects", SystemClock(), disk=Meddling(source, 99)) as store,
        pytest.raises(ChangedFileError),
    ):
        store.put_file(source)
    assert list((tmp_path / "objects" / "tmp").iterdir()) == []


# What is altered or gone


@pytest.mark.parametrize("at", [0, 1, 700_001, len(LARGE) - 1])
def test_an_altered_byte_is_found_named_and_never_given(room: Room, at: int) -> None:
    digest = filled(room)
    raw = room.store / "raw" / digest[3:]
    [chunk] = [row[0] for row in rows(room.store)["objects"] if row[3] == 4 and row[2] <= at < row[2] + row[5]]
    patch(raw, at, 4)
    named = {finding.what for finding in bad(room.store)}
    assert named == {f"objects/raw/{raw.name}", digest, f"b3-{chunk.hex()}"}
    with room.open() as store:
        assert store.state(digest) == "altered"
        with pytest.raises(AlteredObjectError, match=f"raw file {raw.name}"):
            store.get(digest)
        with pytest.raises(AlteredObjectError):
            store.checkout(digest, room.folder / "out")
        assert not list(room.folder.glob("out*")) + list(room.folder.glob(".retro*"))
        other = (at + 500_000) % len(LARGE)
        assert store.read(digest, other, 1) == LARGE[other : other + 1]
    patch(raw, at, 4)
    assert bad(room.store) == []


def test_good_copies_of_the_chunks_make_up_for_an_altered_raw_file(room: Room, tmp_path: Path) -> None:
    digest = filled(room)
    with ObjectStore.create(tmp_path / "b" / "objects", SystemClock()) as other:
        other.put(LARGE)
    for path in (tmp_path / "b" / "objects" / "packs").iterdir():
        shutil.copy(path, room.store / "packs")
    patch(room.store / "raw" / digest[3:], 1_000_000, 1)
    with room.open() as store:  # takes the packs in
        assert store.checkout(digest, room.folder / "out") == len(LARGE)
    assert (room.folder / "out").read_bytes() == LARGE


@pytest.mark.parametrize("length", [0, 10, 700_000, len(LARGE) - 1, len(LARGE) + 1])
def test_a_raw_file_that_is_cut_short_or_longer_is_named(room: Room, length: int) -> None:
    digest = filled(room)
    raw = room.store / "raw" / digest[3:]
    raw.chmod(0o644)
    os.truncate(raw, length)
    assert f"objects/raw/{raw.name}" in {finding.what for finding in bad(room.store)}
    with room.open() as store:
        if length < len(LARGE):
            with pytest.raises(AlteredObjectError):
                store.checkout(digest, room.folder / "out")
        else:
            assert store.checkout(digest, room.folder / "out") == len(LARGE)  # every chunk is there


def test_a_raw_file_that_is_gone_is_named_with_what_was_in_it_and_can_be_added_again(room: Room) -> None:
    digest = filled(room)
    raw = room.store / "raw" / digest[3:]
    chunks = {f"b3-{row[0].hex()}" for row in rows(room.store)["objects"] if row[3] == 4}
    raw.unlink()
    found = bad(room.store)
    assert {finding.what for finding in found} == {f"objects/raw/{raw.name}", digest} | chunks
    assert {finding.level for finding in found} == {"missing"}
    with room.open() as store:
        assert store.state(digest) == "missing"
        with pytest.raises(MissingObjectError):
            store.checkout(digest, room.folder / "out")
        assert store.put_file(room.folder / "source") == digest
        assert store.state(digest) == "held"
        assert list(store.verify()) == []
    assert raw_files(room.store) == {digest[3:]: len(LARGE)}


def test_a_stranger_among_raw_files_is_noted_and_one_under_a_wrong_name_is_found(room: Room) -> None:
    digest = filled(room)
    (room.store / "raw" / "readme").touch()
    (room.store / "raw" / f"{digest[3:]}.pack").touch()
    with room.open() as store:
        assert [(f.level, f.what) for f in store.verify()] == [
            ("note", f"objects/raw/{digest[3:]}.pack"),
            ("note", "objects/raw/readme"),
        ]
    wrong = room.store / "raw" / ("0" * 64)
    wrong.write_bytes(LARGE[::-1])
    assert ("missing", f"objects/raw/{wrong.name}") in {(f.level, f.what) for f in bad(room.store)}
    room.open().close()  # takes it in, as it is
    assert {finding.what for finding in bad(room.store)} == {f"objects/raw/{wrong.name}"}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A store with a raw file."""
    filled(Room(tmp_path, COPYING_DISK, shares=False))
    return tmp_path / "objects"


def test_any_changed_column_of_a_row_of_a_raw_file_is_found(copied: Path) -> None:
    db = apsw.Connection(str(copied / "index.db"))
    [number] = [row[0] for row in db.execute("SELECT id FROM packs WHERE length(name) = 36")]
    for row in db.execute("SELECT * FROM objects WHERE pack=? LIMIT 3", (number,)).fetchall():
        for i, column in enumerate(("name", "pack", "offset", "kind", "codec", "stored", "size")):
            for value in changed(row[i]):
                now = (*row[:i], value, *row[i + 1 :])
                set_row = f"UPDATE objects SET {column}=? WHERE name=? AND pack=? AND offset=?"
                db.execute(set_row, (value, *row[:3]))
                assert bad(copied), (column, value)
                db.execute(set_row, (row[i], *now[:3]))
    for column in ("name", "size"):
        [(held,)] = db.execute(f"SELECT {column} FROM packs WHERE id=?", (number,)).fetchall()
        for value in changed(held):
            db.execute(f"UPDATE packs SET {column}=? WHERE id=?", (value, number))
            assert bad(copied), (column, value)
        db.execute(f"UPDATE packs SET {column}=? WHERE id=?", (held, number))
    db.close()
    assert bad(copied) == []


def test_a_row_of_a_raw_file_that_is_removed_or_too_many_is_found_and_named(copied: Path) -> None:
    db = apsw.Connection(str(copied / "index.db"))
    [number] = [row[0] for row in db.execute("SELECT id FROM packs WHERE length(name) = 36")]
    row: Any
    for row in db.execute("SELECT * FROM objects WHERE pack=? LIMIT 4", (number,)).fetchall():
        db.execute("DELETE FROM objects WHERE name=? AND pack=? AND offset=?", row[:3])
        assert f"b3-{row[0].hex()}" in {finding.what for finding in bad(copied)}
        db.execute("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    extra = b"\xee" * 32
    for offset in (0, 5, 1 << 40):
        db.execute("INSERT INTO objects VALUES (?, ?, ?, 4, 0, 9, 9)", (extra, number, offset))
        assert f"b3-{extra.hex()}" in {finding.what for finding in bad(copied)}
        db.execute("DELETE FROM objects WHERE name=?", (extra,))
    db.close()
    assert bad(copied) == []


def test_a_store_whose_index_is_gone_reads_its_raw_files(room: Room) -> None:
    digest = filled(room)
    (room.store / "index.db").unlink()
    for read_only in (True, False):
        with room.open(read_only=read_only) as store:
            assert store.get(digest) == LARGE
            assert list(store.verify()) == []
        assert (room.store / "index.db").exists() != read_only


# Crashes, errors, many at once


def crashes(step: Step, landed: bool, code: int | None, folder: Path) -> int:
    """Make the disk fail at each use of `step` while a file is added; return at how many it did."""
    for occurrence in range(1, 20):
        home = folder / f"{occurrence}" / "objects"
        with ObjectStore.create(home, SystemClock()) as store:
            old = store.put(b"old")
        source = home.parent / "source"
        source.write_bytes(LARGE)
        disk = FlakyDisk(Fault(step=step, occurrence=occurrence, landed=landed, errno=code))
        store = ObjectStore.open(home, SystemClock(), disk=disk)
        acknowledged = False
        with contextlib.suppress(Crash, StoreWriteError):
            acknowledged = store.put_file(source) == digest_of(LARGE)
            assert store.get(digest_of(LARGE)) == LARGE
        store.close()
        disk.healed()  # the power goes, acknowledged or not
        with ObjectStore.open(home, SystemClock(), disk=COPYING_DISK) as store:
            assert [finding for finding in store.verify() if finding.level != "note"] == []
            assert store.get(old) == b"old"
            assert store.state(digest_of(LARGE)) == "held" or not acknowledged
            assert store.put_file(source) == digest_of(LARGE)
            assert store.get(digest_of(LARGE)) == LARGE
            assert list(store.verify()) == []
        if not disk.fired:
            return occurrence - 1
    raise AssertionError("it never ends")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize("code", [None, errno.ENOSPC])
def test_a_crash_or_an_error_at_any_step_loses_nothing(
    tmp_path: Path, step: Step, landed: bool, code: int | None
) -> None:
    times = crashes(step, landed, code, tmp_path)
    assert times >= {"create": 2, "write": 1, "clone": 1, "sync": 5, "rename": 2, "unlink": 0}[step]


@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize("step", ["sync", "rename"])
def test_its_recipe_never_comes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Step, landed: bool
) -> None:
    monkeypatch.setattr("retrodict.objects.writer.PACK_BYTES", 1)  # the recipe fills a pack
    assert crashes(step, landed, None, tmp_path)


def test_where_it_cannot_be_cloned_it_is_packed(tmp_path: Path) -> None:
    for code in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.EIO):
        home = tmp_path / str(code) / "objects"
        disk = FlakyDisk(Fault(step="clone", errno=code))
        with ObjectStore.create(home, SystemClock(), disk=disk) as store:
            (home.parent / "source").write_bytes(LARGE)
            digest = store.put_file(home.parent / "source")
            assert raw_files(home) == {}
            assert list((home / "tmp").iterdir()) == []
            assert store.get(digest) == LARGE


def test_a_raw_file_without_rows_is_taken_in_by_the_next_opening_for_writing(room: Room) -> None:
    room.make().close()
    shutil.copy(room.store / "index.db", room.folder / "index.db")
    with room.open() as store:
        digest = store.put_file(room.file("source", LARGE))
    shutil.copy(room.folder / "index.db", room.store / "index.db")
    with room.open(read_only=True) as store:
        assert not store.has(digest)
        assert f"objects/raw/{digest[3:]}" in {f.what for f in store.verify() if f.level == "missing"}
    with room.open() as store:
        assert store.get(digest) == LARGE
        assert list(store.verify()) == []


WRITER = """
import random, sys
from pathlib import Path
import retrodict.objects.add
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.durable import REAL_DISK
from retrodict.objects import ObjectStore
from retrodict.testing.disk import COPYING_DISK
retrodict.objects.add.RAW_FROM = 300_000
folder, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
disk = REAL_DISK if sys.argv[4] == "real" else COPYING_DISK
mine, shared = random.Random(seed), random.Random(0)
source = folder.parent / f"source-{seed}"
with ObjectStore.open(folder, SystemClock(), disk=disk) as store:
    for i in range(count):
        for chance in (mine, shared):
            source.write_bytes(chance.randbytes(400_000))
            print(store.put_file(source), flush=True)
"""


def start(room: Room, seed: int, count: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", WRITER, str(room.store), str(seed), str(count), "real" if room.shares else "copying"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_that_add_the_same_files_at_once_and_are_killed_lose_nothing(room: Room) -> None:
    room.make().close()
    chance = random.Random(8)
    acknowledged: set[str] = set()
    for turn in range(2):
        victim, *survivors = (start(room, 10 * turn + i, 100_000 if i == 0 else 6) for i in range(3))
        assert victim.stdout is not None
        acknowledged.add(victim.stdout.readline().strip())
        time.sleep(chance.random() * 0.4)
        victim.kill()
        acknowledged.update(victim.communicate(timeout=60)[0].split("\n")[:-1])
        for survivor in survivors:
            out, err = survivor.communicate(timeout=60)
            assert (survivor.returncode, err) == (0, "")
            acknowledged.update(out.split())
    with room.open() as store:
        assert [finding for finding in store.verify() if finding.level != "note"] == []
        for digest in acknowledged:
            assert digest_of(store.get(Digest(digest))) == digest
    assert len(raw_files(room.store)) > 12
    before = rows(room.store)
    ObjectStore.rebuild_index(room.store)
    assert rows(room.store) == before
