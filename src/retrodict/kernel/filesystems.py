"""What a file system keeps of a write: the times that tell a changed file from an unchanged one."""

from __future__ import annotations

import os
from contextlib import suppress

_IN_MEMORY = frozenset({"tmpfs", "ramfs", "hugetlbfs"})

_known: dict[int, bool] = {}


def keeps_times(device: int) -> bool:
    """Say whether every write to a file moves its times, on the file system with this `st_dev`.

    On one that lies in memory (tmpfs: `/dev/shm`, and `/tmp` of many systems) a write through a shared mapping that
    was read before does not, since no page is ever written back.
    """
    if device not in _known:
        in_memory = set()
        with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                before, _, after = line.partition(" - ")
                if after.split(" ", 1)[0] in _IN_MEMORY:
                    major, minor = before.split(" ", 3)[2].split(":")
                    in_memory.add(os.makedev(int(major), int(minor)))
        _known[device] = device not in in_memory
    return _known[device]
