"""An adversary who can write the store, but not the state directory: whatever he does is found, and named.

He works through SQLite and the file system and knows the formats: what he changes he makes consistent again, up to the
checkpoint, for which he lacks the key. To name is to give, in `Finding.what`, the entry, object, pack, row of a view,
key or checkpoint that is altered or missing; where the log agrees with itself, the checkpoint that it contradicts,
since no root tells which of its entries is another one.
"""

from __future__ import annotations

import json
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrodict.actions import table_change, table_read
from retrodict.actions.add import add
from retrodict.actions.init import init
from retrodict.actions.log_witness import log_witness
from retrodict.actions.open import open_workspace
from retrodict.actions.predict import predict
from retrodict.actions.tabling import How, table_named
from retrodict.actions.verify import Verification, unreadable, verify
from retrodict.kernel import canonical, merkle
from retrodict.kernel.errors import IntegrityError
from retrodict.kernel.note import Checkpoint, decode_checkpoint, sign_note
from retrodict.keys import LogSigner
from retrodict.objects.names import Kind
from retrodict.objects.pack import FOOTER, FOOTER_MAGIC, RECORD, Place, payload_in, scan
from retrodict.objects.recipe import Recipe
from retrodict.objects.statcache import StatCache
from retrodict.serving import Service
from retrodict.tables import folding
from retrodict.tables.changes import Change
from retrodict.tables.errors import NoSuchRecordError
from retrodict.testing.clock import FixedClock
from retrodict.testing.people import make_people, question
from retrodict.testing.witness import Witness, serve
from retrodict.testing.workspaces import Built, build
from retrodict.workspace import Batch, CopiedWorkspaceError, publish

WIDTH = 256
SAMPLES = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A workspace, and its store as it was at two moments; every entry is published.

    Attributes:
        old, new: Copies of the store; `state` is the state directory at the second moment.
        old_note, note: The checkpoints of the two moments.
        key, witness: Public keys of the log, and of a witness that has cosigned all of it but the last entry.
    """

    built: Built
    old: Path
    new: Path
    state: Path
    old_note: bytes
    note: bytes
    key: str
    witness: str

    @property
    def store(self) -> Path:
        return self.built.root / ".retrodict"

    def put(self) -> None:
        """Put the newer store back, and the state directory."""
        shutil.rmtree(self.store)
        shutil.copytree(self.new, self.store)
        shutil.rmtree(self.built.state)
        shutil.copytree(self.state, self.built.state)

    def verify(self, **options: Any) -> Verification:
        try:
            with open_workspace(self.built.root, self.built.state, FixedClock(), read_only=True) as workspace:
                return verify(workspace, **options)
        except IntegrityError as error:
            return unreadable(error)

    def database(self, name: str) -> apsw.Connection:
        db = apsw.Connection(str(self.store / name))
        db.execute("PRAGMA ignore_check_constraints = ON")
        return db


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    built = build(folder)

    def note() -> bytes:
        with built.open() as workspace:
            publish(workspace)
            workspace.views.database()
            found = workspace.ledger.checkpoint()
            assert found is not None
            return found

    with built.open() as workspace:  # more than a tile of entries
        batch = Batch(workspace)
        for number in range(WIDTH):
            batch.event("thing.happened", uses=(), makes=(), body={"number": number})
        batch.append()
        (built.root / "large.bin").write_bytes(bytes(range(251)) * 13_000)
        (built.root / "other.bin").write_bytes(bytes(range(241)) * 2_000)
        add(workspace, [built.root / "large.bin", built.root / "other.bin"], reason="larger than a chunk")
    old_note = note()
    store, old, new, state = (built.root / ".retrodict", *(folder / name for name in ("old", "new", "kept")))
    shutil.copytree(store, old)
    (built.root / "data" / "more.csv").write_text("x,y\n1,2\n2,4\n")
    with built.open() as workspace:
        add(workspace, [built.root / "data" / "more.csv"], reason="more of them")
        predict(workspace, "line@champion", [{"x": 5.0}], caller="another customer")
        assert workspace.state is not None
        key = str(workspace.state.verifier)
        (folder / "witness").mkdir()
        witness = Witness("witness.example/w1", folder / "witness", [key])
        server = serve(witness)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        log_witness(workspace, [f"http://127.0.0.1:{server.server_port}"], keys=[witness.key])
        server.shutdown()
        server.server_close()
    new_note = note()
    shutil.copytree(store, new)
    shutil.copytree(built.state, state)
    return Scene(
        built=built,
        old=old,
        new=new,
        state=state,
        old_note=old_note,
        note=new_note,
        key=key,
        witness=witness.key,
    )


def names(found: Verification, what: str) -> bool:
    """Say whether something is named as altered or missing: `what` itself, or `what` and more of its description."""
    told = [f.what for f in found.findings if f.level in ("altered", "missing")]
    return any(item == what or item.startswith((f"{what} ", f"{what}-")) for item in told)


# The log

Row = tuple[int, bytes, bytes]  # tick, id, data


def entries(db: apsw.Connection) -> list[Row]:
    rows: list[Any] = db.execute("SELECT tick, id, data FROM entries ORDER BY idx").fetchall()
    return rows


def rewritten(row: Row, *, tick: int | None = None, event: bytes | None = None, **fields: object) -> Row:
    """Return an entry that says something else, in canonical form."""
    value: Any = canonical.decode(row[2])
    value.update(fields, tick=row[0] if tick is None else tick)
    key = row[1] if event is None else event
    h = key.hex()
    value["id"] = f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
    return int(value["tick"]), key, canonical.encode(value)


def derive(db: apsw.Connection, rows: list[Row]) -> bytes:
    """Write a log that agrees with itself: leaf hashes, and tiles. Return its root."""
    leaves = [merkle.leaf_hash(data) for _, _, data in rows]
    with db:
        db.execute("DELETE FROM entries; DELETE FROM tiles")
        db.executemany(
            "INSERT INTO entries (idx, tick, id, leaf, data) VALUES (?, ?, ?, ?, ?)",
            [(i, tick, key, leaves[i], data) for i, (tick, key, data) in enumerate(rows)],
        )
        if len(rows) >= WIDTH:  # fewer than two tiles of them, so one node above
            db.execute("INSERT INTO tiles VALUES (0, 0, ?)", (b"".join(leaves[:WIDTH]),))
            db.execute("INSERT INTO tiles VALUES (1, 0, ?)", (merkle.tree_hash(leaves[:WIDTH]),))
    return merkle.tree_hash(leaves)


def ordered(rows: list[Row]) -> list[Row]:
    """Give the ticks out anew, so that they rise."""
    ticks = sorted(tick for tick, _, _ in rows)
    for i in range(1, len(ticks)):
        ticks[i] = max(ticks[i], ticks[i - 1] + 1)
    return [rewritten(row, tick=tick) for row, tick in zip(rows, ticks, strict=True)]


@SAMPLES
@given(data=st.data())
def test_a_log_made_anew_that_agrees_with_itself_contradicts_its_checkpoint(scene: Scene, data: st.DataObject) -> None:
    scene.put()
    db = scene.database("ledger.db")
    true = entries(db)
    n = len(true)
    which = data.draw(st.integers(0, n - 2))
    other = data.draw(st.integers(which + 1, n - 1))
    how = data.draw(st.sampled_from(["change", "delete", "swap", "duplicate", "insert", "truncate"]))
    rows = list(true)
    new_id = b"\x01" * 6 + b"\x70\x01\x80" + bytes(7)
    if how == "change":
        rows[which] = rewritten(rows[which], at="2001-01-01T00:00:00.000000000Z")
    elif how == "delete":
        del rows[which]
    elif how == "swap":
        rows[which], rows[other] = rows[other], rows[which]
    elif how == "duplicate":
        rows.insert(other, rewritten(rows[which], event=new_id))
    elif how == "insert":
        rows.insert(which, rewritten(rows[which], event=new_id, kind="thing.happened", uses=[], makes=[], body={}))
    else:
        del rows[other:]
    derive(db, ordered(rows) if how in ("swap", "duplicate", "insert") else rows)
    mask = data.draw(st.sampled_from(["keep", "delete", "old"]))  # the checkpoint
    if mask == "delete":
        db.execute("DELETE FROM checkpoint")
    elif mask == "old":
        db.execute("UPDATE checkpoint SET note = ?", (scene.old_note,))
    db.close()
    if data.draw(st.booleans()):
        for path in scene.store.glob("views.db*"):  # folded anew from his log
            path.unlink()
    found = scene.verify()
    assert found.answer == "no"
    if how in ("delete", "truncate"):
        missing = f"entry {n - 1}" if len(rows) == n - 1 else f"entries {len(rows)}"
        assert names(found, missing)
    else:
        assert names(found, "checkpoint kept apart")
    since = scene.verify(since=scene.note, key=scene.key)
    assert since.answer == "no"
    assert names(since, missing if how in ("delete", "truncate") else "checkpoint given")


@SAMPLES
@given(data=st.data())
def test_a_row_of_the_log_that_is_changed_is_named(scene: Scene, data: st.DataObject) -> None:
    scene.put()
    db = scene.database("ledger.db")
    rows = entries(db)
    i = data.draw(st.integers(0, len(rows) - 1))
    j = (i + data.draw(st.integers(1, len(rows) - 1))) % len(rows)
    kept = {i: db.execute("SELECT * FROM entries WHERE idx = ?", (i,)).fetchall()[0] for i in (i, j)}
    how = data.draw(
        st.sampled_from(["data", "leaf", "id", "tick", "both", "delete", "swap", "far", "blob", "blobless", "tile"])
    )
    expected = [f"entry {i}"]
    if how == "data":
        at = data.draw(st.integers(0, len(rows[i][2]) - 1))
        altered = rows[i][2][:at] + bytes([rows[i][2][at] ^ (1 << data.draw(st.integers(0, 7)))]) + rows[i][2][at + 1 :]
        db.execute("UPDATE entries SET data = ? WHERE idx = ?", (altered, i))
    elif how == "leaf":
        db.execute("UPDATE entries SET leaf = ? WHERE idx = ?", (bytes(32), i))
    elif how == "id":
        db.execute("UPDATE entries SET id = ? WHERE idx = ?", (bytes(16), i))
    elif how == "tick":
        db.execute("UPDATE entries SET tick = tick + 1 WHERE idx = ?", (i,))
    elif how == "both":  # with its leaf hash, but not the tree
        _, _, altered = rewritten(rows[i], at="2001-01-01T00:00:00.000000000Z")
        db.execute("UPDATE entries SET data = ?, leaf = ? WHERE idx = ?", (altered, merkle.leaf_hash(altered), i))
        if i >= WIDTH:
            expected = ["checkpoint kept apart"]  # no tile holds it yet
    elif how == "delete":
        db.execute("DELETE FROM entries WHERE idx = ?", (i,))
    elif how == "swap":
        db.execute("DELETE FROM entries WHERE idx IN (?, ?)", (i, j))
        for index, row in ((i, kept[j]), (j, kept[i])):
            db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (index, *row[1:]))
        expected = [f"entry {max(i, j)}", f"entry {min(i, j)}" if min(i, j) < WIDTH else "checkpoint kept apart"]
    elif how == "far":
        db.execute("UPDATE entries SET idx = ? WHERE idx = ?", (data.draw(st.sampled_from([2**53, 2**63 - 1])), i))
    elif how in ("blob", "blobless"):
        blobs: list[Any] = db.execute("SELECT rowid, digest, data FROM blobs ORDER BY rowid").fetchall()
        number, digest, _ = data.draw(st.sampled_from(blobs))
        expected = [f"b3-{digest.hex()}"]
        if how == "blob":
            db.execute("UPDATE blobs SET data = ? WHERE rowid = ?", (data.draw(st.binary(max_size=9)), number))
        else:
            db.execute("DELETE FROM blobs WHERE rowid = ?", (number,))
    else:
        level = data.draw(st.sampled_from([0, 1]))
        change = data.draw(st.sampled_from(["DELETE FROM tiles", "UPDATE tiles SET hashes = zeroblob(length(hashes))"]))
        db.execute(f"{change} WHERE level = ?", (level,))
        expected = [f"tile {level}/0"]
    db.close()
    found = scene.verify()
    assert found.answer == "no"
    assert all(names(found, what) for what in expected), (how, i, j, found.findings)


def test_an_entry_appended_without_a_signature_is_counted_as_unprotected(scene: Scene) -> None:
    """What follows the last checkpoint is all that he can add: it is named, and nothing vouches for it."""
    scene.put()
    db = scene.database("ledger.db")
    rows = entries(db)
    derive(db, [*rows, rewritten(rows[-1], event=b"\x01" * 6 + b"\x70\x01\x80" + bytes(7), tick=rows[-1][0] + 1)])
    db.close()
    found = scene.verify()
    assert found.unprotected == 1
    assert ("unprotected", f"entry {len(rows)}") in [(f.level, f.what) for f in found.findings]


def another_checkpoint(scene: Scene, root: bytes | None = None) -> bytes:
    """Return the newest checkpoint, signed by a key of the same name that is not the log's."""
    true = decode_checkpoint(scene.note)
    made = Checkpoint(origin=true.origin, size=true.size, root=true.root if root is None else root)
    return replace(made, signatures=(sign_note(made.text, LogSigner(true.origin, b"\x07" * 32)),)).encode()


def test_a_checkpoint_that_is_replaced_is_named(scene: Scene) -> None:
    for note in (another_checkpoint(scene), b"no checkpoint", scene.note.replace(b"\n", b"\n\n", 1)):
        scene.put()
        db = scene.database("ledger.db")
        db.execute("UPDATE checkpoint SET note = ?", (note,))
        db.close()
        found = scene.verify()
        assert found.answer == "no"
        assert names(found, "checkpoint")


@pytest.mark.parametrize("note", ["older", "none"])
def test_a_checkpoint_that_is_hidden_is_noted_and_the_one_kept_apart_still_protects(scene: Scene, note: str) -> None:
    """A crash between keeping and showing a checkpoint leaves the same, so it is no alteration."""
    scene.put()
    db = scene.database("ledger.db")
    if note == "older":
        db.execute("UPDATE checkpoint SET note = ?", (scene.old_note,))
    else:
        db.execute("DELETE FROM checkpoint")
    db.close()
    found = scene.verify()
    assert (found.answer, found.unprotected) == ("yes", 0)
    assert ("note", "checkpoint") in [(f.level, f.what) for f in found.findings]
    alone = scene.verify(key=scene.key)
    assert alone.unprotected > 0
    assert alone.answer == ("yes" if note == "older" else "could not tell")


def test_another_name_of_the_log_is_named(scene: Scene) -> None:
    scene.put()
    db = scene.database("ledger.db")
    db.execute("UPDATE meta SET origin = 'example.com/other'")
    db.close()
    found = scene.verify()
    assert found.answer == "no"
    assert names(found, "checkpoint")
    assert names(found, "checkpoint kept apart")


# Objects


def pack_name(path: Path) -> str:
    return f"objects/packs/{path.name}"


def made_of(packs: list[Path], part: bytes) -> list[str]:
    """Return the large files of which a chunk or a recipe is a part; there are more where the tests lie in a clone."""
    found = []
    for pack in packs:
        held = pack.read_bytes()
        for place in scan(held):
            if isinstance(place, Place) and place.kind == Kind.RECIPE:
                recipe = Recipe.decode(payload_in(held, place, lambda *_: b"") or b"")
                if part in (place.name, *recipe.chunks):
                    found.append(f"b3-{recipe.blob.hex()}")
    return found


def records(pack: Path) -> tuple[list[Place], list[bytes]]:
    """Return the records of a pack, and the bytes that each has there."""
    held = pack.read_bytes()
    places = [place for place in scan(held) if isinstance(place, Place)]
    return places, [held[p.offset + RECORD.size : p.offset + RECORD.size + p.stored] for p in places]


def resealed(pack: Path, records: list[tuple[Place, bytes, Place]], db: apsw.Connection) -> None:
    """Write a pack whose records bear (header's name, stored bytes, whose they are), and index it."""
    body, rows = bytearray(pack.read_bytes()[:16]), []
    [(number,)] = db.execute("SELECT id FROM packs WHERE name = ?", (bytes.fromhex(pack.stem),)).fetchall()
    for place, stored, source in records:
        row = (place.name, number, len(body), place.kind, source.codec, source.stored, source.size)
        rows.append(row)
        body += RECORD.pack(b"RTO1", place.kind, source.codec, 0, source.stored, source.size, place.name) + stored
    whole = bytes(body) + FOOTER.pack(FOOTER_MAGIC, len(records), len(body), blake3(body).digest())
    name = blake3(whole).digest()
    pack.unlink()
    pack.with_name(f"{name.hex()}.pack").write_bytes(whole)
    db.execute("DELETE FROM objects WHERE pack = ?", (number,))
    db.executemany("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    db.execute("UPDATE packs SET name = ?, size = ? WHERE id = ?", (name, len(whole), number))


@SAMPLES
@given(data=st.data())
def test_objects_that_are_changed_are_named(scene: Scene, data: st.DataObject) -> None:
    scene.put()
    packs = sorted((scene.store / "objects/packs").iterdir())
    pack, other = data.draw(st.lists(st.sampled_from(packs), min_size=2, max_size=2, unique=True))
    how = data.draw(st.sampled_from(["flip", "cut", "delete", "swap", "exchange", "drop", "row", "unrow"]))
    db = scene.database("objects/index.db")
    held = pack.read_bytes()
    expected = [pack_name(pack)]
    pack.chmod(0o644)
    if how == "flip":
        at, bit = data.draw(st.integers(0, len(held) - 1)), data.draw(st.integers(0, 7))
        pack.write_bytes(held[:at] + bytes([held[at] ^ (1 << bit)]) + held[at + 1 :])
    elif how == "cut":
        pack.write_bytes(held[: data.draw(st.integers(0, len(held) - 1))])
    elif how == "delete":
        pack.unlink()
    elif how == "swap":
        pack.rename(pack.with_suffix(".kept"))
        other.rename(pack)
        pack.with_suffix(".kept").rename(other)
        expected.append(pack_name(other))
    elif how == "drop":  # with its row, and that of its recipe
        places, stored = records(pack)
        lost = places[data.draw(st.integers(0, len(places) - 1))]
        is_part = lost.kind in (Kind.CHUNK, Kind.RECIPE)
        expected = made_of(packs, lost.name) if is_part else [f"b3-{lost.name.hex()}"]
        assert expected
        resealed(pack, [(p, bytes_, p) for p, bytes_ in zip(places, stored, strict=True) if p is not lost], db)
        db.execute("DELETE FROM recipes WHERE recipe = ?", (lost.name,))
    elif how == "exchange":
        pack = max(packs, key=lambda path: len(records(path)[0]))
        places, stored = records(pack)
        one, two = data.draw(st.lists(st.integers(0, len(places) - 1), min_size=2, max_size=2, unique=True))
        order = list(range(len(places)))
        order[one], order[two] = two, one
        resealed(pack, [(place, stored[k], places[k]) for place, k in zip(places, order, strict=True)], db)
        expected = [f"b3-{places[k].name.hex()}" for k in (one, two)]
    else:
        table = data.draw(st.sampled_from(["packs", "objects", "recipes"]))
        rows: list[Any] = db.execute(f"SELECT * FROM {table}").fetchall()
        row = data.draw(st.sampled_from(rows))
        columns: list[Any] = db.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
        where = " AND ".join(f"{name} = ?" for (name,) in columns)
        within: list[Any] = db.execute("SELECT name FROM objects WHERE pack = ?", (row[0],)).fetchall()
        expected = [pack_or_object(table, row)]
        if how == "unrow":
            db.execute(f"DELETE FROM {table} WHERE {where}", row)
        else:
            column = data.draw(st.integers(0, len(row) - 1))
            value = row[column] + 1_000_003 if isinstance(row[column], int) else bytes(reversed(row[column]))
            db.execute(f"UPDATE {table} SET {columns[column][0]} = ? WHERE {where}", (value, *row))
            if table == "packs" and column == 0:  # its number: the pack is as it was, its objects have lost their place
                expected = [f"b3-{name.hex()}" for (name,) in within]
    db.close()
    found = scene.verify()
    assert found.answer == "no"
    assert all(names(found, what) for what in expected), (how, expected, found.findings)


def pack_or_object(table: str, row: tuple[Any, ...]) -> str:
    if table != "packs":
        return f"b3-{row[0].hex()}"
    raw = row[1].startswith(b"raw/") and len(row[1]) == 36
    return f"objects/raw/{row[1][4:].hex()}" if raw else f"objects/packs/{row[1].hex()}.pack"


def forge(scene: Scene, path: Path, true: bytes) -> None:
    """Write a row of the stat cache that says a file has the content `true`, as well as he can without the key."""
    row = [(s := path.stat()).st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns]
    db = scene.database("objects/stat.db")
    mark = blake3(struct.pack("<5q", *row) + true).digest(16)
    db.execute("INSERT OR REPLACE INTO marked_files VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, true, mark))
    db.close()


def test_a_model_that_is_laid_out_is_no_other_one_because_the_stat_cache_says_so(scene: Scene) -> None:
    scene.put()
    (code,) = scene.store.glob("tmp/models/*/code/score.py")
    true = blake3(code.read_bytes()).digest()
    code.chmod(0o644)
    code.write_text(code.read_text().replace("slope * row", "1000 * row"))
    forge(scene, code, true)
    with scene.built.open() as workspace:
        (answered,) = predict(workspace, "line@champion", [{"x": 4.0}], caller="a customer").outputs
    assert [*answered.values()] == [scene.built.output]


def test_a_changed_file_is_no_unchanged_one_because_the_stat_cache_says_so(scene: Scene) -> None:
    scene.put()
    path = scene.built.root / "data" / "more.csv"
    before = path.read_bytes()
    path.write_text("x,y\n9,9\n9,9\n")
    try:
        forge(scene, path, blake3(before).digest())
        found = scene.verify()
        assert found.answer == "no"
        assert names(found, "objects/stat.db")
        assert any(str(path.stat().st_ino) in f.message for f in found.findings), found.findings
        with scene.built.open() as workspace:
            (added,) = add(workspace, [path])
            assert workspace.objects.get(added.content) == path.read_bytes()
    finally:
        path.write_bytes(before)


def test_a_row_of_the_stat_cache_is_believed_for_no_other_file(scene: Scene) -> None:
    """He copies rows that were marked with the key to the names of other files, and to other content."""
    scene.put()
    with scene.built.open() as workspace:
        key = workspace.state.cache_key if workspace.state is not None else None
    assert key is not None
    cache = StatCache(scene.store / "objects" / "stat.db", key)
    paths = [scene.built.root / "large.bin", scene.built.root / "data" / "more.csv"]
    stats = [path.stat() for path in paths]
    long_after = max(s.st_ctime_ns for s in stats) + 10**11
    cache.remember([(s, blake3(path.read_bytes()).digest()) for s, path in zip(stats, paths, strict=True)], long_after)
    assert len(cache.lookup(stats)) == 2
    db = scene.database("objects/stat.db")
    marks: list[Any] = db.execute("SELECT name, mark FROM marked_files ORDER BY size").fetchall()
    assert len(marks) == 2
    db.execute("UPDATE marked_files SET name = ?, mark = ? WHERE name = ?", (*marks[0], marks[1][0]))
    db.close()
    assert len(cache.lookup(stats)) == 1
    cache.close()
    assert names(scene.verify(), "objects/stat.db")


# The index of tables' keys


def _entries(db: apsw.Connection) -> dict[int, bytes]:
    rows: list[Any] = db.execute("SELECT id, entries FROM buckets").fetchall()
    return dict(rows)


def _forget(db: apsw.Connection, old: dict[int, bytes]) -> None:
    for place, entries in _entries(db).items():
        db.execute("UPDATE buckets SET entries = ? WHERE id = ?", (entries[32:], place))


def _misplace(db: apsw.Connection, old: dict[int, bytes]) -> None:
    for place, entries in _entries(db).items():
        parts = [entries[i : i + 32] for i in range(0, len(entries), 32)]
        turned = b"".join(a[:16] + b[16:] for a, b in zip(parts, [*parts[1:], parts[0]], strict=True))
        db.execute("UPDATE buckets SET entries = ? WHERE id = ?", (turned, place))


def _put_back(db: apsw.Connection, old: dict[int, bytes]) -> None:
    db.executemany("UPDATE buckets SET entries = ? WHERE id = ?", [(entries, place) for place, entries in old.items()])


def _forget_and_say_so(db: apsw.Connection, old: dict[int, bytes]) -> None:
    """He makes the digests again, without the key."""
    _forget(db, old)
    (entries,) = _entries(db).values()
    digest = blake3(entries).digest(16)
    db.execute("UPDATE marked_lines SET digests = ?, mark = ?", (digest, blake3(digest).digest(16)))


def _come_further(db: apsw.Connection, old: dict[int, bytes]) -> None:
    db.execute("UPDATE marked_lines SET size = size + 1")


def _forget_all(db: apsw.Connection, old: dict[int, bytes]) -> None:
    db.execute("DELETE FROM buckets")


def _undo_what_is_written(db: apsw.Connection, old: dict[int, bytes]) -> None:
    db.execute("CREATE TRIGGER t AFTER INSERT ON buckets BEGIN DELETE FROM buckets; END; DELETE FROM buckets")


@pytest.mark.parametrize(
    "lie", [_forget, _misplace, _put_back, _forget_and_say_so, _come_further, _forget_all, _undo_what_is_written]
)
def test_no_change_of_a_table_rests_on_an_edited_index(
    tmp_path: Path, lie: Callable[[apsw.Connection, dict[int, bytes]], None]
) -> None:
    root, state = tmp_path / "project", tmp_path / "state"
    init(root, state, FixedClock(), agent="somebody")
    how = How(verb="put")
    with open_workspace(root, state, FixedClock(), agent="somebody") as workspace:
        rows = [{"id": i, "n": 0} for i in range(6)]
        table_change.create(workspace, "t", ["id"], source=rows)
        table_change.update(workspace, "t", "3", {"n": 1}, how=how)
        db = apsw.Connection(str(root / ".retrodict" / "tables.db"))
        before = _entries(db)
        table_change.update(workspace, "t", "3", {"n": 2}, how=how)
        table_read.history(workspace, "t", "3")  # takes in the last change
        assert not names(verify(workspace), "tables.db")
        lie(db, before)
        db.close()
        assert names(verify(workspace), "tables.db")
        with pytest.raises(NoSuchRecordError):
            folding.append(workspace, table_named(workspace, "t"), [Change(op="create", values={"id": 3})], how)
        table_change.update(workspace, "t", "3", {"n": 3}, how=how)
        history = table_read.history(workspace, "t", "3").changes
        assert [(change.version, change.op) for change in history] == [
            (1, "create"),
            (2, "update"),
            (3, "update"),
            (4, "update"),
        ]
        assert table_read.read(workspace, "t").num_rows == 6
        assert not names(verify(workspace), "tables.db")


# Views


_OTHERS = {"INTEGER": 1_000_003, "REAL": 1.5, "TEXT": "x", "BLOB": b"\x01"}


def changed(value: Any, kind: str) -> object:
    """Return another value that a column of this type may hold."""
    return _OTHERS[kind] if value is None else value + _OTHERS[kind]


@SAMPLES
@given(data=st.data())
def test_a_view_that_is_edited_is_named(scene: Scene, data: st.DataObject) -> None:
    scene.put()
    db = scene.database("views.db")
    schema: list[Any] = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    table = data.draw(st.sampled_from([name for (name,) in schema if db.execute(f"SELECT 1 FROM {name}").fetchall()]))
    columns: list[Any] = db.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall()
    rows: list[Any] = db.execute(f"SELECT * FROM {table}").fetchall()
    row = data.draw(st.sampled_from(rows))
    how = data.draw(st.sampled_from(["change", "delete", "insert"]))
    where = " AND ".join(f'"{name}" IS ?' for name, _ in columns)
    values = [changed(value, kind) for value, (_, kind) in zip(row, columns, strict=True)]
    k = data.draw(st.integers(0, len(row) - 1))
    if how == "insert":
        db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)
    elif how == "change":
        db.execute(f'UPDATE {table} SET "{columns[k][0]}" = ? WHERE {where}', (values[k], *row))
    else:
        db.execute(f"DELETE FROM {table} WHERE {where}", row)
    db.close()
    found = scene.verify()
    if (table, how, columns[k][0]) == ("views_meta", "change", "version"):
        # Not read any more: as after an update, whoever reads folds it anew.
        assert ("note", f"view views_meta row {row[0]}") in [(f.level, f.what) for f in found.findings]
        return
    assert found.answer == "no"
    assert names(found, f"view {table} row"), (how, found.findings)


def test_views_that_claim_to_end_earlier_are_named(scene: Scene) -> None:
    """He gives the leaf hash of the entry that he names as the last one, as somebody who knows the format would."""
    scene.put()
    ledger, db = scene.database("ledger.db"), scene.database("views.db")
    [(leaf,)] = ledger.execute("SELECT leaf FROM entries WHERE idx = 4").fetchall()
    db.execute("UPDATE views_meta SET applied = 5, leaf = ? WHERE projection = 'provenance'", (leaf,))
    for connection in (ledger, db):
        connection.close()
    found = scene.verify()
    assert found.answer == "no"
    assert names(found, "view provenance_events row")


@pytest.mark.parametrize("index", [2**40, 2**53, 2**62])
def test_views_that_claim_an_entry_far_away_do_not_keep_verify_busy_for_ever(scene: Scene, index: int) -> None:
    scene.put()
    ledger, db = scene.database("ledger.db"), scene.database("views.db")
    [(last, leaf)] = ledger.execute("SELECT idx, leaf FROM entries ORDER BY idx DESC LIMIT 1").fetchall()
    ledger.execute("UPDATE entries SET idx = ? WHERE idx = ?", (index, last))
    db.execute("UPDATE views_meta SET applied = ?, leaf = ?", (index + 1, leaf))
    for connection in (ledger, db):
        connection.close()
    found = scene.verify()
    assert found.answer == "no"
    assert names(found, f"entry {last}")
    assert names(found, f"entry {index}")


# Keys


@SAMPLES
@given(data=st.data())
def test_keys_that_are_gone_or_exchanged_are_named(scene: Scene, data: st.DataObject) -> None:
    scene.put()
    db = scene.database("keys.db")
    table, name = data.draw(st.sampled_from([("keys", "id"), ("pseudonyms", "pseudonym")]))
    rows: list[Any] = db.execute(f"SELECT {name}, wrapped FROM {table} ORDER BY {name}").fetchall()
    (one, first), (two, second) = data.draw(st.lists(st.sampled_from(rows), min_size=2, max_size=2, unique=True))
    if data.draw(st.booleans()):
        db.execute(f"UPDATE {table} SET wrapped = ? WHERE {name} = ?", (second, one))
        db.execute(f"UPDATE {table} SET wrapped = ? WHERE {name} = ?", (first, two))
        expected = [f"keys.db: {one}", f"keys.db: {two}"]
    else:
        db.execute(f"DELETE FROM {table} WHERE {name} = ?", (one,))
        ledger = scene.database("ledger.db")
        kind = f'"{one}"'.encode()
        naming = [k for k, (_, _, entry) in enumerate(entries(ledger)) if kind in entry]
        if table == "pseudonyms":
            naming = [k for k in naming if b'"kind":"agent.named"' in entries(ledger)[k][2]]
        ledger.close()
        expected = [f"entry {k}" for k in naming]
        assert expected
    db.close()
    found = scene.verify()
    assert found.answer == "no"
    assert all(names(found, what) for what in expected), (expected, found.findings)


@pytest.mark.parametrize("how", ["swap", "delete"])
def test_a_person_who_would_not_be_forgotten_is_named(tmp_path: Path, how: str) -> None:
    """With another's key in their row, `forget` would destroy that, and say that theirs is gone."""
    with make_people(tmp_path) as workspace:
        Service(workspace).predict("score", question(("ann", 30, "Rome"), ("bob", 40, "Oslo")))
        publish(workspace)
        assert verify(workspace).answer == "yes"
        db = apsw.Connection(str(workspace.folder / "keys.db"))
        rows: list[Any] = db.execute("SELECT subject, key FROM subjects ORDER BY subject").fetchall()
        (one, first), (two, second) = rows
        if how == "swap":
            db.execute("UPDATE subjects SET key = 'aside' WHERE subject = ?", (one,))
            db.execute("UPDATE subjects SET key = ? WHERE subject = ?", (first, two))
            db.execute("UPDATE subjects SET key = ? WHERE subject = ?", (second, one))
        else:
            db.execute("DELETE FROM subjects")
        db.close()
        found = verify(workspace)
    assert found.answer == "no"
    assert names(found, f"keys.db: {one}")
    assert names(found, f"keys.db: {two}")


def test_a_key_that_is_disguised_as_another_clone_s_is_noted(scene: Scene) -> None:
    """A store that was copied holds such rows rightfully, so that it is counted, and no alteration."""
    scene.put()
    db = scene.database("keys.db")
    db.execute("UPDATE keys SET holder = zeroblob(32), wrapped = zeroblob(60) WHERE id = (SELECT min(id) FROM keys)")
    db.close()
    assert ("note", "keys.db") in [(f.level, f.what) for f in scene.verify().findings]


# An old store


@pytest.mark.parametrize("part", ["ledger.db", "objects", "keys.db", "all"])
def test_an_old_store_or_a_part_of_it_that_is_put_back_is_named(scene: Scene, part: str) -> None:
    scene.put()
    if part == "all":
        shutil.rmtree(scene.store)
        shutil.copytree(scene.old, scene.store)
    elif part == "objects":
        shutil.rmtree(scene.store / part)
        shutil.copytree(scene.old / part, scene.store / part)
    else:
        replace_database(scene.old / part, scene.store / part)
    found = scene.verify()
    old, new = decode_checkpoint(scene.old_note).size, decode_checkpoint(scene.note).size
    assert found.answer == "no"
    if part in ("ledger.db", "all"):
        assert names(found, f"entries {old}-{new - 1}")
        assert any(
            f.what == f"entries {old}-{new - 1}" and f"{new} entries were signed" in f.message for f in found.findings
        )
    elif part == "objects":
        assert names(found, f"b3-{blake3((scene.built.root / 'data/more.csv').read_bytes()).hexdigest()}")
    else:
        assert any(names(found, f"entry {k}") for k in range(old, new))


def test_old_views_are_only_behind_and_tell_no_lie(scene: Scene) -> None:
    scene.put()
    with scene.built.open() as workspace:
        true = workspace.views.digest()
    scene.put()
    replace_database(scene.old / "views.db", scene.store / "views.db")
    assert scene.verify().answer == "yes"
    with scene.built.open() as workspace:
        assert workspace.views.digest() == true


def replace_database(source: Path, target: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
        if source.with_name(source.name + suffix).exists():
            shutil.copy(source.with_name(source.name + suffix), target.with_name(target.name + suffix))


# Whoever holds the key too


@pytest.mark.parametrize("witnessed", ["kept", "dropped"])
def test_a_new_key_with_a_history_of_its_own_is_caught_by_every_anchor_kept_elsewhere(
    scene: Scene, witnessed: str
) -> None:
    """He writes the state directory too: all that is here agrees, and what others hold does not."""
    scene.put()
    db = scene.database("ledger.db")
    rows = entries(db)
    rows[3] = rewritten(rows[3], at="2001-01-01T00:00:00.000000000Z")
    if witnessed == "dropped":
        rows = [
            rewritten(row, kind="thing.happened", body={}) if b'"kind":"checkpoint.witnessed"' in row[2] else row
            for row in rows
        ]
    note = another_checkpoint(scene, derive(db, rows))
    db.execute("UPDATE checkpoint SET note = ?", (note,))
    db.close()
    for path in scene.store.glob("views.db*"):
        path.unlink()
    (folder,) = scene.built.state.iterdir()
    (folder / "checkpoint").write_bytes(note)
    (folder / "signing.key").write_text(LogSigner(decode_checkpoint(note).origin, b"\x07" * 32).secret_text + "\n")
    assert scene.verify().answer == "yes"  # this is what anchors elsewhere are for
    assert names(scene.verify(key=scene.key), "checkpoint")
    assert names(scene.verify(since=scene.note), "checkpoint given")
    found = scene.verify(witnesses=[scene.witness])
    cosigned = "checkpoint cosigned by" if witnessed == "kept" else "cosignature by"
    assert names(found, cosigned)
    for options in ({"key": scene.key}, {"since": scene.note}, {"witnesses": [scene.witness]}):
        assert scene.verify(**options).answer == "no"


@pytest.fixture
def copy(scene: Scene, tmp_path: Path) -> Iterator[Path]:
    scene.put()
    shutil.copytree(scene.built.root, tmp_path / "copy")
    yield tmp_path / "copy"
    scene.put()


def test_a_copy_is_refused_at_its_first_write_while_the_original_stands(scene: Scene, copy: Path) -> None:
    with (
        open_workspace(copy, scene.built.state, FixedClock(), agent="Ada") as workspace,
        pytest.raises(CopiedWorkspaceError),
    ):
        add(workspace, [copy / "data" / "points.csv"], reason="here too")


def test_two_histories_of_one_log_are_named_by_the_checkpoint_of_the_other(
    scene: Scene, copy: Path, tmp_path: Path
) -> None:
    """Both were made to write, with the state directory copied, too: only who has seen both can tell."""
    shutil.copytree(scene.built.state, tmp_path / "state")
    (folder,) = (tmp_path / "state").iterdir()
    place = json.loads((folder / "place").read_text())
    here = (copy / ".retrodict").stat()
    place.update(path=str((copy / ".retrodict").resolve()), device=here.st_dev, inode=here.st_ino)
    (folder / "place").write_text(json.dumps(place))

    def write(root: Path, state: Path, text: str) -> bytes:
        (root / "data" / "points.csv").write_text(text)
        with open_workspace(root, state, FixedClock(), agent="Ada") as workspace:
            add(workspace, [root / "data" / "points.csv"], reason=text)
            publish(workspace)
            note = workspace.ledger.checkpoint()
            assert note is not None
            assert verify(workspace).answer == "yes"
            return note

    theirs = write(copy, tmp_path / "state", "x,y\n9,9\n")
    points = (scene.built.root / "data" / "points.csv").read_text()
    ours = write(scene.built.root, scene.built.state, "x,y\n8,8\n")
    (scene.built.root / "data" / "points.csv").write_text(points)
    found = scene.verify(since=theirs)
    assert found.answer == "no"
    assert names(found, "checkpoint given")
    with open_workspace(copy, tmp_path / "state", FixedClock(), read_only=True) as workspace:
        found = verify(workspace, since=ours)
    assert found.answer == "no"
    assert names(found, "checkpoint given")
