"""Whatever is altered or gone is found, and named."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import apsw
import pytest

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import AlteredObjectError, FormatError, MissingObjectError
from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore, TreeEntry, digest_of
from retrodict.objects.errors import DamagedIndexError
from retrodict.objects.pack import RECORD, Place, payload_in, scan
from retrodict.testing.stores import bad, changed, findings, patch, rows

SMALL = b"a small file, " * 20
LARGE = random.Random(1).randbytes(400_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with one of everything, in few bytes."""
    home = tmp_path / "objects"
    with ObjectStore.create(home, SystemClock()) as store:
        small, tiny = store.put_many([SMALL, b"tiny"])
        large = store.put(LARGE)
        entries = [
            TreeEntry(name=b"small", kind="file", digest=small, size=len(SMALL)),
            TreeEntry(name=b"tiny", kind="executable", digest=tiny, size=4),
            TreeEntry(name=b"large", kind="file", digest=large, size=len(LARGE)),
        ]
        store.put_tree(entries)
        path = tmp_path / "old"
        path.write_bytes(b"remembered")
        os.utime(path, ns=(0, 0))
    return home


def pack_files(folder: Path) -> list[Path]:
    return sorted((folder / "packs").iterdir())


def no_base(kind: int, name: bytes, depth: int) -> bytes:
    raise FormatError(f"nothing here is a difference: {kind}, {name!r}, {depth}")


def scan_whole(data: bytes) -> list[Place | str]:
    return [place for place in scan(data) if isinstance(place, Place) and payload_in(data, place, no_base) is not None]


def record_at(data: bytes, offset: int) -> Place | None:
    for place in scan(data):
        if isinstance(place, Place) and place.offset <= offset < place.offset + RECORD.size + place.stored:
            return place
    return None


def test_nothing_is_found_in_a_store_that_is_whole(folder: Path) -> None:
    assert findings(folder) == []
    assert findings(folder, read_only=False) == []


def offsets(size: int, data: bytes) -> list[int]:
    frames = [place.offset + i for place in scan(data) if isinstance(place, Place) for i in range(RECORD.size)]
    return sorted({*range(min(size, 700)), *frames[:200], *range(size - 60, size), *range(0, size, size // 40 + 1)})


def test_a_flipped_byte_anywhere_in_a_pack_is_found_and_named(folder: Path) -> None:
    flips = objects = 0
    with ObjectStore.open(folder, SystemClock(), read_only=True) as store:
        for path in pack_files(folder):
            data = path.read_bytes()
            for offset in offsets(len(data), data):
                patch(path, offset, 1 << offset % 8)
                found = list(store.verify())
                named = {finding.what for finding in found if finding.level in ("altered", "missing")}
                assert f"objects/packs/{path.name}" in named, (path.name, offset)
                place = record_at(data, offset)
                # Some bits of a zstd frame do not count: then the pack is altered, and the object in it is not.
                if place is not None and place not in scan_whole(path.read_bytes()):
                    assert f"b3-{place.name.hex()}" in named, (path.name, offset, found)
                    objects += 1
                patch(path, offset, 1 << offset % 8)
                flips += 1
    assert flips > 1000
    assert objects > flips * 0.7
    assert findings(folder) == []


def test_altered_bytes_are_never_handed_out(folder: Path, tmp_path: Path) -> None:
    altered = 0
    with ObjectStore.open(folder, SystemClock(), read_only=True) as store:
        for path in pack_files(folder):
            data = path.read_bytes()
            for place in scan(data):
                assert isinstance(place, Place)
                patch(path, place.offset + RECORD.size + place.stored // 2, 4)
                for content in (SMALL, b"tiny", LARGE):
                    digest = digest_of(content)
                    if store.state(digest) == "held":
                        assert store.get(digest) == content
                        continue
                    altered += 1
                    with pytest.raises(AlteredObjectError) as caught:
                        store.get(digest)
                    assert caught.value.digest == digest
                    with pytest.raises(AlteredObjectError):
                        store.checkout(digest, tmp_path / "out")
                    assert not list(tmp_path.glob("out*")) + list(tmp_path.glob(".retro*"))
                patch(path, place.offset + RECORD.size + place.stored // 2, 4)
    assert altered > 5


def test_an_altered_copy_is_passed_over_where_there_is_a_good_one(tmp_path: Path) -> None:
    with ObjectStore.create(tmp_path / "a", SystemClock()) as a, ObjectStore.create(tmp_path / "b", SystemClock()) as b:
        a.put_many([b"shared", b"only a"])
        b.put_many([b"shared", b"only b"])
    [path] = pack_files(tmp_path / "b")
    shutil.copy(path, tmp_path / "a" / "packs")
    with ObjectStore.open(tmp_path / "a", SystemClock()) as store:  # takes the pack in
        for pack in pack_files(tmp_path / "a"):
            patch(pack, 16 + RECORD.size, 1)
            assert store.get(digest_of(b"shared")) == b"shared"
            patch(pack, 16 + RECORD.size, 1)


def test_a_pack_that_is_cut_short_gone_or_renamed_is_named(folder: Path) -> None:
    path = max(pack_files(folder), key=lambda p: p.stat().st_size)
    data = path.read_bytes()
    path.chmod(0o644)
    for length in (0, 5, 16, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        assert f"objects/packs/{path.name}" in {finding.what for finding in bad(folder)}
    path.write_bytes(data + b"\0")
    assert f"objects/packs/{path.name}" in {finding.what for finding in bad(folder)}
    path.unlink()
    named = {finding.what for finding in bad(folder)}
    assert {f"objects/packs/{path.name}", digest_of(LARGE)} <= named
    with ObjectStore.open(folder, SystemClock()) as store:
        assert store.state(digest_of(LARGE)) == "missing"
        with pytest.raises(MissingObjectError):
            store.get(digest_of(LARGE))
        assert store.put(LARGE) == digest_of(LARGE)  # its chunks are known to be gone
        assert store.state(digest_of(LARGE)) == "held"
    other = path.with_name("0" * 64 + ".pack")
    other.write_bytes(data)
    assert f"objects/packs/{other.name}" in {finding.what for finding in bad(folder)}


def test_any_changed_column_of_any_index_row_is_found(folder: Path) -> None:
    keys = {"packs": ["id"], "objects": ["name", "pack", "offset"], "recipes": ["blob", "recipe"]}
    count = 0
    db = apsw.Connection(str(folder / "index.db"))
    for table, key in keys.items():
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        for row in db.execute(f"SELECT * FROM {table}").fetchall():
            held = dict(zip(columns, row, strict=True))
            where = " AND ".join(f"{name}=?" for name in key)
            for column in columns:
                for value in changed(held[column])[: 1 if table == "packs" else 3]:
                    db.execute(f"UPDATE {table} SET {column}=? WHERE {where}", (value, *(held[k] for k in key)))
                    assert bad(folder), (table, column, held[column], value)
                    now = {**held, column: value}
                    db.execute(f"UPDATE {table} SET {column}=? WHERE {where}", (held[column], *(now[k] for k in key)))
                    count += 1
    assert count > 100
    assert findings(folder) == []
    db.close()


def test_any_removed_index_row_is_found_and_named(folder: Path) -> None:
    db = apsw.Connection(str(folder / "index.db"))
    for table in ("packs", "objects", "recipes"):
        for row in db.execute(f"SELECT * FROM {table}").fetchall():
            names = {value.hex() for value in row if isinstance(value, bytes)}
            first = [c[1] for c in db.execute(f"PRAGMA table_info({table})")]
            db.execute(f"DELETE FROM {table} WHERE " + " AND ".join(f"{c}=?" for c in first), row)
            told = " ".join(finding.what for finding in bad(folder))
            assert any(name in told for name in names), (table, row)
            db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    db.close()
    assert findings(folder) == []


def test_a_row_too_many_is_found_and_named(folder: Path) -> None:
    db = apsw.Connection(str(folder / "index.db"))
    extra = b"\xee" * 32
    for table, row in (
        ("objects", (extra, 1, 16, 1, 0, 5, 5)),
        ("objects", (extra, 99, 16, 1, 0, 5, 5)),
        ("recipes", (extra, extra, 5)),
        ("packs", (77, extra, 5)),
    ):
        db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        assert any(extra.hex() in finding.what for finding in bad(folder)), (table, row)
        db.execute(f"DELETE FROM {table} WHERE {'name' if table != 'recipes' else 'blob'}=?", (extra,))
    db.close()
    assert findings(folder) == []


def test_a_changed_row_of_the_stat_cache_is_found_and_not_believed(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    right = digest_of(b"content")

    class Later(SystemClock):
        def now_ns(self) -> int:
            return super().now_ns() + 10**10

    store._clock = Later()
    assert store.hash_file(path) == right
    db = apsw.Connection(str(store.folder / "stat.db"))
    [row] = db.execute("SELECT * FROM marked_files").fetchall()
    for i, column in enumerate(c[1] for c in db.execute("PRAGMA table_info(marked_files)").fetchall()):
        for value in [*changed(row[i]), "text"]:
            db.execute(f"UPDATE marked_files SET {column}=?", (value,))
            assert [f.what for f in store.verify()] == ["objects/stat.db"], (column, value)
            assert store.hash_file(path) == right
            db.execute("DELETE FROM marked_files")
            db.execute("INSERT INTO marked_files VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    [(key_id,)] = db.execute("SELECT key_id FROM marked_by").fetchall()
    for value in [*changed(key_id), "text"]:
        db.execute("UPDATE marked_by SET key_id=?", (value,))
        assert [f.what for f in store.verify()] == ["objects/stat.db"], value
        db.execute("UPDATE marked_by SET key_id=?", (key_id,))
    db.execute("DELETE FROM marked_by")
    assert [f.what for f in store.verify()] == ["objects/stat.db"]
    db.execute("INSERT INTO marked_by VALUES (?)", (key_id,))
    db.close()
    assert list(store.verify()) == []


def test_a_tree_that_names_what_is_not_held_is_found(store: ObjectStore) -> None:
    gone = digest_of(b"gone")
    store.put_tree([TreeEntry(name=b"x", kind="file", digest=gone, size=4)])
    assert [(f.level, f.what) for f in store.verify()] == [("missing", gone)]
    tree = store.put_tree([TreeEntry(name=b"x", kind="tree", digest=gone, size=4)])
    assert store.state(tree) == "missing"


@pytest.mark.parametrize("damage", ["nothing", "deleted", "garbage", "wrong rows", "empty"])
def test_a_rebuilt_index_has_the_same_rows(folder: Path, damage: str) -> None:
    before = rows(folder)
    index = folder / "index.db"
    match damage:
        case "deleted":
            index.unlink()
        case "garbage":
            index.write_bytes(b"not a database " * 1000)
        case "empty":
            index.write_bytes(b"")
        case "wrong rows":
            db = apsw.Connection(str(index))
            db.execute("UPDATE objects SET offset = offset + 1")
            db.execute("DELETE FROM recipes")
            db.close()
    ObjectStore.rebuild_index(folder)
    assert rows(folder) == before
    assert findings(folder) == []


def test_a_store_whose_index_is_gone_opens_all_the_same(folder: Path) -> None:
    (folder / "index.db").unlink()
    with ObjectStore.open(folder, SystemClock(), read_only=True) as store:
        assert store.get(digest_of(LARGE)) == LARGE
        assert list(store.verify()) == []
    assert not (folder / "index.db").exists()
    with ObjectStore.open(folder, SystemClock()) as store:
        assert store.get(digest_of(LARGE)) == LARGE


def test_a_damaged_index_says_what_to_do(folder: Path) -> None:
    (folder / "index.db").write_bytes(b"not a database " * 1000)
    for read_only in (False, True):
        with pytest.raises(DamagedIndexError, match=r"index\.db"):
            ObjectStore.open(folder, SystemClock(), read_only=read_only)


def test_whatever_page_of_the_index_is_damaged_no_wrong_bytes_and_no_foreign_errors_come_out(folder: Path) -> None:
    index = folder / "index.db"
    data = index.read_bytes()
    chooser = random.Random(3)
    for _ in range(80):
        harmed = bytearray(data)
        for _ in range(chooser.choice([1, 40])):
            harmed[chooser.randrange(len(harmed))] ^= 1 << chooser.randrange(8)
        index.write_bytes(harmed)
        for content in (SMALL, LARGE):
            try:
                with ObjectStore.open(folder, SystemClock(), read_only=True) as store:
                    list(store.verify())
                    assert store.get(Digest(digest_of(content))) == content
            except (AlteredObjectError, MissingObjectError, DamagedIndexError):
                pass


def test_one_damaged_record_costs_a_rebuild_only_that_record(folder: Path) -> None:
    path = max(pack_files(folder), key=lambda p: p.stat().st_size)
    places = [place for place in scan(path.read_bytes()) if isinstance(place, Place)]
    patch(path, places[1].offset, 255)
    before = rows(folder)
    ObjectStore.rebuild_index(folder)
    lost = set(before["objects"]) - set(rows(folder)["objects"])
    assert [row[0] for row in lost] == [places[1].name]
    assert f"objects/packs/{path.name}" in {finding.what for finding in bad(folder)}
