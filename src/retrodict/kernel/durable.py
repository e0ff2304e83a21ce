"""Durable writes: a file that is there is whole, and survives the loss of power.

The system calls come in as a `Disk`, so that tests can make each of them fail, before or after it took effect.
HAZARD: after a failed fsync Linux may mark dirty pages clean; a second fsync that succeeds proves nothing. So a file
whose fsync failed is never renamed into place and never synced again: it is written anew.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

PART_BYTES = 1 << 20
_FICLONE = 0x40049409  # linux/fs.h; `fcntl` has it from Python 3.12


class Disk(Protocol):
    """The system calls of a durable write."""

    def create(self, path: Path, mode: int) -> int:
        """Open a new file for writing; return its descriptor."""
        ...

    def write(self, fd: int, data: bytes | memoryview) -> None:
        """Write all of `data`."""
        ...

    def clone(self, source: int, fd: int) -> None:
        """Let `fd`, a new file, share all bytes of `source`: copied on write, as of one moment, in no time.

        Raises:
            OSError: Among others: the file system cannot, or the two lie on different ones.
        """
        ...

    def sync(self, fd: int) -> None:
        """Force a file or a folder to the disk, and close nothing."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Rename over `target`, atomically."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        ...


class RealDisk:
    """The operating system."""

    def create(self, path: Path, mode: int) -> int:
        """See `Disk.create`."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)

    def write(self, fd: int, data: bytes | memoryview) -> None:
        """See `Disk.write`."""
        view = memoryview(data).cast("B")
        while view:
            view = view[os.write(fd, view) :]

    def clone(self, source: int, fd: int) -> None:
        """See `Disk.clone`."""
        fcntl.ioctl(fd, _FICLONE, source)

    def sync(self, fd: int) -> None:
        """See `Disk.sync`."""
        os.fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        """See `Disk.rename`."""
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        """See `Disk.unlink`."""
        os.unlink(path)


REAL_DISK = RealDisk()


def sync_folder(folder: Path, disk: Disk = REAL_DISK) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        disk.sync(fd)
    finally:
        os.close(fd)


def parts_of(path: Path) -> Iterator[memoryview]:
    """Return the bytes of a file, 1 MiB at a time, each part good until the next is asked for.

    Raises:
        OSError: It cannot be opened, or, later, read.
    """
    file = path.open("rb", buffering=0)

    def read() -> Iterator[memoryview]:
        with file:
            buffer = memoryview(bytearray(PART_BYTES))
            while n := file.readinto(buffer):
                yield buffer[:n]

    return read()


def write_file(path: Path, data: bytes, *, mode: int = 0o644, disk: Disk = REAL_DISK) -> None:
    """Put `data` at `path`, atomically and durably; `path` holds the old or the new bytes at every instant.

    A crash before the rename leaves a `.tmp-*` file beside `path` that nobody reads.
    """
    write_parts(path, (memoryview(data),), mode=mode, disk=disk)


def _begin(path: Path, mode: int, disk: Disk) -> tuple[Path, int]:
    """Return a new file beside `path`, locked: while somebody is writing it, it is no leftover."""
    while True:
        temporary = path.with_name(f".tmp-{os.getpid()}-{os.urandom(6).hex()}")
        fd = disk.create(temporary, mode)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:  # not every file system has locks; then nobody gets one to remove it either
            return temporary, fd
        if os.fstat(fd).st_nlink:
            return temporary, fd
        os.close(fd)  # it was taken for a leftover before it was locked


def remove_abandoned(path: str | Path) -> None:
    """Remove what `write_parts` was writing when it was killed.

    Raises:
        OSError: Somebody is writing it still, or that cannot be told; it stays.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(fd)


def write_parts(path: Path, parts: Iterable[memoryview], *, mode: int = 0o644, disk: Disk = REAL_DISK) -> None:
    """Put what `parts` yields at `path` as `write_file` does; where they raise, `path` stays as it was."""
    temporary, fd = _begin(path, mode, disk)
    try:
        try:
            for part in parts:
                disk.write(fd, part)
            disk.sync(fd)
            disk.rename(temporary, path)
        finally:
            os.close(fd)
    except (Exception, KeyboardInterrupt):
        with contextlib.suppress(OSError):
            disk.unlink(temporary)
        raise
    sync_folder(path.parent, disk)


def is_special(path: Path) -> bool:
    """Say whether a path leads to what cannot be replaced: a pipe, a device, or what is open already (/dev/stdout)."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    folder = os.path.realpath(path.parent)
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or folder == "/dev" or folder.startswith("/proc/")


def write_named(path: Path, parts: Iterable[memoryview], *, mode: int = 0o644, disk: Disk = REAL_DISK) -> None:
    """Put what `parts` yields at a path that a person named: as `write_parts` does; a pipe or a device is written to.

    Raises:
        OSError: It cannot be written. And what `parts` raises.
    """
    if not is_special(path):
        write_parts(path, parts, mode=mode, disk=disk)
        return
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):  # whoever has it open would write over what is written here
            raise OSError(errno.EBUSY, "it leads to a file that is open already")
        for part in parts:
            disk.write(fd, part)
    finally:
        os.close(fd)
