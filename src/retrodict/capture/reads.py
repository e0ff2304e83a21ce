"""What a run has read so far, asked by one of its own processes.

The guard answers one call after the other, and writes down each before it answers: so whatever this process, or one
whose output it has taken, opened before it asks is in what it is told.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from retrodict.capture import records as r
from retrodict.capture.files import Status
from retrodict.capture.spool import Record, parse, whole_bytes


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was there, and was opened to be read, executed, moved or linked.

    Attributes:
        path: Where it lay, as a real path.
        found: Its status then; None: nobody could look.
    """

    path: bytes
    found: Status | None


class Reads:
    """The files that a run has read, each record of it taken in once.

    Attributes:
        is_blind: Something was done that the guards could not follow: what was read then is not known.
        kept: Where the bytes lie of a file that the run has overwritten, by device, inode, size and mtime.
    """

    def __init__(self) -> None:
        self.is_blind = False
        self.kept: dict[tuple[int, ...], bytes] = {}
        self._spool = (-1, -1)
        self._at = 0

    def ask(self) -> Iterable[Read] | None:
        """Return what was read since the last time; None where this process has no guards that answer."""
        try:
            spool = os.open(r.SO_FAR, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            st = os.fstat(spool)
            if (st.st_dev, st.st_ino) != self._spool:
                self._spool, self._at = (st.st_dev, st.st_ino), 0
            if st.st_size <= self._at:
                return ()
            data = os.pread(spool, st.st_size - self._at, self._at)
        finally:
            os.close(spool)
        size = whole_bytes(data)
        self._at += size
        try:
            records = list(parse(data[:size]))
        except (EOFError, ValueError, TypeError):  # a full disk has left a hole
            self.is_blind = True
            return ()
        return self.take(records)

    def again(self) -> None:
        """Return everything from the beginning the next time."""
        self._at = 0

    def take(self, records: Iterable[Record]) -> Iterator[Read]:
        """Yield the files that records say were read."""
        for record in records:
            match record[0]:
                case r.OPEN:
                    flags, found = record[3], record[5]
                    is_new = found is None or (flags & r.CREATES and flags & r.EXCLUSIVE)
                    if not is_new and not flags & r.TRUNCATES and flags & r.ACCESS_MODE != os.O_WRONLY:
                        yield Read(record[4], _status(found))
                case r.EXECUTE if record[4] is not None:
                    yield Read(record[3], _status(record[4]))
                case r.MOVE | r.LINK if record[5] is not None:
                    yield Read(record[4], _status(record[5]))
                case r.INVOKED:
                    for _, flags, path, found in record[4]:
                        if found is not None and flags & r.ACCESS_MODE != os.O_WRONLY:
                            yield Read(path, _status(found))
                case r.PRESERVED if record[5] == "held":
                    self.kept[tuple(record[4][:4])] = record[6]
                case r.VIEW | r.BLIND:
                    self.is_blind = True


def _status(value: object) -> Status | None:
    return Status(*value) if isinstance(value, tuple) else None
