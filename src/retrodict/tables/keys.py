"""Which record a key names now, without reading the table: an index that may be deleted at any time.

`tables.db` holds, for each line of each table, up to which change it has come and the digest of the changes before it,
and for each key its last change. A key stands there as a keyed hash of its values, so nothing in the file tells them
to who does not have the workspace's keys. It is a cache: made of the change log, begun anew where it does not fit it,
and what it finds is looked at in the log. HAZARD: who can write the store can make it forget a key, and another record
may then be created under that key; `table at` names such a pair.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apsw
from blake3 import blake3

from retrodict.kernel.types import Finding
from retrodict.objects.cachefile import CacheFile
from retrodict.streams.formats import cells
from retrodict.tables import lines
from retrodict.tables.lines import DELETE, OFFSET, ROW, ChangeLog
from retrodict.tables.records import Column
from retrodict.workspace import Workspace

FILE = "tables.db"
HASH_BYTES = 16
_STEP = 1 << 18  # changes that are taken in at once
_SCHEMA = """
CREATE TABLE IF NOT EXISTS lines (
  id INTEGER PRIMARY KEY, stream TEXT NOT NULL, branch TEXT NOT NULL, stop INTEGER NOT NULL, root TEXT NOT NULL,
  key TEXT NOT NULL, UNIQUE (stream, branch));
CREATE TABLE IF NOT EXISTS keys (
  line INTEGER NOT NULL, key BLOB NOT NULL, row INTEGER NOT NULL, last INTEGER NOT NULL, is_alive INTEGER NOT NULL,
  PRIMARY KEY (line, key)) WITHOUT ROWID;
"""


class Found(NamedTuple):
    """The last change under a key, the record that it is of, and whether that is there still."""

    row: int
    last: int
    is_alive: bool


class KeyIndex(CacheFile):
    """The index of one workspace's tables. Closed with `with`."""

    called = "the index of keys"

    def __init__(self, workspace: Workspace) -> None:
        secret = None if workspace.state is None else workspace.state.cache_key
        secret = None if secret is None else hmac.digest(secret, b"retrodict tables", "sha256")
        super().__init__(workspace.folder / FILE, secret, read_only=workspace.read_only)
        self._views = workspace.views.database()
        self._hash_key = secret or workspace.clock.random_bytes(32)

    def __enter__(self) -> KeyIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settle(self, db: apsw.Connection) -> None:
        db.execute(_SCHEMA)

    def _verify(self, db: apsw.Connection) -> Iterator[Finding]:
        del db
        yield from ()

    def hashes(self, table: Any, key: Sequence[int]) -> list[bytes]:
        """Return the keyed hash of the key of each row of an Arrow table whose columns bear their ids."""
        texts = [cells(_array(table[str(column)])) for column in key]
        secret = self._hash_key
        return [
            blake3("\0".join(values).encode(), key=secret).digest(length=HASH_BYTES)
            for values in zip(*texts, strict=True)
        ]

    def found(self, log: ChangeLog, columns: Sequence[Column], hashes: Sequence[bytes]) -> list[Found | None]:
        """Return what is known of keys, as of the end of a line."""
        if self._read_only:
            db = apsw.Connection(":memory:")
            self._settle(db)
            line = self._catch_up(db, log, columns)
        else:
            held = self._db
            assert held is not None
            db = held
            line = self._catch_up(db, log, columns)
        query = "SELECT row, last, is_alive FROM keys WHERE line = ? AND key = ?"
        found: list[Found | None] = []
        for key in hashes:
            row: Any = db.execute(query, (line, key)).fetchone()
            found.append(None if row is None else Found(row[0], row[1], bool(row[2])))
        return found

    def _catch_up(self, db: apsw.Connection, log: ChangeLog, columns: Sequence[Column]) -> int:
        """Take in what the line has more; return its number."""
        key = ",".join(map(str, log.table.key))
        with db:
            row: Any = db.execute(
                "SELECT id, stop, root, key FROM lines WHERE stream = ? AND branch = ?", (log.table.stream, log.branch)
            ).fetchone()
            if row is not None and (
                row[1] > log.size or row[3] != key or (row[1] and lines.root_at(self._views, log, row[1]) != row[2])
            ):
                db.execute("DELETE FROM keys WHERE line = ?", (row[0],))
                db.execute("DELETE FROM lines WHERE id = ?", (row[0],))
                row = None
            if row is None:
                db.execute(
                    "INSERT INTO lines (stream, branch, stop, root, key) VALUES (?, ?, 0, '', ?)",
                    (log.table.stream, log.branch, key),
                )
                number, at = db.last_insert_rowid(), 0
            else:
                number, at = int(row[0]), int(row[1])
            if at == log.size:
                return number
            kept = [column for column in columns if column.id in log.table.key]
            while at < log.size:
                stop = min(at + _STEP, log.size)
                self._take_in(db, number, lines.changes(log, at, stop, kept, bare=True), log.table.key)
                at = stop
            db.execute(
                "UPDATE lines SET stop = ?, root = ? WHERE id = ?",
                (log.size, lines.root_at(self._views, log, log.size), number),
            )
        return number

    def _take_in(self, db: apsw.Connection, line: int, found: Any, key: Sequence[int]) -> None:
        values = zip(
            self.hashes(found, key),
            found[ROW].to_pylist(),
            found[OFFSET].to_pylist(),
            found["_op"].to_pylist(),
            strict=True,
        )
        last = {hashed: (row, offset, op != DELETE) for hashed, row, offset, op in values}
        db.executemany(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET row = excluded.row, "
            "last = excluded.last, is_alive = excluded.is_alive",
            # In their order, so that the tree grows at its end and not everywhere.
            ((line, hashed, *last[hashed]) for hashed in sorted(last)),
        )


def _array(column: Any) -> Any:
    import pyarrow as pa  # 57 ms

    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):  # an empty column stays one
        return pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.array([], column.type)
    return combined
