"""Which record a key names now, without reading the table: an index that may be deleted at any time.

`tables.db` holds, for each line of each table, up to which change it has come and the digest of the changes before it,
and for each key its last change. A key stands there as a keyed hash of its values, so nothing in the file tells them
to who does not have the workspace's keys. It is a cache: made of the change log, begun anew where it does not fit it.

Keys lie in buckets, and the row of a line bears the digests of all of them and a mark over these and the rest of it,
made with a key that lies outside the store. So who can write the store can neither add, change, put back nor take away
the entry of a key without its bucket being another one than the line's row says, and then the line is begun anew. What
he can put back is the whole of a line as it once was, which is true of the changes up to there.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import apsw
from blake3 import blake3

from retrodict.kernel.types import Finding
from retrodict.objects.cachefile import MARKED_BY, CacheFile
from retrodict.objects.index import odd_schema, translate
from retrodict.streams.formats import rows
from retrodict.tables import lines
from retrodict.tables.errors import TableFoldError
from retrodict.tables.lines import DELETE, OFFSET, ROW, ChangeLog
from retrodict.tables.records import Column
from retrodict.workspace import Workspace, last_forgotten

FILE = "tables.db"
HASH_BYTES = 16
_ENTRY_BYTES = HASH_BYTES + 16  # the hash of a key, the row, and twice the last change, and one where it is alive
_STEP = 1 << 18  # changes that are read at once
_HELD = 1 << 21  # entries that are put into their buckets at once
_FILL, _FULL = 128, 512  # entries of a bucket when buckets are made, and on the average before there are made more
_MAX_BITS = 16
_FEW = 8  # entries that are looked for one by one
# Earlier, `lines` and `keys` held what no key had marked: nothing reads them any more.
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS marked_lines (
  id INTEGER PRIMARY KEY, stream TEXT NOT NULL, branch TEXT NOT NULL, stop INTEGER NOT NULL, root TEXT NOT NULL,
  key TEXT NOT NULL, size INTEGER NOT NULL, digests BLOB NOT NULL, mark BLOB NOT NULL, UNIQUE (stream, branch));
CREATE TABLE IF NOT EXISTS buckets (id INTEGER PRIMARY KEY, entries BLOB NOT NULL);
"""
    + MARKED_BY
)
_DAMAGES = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, UnicodeDecodeError)


class Found(NamedTuple):
    """The last change under a key, the record that it is of, and whether that is there still."""

    row: int
    last: int
    is_alive: bool


@dataclass(slots=True)
class _Line:
    """How far a line has been taken in; `digests` are its buckets', `size` is how many entries they have."""

    number: int
    stop: int
    size: int
    digests: bytearray

    @property
    def buckets(self) -> int:
        return len(self.digests) // HASH_BYTES

    @property
    def bits(self) -> int:
        return self.buckets.bit_length() - 1


class _EditedError(Exception):
    """A bucket is not as the key marked it."""


class KeyIndex(CacheFile):
    """The index of one workspace's tables. Closed with `with`."""

    called = "the index of keys"

    def __init__(self, workspace: Workspace) -> None:
        secret = None if workspace.state is None else workspace.state.cache_key
        super().__init__(
            workspace.folder / FILE,
            None if secret is None else hmac.digest(secret, b"retrodict tables marks", "sha256"),
            read_only=workspace.read_only,
        )
        self._workspace = workspace
        self._views = workspace.views
        # Another key than the marks': who may choose keys of records must not get marks made by it.
        secret = secret or workspace.clock.random_bytes(32)
        self._hash_key = hmac.digest(secret, b"retrodict tables keys", "sha256")
        self._mark_key = self._key or self._hash_key

    def __enter__(self) -> KeyIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settle(self, db: apsw.Connection) -> None:
        db.execute(_SCHEMA + "; DROP TABLE IF EXISTS keys; DROP TABLE IF EXISTS lines")
        self._take_over(db, ["buckets", "marked_lines"])

    def hashes(self, table: Any, key: Sequence[int]) -> list[bytes]:
        """Return the keyed hash of the key of each row of an Arrow table whose columns bear their ids.

        A record whose key is erased (which is null) is found under none.
        """
        kept = table.select([str(column) for column in key]).combine_chunks()
        texts = [text for batch in kept.to_batches() for text in rows(batch)]
        first = table[str(key[0])]
        if first.null_count and ROW in table.schema.names:
            found = zip(texts, first.is_null().to_pylist(), table[ROW].to_pylist(), strict=True)
            texts = [b"erased %d" % row if is_null else text for text, is_null, row in found]
        secret = self._hash_key
        return [blake3(text, key=secret).digest(HASH_BYTES) for text in texts]

    def found(self, log: ChangeLog, columns: Sequence[Column], hashes: Sequence[bytes]) -> list[Found | None]:
        """Return what is known of keys, as of the end of a line.

        Raises:
            UnavailableError: The index cannot be written, or is busy.
        """
        if self._read_only:
            db = apsw.Connection(":memory:")
            db.execute(_SCHEMA)
            return self._caught_up(db, log, columns, hashes)
        held = self._db
        assert held is not None
        try:
            try:
                found = self._looked_up(held, log, hashes)
                return self._caught_up(held, log, columns, hashes) if found is None else found
            except (*_DAMAGES, _EditedError):
                self._start_anew()
            held = self._db
            assert held is not None
            return self._caught_up(held, log, columns, hashes)
        except _EditedError as error:
            raise TableFoldError("the index of keys is changed while it is made") from error
        except apsw.Error as error:
            raise translate(error, self.path) from error

    def _looked_up(self, db: apsw.Connection, log: ChangeLog, hashes: Sequence[bytes]) -> list[Found | None] | None:
        """Return what is known of keys; None: changes have to be taken in before."""
        db.execute("BEGIN")  # all of it is read from one state of the file
        try:
            line = self._line(db, log)
            return None if line is None or line.stop != log.size else self._entries_of(db, line, hashes)
        except _EditedError:
            return None
        finally:
            db.execute("ROLLBACK")

    def _caught_up(
        self, db: apsw.Connection, log: ChangeLog, columns: Sequence[Column], hashes: Sequence[bytes]
    ) -> list[Found | None]:
        db.execute("BEGIN IMMEDIATE")
        try:
            line = self._line(db, log)
            try:
                line = self._catch_up(db, log, columns, line)
                found = self._entries_of(db, line, hashes)
            except _EditedError:
                line = self._catch_up(db, log, columns, None)
                found = self._entries_of(db, line, hashes)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite ends it by itself where the disk fails
                db.execute("ROLLBACK")
            raise
        return found

    def _line(self, db: apsw.Connection, log: ChangeLog) -> _Line | None:
        """Return how far a line has been taken in; None: not at all, or what is there does not fit it."""
        query = "SELECT * FROM marked_lines WHERE stream = ? AND branch = ?"
        row: Any = db.execute(query, (log.table.stream, log.branch)).fetchone()
        if row is None or not self._is_marked(row):
            return None
        number, _, _, stop, root, key, size, digests, _ = row
        if (
            stop > log.size
            or key != self._key_text(log)
            or (stop and lines.root_at(self._views.database(), log, stop) != root)
        ):
            return None
        return _Line(number=number, stop=stop, size=size, digests=bytearray(digests))

    def _key_text(self, log: ChangeLog) -> str:
        text = ",".join(map(str, log.table.key))
        if any(map(log.table.hides, log.table.key)):  # what was forgotten is found under its key no more
            text += f" after entry {last_forgotten(self._workspace)}"
        return text

    def _is_marked(self, row: Sequence[Any]) -> bool:
        try:
            return bool(self._mark(row[1:8]) == row[8])
        except TypeError:
            return False

    def _mark(self, columns: Sequence[Any]) -> bytes:
        *said, digests = columns
        return blake3(json.dumps(said).encode() + b"\0" + digests, key=self._mark_key).digest(HASH_BYTES)

    def _digest(self, entries: bytes) -> bytes:
        return blake3(entries, key=self._mark_key).digest(HASH_BYTES)

    def _bucket(self, db: apsw.Connection, line: _Line, number: int) -> bytes:
        row: Any = db.execute("SELECT entries FROM buckets WHERE id = ?", (_place(line.number, number),)).fetchone()
        entries = b"" if row is None else row[0]
        if not isinstance(entries, bytes) or self._digest(entries) != line.digests[_span(number)]:
            raise _EditedError
        return entries

    def _entries_of(self, db: apsw.Connection, line: _Line, hashes: Sequence[bytes]) -> list[Found | None]:
        buckets: dict[int, bytes] = {}
        found: list[Found | None] = []
        for hashed in hashes:
            number = _number(hashed, line.bits)
            if number not in buckets:
                buckets[number] = self._bucket(db, line, number)
            at = _at(buckets[number], hashed)
            if at < 0:
                found.append(None)
            else:
                numbers = buckets[number][at + HASH_BYTES : at + _ENTRY_BYTES]
                row, last = (int.from_bytes(numbers[i : i + 8], "little") for i in (0, 8))
                found.append(Found(row, last >> 1, bool(last & 1)))
        return found

    def _catch_up(self, db: apsw.Connection, log: ChangeLog, columns: Sequence[Column], line: _Line | None) -> _Line:
        """Take in what the line has more; of None: everything."""
        if line is None:
            line = self._begin(db, log)
        log = replace(log, seen=None)
        kept = [column for column in columns if column.id in log.table.key]
        held: list[bytes] = []
        while line.stop < log.size:
            stop = min(line.stop + _STEP, log.size)
            held += self._entries(lines.changes(log, line.stop, stop, kept, bare=True), log.table.key)
            line.stop = stop
            if len(held) >= _HELD or stop == log.size:
                self._put(db, line, held)
                held = []
                self._write(db, log, line)
        return line

    def _begin(self, db: apsw.Connection, log: ChangeLog) -> _Line:
        """Begin a line anew."""
        which = (log.table.stream, log.branch)
        there: Any = db.execute("SELECT id FROM marked_lines WHERE stream = ? AND branch = ?", which).fetchall()
        for (number,) in there:
            db.execute("DELETE FROM buckets WHERE id BETWEEN ? AND ?", (_place(number, 0), _place(number + 1, 0) - 1))
            db.execute("DELETE FROM marked_lines WHERE id = ?", (number,))
        most: Any = db.execute("SELECT coalesce(max(id), 0) FROM marked_lines").fetchone()
        line = _Line(number=most[0] + 1, stop=0, size=0, digests=bytearray(self._digest(b"")))
        self._write(db, log, line)
        return line

    def _write(self, db: apsw.Connection, log: ChangeLog, line: _Line) -> None:
        root = lines.root_at(self._views.database(), log, line.stop) if line.stop else ""
        said = (log.table.stream, log.branch, line.stop, root, self._key_text(log), line.size, bytes(line.digests))
        db.execute(
            "INSERT OR REPLACE INTO marked_lines VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (line.number, *said, self._mark(said)),
        )

    def _entries(self, found: Any, key: Sequence[int]) -> list[bytes]:
        """Return the entries of changes, in their order."""
        import pyarrow.compute as pc  # 57 ms, with pyarrow

        alive = pc.not_equal(found["_op"], DELETE).cast("int64")
        places = bytearray(16 * found.num_rows)
        view = memoryview(places).cast("q")
        view[0::2] = _numbers(found[ROW])
        view[1::2] = _numbers(pc.add(pc.multiply(found[OFFSET], 2), alive))
        hashes = self.hashes(found, key)
        return [hashed + places[i : i + 16] for hashed, i in zip(hashes, range(0, len(places), 16), strict=True)]

    def _put(self, db: apsw.Connection, line: _Line, entries: Iterable[bytes]) -> None:
        """Put entries into their buckets; a later one of a key takes the place of an earlier one."""
        entries = list(entries)
        before = line.buckets
        if line.size + len(entries) > _FULL * before and line.bits < _MAX_BITS:
            old = [entry for i in range(before) for entry in _cut(self._bucket(db, line, i), _ENTRY_BYTES)]
            entries = [*old, *entries]
            bits = min((len(entries) // _FILL).bit_length(), _MAX_BITS)
            db.execute(
                "DELETE FROM buckets WHERE id BETWEEN ? AND ?", (_place(line.number, 0), _place(line.number + 1, 0) - 1)
            )
            line.size, line.digests = 0, bytearray(self._digest(b"") * (1 << bits))
        gathered: dict[int, list[bytes]] = {}
        bits = line.bits
        for entry in entries:
            gathered.setdefault(_number(entry, bits), []).append(entry)
        made = []
        for number in sorted(gathered):
            there = self._bucket(db, line, number)
            kept = _merged(there, gathered[number])
            line.size += (len(kept) - len(there)) // _ENTRY_BYTES
            line.digests[_span(number)] = self._digest(kept)
            made.append((_place(line.number, number), kept))
        db.executemany("INSERT OR REPLACE INTO buckets VALUES (?, ?)", made)

    def _altered(self, message: str) -> Finding:
        return Finding(level="altered", what=FILE, message=message)

    def _verify(self, db: apsw.Connection) -> Iterator[Finding]:
        if odd := odd_schema(db, _SCHEMA):
            yield self._altered(f"its schema is not this format's: {', '.join(odd)}")
            return
        for finding in self._verify_marker(db, "marked_lines"):
            if finding is not None:
                yield finding
            elif self._key is not None:
                db.execute("BEGIN")  # all of it is read from one state of the file
                try:
                    yield from list(self._verify_lines(db))
                finally:
                    db.execute("ROLLBACK")

    def _verify_lines(self, db: apsw.Connection) -> Iterator[Finding]:
        rest = {row[0] for row in db.execute("SELECT id FROM buckets")}
        for row in db.execute("SELECT * FROM marked_lines").fetchall():
            what = f"the row of line {row[0]}, of the table with the stream {row[1]},"
            digests: Any = row[7]
            if not self._is_marked(row):
                yield self._altered(f"{what} is altered or forged (it is not believed)")
                digests = digests if isinstance(digests, bytes) else b""
            line = _Line(number=row[0], stop=0, size=0, digests=bytearray(digests))  # type: ignore[arg-type]
            for number in range(line.buckets):
                rest.discard(_place(line.number, number))
                try:
                    self._bucket(db, line, number)
                except _EditedError:
                    yield self._altered(f"bucket {number} of line {row[0]} is altered or forged (it is not believed)")
        for place in sorted(rest):
            yield self._altered(f"bucket {place} belongs to no line (it is not believed)")


def _place(line: int, bucket: int) -> int:
    return line << _MAX_BITS | bucket


def _span(bucket: int) -> slice:
    return slice(bucket * HASH_BYTES, (bucket + 1) * HASH_BYTES)


def _number(hashed: bytes, bits: int) -> int:
    return (hashed[0] << 8 | hashed[1]) >> (_MAX_BITS - bits)


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def _at(entries: bytes | bytearray, hashed: bytes) -> int:
    """Return where the entry of a key begins in a bucket; -1: nowhere."""
    at = entries.find(hashed)
    while at % _ENTRY_BYTES and at >= 0:
        at = entries.find(hashed, at + 1)
    return at


def _merged(old: bytes, entries: Sequence[bytes]) -> bytes:
    """Return a bucket with entries; one of a key that is there takes its place."""
    if len(entries) > _FEW:
        merged = {entry[:HASH_BYTES]: entry for entry in (*_cut(old, _ENTRY_BYTES), *entries)}
        return b"".join(merged.values())
    kept = bytearray(old)
    for entry in entries:
        at = _at(kept, entry[:HASH_BYTES])
        if at < 0:
            kept += entry
        else:
            kept[at : at + _ENTRY_BYTES] = entry
    return bytes(kept)


def _numbers(column: Any) -> memoryview:
    """Return a column of int64 without nulls, as its numbers lie in memory."""
    import pyarrow as pa  # 57 ms

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], pa.int64())
    data = memoryview(array.buffers()[1] or b"").cast("b").cast("q")
    return data[array.offset : array.offset + len(array)]
