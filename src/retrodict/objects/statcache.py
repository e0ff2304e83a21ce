"""The stat cache: which files have not changed since they were last hashed.

A file counts as unchanged when device, inode, size, mtime and ctime are what they were; ctime cannot be put back by a
program, so an edit that keeps the size and restores the mtime is noticed. Git's racy rule: a file that was changed
within `RACY_NS` before it was read is not remembered, since a second change in the same tick of the file system's
clock would leave no trace. Every row carries a check over its columns; a row that does not fit it is not believed.
The cache may be deleted at any time. Known limit: a program that writes through a shared mapping that was already
dirty when the file was read may change it without moving its times until the kernel writes the page back.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock

import apsw
from blake3 import blake3

from retrodict.kernel.clock import NS
from retrodict.kernel.errors import UnavailableError
from retrodict.kernel.types import Finding
from retrodict.objects.index import connect, odd_schema, translate

RACY_NS = 2 * NS  # the coarsest file system clocks tick every 2 s (FAT, some NFS)

_SCHEMA = """CREATE TABLE IF NOT EXISTS files (
  device INTEGER, inode INTEGER, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
  name BLOB NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (device, inode)) WITHOUT ROWID"""
_ROW = struct.Struct("<5q")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _key(stat: os.stat_result) -> tuple[int, int, int, int, int]:
    return _signed(stat.st_dev), _signed(stat.st_ino), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _mark(key: tuple[int, ...], name: bytes) -> bytes:
    return blake3(_ROW.pack(*key) + name).digest(8)


class StatCache:
    """Rows of (identity and times of a file, name of its content). Safe for threads."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._lock = Lock()
        self._db: apsw.Connection | None = None
        self._damage = ""
        try:
            self._db = connect(path, read_only=read_only, synchronous="NORMAL")
            if not read_only:
                self._db.execute(_SCHEMA)
        except UnavailableError:
            pass  # read-only, and no cache to read
        except apsw.Error as error:
            failure = translate(error, path)
            if isinstance(failure, UnavailableError):
                raise failure from error
            self._damage = failure.message
            self._start_anew()

    def _start_anew(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._read_only:
            return
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._db = connect(self.path, synchronous="NORMAL")
        self._db.execute(_SCHEMA)

    def lookup(self, stats: Iterable[os.stat_result]) -> dict[tuple[int, int], bytes]:
        """Return the name of the content of each file that has not changed, by (st_dev, st_ino)."""
        if self._db is None:
            return {}
        wanted = {key[:2]: (key, stat) for stat in stats for key in (_key(stat),)}
        found: dict[tuple[int, int], bytes] = {}
        with self._lock:
            try:
                rows = self._db.executemany("SELECT * FROM files WHERE device=? AND inode=?", sorted(wanted)).fetchall()
            except (apsw.Error, UnicodeDecodeError):
                return {}  # a damaged cache is no cache
        for device, inode, size, mtime, ctime, name, mark in rows:
            known, stat = wanted[device, inode]  # type: ignore[index]
            if known == (device, inode, size, mtime, ctime) and isinstance(name, bytes) and _mark(known, name) == mark:
                found[stat.st_dev, stat.st_ino] = name
        return found

    def remember(self, files: Iterable[tuple[os.stat_result, bytes]], read_from_ns: int) -> None:
        """Keep the names of files, unless they changed just before `read_from_ns`, when reading them began."""
        if self._db is None or self._read_only:
            return
        rows = []
        for stat, name in files:
            if max(stat.st_mtime_ns, stat.st_ctime_ns) < read_from_ns - RACY_NS:
                key = _key(stat)
                rows.append((*key, name, _mark(key, name)))
        if not rows:
            return
        rows.sort()
        with self._lock:
            try:
                with self._db:
                    self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            except apsw.Error:
                return  # what is not remembered is read again

    def verify(self) -> Iterator[Finding]:
        """Yield a finding for each row that does not fit its check, and for what else is wrong with the file."""
        what = f"{self.path.parent.name}/{self.path.name}"
        if self._damage:
            yield Finding(level="altered", what=what, message=f"{self._damage} (it is not used)")
        if self._db is None:
            return
        try:
            with self._lock:
                if odd := odd_schema(self._db, _SCHEMA):
                    yield Finding(
                        level="altered", what=what, message=f"its schema is not this format's: {', '.join(odd)}"
                    )
                for (said,) in self._db.execute("PRAGMA integrity_check"):
                    if said != "ok":
                        yield Finding(level="altered", what=what, message=f"damaged: {said!r}")
                for device, inode, size, mtime, ctime, name, mark in self._db.execute("SELECT * FROM files"):
                    try:
                        fits = _mark((device, inode, size, mtime, ctime), name) == mark
                    except (struct.error, TypeError):
                        fits = False
                    if not fits:
                        message = f"the row of device {device}, inode {inode} is altered (it is not believed)"
                        yield Finding(level="altered", what=what, message=message)
        except (apsw.Error, UnicodeDecodeError) as error:
            yield Finding(level="altered", what=what, message=f"the stat cache is damaged: {error}")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None
