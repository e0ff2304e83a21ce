"""A disk that fails where it is told to, and that forgets what was not synced when the power goes.

    disk = FlakyDisk(Fault(step="sync", occurrence=2, landed=False))
    with pytest.raises(Crash):
        write_file(path, b"new", disk=disk)
    disk.healed()  # the power is back: what was not synced is gone
    assert path.read_bytes() in (b"old", b"new")

The files are real ones. The model of what the loss of power leaves is the strictest that POSIX allows: the bytes of a
file are lost unless it was synced after they were written, and a name (created, renamed, unlinked) unless its folder
was synced afterwards. Real file systems keep more; a caller must not count on it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from retrodict.kernel.durable import REAL_DISK, Disk, RealDisk

Step = Literal["create", "write", "clone", "sync", "rename", "unlink"]
STEPS: tuple[Step, ...] = ("create", "write", "clone", "sync", "rename", "unlink")

T = TypeVar("T")


class Crash(BaseException):
    """The process died here. No `except Exception` may go on after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong.

    Attributes:
        step: The system call that fails.
        occurrence: At its how-manieth use, from 1.
        landed: It took effect all the same ("failed but landed"); otherwise it did nothing ("failed and lost").
        errno: It returns this error and the process goes on; None: the process dies.
    """

    step: Step
    occurrence: int = 1
    landed: bool = False
    errno: int | None = None


class CopyingDisk(RealDisk):
    """The operating system, where every file system can clone: by copying, so that nothing is shared."""

    def clone(self, source: int, fd: int) -> None:
        """See `Disk.clone`."""
        offset = 0
        while sent := os.sendfile(fd, source, offset, 1 << 30):
            offset += sent


COPYING_DISK = CopyingDisk()


class FlakyDisk:
    """A `Disk` with one fault; see the module's text. One process at a time."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.used: Counter[Step] = Counter()
        self._dead = False
        self._volatile: dict[int, Path] = {}  # inode -> where, of a file whose bytes are not on the disk
        self._lost: set[int] = set()  # inodes whose sync failed: no later one helps
        self._undo: list[tuple[Path, Callable[[], object]]] = []  # folder, how its last change is taken back

    @property
    def fired(self) -> bool:
        """Say whether the fault has come up."""
        return self.fault is not None and self.used[self.fault.step] >= self.fault.occurrence

    def healed(self) -> Disk:
        """Return the disk of the next process, after the power was gone: all that was not synced is lost."""
        for path in self._volatile.values():
            with contextlib.suppress(FileNotFoundError):
                os.truncate(path, 0)
        for _, take_back in reversed(self._undo):
            take_back()
        self._volatile.clear()
        self._undo.clear()
        self._dead = True  # the old process does not come back
        return REAL_DISK

    def create(self, path: Path, mode: int) -> int:
        """See `Disk.create`."""

        def effect() -> int:
            fd = REAL_DISK.create(path, mode)
            self._volatile[os.fstat(fd).st_ino] = path
            self._undo.append((path.parent, lambda: path.unlink(missing_ok=True)))
            return fd

        return self._do("create", effect)

    def write(self, fd: int, data: bytes | memoryview) -> None:
        """See `Disk.write`."""
        self._do("write", lambda: REAL_DISK.write(fd, data))

    def clone(self, source: int, fd: int) -> None:
        """See `Disk.clone`."""
        self._do("clone", lambda: COPYING_DISK.clone(source, fd))

    def sync(self, fd: int) -> None:
        """See `Disk.sync`."""
        status = os.fstat(fd)

        def effect() -> None:
            REAL_DISK.sync(fd)
            if stat.S_ISDIR(status.st_mode):
                synced = Path(os.readlink(f"/proc/self/fd/{fd}"))
                self._undo = [(folder, back) for folder, back in self._undo if folder.resolve() != synced]
            elif status.st_ino not in self._lost:
                self._volatile.pop(status.st_ino, None)

        try:
            self._do("sync", effect)
        except OSError:
            # Linux may mark the pages clean that it failed to write: the next sync succeeds and proves nothing.
            if status.st_ino in self._volatile:
                self._lost.add(status.st_ino)
            raise

    def rename(self, source: Path, target: Path) -> None:
        """See `Disk.rename`."""

        def effect() -> None:
            before = target.read_bytes() if target.exists() else None
            inode = source.stat().st_ino
            REAL_DISK.rename(source, target)
            if inode in self._volatile:
                self._volatile[inode] = target

            def take_back() -> None:
                os.rename(target, source)
                if before is not None:
                    target.write_bytes(before)

            self._undo.append((target.parent, take_back))

        self._do("rename", effect)

    def unlink(self, path: Path) -> None:
        """See `Disk.unlink`."""

        def effect() -> None:
            data, inode = path.read_bytes(), path.stat().st_ino
            REAL_DISK.unlink(path)
            self._volatile.pop(inode, None)
            self._undo.append((path.parent, lambda: path.write_bytes(data)))

        self._do("unlink", effect)

    def _do(self, step: Step, effect: Callable[[], T]) -> T:
        if self._dead:
            raise Crash("the process is dead")
        self.used[step] += 1
        fault = self.fault
        if fault is None or (fault.step, fault.occurrence) != (step, self.used[step]):
            return effect()
        if fault.landed:
            result = effect()
            if step == "create" and isinstance(result, int):
                os.close(result)  # the caller never learns of it
        if fault.errno is not None:
            raise OSError(fault.errno, os.strerror(fault.errno))
        self._dead = True
        raise Crash(f"at {step} number {fault.occurrence}")
