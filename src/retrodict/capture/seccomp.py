"""Capture by the guards: start them, follow what they write; inside another run, share that run's guards."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence

from retrodict.capture import records as r
from retrodict.capture.guard import JOIN, Watch, start
from retrodict.capture.running import (
    GRACE_S,
    Recording,
    RefusedError,
    Relay,
    Setting,
    bury,
    run_child,
    wait_for,
    wait_for_orphan,
)
from retrodict.capture.spool import DONE, DUMB, WRITTEN, Record, Spool, parse
from retrodict.capture.syscalls import libc

_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
SPOOL_NAME = "capture.spool"


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Be the parent of orphans inside the block: then a command whose guards died can still be waited for."""
    before = ctypes.c_int()
    libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


def record(setting: Setting) -> Recording:
    """Run the command under guards.

    Raises:
        RefusedError: The kernel has no user notification, or this process may not use it.
    """
    token = setting.clock.random_bytes(8).hex().encode()
    recording = Recording(mode="seccomp", completeness="os-trace")
    with adopting():
        try:
            joined = os.open(JOIN + token, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            _by_guards(setting, recording)
        else:
            try:
                _inside(setting, recording, joined, token)
            finally:
                os.close(joined)
    return recording


def _by_guards(setting: Setting, recording: Recording) -> None:
    """Start guards, and follow what they write."""
    folder = setting.preserver.folder
    if folder is None:
        descriptor, name = tempfile.mkstemp(prefix="retrodict-spool-")
        os.unlink(name)
    else:
        name = os.fsdecode(folder + b"/" + SPOOL_NAME.encode())
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # shared with the guards: free when the last of them has ended
    poke_read, poke_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    spool = Spool(descriptor, poke_write)
    spool.begin(setting.invocation())
    watch = Watch(spool=spool, preserver=setting.preserver, ignore=setting.ignore, clock=setting.clock)
    watch.guards.add(os.getpid())
    relay = Relay(setting.tee)
    try:
        with relay.listening():
            # A signal must not find the guards half set up: they inherit a full mask and drop it when they are ready.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                guard = os.fork()
                if guard == 0:
                    try:
                        start(watch, setting.command)
                    finally:
                        os._exit(3)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, setting.command.mask)
            os.close(poke_write)
            poke_write = -1
            _follow(setting, recording, spool, poke_read, relay, guard)
    finally:
        for number in (descriptor, poke_read, poke_write):
            if number >= 0:
                os.close(number)


def _follow(setting: Setting, recording: Recording, spool: Spool, poke: int, relay: Relay, guard: int) -> None:
    poll = select.poll()
    poll.register(poke, select.POLLIN)
    position, root, deadline = 0, 0, None
    guards_live, tee_lives = True, setting.tee.socket >= 0
    if tee_lives:
        poll.register(setting.tee.socket, select.POLLIN)
    ended = False
    while (guards_live or tee_lives) and not (deadline and time.monotonic() > deadline):
        for descriptor, _ in poll.poll(100 if deadline else 1000):
            if descriptor != poke:
                if not setting.tee.receive():
                    tee_lives = False
                    poll.unregister(descriptor)
                continue
            try:
                data = os.read(poke, 1 << 16)
            except BlockingIOError:
                continue
            if data[:1] == b"-":
                wait_for(guard)
                number = int(data)
                raise RefusedError(os.strerror(-number) if number else "the guard could not start")
            if not data:
                guards_live = False
                poll.unregister(poke)
        written = spool.word(WRITTEN)
        fresh = list(parse(os.pread(spool.descriptor, written - position, position)))
        position = written
        recording.records += fresh
        for record in fresh:
            if record[0] == r.COMMAND and not root:
                root = record[2]
                setting.tee.began()
                relay.to(root)
            elif record[0] == r.EXIT and not ended:
                ended = True
                deadline = time.monotonic() + GRACE_S
                if record[2] is None:
                    recording.exit_code = wait_for_orphan(root)
        if not guards_live and not ended:
            ended = True  # both guards are dead; the command, an orphan, is ours
            setting.tee.began()
            recording.exit_code = wait_for_orphan(root)
            deadline = time.monotonic() + GRACE_S
            if not spool.memory[DONE]:
                recording.notes.append("both guards were killed: the record is not complete")
    if spool.memory[DUMB]:
        recording.notes.append("the guard failed: the record is not complete")
    _note_what_was_left_behind(recording)
    guards = {guard, *(record[2] for record in recording.records if record[0] == r.GUARD)}
    bury(guards, wait=not guards_live)
    bury(_processes(recording.records))
    bury({setting.tee.process} - {0}, wait=not tee_lives)


def _processes(records: Sequence[Record]) -> set[int]:
    return {record[3] for record in records if record[0] == r.THREAD}


def _note_what_was_left_behind(recording: Recording) -> None:
    if any(record[0] == r.LAST for record in recording.records):
        return
    alive: set[int] = set()
    for record in recording.records:
        if record[0] == r.THREAD:
            alive.add(record[3])
        elif record[0] == r.ENDED:
            alive.discard(record[2])
    alive = {process for process in alive if os.path.exists(f"/proc/{process}")}
    if alive:
        recording.notes.append(f"{len(alive)} processes were still running when the record was closed")


def _inside(setting: Setting, recording: Recording, spool: int, token: bytes) -> None:
    """Run inside another run: a plain child, and then a copy of the outer run's records of it."""
    begun = os.fstat(spool).st_size
    recording.records.append(setting.invocation())
    _, recording.exit_code = run_child(setting, setting.command)
    deadline = time.monotonic() + GRACE_S
    while True:
        # A barrier: what came before is in the spool when this returns.
        os.close(os.open(JOIN + token, os.O_RDONLY | os.O_CLOEXEC))
        size = os.fstat(spool).st_size
        records, alive = _of_this_run(list(parse(os.pread(spool, size - begun, begun))), token)
        if not alive or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    recording.records += records
    _note_what_was_left_behind(recording)
    bury(_processes(records))


def _of_this_run(records: Sequence[Record], token: bytes) -> tuple[list[Record], set[int]]:
    """Return the records of the processes that one recorder inside the run started, and which of them live."""
    me = next(record[4] for record in reversed(records) if record[0] == r.JOINED and record[3] == token)
    alive: set[int] = set()
    process_of: dict[int, int] = {}
    kept: list[Record] = []
    for record in records:
        if record[0] == r.THREAD:
            process_of[record[2]] = record[3]
            if record[3] != me and (record[4] == me or record[4] in alive):
                alive.add(record[3])
        if record[0] == r.TAKEOVER:
            kept.append(record)
        elif record[0] == r.ENDED:
            if record[2] in alive:
                alive.discard(record[2])
                kept.append(record)
        elif record[0] not in (r.JOINED, r.EXIT, r.USAGE) and len(record) > 2 and process_of.get(record[2]) in alive:
            kept.append(record)
    return kept, alive
