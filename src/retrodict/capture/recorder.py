"""Run a command, and find out what it read and wrote."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from retrodict.capture import audithook, seccomp, strace
from retrodict.capture import records as r
from retrodict.capture.command import Command
from retrodict.capture.errors import CaptureUnavailableError, NoCommandError
from retrodict.capture.facts import Capture
from retrodict.capture.fold import fold
from retrodict.capture.ignore import DEFAULT_IGNORE, Ignore
from retrodict.capture.preserve import DEFAULT_LIMIT_BYTES, Preserver
from retrodict.capture.running import Recording, RefusedError, Request, Setting
from retrodict.capture.seccomp import SPOOL_NAME
from retrodict.capture.spool import Record, parse
from retrodict.capture.tee import Tee
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.protocols import Clock


def supervise(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    preserve_to: Path | None = None,
    preserve_limit_bytes: int = DEFAULT_LIMIT_BYTES,
    mode: Literal["auto", "seccomp", "strace", "audit-hook"] = "auto",
    output: Callable[[int, bytes], None] | None = None,
    ignore: Ignore = DEFAULT_IGNORE,
    clock: Clock | None = None,
) -> Capture:
    """Run a command to its end and return what it did.

    Ctrl-C goes to the command; so do SIGTERM and SIGHUP. The command is looked for on the PATH of `environment`.
    May be called in any thread. Where this process has several, another one supervises (see `apart`).

    Args:
        argv: The command; it begins in `cwd`, with exactly the variables of `environment`.
        preserve_to: An existing folder on the file system of the data, for the originals of files that the run reads
            and then overwrites; the caller removes it. The spool lies there too, so that `recover` can read it after
            the caller was killed. None: such inputs are marked lost.
        preserve_limit_bytes: How much may be copied there where the file system cannot clone.
        mode: "auto" takes the best that works; the result names it.
        output: Gets copies of what the command writes: 1 or 2, and the bytes. None: the streams are inherited as is.
        ignore: What is noise, and what is environment.
        clock: Stamps the records; the system's when None.

    Raises:
        NoCommandError: `argv` is empty, or `cwd` is no folder.
        CaptureUnavailableError: The mode asked for does not work here.
    """
    if not argv:
        raise NoCommandError("there is no command to run")
    if not cwd.is_dir():
        raise NoCommandError(f"the command cannot begin in {cwd}: that is no folder", hint="Name an existing folder.")
    folder = os.path.realpath(os.fsencode(cwd))
    request = Request(
        command=Command(
            argv=list(argv),
            cwd=os.fsdecode(folder),
            environment=dict(environment),  # os.environ could not be sent to another process
            mask=signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        ),
        preserve_to=None if preserve_to is None else preserve_to.absolute(),
        preserve_limit_bytes=preserve_limit_bytes,
        mode=mode,
        ignore=ignore.within(folder, environment),
        clock=clock or SystemClock(),
    )
    if not sys.executable or not _has_threads():  # an embedded interpreter has no program to start
        return observe(request, output)
    from retrodict.capture import apart  # 30 ms

    seen = apart.observe(request, output)
    return _left(request) if seen is None else seen


def _has_threads() -> bool:
    """Say whether this process has other threads, Python's or not: a fork would have their locks, and nobody's."""
    return len(os.listdir("/proc/self/task")) > 1


def observe(request: Request, output: Callable[[int, bytes], None] | None) -> Capture:
    """Run a command to its end in this process, which has no other thread, and return what it did."""
    clock = request.clock
    tee = Tee(output)
    try:
        setting = Setting(
            command=replace(request.command, streams=tee.streams),
            preserver=Preserver(
                folder=None if request.preserve_to is None else os.fsencode(request.preserve_to),
                limit_bytes=request.preserve_limit_bytes,
                since_ns=clock.now_ns(),
            ),
            ignore=request.ignore,
            clock=clock,
            tee=tee,
        )
        recording = _record(setting, request.mode)
    finally:
        tee.close()
    if recording.exit_code is not None:
        recording.records.append((r.EXIT, clock.now_ns(), recording.exit_code))
    return fold(
        recording.records,
        ignore=request.ignore,
        mode=recording.mode,
        completeness=recording.completeness,
        notes=recording.notes,
    )


def _left(request: Request) -> Capture:
    """Return what was seen of a command whose recorder was killed, when it has ended."""
    spool = None if request.preserve_to is None else request.preserve_to / SPOOL_NAME
    if spool is None or not spool.exists():
        raise CaptureUnavailableError(request.mode, "the process that supervised the command was killed")
    with open(spool, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # free when the last guard has ended
        records = list(parse(file.read()))
    return _of_the_guards(records, request.ignore)


def _record(setting: Setting, mode: str) -> Recording:
    refusals: list[str] = []
    for name, record in (("seccomp", seccomp.record), ("strace", strace.record)):
        if mode not in ("auto", name):
            continue
        try:
            recording = record(setting)
        except RefusedError as error:
            if mode == name:
                raise CaptureUnavailableError(mode, str(error)) from None
            refusals.append(f"no {name} here: {error}")
        else:
            recording.notes += refusals
            return recording
    recording = audithook.record(setting)
    recording.notes += refusals
    return recording


def recover(
    spool: Path, *, project: Path, environment: Mapping[str, str], ignore: Ignore = DEFAULT_IGNORE
) -> Capture | None:
    """Return what a run did whose recorder was killed, from its spool and what lies on the disk now.

    Args:
        spool: `SPOOL_NAME` in the folder that `supervise` was given.
        project: Where the command began.
        environment: Today's variables; those of the run are not known any more.

    Returns:
        None while the run goes on: its guards hold a lock on the spool.
    """
    with open(spool, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        records = list(parse(file.read()))
    return _of_the_guards(records, ignore.within(os.path.realpath(os.fsencode(project)), environment))


def _of_the_guards(records: Sequence[Record], ignore: Ignore) -> Capture:
    notes = ["the recorder was killed: what the run printed is not known, its code and libraries are as they are now"]
    if not any(record[0] == r.LAST for record in records):
        notes.append("its guards were killed too: the record is not complete")
    return fold(records, ignore=ignore, mode="seccomp", completeness="os-trace", notes=notes)
