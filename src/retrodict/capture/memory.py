"""Read the arguments of a system call out of the process that waits in it."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import Final

from retrodict.capture.syscalls import libc

_PAGE = 4096
_LONGEST_PATH: Final = 4096


class UnreadableError(Exception):
    """The memory of the process may not be read, or is not there."""


class ProcessMemory:
    """Reads strings and structures of other processes, through one buffer."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(2 * _PAGE + 1)
        self._remote = ctypes.create_string_buffer(32)
        self._local = ctypes.create_string_buffer(struct.pack("QQ", ctypes.addressof(self._buffer), 2 * _PAGE))
        self._local_at, self._remote_at = ctypes.addressof(self._local), ctypes.addressof(self._remote)
        self._readv = libc.process_vm_readv
        self._readv.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_ulong,
            ctypes.c_void_p,
            ctypes.c_ulong,
            ctypes.c_ulong,
        ]
        self._readv.restype = ctypes.c_ssize_t

    def _fill(self, thread: int, address: int, size: int) -> int:
        """Read up to `size` bytes, at most 4,096, as far as they are mapped, into the buffer; return how many."""
        first = _PAGE - (address & _PAGE - 1)  # a string may end right before a page that is not mapped
        struct.pack_into("4Q", self._remote, 0, address, min(first, size), address + first, max(0, size - first))
        got: int = self._readv(thread, self._local_at, 1, self._remote_at, 1 + (first < size), 0)
        if got <= 0:
            try:
                with open(f"/proc/{thread}/mem", "rb", 0) as file:
                    data = os.pread(file.fileno(), min(size, first), address)
            except (OSError, OverflowError) as error:
                raise UnreadableError from error
            ctypes.memmove(self._buffer, data, len(data))
            got = len(data)
        self._buffer[got] = b"\0"
        return got

    def read(self, thread: int, address: int, size: int) -> bytes:
        """Return up to `size` bytes (at most 4,096), fewer where the memory ends.

        Raises:
            UnreadableError: Nothing can be read there.
        """
        got = self._fill(thread, address, size)
        return self._buffer.raw[:got]

    def string(self, thread: int, address: int) -> bytes:
        """Return the C string at an address, cut off after the longest path that Linux takes.

        Raises:
            UnreadableError: Nothing can be read there.
        """
        for size in (256, _LONGEST_PATH):  # nearly every path fits the first, which is faster
            got = self._fill(thread, address, size)
            value: bytes = self._buffer.value
            if len(value) < got:
                break
        return value

    def strings(self, thread: int, address: int, most: int) -> list[bytes]:
        """Return the first strings of a NULL-ended array of pointers, as argv is."""
        data = self.read(thread, address, most * 8)
        found = []
        for (pointer,) in struct.iter_unpack("Q", data[: len(data) // 8 * 8]):
            if not pointer:
                break
            found.append(self.string(thread, pointer))
        return found


def socket_address(data: bytes) -> str | None:
    """Return a `sockaddr` as text: host:port, or unix: and the path; None for another family."""
    if len(data) <= 2:
        return None
    (family,) = struct.unpack_from("H", data)
    if family == socket.AF_UNIX:
        name = data[2:].replace(b"\0", b"@", 1) if data[2:3] == b"\0" else data[2:]
        return "unix:" + name.split(b"\0")[0].decode("utf-8", "replace")
    if family == socket.AF_INET and len(data) >= 8:
        return f"{socket.inet_ntop(family, data[4:8])}:{data[2] << 8 | data[3]}"
    if family == socket.AF_INET6 and len(data) >= 24:
        return f"[{socket.inet_ntop(family, data[8:24])}]:{data[2] << 8 | data[3]}"
    return None
