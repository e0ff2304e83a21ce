"""Views: folding in any steps gives what folding at once gives; whatever is changed is found and named."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrodict.kernel.errors import MissingObjectError, ReadOnlyStoreError
from retrodict.kernel.types import Digest, Event, EventId
from retrodict.ledger import Ledger, Sequenced
from retrodict.views import MalformedProjectionError, UnfoldableEntryError, Views, views


class Clock:
    """A clock that ticks, and a source of numbers."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._ns = 1_700_000_000_000_000_000

    def now_ns(self) -> int:
        self._ns += 1000
        return self._ns

    def random_bytes(self, n: int) -> bytes:
        return self._random.randbytes(n)


class Words:
    """Counts words, keeps the last text by name: rows are inserted, updated and deleted."""

    name = "words"
    version = 1
    tables: Mapping[str, str] = {
        "words_counts": "CREATE TABLE words_counts (word TEXT PRIMARY KEY, n INTEGER NOT NULL, raw BLOB) WITHOUT ROWID",
        "words_last": "CREATE TABLE words_last (name TEXT, part INTEGER, text TEXT, PRIMARY KEY (name, part))",
    }
    indexes: Sequence[str] = ("CREATE INDEX words_by_count ON words_counts (n)",)

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        match entry.event.body:
            case {"say": str(word)}:
                db.execute(
                    "INSERT INTO words_counts VALUES (?1, 1, ?2) ON CONFLICT DO UPDATE SET n = n + 1, raw = ?2",
                    (word, word.encode() if len(word) % 2 else None),
                )
            case {"forget": str(word)}:
                db.execute("DELETE FROM words_counts WHERE word = ?", (word,))
            case {"set": [str(name), int(part), text]}:
                db.execute("INSERT OR REPLACE INTO words_last VALUES (?, ?, ?)", (name, part, text))


class Entries:
    """Every entry."""

    name = "entries"
    version = 3
    tables: Mapping[str, str] = {"entries_all": "CREATE TABLE entries_all (n INTEGER PRIMARY KEY, id TEXT NOT NULL)"}
    indexes: Sequence[str] = ()

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        db.execute("INSERT INTO entries_all VALUES (?, ?)", (entry.index, entry.event.id))


PROJECTIONS = (Words(), Entries())


def no_blob(digest: Digest) -> bytes:
    raise MissingObjectError(digest)


def event(number: int, body: Mapping[str, object]) -> Event:
    return Event(
        id=EventId(f"01936b00-0000-7000-8000-{number:012x}"),
        kind="word.said",
        at="2026-11-24T00:00:00.000000000Z",
        agent="a",
        uses=(),
        makes=(),
        body=body,
    )


WORDS = st.sampled_from(["a", "bb", "ccc", "é", ""])
BODIES = st.one_of(
    st.fixed_dictionaries({"say": WORDS}),
    st.fixed_dictionaries({"forget": WORDS}),
    st.fixed_dictionaries({"set": st.tuples(WORDS, st.integers(0, 2), st.none() | WORDS).map(list)}),
)


def fill(ledger: Ledger, n: int, seed: int = 0) -> None:
    """Append n events to what there is."""
    rng, start = random.Random(seed), ledger.size()
    bodies: list[dict[str, object]] = [
        rng.choice([{"say": f"w{rng.randrange(40)}"}, {"set": [f"n{rng.randrange(20)}", 1, "text"]}]) for _ in range(n)
    ]
    ledger.append([event(start + i, body) for i, body in enumerate(bodies)])


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.create(tmp_path / "ledger.db", "example.org/log", Clock())
    yield ledger
    ledger.close()


def opened(ledger: Ledger, path: Path, *, read_only: bool = False) -> Views:
    return Views.open(path, ledger, no_blob, PROJECTIONS, read_only=read_only)


def rebuilt_digest(ledger: Ledger, folder: Path) -> str:
    views = opened(ledger, folder / f"rebuilt-{os.urandom(4).hex()}.db")
    try:
        return views.digest()
    finally:
        views.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(BODIES, max_size=60), st.lists(st.integers(1, 20), max_size=8), st.integers(1, 16))
def test_folding_in_any_steps_gives_the_rows_of_folding_at_once(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[dict[str, object]], steps: list[int], batch: int
) -> None:
    folder = tmp_path_factory.mktemp("views")
    ledger = Ledger.create(folder / "ledger.db", "example.org/log", Clock())
    events = [event(i, body) for i, body in enumerate(bodies)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "BATCH", batch)
        ours = opened(ledger, folder / "views.db")
        for step in steps:
            ledger.append(events[:step])
            events = events[step:]
            ours.database()
        ledger.append(events)
        assert ours.digest() == rebuilt_digest(ledger, folder)
        assert list(ours.verify()) == []
        before = ours.digest()
        ours.rebuild()
        assert ours.digest() == before
    ours.close()
    ledger.close()


CELLS = ["words_counts", "words_last", "entries_all", "views_meta"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_changed_cell_is_found_and_its_row_is_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("views")
    ledger = Ledger.create(folder / "ledger.db", "example.org/log", Clock())
    fill(ledger, 60)
    ours = opened(ledger, folder / "views.db")
    ours.database()
    db = apsw.Connection(str(folder / "views.db"))
    table = data.draw(st.sampled_from(CELLS))
    columns = db.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
    keys = [name for name, pk in columns if pk]
    rows = db.execute(f"SELECT {', '.join(map(str, keys))} FROM {table} ORDER BY 1").fetchall()
    row = data.draw(st.sampled_from(rows))
    where = " AND ".join(f"{key} = ?" for key in keys)
    column = data.draw(st.sampled_from([str(name) for name, _ in columns]))
    value = data.draw(st.sampled_from([7, "x", b"x", 2**40, "w1\0", b"\xff"]))
    try:
        db.execute(f"UPDATE OR FAIL {table} SET {column} = ? WHERE {where}", (value, *row))
    except (apsw.ConstraintError, apsw.MismatchError):
        return  # the schema itself refuses it
    db.close()
    findings = list(ours.verify())
    name = ", ".join(map(str, row))
    assert any(finding.what == f"view {table} row {name}" for finding in findings), findings
    if column != "version":  # a view of another release is no lie: it is rebuilt
        assert any(finding.level == "altered" for finding in findings)
    ours.rebuild()
    assert list(opened(ledger, folder / "views.db").verify()) == []
    ours.close()
    ledger.close()


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("DELETE FROM words_last WHERE name = 'n3'", "view words_last row n3, 1"),
        ("INSERT INTO entries_all VALUES (1000, 'x')", "view entries_all row 1000"),
        ("DROP INDEX words_by_count", "view words_by_count"),
        ("DROP TABLE words_last", "view words_last"),
        ("CREATE TABLE planted (x)", "view planted"),
        ("CREATE VIEW planted AS SELECT 1", "view planted"),
        ("DELETE FROM views_meta WHERE projection = 'words'", "view views_meta row words"),
        ("DROP TABLE views_meta", "view views_meta"),
        ("UPDATE words_last SET text = CAST(x'ff' AS TEXT) WHERE name = 'n3'", "view words_last row n3, 1"),
    ],
)
def test_what_is_missing_or_planted_is_named_and_the_next_use_heals_the_schema(
    ledger: Ledger, tmp_path: Path, sql: str, named: str
) -> None:
    fill(ledger, 100)
    first = opened(ledger, tmp_path / "views.db")
    first.database()
    first.close()
    db = apsw.Connection(str(tmp_path / "views.db"))
    db.execute(sql)
    db.close()
    ours = opened(ledger, tmp_path / "views.db")
    assert named in [finding.what for finding in ours.verify() if finding.level == "altered"]
    fill(ledger, 1)
    ours.database()
    if "ROP" in sql or "planted" in sql or "meta" in sql:
        assert ours.digest() == rebuilt_digest(ledger, tmp_path)
    ours.close()


def _overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


@pytest.mark.parametrize(
    ("start", "data"), [(0, b"garbage"), (0, b"\0" * 8192), (100, os.urandom(2000)), (4096, b"\xff" * 4096)]
)
def test_a_damaged_file_is_named_and_rebuilt(ledger: Ledger, tmp_path: Path, start: int, data: bytes) -> None:
    fill(ledger, 500)
    first = opened(ledger, tmp_path / "views.db")
    digest = first.digest()
    first.close()
    _overwrite(tmp_path / "views.db", start, data)
    ours = opened(ledger, tmp_path / "views.db")
    assert any(f.level == "altered" and "views.db" in f.message for f in ours.verify())
    ours.database()
    fill(ledger, 1)  # something to fold, so that the damage is met
    ours.database()
    if ours.digest() != rebuilt_digest(ledger, tmp_path):
        ours.rebuild()  # damage in rows is for `verify` to find
    assert ours.digest() == rebuilt_digest(ledger, tmp_path) != digest
    assert list(opened(ledger, tmp_path / "views.db").verify()) == []
    ours.close()


def test_an_empty_and_a_truncated_file_are_rebuilt(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 500)
    path = tmp_path / "views.db"
    for size in (0, 1, 4096, 10_000):
        ours = opened(ledger, path)
        digest = ours.digest()
        ours.close()
        os.truncate(path, size)
        ours = opened(ledger, path)
        assert ours.digest() == digest
        ours.close()


def test_a_shorter_log_and_another_log_are_folded_anew(tmp_path: Path) -> None:
    long, short, other = (
        Ledger.create(tmp_path / name, f"example.org/{name}", Clock(seed))
        for seed, name in enumerate(["long", "short", "other"])
    )
    fill(long, 50)
    fill(other, 50, seed=9)
    short.append([long.event(i).event for i in range(20)])
    path = tmp_path / "views.db"
    for ledger in (long, short, other, long):
        ours = opened(ledger, path)
        assert ours.digest() == rebuilt_digest(ledger, tmp_path)
        assert list(ours.verify()) == []
        ours.close()
    for ledger in (long, short, other):
        ledger.close()


class WordsUppercase(Words):
    version = 2

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        match entry.event.body:
            case {"say": str(word)}:
                db.execute("INSERT OR REPLACE INTO words_counts VALUES (?, 1, NULL)", (word.upper(),))


class WordsWithoutIndex(Words):
    indexes = ()


@pytest.mark.parametrize("words", [WordsUppercase(), WordsWithoutIndex(), None])
def test_a_changed_projection_is_folded_anew_and_one_that_is_gone_is_dropped(
    ledger: Ledger, tmp_path: Path, words: Words | None
) -> None:
    fill(ledger, 100)
    first = opened(ledger, tmp_path / "views.db")
    first.database()
    first.close()
    projections = (Entries(),) if words is None else (words, Entries())
    changed = Views.open(tmp_path / "views.db", ledger, no_blob, projections)
    fresh = Views.open(tmp_path / "fresh.db", ledger, no_blob, projections)
    assert changed.digest() == fresh.digest()
    assert list(changed.verify()) == []
    changed.close()
    fresh.close()


def test_a_read_only_view_is_used_where_it_is_level_and_else_a_private_copy(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 50)
    path = tmp_path / "views.db"
    reader = opened(ledger, path, read_only=True)
    assert reader.digest() == rebuilt_digest(ledger, tmp_path)
    assert not path.exists()
    reader.close()
    writer = opened(ledger, path)
    writer.database()
    reader = opened(ledger, path, read_only=True)
    assert reader.digest() == writer.digest()
    fill(ledger, 50)
    assert reader.digest() == rebuilt_digest(ledger, tmp_path)
    before = path.read_bytes()
    assert reader.database().execute("SELECT count(*) FROM entries_all").fetchall() == [(100,)]
    assert path.read_bytes() == before
    with pytest.raises(ReadOnlyStoreError):
        reader.rebuild()
    reader.close()
    writer.close()


def test_what_is_level_is_read_while_somebody_else_writes(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 20)
    path = tmp_path / "views.db"
    opened(ledger, path).digest()
    writer = apsw.Connection(str(path))
    writer.execute("BEGIN IMMEDIATE")
    ours = opened(ledger, path)
    assert ours.digest() == rebuilt_digest(ledger, tmp_path)
    ours.close()
    writer.close()


SCRIPT = """
import os, sys
sys.path.insert(0, {tests!r})
from test_views import *
os.setuid(65534)
ledger = Ledger.open(Path({folder!r}) / "ledger.db", Clock(), read_only=True)
for read_only in (True, False):
    ours = opened(ledger, Path({folder!r}) / "views.db", read_only=read_only)
    print(ours.digest(), [f.what for f in ours.verify()])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
@pytest.mark.parametrize("behind", [False, True])
def test_where_nothing_can_be_written_everything_that_reads_works(
    tmp_path_factory: pytest.TempPathFactory, behind: bool
) -> None:
    folder = tmp_path_factory.mktemp("store")
    for parent in (folder, *folder.parents):
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    ledger = Ledger.create(folder / "ledger.db", "example.org/log", Clock())
    fill(ledger, 50)
    ours = opened(ledger, folder / "views.db")
    ours.database()
    ours.close()
    if behind:
        fill(ledger, 50)
    expected = rebuilt_digest(ledger, folder)
    ledger.close()
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder))
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.stdout.splitlines() == [f"{expected} []"] * 2, ran.stderr


FOLDER = """
import sys
sys.path.insert(0, {tests!r})
from test_views import *
ledger = Ledger.open(Path({folder!r}) / "ledger.db", Clock())
ours = opened(ledger, Path({folder!r}) / "views.db")
for i in range(15):
    ledger.append([event(int(sys.argv[1]) * 1000 + i, {{"say": "w"}})])
    assert ours.database().execute("SELECT count(*) FROM entries_all").fetchall()[0][0] >= i
print(len(ours._damage))
"""


def test_processes_that_write_and_read_at_once_agree(ledger: Ledger, tmp_path: Path) -> None:
    script = FOLDER.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(n)], stdout=subprocess.PIPE, text=True) for n in range(1, 5)
    ]
    assert [process.communicate()[0].strip() for process in running] == ["0"] * 4
    ours = opened(ledger, tmp_path / "views.db")
    assert ours.database().execute("SELECT count(*) FROM entries_all").fetchall() == [(60,)]
    assert list(ours.verify()) == []
    ours.close()


def test_threads_read_while_the_log_grows(ledger: Ledger, tmp_path: Path) -> None:
    ours = opened(ledger, tmp_path / "views.db")
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(30):
                size = ledger.size()
                rows: list[Any] = ours.database().execute("SELECT count(*) FROM entries_all").fetchall()
                assert rows[0][0] >= size
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        fill(ledger, 3)
    for thread in threads:
        thread.join()
    assert failures == []
    ours.close()


def test_views_cannot_be_written_through_what_readers_get(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 5)
    ours = opened(ledger, tmp_path / "views.db")
    with pytest.raises(apsw.ReadOnlyError):
        ours.database().execute("DELETE FROM entries_all")
    ours.close()


class Fussy(Entries):
    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        super().apply(db, entry, blob)
        if entry.index == 7:
            raise KeyError("name")


def test_an_entry_that_breaks_its_layout_is_named_and_leaves_no_half_batch(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 20)
    ours = Views.open(tmp_path / "views.db", ledger, no_blob, [Fussy()])
    with pytest.raises(UnfoldableEntryError, match=r"entry 7 \(word.said\).*view entries"):
        ours.database()
    assert apsw.Connection(str(tmp_path / "views.db")).execute("SELECT count(*) FROM sqlite_schema").fetchall() == [
        (0,)
    ]
    ours.close()


def test_an_altered_entry_does_not_stop_the_check(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 20)
    ours = opened(ledger, tmp_path / "views.db")
    ours.database()
    db = apsw.Connection(str(tmp_path / "ledger.db"))
    db.execute("UPDATE entries SET data = CAST(CAST(data AS TEXT) || ' ' AS BLOB) WHERE idx = 3")
    db.close()
    assert [(f.level, "entry 3" in f.message) for f in ours.verify()] == [("note", True)]
    ours.close()


@pytest.mark.parametrize(
    ("tables", "indexes"),
    [
        ({"other_table": "CREATE TABLE other_table (x INTEGER PRIMARY KEY)"}, ()),
        ({"entries_x": "CREATE TABLE entries_x (x INTEGER)"}, ()),
        ({"entries_x": "CREATE TABLE entries_y (x INTEGER PRIMARY KEY)"}, ()),
        ({"entries_x": "CREATE TABLE entries_x (x INTEGER PRIMARY KEY"}, ()),
        ({}, ("CREATE INDEX i ON nothing (x)",)),
        ({}, ("CREATE INDEX i ON entries_x",)),
        ({"entries_x": "CREATE TABLE entries_x (x INTEGER PRIMARY KEY)"}, ("CREATE INDEX i ON entries_x (y)",)),
    ],
)
def test_a_projection_that_breaks_the_rules_is_refused(
    ledger: Ledger, tmp_path: Path, tables: Mapping[str, str], indexes: Sequence[str]
) -> None:
    broken = Entries()
    broken.tables, broken.indexes = tables, indexes
    with pytest.raises(MalformedProjectionError):
        Views.open(tmp_path / "views.db", ledger, no_blob, [broken]).database()
    with pytest.raises(MalformedProjectionError):
        Views.open(tmp_path / "views.db", ledger, no_blob, [Entries(), Entries()])
