"""The folder cache: what folders held that were added or looked at, so that unchanged ones cost their `stat`s alone.

A row is about the entries of one leaf of a folder's listing (`tree.py`): the stat data of each, by name, and the names
of their contents. It is believed as the stat cache's rows are (`statcache.py`): device, inode, size, mtime and ctime
must all be what they were, an entry that was changed just before it was read is written down as unknown, and a row
whose mark does not fit is nothing. The cache may be deleted at any time, and begins anew under another key.

Whether the contents are also *held* a row says by its epoch. The cache knows which packs there were; once one of them
is gone a new epoch begins, and what older rows say to be held is looked up again. An epoch is marked with its packs as
the rows are: who could forge it could have a pack that is gone believed to be there.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import apsw
from blake3 import blake3

from retrodict.kernel.types import Finding
from retrodict.objects.cachefile import MARKED_BY, CacheFile, signed
from retrodict.objects.index import odd_schema

RECORD = struct.Struct("<cHQqqq")  # kind, length of the name, inode, size, mtime, ctime; the name follows
UNKNOWN = b"?"  # the kind of an entry that must be read again whatever its stat data

_FOLDERS = """CREATE TABLE IF NOT EXISTS folders (
  device INTEGER, inode INTEGER, part BLOB, epoch INTEGER NOT NULL, node BLOB NOT NULL, files INTEGER NOT NULL,
  size INTEGER NOT NULL, entries BLOB NOT NULL, contents BLOB NOT NULL, large BLOB NOT NULL, mark BLOB NOT NULL,
  PRIMARY KEY (device, inode, part)) WITHOUT ROWID;
"""
_EARLIER = (
    _FOLDERS
    + """CREATE TABLE IF NOT EXISTS packs (name BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS epochs (number INTEGER NOT NULL);"""
)
_SCHEMA = (
    _FOLDERS
    + "CREATE TABLE IF NOT EXISTS marked_epochs (number INTEGER NOT NULL, packs BLOB NOT NULL, mark BLOB NOT NULL);"
    + MARKED_BY
)
_ROW = struct.Struct("<3q32s2qIII")


class Row(NamedTuple):
    """What is known of one leaf of a folder's listing.

    Attributes:
        device: Of the folder; `inode` too.
        part: Which leaf: the hexadecimal digits (a byte each) that the hashes of its names begin with.
        epoch: In which all contents were held; 0: that was never known.
        node: Name of the leaf.
        files: How many entries are no folders.
        size: Bytes below.
        entries: A `RECORD` and a name for each, sorted by name; behind the name of a folder that of its tree.
        contents: The 32-byte names of what they are, in that order.
        large: Those among them that are kept in chunks.
    """

    device: int
    inode: int
    part: bytes
    epoch: int
    node: bytes
    files: int
    size: int
    entries: bytes
    contents: bytes
    large: bytes


def parse(entries: bytes | bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, the whole record with it) for each entry of a row."""
    offset, end = 0, len(entries)
    unpack, head = RECORD.unpack_from, RECORD.size
    while offset < end:
        kind, length, *_ = unpack(entries, offset)
        start = offset + head
        after = start + length + (32 if kind == b"t" else 0)
        yield bytes(entries[start : start + length]), bytes(entries[offset:after])
        offset = after


class Run(NamedTuple):
    """A stretch of a leaf's entries that stand in a row as they are.

    Attributes:
        start: Number of its first entry.
        end: Number of the entry behind its last.
        at: Number of its first entry in the row.
        offset: Of that in the row's `entries`.
        length: Bytes that it takes there.
    """

    start: int
    end: int
    at: int
    offset: int
    length: int


def lay_beside(row: Row, entries: Sequence[tuple[bytes, bytes]]) -> tuple[list[Run], dict[bytes, tuple[int, bytes]]]:
    """Compare (name, record) of a leaf, sorted, with a row about it.

    Returns:
        What is as it was; and of the row's other entries, by name, their number and record.
    """
    runs: list[Run] = []
    rest: dict[bytes, tuple[int, bytes]] = {}
    old = row.entries
    is_next = old.startswith
    i = at = offset = 0
    while i < len(entries):
        start, begun = i, offset
        for _, record in islice(entries, i, None):
            if not is_next(record, offset):
                break
            offset += len(record)
            i += 1
        if i > start:
            runs.append(Run(start, i, at, begun, offset - begun))
            at += i - start
            continue
        name = entries[i][0]
        while offset < len(old):
            before, record = _entry_at(old, offset)
            if before > name:
                break
            rest[before] = at, record
            at, offset = at + 1, offset + len(record)
            if before == name:
                break
        i += 1
    for before, record in parse(old[offset:]):
        rest[before] = at, record
        at += 1
    return runs, rest


def _entry_at(entries: bytes, offset: int) -> tuple[bytes, bytes]:
    kind, length, *_ = RECORD.unpack_from(entries, offset)
    start = offset + RECORD.size
    return entries[start : start + length], entries[offset : start + length + (32 if kind == b"t" else 0)]


def _mark(key: bytes, row: Row) -> bytes:
    lengths = len(row.part), len(row.entries), len(row.contents)
    fixed = _ROW.pack(row.device, row.inode, row.epoch, row.node, row.files, row.size, *lengths)
    return blake3(b"".join((fixed, row.part, row.entries, row.contents, row.large)), key=key).digest(16)


def _joined(packs: Iterable[bytes]) -> bytes:
    """Put the names of packs and raw files together, each behind its length."""
    return b"".join(bytes([len(name)]) + name for name in sorted(packs))


def _parted(packs: bytes) -> Iterator[bytes]:
    offset = 0
    while offset < len(packs):
        end = offset + 1 + packs[offset]
        yield packs[offset + 1 : end]
        offset = end


def _mark_epoch(key: bytes, number: int, packs: bytes) -> bytes:
    return blake3(b"epoch" + number.to_bytes(8, "little") + packs, key=key).digest(16)


def _is_epoch(key: bytes, row: Sequence[object]) -> bool:
    number, packs, mark = row
    return (
        isinstance(number, int) and number > 0 and isinstance(packs, bytes) and _mark_epoch(key, number, packs) == mark
    )


def _is_row(key: bytes, row: Sequence[object]) -> bool:
    try:
        return _mark(key, Row(*row[:-1])) == row[-1]  # type: ignore[arg-type]
    except (struct.error, TypeError):
        return False


class FolderCache(CacheFile):
    """Rows about folders."""

    called = "the folder cache"

    def _settle(self, db: apsw.Connection) -> None:
        db.execute(_SCHEMA + "; DROP TABLE IF EXISTS packs; DROP TABLE IF EXISTS epochs")
        self._take_over(db, ["folders", "marked_epochs"])

    def _open(self) -> None:
        if self._key is not None:
            super()._open()

    def epoch(self, present: Collection[bytes]) -> int:
        """Return the epoch, given the packs that are there: another one if one that was there is gone. 0: none."""
        if self._db is None or self._read_only:
            return 0
        with self._lock:
            try:
                with self._db:
                    number, seen = self._epoch(self._db)
                    if number < 1 or not seen <= set(present):
                        highest = self._db.execute("SELECT max(epoch) FROM folders").fetchall()[0][0]
                        number = max(number, highest if isinstance(highest, int) else 0) + 1
                        self._begin(self._db, number, ())
            except (apsw.Error, UnicodeDecodeError, OverflowError):
                return 0  # a damaged cache is no cache
        return number

    def _epoch(self, db: apsw.Connection) -> tuple[int, set[bytes]]:
        """Return the epoch that is marked, and the packs that there were; 0 where none is."""
        assert self._key is not None
        rows = db.execute("SELECT * FROM marked_epochs").fetchall()
        if len(rows) != 1 or not _is_epoch(self._key, rows[0]):
            return 0, set()
        number, packs, _ = rows[0]
        return number, set(_parted(packs))  # type: ignore[arg-type, return-value]

    def _begin(self, db: apsw.Connection, number: int, packs: Iterable[bytes]) -> None:
        assert self._key is not None
        names = _joined(packs)
        db.execute("DELETE FROM marked_epochs")
        mark = _mark_epoch(self._key, number, names)
        db.execute("INSERT INTO marked_epochs VALUES (?, ?, ?)", (number, names, mark))

    def parts(self, device: int, inode: int) -> list[bytes]:
        """Return the parts of a folder about which there are rows."""
        query = "SELECT part FROM folders WHERE device=? AND inode=?"
        rows = self._select(query, (signed(device), signed(inode)))
        return [row[0] for row in rows if isinstance(row[0], bytes)]

    def row(self, device: int, inode: int, part: bytes) -> Row | None:
        """Return what is known of one leaf of a folder's listing."""
        query = "SELECT * FROM folders WHERE device=? AND inode=? AND part=?"
        for found in self._select(query, (signed(device), signed(inode), part)):
            if self._key is not None and _is_row(self._key, found):
                return Row(*found[:-1])  # type: ignore[arg-type]
        return None

    def _select(self, query: str, bindings: tuple[int | bytes, ...]) -> list[tuple[object, ...]]:
        if self._db is None:
            return []
        with self._lock:
            try:
                return self._db.execute(query, bindings).fetchall()
            except (apsw.Error, UnicodeDecodeError):
                return []

    def remember(self, rows: Iterable[Row], packs: Iterable[bytes], stale: Iterable[tuple[int, int, bytes]]) -> None:
        """Keep rows whose contents are durable; `packs` are those that there are, `stale` the (device, inode, part)."""
        if self._db is None or self._read_only or self._key is None:
            return
        marked = []
        for row in rows:
            written = row._replace(device=signed(row.device), inode=signed(row.inode))
            marked.append((*written, _mark(self._key, written)))
        with self._lock:
            try:
                with self._db:
                    self._db.executemany(
                        "DELETE FROM folders WHERE device=? AND inode=? AND part=?",
                        [(signed(device), signed(inode), part) for device, inode, part in stale],
                    )
                    self._db.executemany("INSERT OR REPLACE INTO folders VALUES (?,?,?,?,?,?,?,?,?,?,?)", marked)
                    number, seen = self._epoch(self._db)
                    if number and not seen >= (present := set(packs)):
                        self._begin(self._db, number, seen | present)
            except (apsw.Error, UnicodeDecodeError):
                return  # what is not remembered is read again

    def _verify(self, db: apsw.Connection) -> Iterator[Finding]:
        if odd := odd_schema(db, _SCHEMA):
            if odd_schema(
                db, _EARLIER
            ):  # else an earlier release has made it, and it is emptied by the next who writes
                yield self._altered(f"its schema is not this format's: {', '.join(odd)}")
            return
        for finding in self._verify_marker(db, "folders"):
            if finding is not None:
                yield finding
                continue
            epochs = db.execute("SELECT * FROM marked_epochs").fetchall()
            if len(epochs) > 1 or any(self._key is None or not _is_epoch(self._key, row) for row in epochs):
                yield self._altered("its epoch is altered (it is not believed)")
            for row in db.execute("SELECT * FROM folders"):
                if self._key is None or not _is_row(self._key, row):
                    yield self._altered(f"the row of device {row[0]}, inode {row[1]} is altered (it is not believed)")
