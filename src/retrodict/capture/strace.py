"""The first fallback: `strace`, whose text is turned into the records that the guards would have written.

It sees every process, but only afterwards: nothing can be preserved, and what a file was before is told by its times.
Needs strace 5.3 (`--seccomp-bpf`, without which every system call would stop).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace

from retrodict.capture import records as r
from retrodict.capture.running import Recording, RefusedError, Setting, run_child
from retrodict.capture.spool import Record
from retrodict.capture.syscalls import CALLS

_FOLLOWED = ("chdir", "fchdir", "clone", "clone3", "fork", "vfork")
_LINE = re.compile(rb"^(\d+) +(\d+)\.(\d+) (.*)$")
_CALL = re.compile(rb"^(\w+)\((.*)\) += (-?\d+)(?:<([\\x0-9a-f]*)>)?(.*)$")
_RESUMED = re.compile(rb"^<\.\.\. (\w+) resumed>(.*)$")
_EXITED = re.compile(rb"^\+\+\+ (?:exited with (\d+)|killed by (\w+).*) \+\+\+$")
_STRING = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"')
_PORT = re.compile(rb"sin6?_port=htons\((\d+)\)")
_FLAGS = {name.encode(): getattr(os, name) for name in dir(os) if name.startswith("O_")}
_FLAGS |= {b"AT_REMOVEDIR": 0x200, b"AT_SYMLINK_FOLLOW": 0x400, b"RENAME_NOREPLACE": 1, b"RENAME_EXCHANGE": 2}


def record(setting: Setting) -> Recording:
    """Run the command under strace.

    Raises:
        RefusedError: strace is not there, or may not trace.
    """
    program = _working_strace(setting.command.environment.get("PATH", os.defpath))
    recording = Recording(mode="strace", completeness="os-trace")
    names = sorted({call.name for call in CALLS.values() if not call.name.endswith("64")} | set(_FOLLOWED))
    with tempfile.NamedTemporaryFile(prefix="retrodict-strace-") as trace:
        options = ["-f", "-qq", "-y", "-ttt", "-xx", "-s", "4096", "-o", trace.name, "--seccomp-bpf"]
        # A name that this machine's table does not have is skipped by the question mark.
        watched = "trace=" + ",".join(f"?{name}" for name in names)
        command = setting.command
        argv = [program, *options, "-e", watched, "-e", "signal=none", "--", *command.argv]
        recording.records.append(setting.invocation())
        child, recording.exit_code = run_child(setting, replace(command, argv=argv))
        recording.records += read_trace(trace.read().splitlines(), os.fsencode(command.cwd))
    recording.notes.append("inputs that the run overwrote could not be preserved")
    del child
    return recording


def _working_strace(path: str) -> str:
    program = shutil.which("strace", path=path)
    if program is None:
        raise RefusedError("strace is not installed")
    test = [program, "-f", "-qq", "--seccomp-bpf", "-e", "trace=openat", "-o", "/dev/null", "true"]
    answer = subprocess.run(test, capture_output=True, check=False)
    if answer.returncode:
        message = answer.stderr.decode("utf-8", "replace").strip().splitlines()
        raise RefusedError(message[-1] if message else "strace failed")
    return program


def _unhex(text: bytes) -> bytes:
    return bytes.fromhex(text.replace(b"\\x", b"").decode())


def read_trace(lines: Iterable[bytes], cwd: bytes) -> Iterator[Record]:
    """Yield records from the lines of `strace -f -y -ttt -xx`; calls that failed, and lines cut short, are left out."""
    folders: dict[int, bytes] = {}
    unfinished: dict[int, bytes] = {}
    first: int | None = None
    parents: dict[int, int] = {}
    for line in lines:
        if not (match := _LINE.match(line)):
            continue
        process, at_ns, text = int(match[1]), int(match[2]) * 10**9 + int(match[3].ljust(9, b"0")), match[4]
        if first is None:
            first = process
            folders[process] = cwd
        if process not in folders or process not in parents:
            parents.setdefault(process, 0)
            folders.setdefault(process, folders.get(parents[process], cwd))
            yield (r.THREAD, at_ns, process, process, parents[process])
        if _EXITED.match(text):
            yield (r.ENDED, at_ns, process)
            continue
        if text.endswith(b"<unfinished ...>"):
            unfinished[process] = text[: -len(b"<unfinished ...>")].rstrip()
            continue
        if resumed := _RESUMED.match(text):
            text = unfinished.pop(process, b"") + resumed[2]
        if not (match := _CALL.match(text)):
            continue
        name, arguments, value = match[1].decode(), match[2], int(match[3])
        if value < 0 and not (name == "connect" and b"EINPROGRESS" in match[5]):
            continue
        if name in ("clone", "clone3", "fork", "vfork"):
            if value not in parents:
                parents[value] = process
                folders[value] = folders[process]
                yield (r.THREAD, at_ns, value, value, process)
            continue
        made = _record(name, arguments, match[4], folders[process])
        if isinstance(made, bytes):
            folders[process] = made
        elif made is not None:
            yield (made[0], at_ns, process, *made[1:])


def _record(name: str, arguments: bytes, opened: bytes | None, cwd: bytes) -> Record | bytes | None:
    """Return (kind, fields after the thread), or the new working folder, or None."""
    strings = [_unhex(s) for s in _STRING.findall(arguments)]
    words = re.split(rb"[|,{}\s=]+", _STRING.sub(b"", arguments))
    flags = 0
    for word in words:
        flags |= _FLAGS.get(word, 0)
    base = _bases(arguments, cwd)
    operation = next((call.operation for call in CALLS.values() if call.name == name), "")
    if name == "chdir" and strings:
        return os.path.realpath(os.path.join(cwd, strings[0]))
    if name == "fchdir":
        return base[0]
    if operation == r.OPEN and opened is not None:
        if name == "creat":
            flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
        path = _unhex(opened)
        if flags & os.O_PATH or not path.startswith(b"/") or path.startswith((b"/proc/", b"/sys/")):
            return None
        return (r.OPEN, flags, path, r.UNKNOWN)
    if operation == r.CONNECT:
        port = _PORT.search(arguments)
        if b"AF_UNIX" in arguments and strings:
            return (r.CONNECT, "unix:" + strings[0].decode("utf-8", "replace"))
        return (r.CONNECT, f"{strings[-1].decode('ascii', 'replace')}:{int(port[1])}") if port and strings else None
    if operation == r.VIEW:
        return (r.VIEW if name != "open_by_handle_at" else r.BLIND, name)
    if not strings or operation in ("", r.REMOVE_FOLDER) or flags & _FLAGS[b"AT_REMOVEDIR"]:
        return None
    paths = [_join(folder, text) for folder, text in zip(base, strings[:2], strict=False)]
    match operation:
        case r.EXECUTE:
            return (r.EXECUTE, os.path.realpath(paths[0]), r.UNKNOWN, [s[:200] for s in strings[1:33]])
        case r.MOVE | r.LINK if len(paths) == 2:
            return (operation, flags & 3 if operation == r.MOVE else 0, paths[0], r.UNKNOWN, paths[1], r.UNKNOWN)
        case r.SYMLINK if len(strings) == 2:
            return (r.SYMLINK, _join(base[0], strings[1]), None)
        case r.DELETE | r.NODE:
            return (operation, paths[0], r.UNKNOWN if operation == r.DELETE else None)
        case r.TRUNCATE:
            return (operation, os.path.realpath(paths[0]), r.UNKNOWN)
    return None


def _bases(arguments: bytes, cwd: bytes) -> list[bytes]:
    """Return the folders that the paths of a call are relative to: what -y printed, else the working folder."""
    found = [_unhex(text) for text in re.findall(rb"<((?:\\x[0-9a-f]{2})+)>", arguments)]
    return [*found, cwd, cwd] if not found else [*found, found[-1]]


def _join(folder: bytes, path: bytes) -> bytes:
    whole = os.path.join(folder, path)
    return os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))
