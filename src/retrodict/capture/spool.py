"""The memory that both guards share, and the file that the records go to.

Records are tuples: (kind, time in ns, thread, ...); `records.py` of this room lists them. Each is written as its length
(4 bytes) and its `marshal`, which is fast and never leaves this machine. A record is first put into shared memory and
later written out, so that it outlives the guard that made it: whoever takes over writes the same bytes at the same
offset again.
"""

from __future__ import annotations

import contextlib
import marshal
import mmap
import os
import struct
from collections.abc import Iterable
from typing import Any

from retrodict.capture.files import Status

Record = tuple[Any, ...]

NOTIFICATION_BYTES = 80  # struct seccomp_notif; the kernel writes it straight into the shared memory
DONE, TOUCHING, DUMB, STALLS = 80, 81, 82, 83  # flags, a byte each; BEAT: counts while a long copy makes progress
BEAT, WRITTEN, END = 88, 96, 104  # offsets into the spool file: what is in the file, what is in file and memory
_RING, _SIZE, _FLUSH_AT = 4096, 1 << 18, 1 << 16
_WORD, _LENGTH = struct.Struct("Q"), struct.Struct("I")


class Spool:
    """Records on their way to a file, in memory that outlives this process.

    Args:
        descriptor: The file, open for reading and writing.
        poke: A pipe into which a byte goes after each write, for the recorder.
    """

    def __init__(self, descriptor: int, poke: int) -> None:
        self.descriptor = descriptor
        self.poke = poke
        # Over 1,024 bytes: then Python's ioctl passes the address itself, and the kernel writes into it.
        self.memory = mmap.mmap(-1, _SIZE)

    def word(self, at: int) -> int:
        """Return one of the 64-bit words in shared memory."""
        value: int = _WORD.unpack_from(self.memory, at)[0]
        return value

    def set_word(self, at: int, value: int) -> None:
        """Set one of the 64-bit words in shared memory."""
        _WORD.pack_into(self.memory, at, value)

    def begin(self, record: Record) -> None:
        """Write the first record, in the recorder, before there are guards."""
        data = marshal.dumps(record)
        data = _LENGTH.pack(len(data)) + data
        os.pwrite(self.descriptor, data, 0)
        self.set_word(WRITTEN, len(data))
        self.set_word(END, len(data))

    def append(self, *record: Any) -> int:
        """Add a record; return where it begins, for `retract`."""
        # marshal takes exact tuples only
        data = marshal.dumps(tuple([tuple(field) if type(field) is Status else field for field in record]))
        data = _LENGTH.pack(len(data)) + data
        written, end = self.word(WRITTEN), self.word(END)
        if end - written + len(data) > _FLUSH_AT:
            self.flush()
            written = end
        if len(data) > _SIZE - _RING:
            return end
        at = _RING + end - written
        self.memory[at : at + len(data)] = data
        self.set_word(END, end + len(data))
        return end

    def retract(self, at: int) -> None:
        """Take back the last record: the call did not happen."""
        if at >= self.word(WRITTEN):
            self.set_word(END, at)

    def flush(self) -> None:
        """Write out what memory holds. A full disk loses records, never stops the command."""
        written, end = self.word(WRITTEN), self.word(END)
        if end == written:
            return
        offset = written
        with contextlib.suppress(OSError):
            while offset < end:
                offset += os.pwrite(
                    self.descriptor, self.memory[_RING + offset - written : _RING + end - written], offset
                )
        self.set_word(WRITTEN, end)  # a guard killed before this line is replayed at the same offset
        with contextlib.suppress(OSError):
            os.write(self.poke, b".")


def whole_bytes(data: bytes) -> int:
    """Return how many bytes the whole records in `data` take."""
    at = 0
    while at + _LENGTH.size <= len(data):
        end = at + _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
        if end > len(data):
            break
        at = end
    return at


def parse(data: bytes) -> Iterable[Record]:
    """Yield the whole records in `data`; what was cut off at the end is left."""
    at = 0
    while at + _LENGTH.size <= len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + size > len(data):
            return
        yield marshal.loads(memoryview(data)[at : at + size])  # noqa: S302 -- written by our own guards
        at += size
