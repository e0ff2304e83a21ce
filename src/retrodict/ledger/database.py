"""The log's SQLite file: schema, connections, and SQLite's errors in our words.

WAL and synchronous=FULL: a commit that returned survives the loss of power. Readers never wait for the writer.
HAZARD: SQLite 3.7.0 to 3.51.2 can corrupt a WAL database; apsw brings its own, newer one. Write to this file with
nothing older.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from retrodict.kernel.errors import FormatError, IntegrityError, ReadOnlyStoreError, UnavailableError, UsageError
from retrodict.kernel.types import Digest, EventId, is_digest
from retrodict.ledger.errors import LedgerBusyError, LedgerStoppedError

APPLICATION_ID = 0x7264_4C67  # "rdLg"
FORMAT_VERSION = 1
BUSY_TIMEOUT_S = 60.0

# What reading a damaged file ends in; an SQLError is a table or column that is not there.
_DAMAGE = (
    apsw.NotADBError,
    apsw.CorruptError,
    apsw.FormatError,
    apsw.SQLError,
    apsw.TooBigError,
    UnicodeDecodeError,
)

SCHEMA = {
    "meta": "CREATE TABLE meta (origin TEXT NOT NULL) STRICT",
    "entries": (
        "CREATE TABLE entries (idx INTEGER PRIMARY KEY, tick INTEGER NOT NULL, id BLOB NOT NULL UNIQUE, "
        "leaf BLOB NOT NULL, data BLOB NOT NULL) STRICT"
    ),
    "blobs": "CREATE TABLE blobs (digest BLOB NOT NULL UNIQUE, data BLOB NOT NULL) STRICT",
    "tiles": (
        "CREATE TABLE tiles (level INTEGER NOT NULL, idx INTEGER NOT NULL, hashes BLOB NOT NULL, "
        "PRIMARY KEY (level, idx)) STRICT, WITHOUT ROWID"
    ),
    "checkpoint": "CREATE TABLE checkpoint (only INTEGER PRIMARY KEY CHECK (only = 1), note BLOB NOT NULL) STRICT",
}


class Database:
    """Connections to one file: one for the writer, and as many for readers as read at once."""

    def __init__(self, path: Path, *, read_only: bool, create: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._lock = threading.Lock()
        self._idle: list[apsw.Connection] = []
        self._writer: apsw.Connection | None = None
        self._immutable = False
        self._closed = False
        self._failure: apsw.Error | None = None
        if create:
            with translated(path):
                self._writer = self._connect(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        elif not path.exists():
            raise UnavailableError(f"there is no log at {path}", hint="Put the file back from a backup or a clone.")
        else:
            with self.reading() as db:
                _check_format(db, path)

    def _connect(self, flags: int) -> apsw.Connection:
        # A URI, because apsw takes only text, and a path may be any bytes.
        name = f"file:{quote(os.fsencode(self.path))}" + ("?immutable=1" if self._immutable else "")
        db = apsw.Connection(name, flags=flags | apsw.SQLITE_OPEN_URI)
        db.set_busy_handler(_wait_for_other_process)
        if not flags & apsw.SQLITE_OPEN_READONLY:
            if db.readonly("main"):  # SQLite falls back to reading without a word
                db.close()
                raise ReadOnlyStoreError(str(self.path))
            # A longer WAL than SQLite's 1000 pages: folding it back costs two more syncs each time.
            fetch(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000")
        return db

    def _connect_reader(self) -> apsw.Connection:
        db = self._connect(apsw.SQLITE_OPEN_READONLY)
        try:
            db.execute("SELECT 1 FROM sqlite_schema").fetchall()
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.IOError):
            # The folder cannot be written, or the disk is full, so SQLite cannot make the files that WAL readers share.
            # When the log was closed cleanly all of it is in the one file, and nobody writes where nothing can be
            # written.
            db.close()
            wal = self.path.with_name(self.path.name + "-wal")
            if wal.exists() and wal.stat().st_size:
                raise UnavailableError(
                    f"{self.path} was not closed cleanly, and its folder is read-only or the disk is full: "
                    f"{wal.name} cannot be read without {self.path.name}-shm",
                    hint="Copy the store to where it can be written, and read it there.",
                ) from None
            self._immutable = True
            db = self._connect(apsw.SQLITE_OPEN_READONLY)
        return db

    @contextlib.contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """Lend a connection for reading; SQLite's errors become ours."""
        with translated(self.path):
            with self._lock:
                if self._closed:
                    raise UnavailableError(f"{self.path} is closed")
                db = self._idle.pop() if self._idle else None
            if db is None:
                db = self._connect_reader()
            try:
                yield db
            finally:
                self._take_back(db)

    def _take_back(self, db: apsw.Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(db)
                return
        db.close()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """Lend a connection that sees one state of the log throughout. To be held shortly: see `read`."""
        with self.reading() as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    @contextlib.contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """Hold the file's write lock; commit at the end, or leave nothing. One thread at a time.

        Raises:
            ReadOnlyStoreError: The file cannot be written.
            LedgerBusyError: Another process held the lock for a minute.
            LedgerStoppedError: SQLite could not write, now or before.
        """
        if self.read_only:
            raise ReadOnlyStoreError(str(self.path))
        if self._closed:
            raise UnavailableError(f"{self.path} is closed")
        if self._failure is not None:
            raise LedgerStoppedError(str(self.path), self._failure)
        with translated(self.path):
            if self._writer is None:
                self._writer = self._connect(apsw.SQLITE_OPEN_READWRITE)
            db = self._writer
            db.execute("BEGIN IMMEDIATE")
        try:
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except apsw.Error as error:
            # A commit that failed may or may not have reached the disk, and a second fsync that succeeds would prove
            # nothing: this process writes no more.
            self._failure = error
            raise LedgerStoppedError(str(self.path), error) from error

    def close(self) -> None:
        """Close every connection; the last one folds the WAL into the file."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for db in idle:
            db.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def fetch(db: apsw.Connection, query: str, values: tuple[int | bytes, ...] = ()) -> list[tuple[Any, ...]]:
    """Return all rows of a query; the schema says their types."""
    return db.execute(query, values).fetchall()


def event_key(event_id: EventId) -> bytes:
    """Return an event's id as it stands in the table: 16 bytes, in the order of their making."""
    return bytes.fromhex(event_id.replace("-", ""))


def event_text(key: bytes) -> EventId:
    """Return the id of `event_key`."""
    h = key.hex()
    return EventId(f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}")


def digest_key(digest: Digest) -> bytes:
    """Return a digest as it stands in the table: 32 bytes.

    Raises:
        UsageError: Not the full name of an object.
    """
    if not is_digest(digest):
        raise UsageError(f"{digest!r} is not the full name of an object")
    return bytes.fromhex(digest[3:])


def digest_text(key: bytes) -> Digest:
    """Return the digest of `digest_key`."""
    return Digest(f"b3-{key.hex()}")


def _check_format(db: apsw.Connection, path: Path) -> None:
    application, version = (fetch(db, f"PRAGMA {name}")[0][0] for name in ("application_id", "user_version"))
    if application != APPLICATION_ID:
        raise FormatError(f"{path} is not a log: its application id is {application}, not {APPLICATION_ID}")
    if version != FORMAT_VERSION:
        raise FormatError(
            f"{path} has format {version}; this release reads {FORMAT_VERSION}", hint="Use the release that wrote it."
        )


def create_schema(db: apsw.Connection, origin: str) -> None:
    """Make the tables of a new log."""
    for statement in SCHEMA.values():
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES (?)", (origin,))
    db.execute(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT_VERSION}")


def _wait_for_other_process(attempts: int) -> bool:
    """Wait 1 ms for a lock; SQLite's own waiting grows to 100 ms, in which the lock changes hands many times."""
    time.sleep(0.001)
    return attempts < BUSY_TIMEOUT_S * 1000


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except _DAMAGE as error:
        raise IntegrityError(f"{path} is damaged: {error}") from error
    except apsw.BusyError as error:
        raise LedgerBusyError(str(path), BUSY_TIMEOUT_S) from error
    except (apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise ReadOnlyStoreError(str(path)) from error
    except apsw.Error as error:
        raise UnavailableError(f"{path} cannot be used: {error}") from error
