"""Hold the bytes of a file that the run is about to destroy.

Called in the guard, while the command waits: a clone where the file system can, a hard link where only a name goes
away, else a copy within a limit. A file that cannot be held is recorded as lost, with the reason; nothing here
stops the command.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from retrodict.capture.files import Status, of

DEFAULT_LIMIT_BYTES = 1 << 30
_FICLONE = 0x40049409
_STEP_BYTES = 8 << 20


@dataclass(slots=True, kw_only=True)
class Preserver:
    """Holds originals in a folder of the caller's.

    Attributes:
        folder: Where the originals go; it exists. None: nothing is held, every destroyed input is lost.
        limit_bytes: How much may be *copied* in one run. Clones and links cost nothing and do not count.
        since_ns: When the run began, by the clock of the file system. A file whose content and inode both changed
            after that was written by the run itself, and is no original.
        copied_bytes: How much has been copied.
        read: Device and inode of what the run has read.
        held: Content already dealt with.
    """

    folder: bytes | None
    limit_bytes: int
    since_ns: int
    copied_bytes: int = 0
    read: set[tuple[int, int]] = field(default_factory=set)
    held: set[tuple[int, ...]] = field(default_factory=set)

    def wants(self, status: Status, *, keeps_content: bool) -> bool:
        """Say whether the file must be held before it is touched.

        Args:
            status: Of the file, before.
            keeps_content: The call leaves content that the run may still read (opening for update, appending).
                Where it does not (emptying, deleting, replacing), only what was already read can be an input.
        """
        if not status.is_regular or not status.size or status.content in self.held:
            return False
        if status.mtime_ns > self.since_ns and status.ctime_ns > self.since_ns:
            return False
        return keeps_content or status[:2] in self.read

    def hold(self, path: bytes, status: Status, *, only_name_goes: bool, beat: Callable[[], None]) -> tuple[str, bytes]:
        """Hold a file; return ("held", where) or ("lost", why)."""
        self.held.add(status.content)
        if self.folder is None:
            return "lost", b"nothing was to be preserved"
        target = b"%s/%x-%x-%s" % (self.folder, status.device, status.inode, os.urandom(4).hex().encode())
        try:
            if only_name_goes:
                with contextlib.suppress(OSError):
                    os.link(path, target, follow_symlinks=False)
                    return "held", target
            return self._copy(path, target, beat)
        except OSError as error:
            return "lost", os.fsencode(error.strerror or str(error))

    def _copy(self, path: bytes, target: bytes, beat: Callable[[], None]) -> tuple[str, bytes]:
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            size = of(os.fstat(source)).size
            copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            whole = False
            try:
                with contextlib.suppress(OSError):
                    fcntl.ioctl(copy, _FICLONE, source)
                    whole = True
                    return "held", target
                if self.copied_bytes + size > self.limit_bytes:
                    return "lost", b"larger than what may be copied in one run"
                room = os.fstatvfs(copy)
                if size > room.f_bavail * room.f_frsize // 2:
                    return "lost", b"not enough room on the disk"
                offset = 0
                while sent := os.sendfile(copy, source, offset, _STEP_BYTES):
                    offset += sent
                    beat()
                self.copied_bytes += offset
                whole = True
                return "held", target
            finally:
                os.close(copy)
                if not whole:
                    os.unlink(target)
        finally:
            os.close(source)
