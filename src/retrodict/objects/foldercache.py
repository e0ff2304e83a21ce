"""The folder cache: what folders held that were added or looked at, so that unchanged ones cost their `stat`s alone.

A row is about the entries of one leaf of a folder's listing (`tree.py`): the stat data of each, by name, and the names
of their contents. It is believed as the stat cache's rows are (`statcache.py`): device, inode, size, mtime and ctime
must all be what they were, an entry that was changed just before it was read is written down as unknown, and a row
whose mark does not fit is nothing. The cache may be deleted at any time.

Whether the contents are also *held* a row says by its epoch. The cache knows which packs there were; once one of them
is gone a new epoch begins, and what older rows say to be held is looked up again.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import apsw
from blake3 import blake3

from retrodict.kernel.errors import UnavailableError
from retrodict.kernel.types import Finding
from retrodict.objects.index import connect, odd_schema, translate

RECORD = struct.Struct("<cHQqqq")  # kind, length of the name, inode, size, mtime, ctime; the name follows
UNKNOWN = b"?"  # the kind of an entry that must be read again whatever its stat data

_SCHEMA = """CREATE TABLE IF NOT EXISTS folders (
  device INTEGER, inode INTEGER, part BLOB, epoch INTEGER NOT NULL, node BLOB NOT NULL, files INTEGER NOT NULL,
  size INTEGER NOT NULL, entries BLOB NOT NULL, contents BLOB NOT NULL, large BLOB NOT NULL, mark BLOB NOT NULL,
  PRIMARY KEY (device, inode, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS packs (name BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS epochs (number INTEGER NOT NULL);"""
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


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _mark(key: bytes, row: Row) -> bytes:
    lengths = len(row.part), len(row.entries), len(row.contents)
    fixed = _ROW.pack(row.device, row.inode, row.epoch, row.node, row.files, row.size, *lengths)
    return blake3(b"".join((fixed, row.part, row.entries, row.contents, row.large)), key=key).digest(16)


def _is_row(key: bytes, row: Sequence[object]) -> bool:
    try:
        return _mark(key, Row(*row[:-1])) == row[-1]  # type: ignore[arg-type]
    except (struct.error, TypeError):
        return False


class FolderCache:
    """Rows about folders. Safe for threads.

    Args:
        path: The database; made where it is not there.
        key: Marks the rows, 32 bytes. None: nothing is remembered, and nothing known.
        read_only: Write nothing.
    """

    def __init__(self, path: Path, key: bytes | None, *, read_only: bool = False) -> None:
        self.path = path
        self._key = key
        self._read_only = read_only or key is None
        self._lock = Lock()
        self._opened: apsw.Connection | None = None
        self._is_opened = False
        self._damage = ""

    @property
    def _db(self) -> apsw.Connection | None:
        """The database, opened by the first who asks, since most commands look at no folder; None: there is none."""
        if not self._is_opened:
            self._is_opened = True
            self._open()
        return self._opened

    def _open(self) -> None:
        if self._key is None:
            return
        try:
            self._opened = connect(self.path, read_only=self._read_only, synchronous="NORMAL")
            if not self._read_only:
                self._opened.execute(_SCHEMA)
        except UnavailableError:
            pass  # read-only, and no cache to read
        except apsw.Error as error:
            failure = translate(error, self.path)
            if isinstance(failure, UnavailableError):
                raise failure from error
            self._damage = failure.message
            self._start_anew()

    def _start_anew(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        if self._read_only:
            return
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._opened = connect(self.path, synchronous="NORMAL")
        self._opened.execute(_SCHEMA)

    def epoch(self, present: Collection[bytes]) -> int:
        """Return the epoch, given the packs that are there: another one if one that was there is gone. 0: none."""
        if self._db is None or self._read_only:
            return 0
        with self._lock:
            try:
                with self._db:
                    numbers = self._db.execute("SELECT number FROM epochs").fetchall()
                    number = int(numbers[0][0]) if len(numbers) == 1 else 0  # type: ignore[arg-type]
                    seen = {row[0] for row in self._db.execute("SELECT name FROM packs")}
                    if number < 1 or not seen <= set(present):
                        highest = self._db.execute("SELECT max(epoch) FROM folders").fetchall()[0][0]
                        number = max(number, highest if isinstance(highest, int) else 0) + 1
                        self._db.execute("DELETE FROM packs; DELETE FROM epochs")
                        self._db.execute("INSERT INTO epochs VALUES (?)", (number,))
            except (apsw.Error, UnicodeDecodeError, ValueError, TypeError):
                return 0  # a damaged cache is no cache
        return number

    def parts(self, device: int, inode: int) -> list[bytes]:
        """Return the parts of a folder about which there are rows."""
        query = "SELECT part FROM folders WHERE device=? AND inode=?"
        rows = self._select(query, (_signed(device), _signed(inode)))
        return [row[0] for row in rows if isinstance(row[0], bytes)]

    def row(self, device: int, inode: int, part: bytes) -> Row | None:
        """Return what is known of one leaf of a folder's listing."""
        query = "SELECT * FROM folders WHERE device=? AND inode=? AND part=?"
        for found in self._select(query, (_signed(device), _signed(inode), part)):
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
            signed = row._replace(device=_signed(row.device), inode=_signed(row.inode))
            marked.append((*signed, _mark(self._key, signed)))
        with self._lock:
            try:
                with self._db:
                    self._db.executemany("INSERT OR IGNORE INTO packs VALUES (?)", [(name,) for name in packs])
                    self._db.executemany(
                        "DELETE FROM folders WHERE device=? AND inode=? AND part=?",
                        [(_signed(device), _signed(inode), part) for device, inode, part in stale],
                    )
                    self._db.executemany("INSERT OR REPLACE INTO folders VALUES (?,?,?,?,?,?,?,?,?,?,?)", marked)
            except apsw.Error:
                return  # what is not remembered is read again

    def verify(self) -> Iterator[Finding]:
        """Yield a finding for each row that was not marked with the key, and for what else is wrong with the file."""
        what = f"{self.path.parent.name}/{self.path.name}"
        db = self._db if self.path.exists() else None
        if self._damage:
            yield Finding(level="altered", what=what, message=f"{self._damage} (it is not used)")
        if db is None or self._key is None:
            return
        try:
            with self._lock:
                if odd := odd_schema(db, _SCHEMA):
                    message = f"its schema is not this format's: {', '.join(odd)}"
                    yield Finding(level="altered", what=what, message=message)
                for (said,) in db.execute("PRAGMA integrity_check"):
                    if said != "ok":
                        yield Finding(level="altered", what=what, message=f"damaged: {said!r}")
                for row in db.execute("SELECT * FROM folders"):
                    if not _is_row(self._key, row):
                        message = f"the row of device {row[0]}, inode {row[1]} is altered (it is not believed)"
                        yield Finding(level="altered", what=what, message=message)
        except (apsw.Error, UnicodeDecodeError) as error:
            yield Finding(level="altered", what=what, message=f"the folder cache is damaged: {error}")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
            self._is_opened = True
