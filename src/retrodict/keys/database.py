"""The file `keys.db`: its tables, reading and writing it. What lies in it, `ring.py` knows.

The database has a rollback journal: after a commit no earlier page stays in a file, and a read-only folder can be read.
HAZARD: what a file system or a disk keeps of overwritten blocks is out of reach; whoever must be sure also destroys
the wrapping key.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from retrodict.kernel import schema
from retrodict.kernel.errors import IntegrityError, ReadOnlyStoreError, UnavailableError

_BUSY_TIMEOUT_MS = 60_000
_DAMAGE = (
    apsw.NotADBError,
    apsw.CorruptError,
    apsw.FormatError,
    apsw.SQLError,
    apsw.TooBigError,
    UnicodeDecodeError,
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
  id TEXT PRIMARY KEY, holder BLOB NOT NULL, wrapped BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pseudonyms (
  tag BLOB PRIMARY KEY, pseudonym TEXT NOT NULL UNIQUE, holder BLOB NOT NULL, wrapped BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS subjects (
  subject TEXT PRIMARY KEY, tag BLOB NOT NULL, key TEXT NOT NULL UNIQUE, holder BLOB NOT NULL, wrapped BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
  tag BLOB PRIMARY KEY, size INTEGER NOT NULL, sealed TEXT NOT NULL, key TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten_files (
  tag BLOB PRIMARY KEY, size INTEGER NOT NULL, key TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS subjects_by_tag ON subjects (tag);
"""


class RingFile:
    """`keys.db` at one path; it is made with the first write. Threads and processes may share it."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._uri = f"file:{quote(os.fsencode(path))}"  # apsw takes only text, and a path may be any bytes
        self._lock = threading.Lock()
        self._db: apsw.Connection | None = None
        self._made: set[str] = set()

    def copy(self) -> bytes:
        """Return the database as it is at one instant, byte for byte; b"" where no key was made yet."""
        with self._lock, self._translated():
            db = self._connect()
            return b"" if db is None or not self._is_made(db, "keys") else db.serialize("main")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _connect(self) -> apsw.Connection | None:
        """Return the connection, or None where there is no file yet. The lock is held."""
        if self._db is None and self.path.exists():
            flags = apsw.SQLITE_OPEN_READONLY if self.read_only else apsw.SQLITE_OPEN_READWRITE
            self._db = apsw.Connection(self._uri, flags=flags | apsw.SQLITE_OPEN_URI)
            self._db.set_busy_timeout(_BUSY_TIMEOUT_MS)
        return self._db

    def rows(self, query: str, values: tuple[str | bytes, ...], *, table: str = "keys") -> list[tuple[Any, ...]]:
        """Return what a query finds; nothing where there is no such table yet."""
        with self._lock, self._translated():
            db = self._connect()
            if db is None or not self._is_made(db, table):
                return []
            return db.execute(query, values).fetchall()

    def version(self) -> tuple[int, int]:
        """Return what changes whenever the file does, whoever changes it, as long as this is open."""
        with self._lock, self._translated():
            db = self._connect()
            if db is None:
                return 0, 0
            return int(str(db.execute("PRAGMA data_version").fetchall()[0][0])), db.total_changes()

    def odd_schema(self) -> list[str]:
        """Return the names of tables and the like that are not as this format makes them."""
        with self._lock, self._translated():
            db = self._connect()
            if db is None or not self._is_made(db, "keys"):
                return []
            true = apsw.Connection(":memory:")
            true.execute(_SCHEMA)
            held, due = schema.describe(db), schema.describe(true)
            # What an earlier release made has not yet the tables that this one adds with its first write.
            later = {"subjects", "files", "forgotten_files"} - held.keys()
            lacking = {name for name in due.keys() - held.keys() if due[name][1] in later}
            return schema.differences(held, {name: due[name] for name in due.keys() - lacking})

    def _is_made(self, db: apsw.Connection, table: str) -> bool:
        # Another process may have made the file and not yet its tables; an earlier release made fewer.
        if table not in self._made:
            self._made = {str(row[0]) for row in db.execute("SELECT name FROM sqlite_schema").fetchall()}
        return table in self._made

    @contextlib.contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """Give the connection inside a transaction that is durable when this ends.

        Raises:
            ReadOnlyStoreError: The keys cannot be written.
        """
        if self.read_only:
            raise ReadOnlyStoreError(str(self.path))
        with self._lock, self._translated():
            if self._connect() is None:
                flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
                apsw.Connection(self._uri, flags=flags).close()
            db = self._connect()
            assert db is not None
            # EXTRA: the journal's removal, which is the commit, is durable too.
            db.execute("PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA; PRAGMA secure_delete=ON").fetchall()
            db.execute("BEGIN IMMEDIATE")
            try:
                db.execute(_SCHEMA)
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise IntegrityError(f"{self.path} is damaged: {error}") from error
        except (apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise ReadOnlyStoreError(str(self.path)) from error
        except apsw.Error as error:
            raise UnavailableError(f"{self.path} cannot be used: {error}") from error
