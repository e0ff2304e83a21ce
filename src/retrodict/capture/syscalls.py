"""Which system calls are watched, where their arguments stand, and the filter that sends them to the guard.

The filter answers by itself: everything that is not in the tables passes without any cost but the filter's own
(some 50 ns). io_uring would open files without system calls, so it gets ENOSYS, as on kernels without it, and programs
fall back; x32 calls get ENOSYS for want of a table.
Sources: seccomp(2), seccomp_unotify(2), linux/seccomp.h, linux/bpf_common.h, arch/*/syscalls/*.tbl.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Mapping
from typing import NamedTuple

AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7

_X86_64 = {
    "open": 2, "connect": 42, "execve": 59, "truncate": 76, "ftruncate": 77, "rename": 82, "rmdir": 84, "creat": 85,
    "link": 86, "unlink": 87, "symlink": 88, "mknod": 133, "pivot_root": 155, "chroot": 161, "mount": 165,
    "openat": 257, "mknodat": 259, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266, "unshare": 272,
    "open_by_handle_at": 304, "setns": 308, "renameat2": 316, "execveat": 322, "openat2": 437,
}  # fmt: skip
_I386 = {
    "open": 5, "creat": 8, "link": 9, "unlink": 10, "execve": 11, "mknod": 14, "mount": 21, "rename": 38, "rmdir": 40,
    "chroot": 61, "symlink": 83, "truncate": 92, "ftruncate": 93, "truncate64": 193, "ftruncate64": 194,
    "pivot_root": 217, "openat": 295, "mknodat": 297, "unlinkat": 301, "renameat": 302, "linkat": 303,
    "symlinkat": 304, "unshare": 310, "open_by_handle_at": 342, "setns": 346, "renameat2": 353, "execveat": 358,
    "connect": 362, "openat2": 437,
}  # fmt: skip
_AARCH64 = {
    "mknodat": 33, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "mount": 40, "pivot_root": 41,
    "truncate": 45, "ftruncate": 46, "chroot": 51, "openat": 56, "unshare": 97, "connect": 203, "execve": 221,
    "open_by_handle_at": 265, "setns": 268, "renameat2": 276, "execveat": 281, "openat2": 437,
}  # fmt: skip
TABLES: Mapping[str, Mapping[int, Mapping[str, int]]] = {
    "x86_64": {AUDIT_ARCH_X86_64: _X86_64, AUDIT_ARCH_I386: _I386},
    "aarch64": {AUDIT_ARCH_AARCH64: _AARCH64},
}
_SECCOMP_NUMBER = {"x86_64": 317, "aarch64": 277}
_FIRST_IO_URING, _X32_BIT = 425, 1 << 30
_FOLDER_FLAG = {"x86_64": 0o200000, "aarch64": 0o40000}  # O_DIRECTORY
_MAKES = 0o3 | 0o100 | 0o20000000  # O_ACCMODE, O_CREAT (an old kernel makes a file then), O_TMPFILE

# Operations: o open, t truncate, m move, l link, s symlink, d delete, r remove a folder, n node, x execute, c connect,
# N another view of the file system (a namespace, a mount, a handle).
# Then the numbers of the arguments: dirfd, path, second dirfd, second path, flags; . none; h flags in a struct.
_SPECIFICATIONS = {
    "open": "o.0..1", "creat": "o.0...", "openat": "o01..2", "openat2": "o01..h", "truncate": "t.0...",
    "truncate64": "t.0...", "ftruncate": "t0....", "ftruncate64": "t0....", "rename": "m.0.1.", "renameat": "m0123.",
    "renameat2": "m01234", "link": "l.0.1.", "linkat": "l01234", "symlink": "s.1...", "symlinkat": "s12...",
    "unlink": "d.0...", "unlinkat": "d01..2", "rmdir": "r.0...", "mknod": "n.0...", "mknodat": "n01...",
    "execve": "x.0...", "execveat": "x01..4", "connect": "c.1...",
}  # fmt: skip
NO_ARGUMENT, STRUCT_ARGUMENT = -1, -2


class Call(NamedTuple):
    """One watched system call: its operation, and the numbers of the arguments that say on what."""

    name: str
    operation: str
    dirfd: int
    path: int
    dirfd2: int
    path2: int
    flags: int


def _call(name: str) -> Call:
    specification = _SPECIFICATIONS.get(name, "N.....")
    numbers = (NO_ARGUMENT if p == "." else STRUCT_ARGUMENT if p == "h" else int(p) for p in specification[1:])
    return Call(name, specification[0], *numbers)


def calls(machine: str) -> dict[tuple[int, int], Call]:
    """Return (architecture, number) -> call for a `platform.machine()`; empty where there is no table."""
    return {(a, n): _call(name) for a, table in TABLES.get(machine, {}).items() for name, n in table.items()}


_LOAD, _IF_AT_LEAST, _IF_EQUAL, _AND, _RETURN = 0x20, 0x35, 0x15, 0x54, 0x06
ALLOW, NOTIFY, NO_SYSCALL = 0x7FFF0000, 0x7FC00000, 0x00050000 | errno.ENOSYS


def filter_program(machine: str) -> list[tuple[int, int, int, int]]:
    """Return the classic BPF program for a machine: (code, jump if true, jump if false, operand) each."""
    program = [(_LOAD, 0, 0, 4)]  # the architecture
    folder = _FOLDER_FLAG[machine]
    for architecture, table in TABLES[machine].items():
        numbers = sorted(number for name, number in table.items() if name != "openat")
        n = len(numbers)
        body = [(_LOAD, 0, 0, 0), (_IF_AT_LEAST, n + 8, 0, _X32_BIT)]
        body += [(_IF_EQUAL, n + 7 - i, 0, _FIRST_IO_URING + i) for i in range(3)]
        body += [(_IF_EQUAL, n - i + 5, 0, number) for i, number in enumerate(numbers)]
        # What can only open a folder, to list it, reads no file: Python does so for every folder that it imports from.
        body += [(_IF_EQUAL, 0, 3, table["openat"]), (_LOAD, 0, 0, 32), (_AND, 0, 0, folder | _MAKES)]
        body += [(_IF_EQUAL, 0, 2, folder)]
        body += [(_RETURN, 0, 0, ALLOW), (_RETURN, 0, 0, NO_SYSCALL), (_RETURN, 0, 0, NOTIFY)]
        program += [(_IF_EQUAL, 0, len(body), architecture), *body]
    return [*program, (_RETURN, 0, 0, ALLOW)]


MACHINE = platform.machine()
CALLS = calls(MACHINE)
libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS = 38
_NEW_LISTENER, _WAIT_KILLABLE_RECV = 8, 32  # the second from Linux 5.19: a signal cannot repeat a call that we hold


def install_filter() -> int:
    """Install the filter in the calling process, for it and all that it will become; return the listener.

    Returns:
        The descriptor on which notifications arrive, or a negative errno where the kernel refuses.
    """
    if MACHINE not in TABLES:
        return -errno.ENOSYS
    instructions = filter_program(MACHINE)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *i) for i in instructions))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(code)))
    for with_no_new_privileges in (False, True):  # who has CAP_SYS_ADMIN may keep setuid programs working
        if with_no_new_privileges:
            libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        for flags in (_NEW_LISTENER | _WAIT_KILLABLE_RECV, _NEW_LISTENER):
            listener: int = libc.syscall(_SECCOMP_NUMBER[MACHINE], 1, flags, program)
            if listener >= 0:
                return listener
    return -ctypes.get_errno()
