"""What `lstat` says of a file, as a tuple that `marshal` takes, and what a path really names."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple


class Status(NamedTuple):
    """Who a file is and what state it is in; two equal ones (of a settled file) mean the same content."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int
    links: int

    @property
    def is_regular(self) -> bool:
        """Whether it is a file with content."""
        return stat.S_ISREG(self.mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def content(self) -> tuple[int, int, int, int]:
        """What stays as long as nobody writes: device, inode, size, mtime."""
        return self[:4]


def of(st: os.stat_result) -> Status:
    """Return the part of a stat result that capture keeps."""
    return Status(st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_mode, st.st_nlink)


def status(path: bytes, *, follow: bool = False) -> Status | None:
    """Return the status of a path, None where there is none to be had."""
    try:
        return of(os.stat(path) if follow else os.lstat(path))
    except (OSError, ValueError):
        return None
