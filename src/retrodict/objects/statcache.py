"""The stat cache: which files have not changed since they were last hashed.

A file counts as unchanged when device, inode, size, mtime and ctime are what they were; ctime cannot be put back by a
program, so an edit that keeps the size and restores the mtime is noticed. Git's racy rule: a file that was changed
within `RACY_NS` before it was read is not remembered, since a second change in the same tick of the file system's
clock would leave no trace; nor is one on a file system in memory, where not every write leaves one. Every row carries
a mark over its columns, made with a key that lies outside the store: who can write the store cannot write a row that
is believed, and who has no key has no cache. The cache may be deleted at any time, and begins anew under another key.
Known limit: a program that writes through a shared mapping that was already dirty when the file was read may change
it without moving its times until the kernel writes the page back.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator

import apsw
from blake3 import blake3

from retrodict.kernel.clock import NS
from retrodict.kernel.filesystems import keeps_times
from retrodict.kernel.types import Finding
from retrodict.objects.cachefile import MARKED_BY, CacheFile, signed
from retrodict.objects.index import odd_schema

RACY_NS = 2 * NS  # the coarsest file system clocks tick every 2 s (FAT, some NFS)

# Earlier releases had a table `files`, whose rows bore a check without a key: nothing reads it any more.
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS marked_files (
  device INTEGER, inode INTEGER, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
  name BLOB NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (device, inode)) WITHOUT ROWID;
"""
    + MARKED_BY
)
_EARLIER = """CREATE TABLE IF NOT EXISTS files (
  device INTEGER, inode INTEGER, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
  name BLOB NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (device, inode)) WITHOUT ROWID"""
_ROW = struct.Struct("<5q")


def _key(stat: os.stat_result) -> tuple[int, int, int, int, int]:
    return signed(stat.st_dev), signed(stat.st_ino), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _mark(key: bytes, file: tuple[int, ...], name: bytes) -> bytes:
    return blake3(_ROW.pack(*file) + name, key=key).digest(16)


class StatCache(CacheFile):
    """Rows of (identity and times of a file, name of its content)."""

    called = "the stat cache"

    def _settle(self, db: apsw.Connection) -> None:
        """Make the tables where they are not there, and empty them where another key has marked what they hold."""
        db.execute(_SCHEMA + "; DROP TABLE IF EXISTS files")
        self._take_over(db, ["marked_files"])

    def lookup(self, stats: Iterable[os.stat_result]) -> dict[tuple[int, int], bytes]:
        """Return the name of the content of each file that has not changed, by (st_dev, st_ino)."""
        if self._db is None or self._key is None:
            return {}
        wanted = {key[:2]: (key, stat) for stat in stats for key in (_key(stat),)}
        found: dict[tuple[int, int], bytes] = {}
        with self._lock:
            try:
                rows = self._db.executemany(
                    "SELECT * FROM marked_files WHERE device=? AND inode=?", sorted(wanted)
                ).fetchall()
            except (apsw.Error, UnicodeDecodeError):
                return {}  # a damaged cache is no cache
        for *file, name, mark in rows:
            known, stat = wanted[file[0], file[1]]  # type: ignore[index]
            if known == tuple(file) and isinstance(name, bytes) and _mark(self._key, known, name) == mark:
                found[stat.st_dev, stat.st_ino] = name
        return found

    def remember(self, files: Iterable[tuple[os.stat_result, bytes]], read_from_ns: int) -> None:
        """Keep the names of files, unless they changed just before `read_from_ns`, when reading them began."""
        if self._db is None or self._read_only or self._key is None:
            return
        rows = []
        for stat, name in files:
            if max(stat.st_mtime_ns, stat.st_ctime_ns) < read_from_ns - RACY_NS and keeps_times(stat.st_dev):
                key = _key(stat)
                rows.append((*key, name, _mark(self._key, key, name)))
        if not rows:
            return
        rows.sort()
        with self._lock:
            try:
                with self._db:
                    self._db.executemany("INSERT OR REPLACE INTO marked_files VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            except apsw.Error:
                return  # what is not remembered is read again

    def _verify(self, db: apsw.Connection) -> Iterator[Finding]:
        if odd := odd_schema(db, _SCHEMA):
            if odd_schema(db, _EARLIER):
                yield self._altered(f"its schema is not this format's: {', '.join(odd)}")
            return  # nothing in it is believed
        for finding in self._verify_marker(db, "marked_files"):
            if finding is not None:
                yield finding
            elif self._key is not None:
                yield from self._verify_rows(db, self._key)

    def _verify_rows(self, db: apsw.Connection, key: bytes) -> Iterator[Finding]:
        for device, inode, size, mtime, ctime, name, mark in db.execute("SELECT * FROM marked_files"):
            try:
                fits = _mark(key, (device, inode, size, mtime, ctime), name) == mark
            except (struct.error, TypeError):
                fits = False
            if not fits:
                yield self._altered(
                    f"the row of device {device}, inode {inode} is altered or forged (it is not believed)"
                )
