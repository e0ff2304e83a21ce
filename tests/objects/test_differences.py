"""Versions kept as differences to others, and the cache that makes unchanged folders cheap."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.durable import REAL_DISK
from retrodict.kernel.errors import AlteredObjectError
from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore
from retrodict.objects.names import Kind, as_digest, as_name, name_of
from retrodict.objects.pack import DELTA, MAX_DEPTH, RECORD, PackWriter, Place, difference, path_of, scan
from retrodict.testing.stores import CACHE_KEY, findings, rows


class LaterClock(SystemClock):
    """Ten seconds ahead, so that files that were just written are past the racy rule."""

    def now_ns(self) -> int:
        return super().now_ns() + 10**10


@pytest.fixture
def later(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore.create(tmp_path / "objects", LaterClock(), cache_key=CACHE_KEY) as made:
        yield made


def text(seed: int, lines: int) -> bytes:
    """Return lines that hardly compress."""
    made = random.Random(seed)
    return b"".join(b"%d,%s\n" % (i, made.randbytes(40).hex().encode()) for i in range(lines))


def edited(data: bytes, seed: int) -> bytes:
    at = random.Random(seed).randrange(len(data))
    return data[:at] + b"edit %d" % seed + data[at:]


def records(store: ObjectStore) -> list[Place]:
    return [
        place
        for key in store.packs()
        for place in scan(path_of(store.folder, bytes.fromhex(key)).read_bytes())
        if isinstance(place, Place)
    ]


@pytest.fixture
def versions(later: ObjectStore, tmp_path: Path) -> list[Digest]:
    """Two versions of a folder of 300 files, of which one has changed."""
    home = tmp_path / "home"
    home.mkdir()
    for i in range(300):
        (home / f"{i:03d}").write_bytes(text(i, 20))
    first = later.add(home).digest
    (home / "007").write_bytes(edited(text(7, 20), 1))
    second = later.add(home)
    assert second.new_bytes < 600  # two records with a pack round them
    assert second.unchanged == 299
    return [first, second.digest]


def test_a_changed_file_of_many_costs_two_differences(
    later: ObjectStore, versions: list[Digest], tmp_path: Path
) -> None:
    assert sorted(place.kind for place in records(later) if place.codec == DELTA) == [Kind.BLOB, Kind.TREE]
    for digest in versions:
        assert later.state(digest) == "held"
    later.checkout(versions[0], tmp_path / "home")
    assert (tmp_path / "home" / "007").read_bytes() == text(7, 20)
    assert list(later.verify()) == []


def test_chains_of_differences_are_short_and_every_version_comes_back(later: ObjectStore, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    data = text(1, 100)
    stored = []
    for i in range(3 * MAX_DEPTH):
        (home / "a").write_bytes(data)
        stored.append((later.add(home).digest, data))
        data = edited(data, i)
    for digest, content in stored:
        [entry] = later.list_tree(digest)
        assert later.get(entry.digest) == content
    alone = [place for place in records(later) if place.kind == Kind.BLOB and place.codec != DELTA]
    assert len(alone) == 3
    assert list(later.verify()) == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.sampled_from([0, 5, 300, 50_000, 300_000, 1_500_000]),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=600), st.integers(0, 5000)), max_size=6),
)
def test_whatever_is_edited_all_versions_come_back(
    tmp_path: Path, size: int, edits: list[tuple[float, bytes, int]]
) -> None:
    home = tmp_path / "any"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    with ObjectStore.create(home / "objects", LaterClock(), cache_key=CACHE_KEY) as store:
        data, base = random.Random(size).randbytes(size), None
        seen = {}
        for where, new, gone in [(0.0, b"", 0), *edits]:
            at = int(where * len(data))
            data = data[:at] + new + data[at + gone :]
            (home / "file").write_bytes(data)
            base = store.add(home / "file", base=base).digest
            seen[base] = data
        assert {digest: store.get(digest) for digest in seen} == seen
        assert list(store.verify()) == []


def test_what_was_all_but_empty_before_is_stored_alone(later: ObjectStore, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for content in (b"", b"few", text(1, 50), b"", text(2, 50)):
        (home / "a").write_bytes(content)
        [entry] = later.list_tree(later.add(home).digest)
        assert later.get(entry.digest) == content


def test_edits_all_over_a_large_table_cost_the_edits(later: ObjectStore, tmp_path: Path) -> None:
    made = random.Random(5)
    lines = [
        b"%d,%d,%.6f,%s\n" % (i, made.randrange(10**6), made.random(), made.randbytes(4).hex().encode())
        for i in range(200_000)
    ]
    table = tmp_path / "table.csv"
    table.write_bytes(b"".join(lines))
    first = later.add(table)
    for i in made.sample(range(len(lines)), 200):
        lines[i] = b"%d,%d,%.6f,changed\n" % (i, made.randrange(10**6), made.random())
    table.write_bytes(b"".join(lines))
    second = later.add(table, base=first.digest)
    assert second.new_bytes < 60_000
    assert later.get(second.digest) == b"".join(lines)


def test_an_index_that_is_gone_is_built_again_with_recipes_that_are_differences(
    later: ObjectStore, tmp_path: Path
) -> None:
    made = random.Random(3).randbytes(6_000_000)
    file = tmp_path / "big"
    file.write_bytes(made)
    first = later.add(file).digest
    file.write_bytes(made[:3_000_000] + b"inserted" + made[3_000_000:])
    second = later.add(file, base=first).digest
    assert {place.kind for place in records(later) if place.codec == DELTA} == {Kind.CHUNK, Kind.RECIPE}
    before = rows(later.folder)
    later.close()
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (later.folder / name).unlink(missing_ok=True)
    with ObjectStore.open(later.folder, LaterClock()) as again:
        assert rows(later.folder) == before
        assert again.get(first) == made
        assert again.get(second) == made[:3_000_000] + b"inserted" + made[3_000_000:]
        ObjectStore.rebuild_index(later.folder)
        assert (
            again.get(second)[2_999_990:3_000_010]
            == made[2_999_990:3_000_000] + b"inserted" + made[3_000_000:3_000_002]
        )


def test_what_is_made_from_an_altered_record_is_never_handed_out(
    later: ObjectStore, versions: list[Digest], tmp_path: Path
) -> None:
    [old] = [e.digest for e in later.list_tree(versions[0]) if e.name == b"007"]
    [new] = [e.digest for e in later.list_tree(versions[1]) if e.name == b"007"]
    for key in later.packs():
        path = path_of(later.folder, bytes.fromhex(key))
        data = bytearray(path.read_bytes())
        for place in scan(bytes(data)):
            if isinstance(place, Place) and place.name == as_name(old):
                data[place.offset + RECORD.size + place.stored // 2] ^= 1
        path.chmod(0o644)
        times = path.stat()
        path.write_bytes(data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    for digest in (old, new):
        with pytest.raises(AlteredObjectError):
            later.get(digest)
    with pytest.raises(AlteredObjectError):
        later.checkout(versions[1], tmp_path / "out")
    assert not (tmp_path / "out" / "007").exists()
    assert {old, new} <= {finding.what for finding in later.verify()}


def test_what_versions_are_made_from_is_kept_as_long_as_they_are(later: ObjectStore, versions: list[Digest]) -> None:
    needed = later.needed([versions[1]])
    later.doom(needed)
    later.sweep(later.needed([versions[1]]), grace_ns=-1)
    assert later.state(versions[1]) == "held"
    assert [finding for finding in later.verify() if finding.level == "altered"] == []


def test_what_is_doomed_is_stored_anew_though_the_folder_has_not_changed(
    later: ObjectStore, versions: list[Digest], tmp_path: Path
) -> None:
    later.doom(set())
    again = later.add(tmp_path / "home")
    assert again.digest == versions[1]
    assert again.new_bytes > 100_000
    later.sweep(later.needed([versions[1]]), grace_ns=-1)
    assert later.state(versions[1]) == "held"


def test_a_pack_that_is_gone_is_noticed_though_the_folder_has_not_changed(
    later: ObjectStore, versions: list[Digest], tmp_path: Path
) -> None:
    for key in later.packs():
        path_of(later.folder, bytes.fromhex(key)).unlink()
    assert later.state(versions[1]) == "missing"
    assert later.add(tmp_path / "home").digest == versions[1]
    assert later.state(versions[1]) == "held"


def test_records_that_are_differences_to_each_other_are_refused(tmp_path: Path) -> None:
    one, other = text(1, 50), edited(text(1, 50), 2)
    folder = tmp_path / "objects"
    with ObjectStore.create(folder, SystemClock()) as store:
        store.put(b"something")
    writer = PackWriter(folder / "tmp", REAL_DISK)
    for data, base in ((one, other), (other, one)):
        stored = difference(data, base, [name_of(Kind.BLOB, base)], 1)
        writer.add(Kind.BLOB, DELTA, len(data), name_of(Kind.BLOB, data), stored)
    sealed = writer.seal()
    sealed.temporary.rename(path_of(folder, sealed.name))
    with ObjectStore.open(folder, SystemClock()) as store:
        for data in (one, other):
            with pytest.raises(AlteredObjectError):
                store.get(as_digest(name_of(Kind.BLOB, data)))
        assert len(findings(folder)) == 2


@pytest.mark.parametrize("column", ["epoch", "node", "files", "size", "entries", "contents", "large", "mark"])
def test_a_changed_row_of_the_folder_cache_is_found_and_not_believed(
    later: ObjectStore, versions: list[Digest], tmp_path: Path, column: str
) -> None:
    db = apsw.Connection(str(later.folder / "folders.db"))
    [(value,)] = db.execute(f"SELECT {column} FROM folders").fetchall()
    assert isinstance(value, int | bytes)
    forged = value + 1 if isinstance(value, int) else value[:-1] + b"!"
    db.execute(f"UPDATE folders SET {column} = ?", (forged,))
    db.close()
    assert [finding.level for finding in later.verify()] == ["altered"]
    again = later.add(tmp_path / "home")
    assert (again.digest, again.unchanged) == (versions[1], 0)
    assert list(later.verify()) == []


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE marked_epochs SET packs = x''",
        "UPDATE marked_epochs SET packs = x'', mark = zeroblob(16)",
        "UPDATE marked_epochs SET packs = x'', number = number + 1",
        "INSERT INTO marked_epochs SELECT number, x'', mark FROM marked_epochs",
    ],
)
def test_a_forged_epoch_of_the_folder_cache_is_found_and_hides_no_pack_that_is_gone(
    later: ObjectStore, versions: list[Digest], tmp_path: Path, forgery: str
) -> None:
    assert list(later.verify()) == []
    db = apsw.Connection(str(later.folder / "folders.db"))
    db.execute(forgery)
    db.close()
    assert [finding.what for finding in later.verify()] == ["objects/folders.db"]
    for key in later.packs():
        path_of(later.folder, bytes.fromhex(key)).unlink()
    assert later.add(tmp_path / "home").digest == versions[1]
    assert later.state(versions[1]) == "held"
    assert "objects/folders.db" not in {finding.what for finding in later.verify()}


def test_an_edit_of_the_same_size_with_its_time_put_back_is_noticed_in_a_folder(
    later: ObjectStore, versions: list[Digest], tmp_path: Path
) -> None:
    file = tmp_path / "home" / "100"
    before = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert later.hash_folder(tmp_path / "home") != versions[1]
    assert later.add(tmp_path / "home").unchanged == 299


def test_a_damaged_folder_cache_is_no_cache(later: ObjectStore, versions: list[Digest], tmp_path: Path) -> None:
    later.close()
    path = later.folder / "folders.db"
    path.write_bytes(b"no database at all" * 1000)
    with ObjectStore.open(later.folder, LaterClock(), cache_key=CACHE_KEY) as again:
        assert again.hash_folder(tmp_path / "home") == versions[1]
        assert again.add(tmp_path / "home").digest == versions[1]


def test_a_file_in_a_known_folder_is_not_read_again(
    later: ObjectStore, versions: list[Digest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [entry] = [e for e in later.list_tree(versions[1]) if e.name == b"009"]
    monkeypatch.setattr("retrodict.objects.store.hash_path", lambda *_, **__: pytest.fail("it was read"))
    assert later.hash_file(tmp_path / "home" / "009") == entry.digest


def test_a_folder_of_many_files_has_one_name_however_it_is_read(later: ObjectStore, tmp_path: Path) -> None:
    home = tmp_path / "many"
    home.mkdir()
    for i in range(3000):
        (home / f"{i}").write_bytes(b"%d" % i)
    (home / "inner").mkdir()
    (home / "inner" / "file").write_bytes(b"inner")
    first = later.add(home)
    assert later.put_tree(later.list_tree(first.digest)) == first.digest
    assert later.hash_folder(home) == first.digest
    (home / "17").write_bytes(b"changed")
    second = later.add(home)
    assert later.put_tree(later.list_tree(second.digest)) == second.digest
    assert second.unchanged == 3000
    replaced: list[bytes] = []
    written = later.checkout(first.digest, home, allow=lambda found: replaced.extend(name for name, _ in found))
    assert (written, replaced) == (2, [os.fsencode(home / "17")])
    shutil.rmtree(home / "inner")
    for i in range(1500):
        (home / f"{i}").unlink()
    (home / "inner").write_bytes(b"no folder")
    later.checkout(first.digest, home)
    assert later.add(home).digest == first.digest


def test_packs_that_arrive_in_any_order_tell_what_is_lacking(later: ObjectStore, tmp_path: Path) -> None:
    made = random.Random(3).randbytes(3_000_000)
    home = tmp_path / "home"
    home.mkdir()
    (home / "big").write_bytes(made)
    (home / "small").write_bytes(text(1, 30))
    later.add(home)
    (home / "big").write_bytes(made[:1_000_000] + b"inserted" + made[1_000_000:])
    (home / "small").write_bytes(edited(text(1, 30), 1))
    last = later.add(home).digest
    holding = {name: key for key in later.packs() for name in _names(later.names_in(key))}
    with ObjectStore.create(tmp_path / "other", SystemClock()) as other:
        for _ in range(10):
            if not (lacking := other.lacking(last)):
                break
            for key in {holding[name] for name in lacking}:
                other.take_pack(key, later.pack(key))
        assert other.state(last) == "held"
        assert list(other.verify()) == []


def _names(joined: bytes) -> list[bytes]:
    return [joined[i : i + 32] for i in range(0, len(joined), 32)]
