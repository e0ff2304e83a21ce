"""A cache in a file: a database that may be deleted at any time, and begins anew where it is damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

import apsw
from blake3 import blake3

from retrodict.kernel.errors import UnavailableError
from retrodict.kernel.types import Finding
from retrodict.objects.index import connect, translate

MARKED_BY = "CREATE TABLE IF NOT EXISTS marked_by (key_id BLOB NOT NULL)"


def _key_id(key: bytes) -> bytes:
    """Return what tells keys apart: 8 bytes that follow from the key, and their check."""
    shown = blake3(b"which key", key=key).digest(8)
    return shown + blake3(shown).digest(8)


def signed(value: int) -> int:
    """Return a number of 64 bits as a column holds it."""
    return value - (1 << 64) if value >= 1 << 63 else value


class CacheFile:
    """The database of a cache whose rows are marked with a key. Safe for threads.

    Args:
        path: The database; made where it is not there.
        key: Marks the rows, 32 bytes. None: nothing is remembered, and nothing known.
        read_only: Write nothing.
    """

    called = "the cache"  # in findings

    def __init__(self, path: Path, key: bytes | None, *, read_only: bool = False) -> None:
        self.path = path
        self._key = key
        self._read_only = read_only or key is None
        self._lock = Lock()
        self._opened: apsw.Connection | None = None
        self._is_opened = False
        self._damage = ""

    def _settle(self, db: apsw.Connection) -> None:
        """Make the tables where they are not there; the file can be written, and there is a key."""
        raise NotImplementedError

    def _verify(self, db: apsw.Connection) -> Iterator[Finding]:
        """Yield a finding for each row that is not as the key marked it."""
        raise NotImplementedError

    def _take_over(self, db: apsw.Connection, tables: Sequence[str]) -> None:
        """Empty `tables` where another key has marked what they hold, and write down that this one does from now on."""
        assert self._key is not None
        mine = [(_key_id(self._key),)]
        if db.execute("SELECT key_id FROM marked_by").fetchall() != mine:
            with db:
                db.execute("; ".join(f"DELETE FROM {table}" for table in (*tables, "marked_by")))  # noqa: S608
                db.executemany("INSERT INTO marked_by VALUES (?)", mine)

    def _verify_marker(self, db: apsw.Connection, table: str) -> Iterator[Finding | None]:
        """Yield what is wrong with who is said to have marked the rows of `table`; None: it is the key that is here."""
        ids = [row[0] for row in db.execute("SELECT key_id FROM marked_by")]
        is_said = len(ids) == 1 and type(ids[0]) is bytes and blake3(ids[0][:8]).digest(8) == ids[0][8:]
        is_empty = not db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall()  # noqa: S608
        if not is_said and (ids or not is_empty):
            yield self._altered("it does not say which key has marked its rows (none is believed)")
        elif self._key is None or not is_said:
            return  # nobody here can tell, and nobody here believes them
        elif ids[0] != _key_id(self._key):
            if is_empty:
                return
            message = "its rows are marked with a key that is not held here (none is believed)"
            yield replace(self._altered(message), level="note")
        else:
            yield None

    @property
    def _db(self) -> apsw.Connection | None:
        """The database, opened by the first who asks, since most commands look at no folder; None: there is none."""
        if not self._is_opened:
            self._is_opened = True
            self._open()
        return self._opened

    def _open(self) -> None:
        try:
            self._opened = connect(self.path, read_only=self._read_only, synchronous="NORMAL")
            if not self._read_only:
                self._settle(self._opened)
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
        self._settle(self._opened)

    def verify(self) -> Iterator[Finding]:
        """Yield a finding for each row that the key did not mark, and for what else is wrong with the file."""
        db = self._db if self.path.exists() else None
        if self._damage:
            yield self._altered(f"{self._damage} (it is not used)")
        if db is None:
            return
        try:
            with self._lock:
                for (said,) in db.execute("PRAGMA integrity_check"):
                    if said != "ok":
                        yield self._altered(f"damaged: {said!r}")
                yield from self._verify(db)
        except (apsw.Error, UnicodeDecodeError) as error:
            yield self._altered(f"{self.called} is damaged: {error}")

    def _altered(self, message: str) -> Finding:
        return Finding(level="altered", what=f"{self.path.parent.name}/{self.path.name}", message=message)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
            self._is_opened = True
