"""A cache in a file: a database that may be deleted at any time, and begins anew where it is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import apsw

from retrodict.kernel.errors import UnavailableError
from retrodict.kernel.types import Finding
from retrodict.objects.index import connect, translate


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
