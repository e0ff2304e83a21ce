"""What every way of capturing shares: what to run, what is collected, signals, and a plain child."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from retrodict.capture import records as r
from retrodict.capture.command import RELAYED, Command
from retrodict.capture.facts import Completeness, Mode
from retrodict.capture.files import of
from retrodict.capture.ignore import Ignore
from retrodict.capture.preserve import Preserver
from retrodict.capture.spool import Record
from retrodict.capture.tee import Tee
from retrodict.kernel.protocols import Clock

GRACE_S = 2.0  # for processes that the command left behind


@dataclass(slots=True, kw_only=True)
class Recording:
    """What one way of capturing saw."""

    mode: Mode
    completeness: Completeness
    records: list[Record] = field(default_factory=list)
    exit_code: int | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `supervise` was asked for."""

    command: Command
    preserve_to: Path | None
    preserve_limit_bytes: int
    mode: Literal["auto", "seccomp", "strace", "audit-hook"]
    ignore: Ignore
    clock: Clock


class RefusedError(Exception):
    """A way of capturing does not work here; the command has not begun."""


@dataclass(slots=True, kw_only=True)
class Setting:
    """What every way of capturing is given."""

    command: Command
    preserver: Preserver
    ignore: Ignore
    clock: Clock
    tee: Tee

    def invocation(self) -> Record:
        """Return the first record of the run."""
        command = self.command
        return (
            r.INVOKED,
            self.preserver.since_ns,
            list(command.argv),
            os.fsencode(command.cwd),
            _inherited(),
            self.preserver.since_ns,
        )


def _inherited() -> list[tuple[int, int, bytes, tuple[int, ...] | None]]:
    found: list[tuple[int, int, bytes, tuple[int, ...] | None]] = []
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if not os.get_inheritable(descriptor):
                continue
            st = os.fstat(descriptor)
            target = os.readlink(b"/proc/self/fd/%d" % descriptor)
            if stat.S_ISCHR(st.st_mode) or target.endswith(b" (deleted)"):
                continue
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            found.append((descriptor, flags, target, tuple(of(st)) if stat.S_ISREG(st.st_mode) else None))
    return found


class Relay:
    """Signals that concern the command, while it runs."""

    def __init__(self, tee: Tee | None) -> None:
        self._tee = tee
        self._root = 0
        self._early: list[int] = []

    def to(self, root: int) -> None:
        """Send what came, and what will come, to a process."""
        self._root = root
        for number in self._early:
            self._send(number)
        self._early.clear()

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._root, number)

    def _arrived(self, number: int, frame: object) -> None:
        del frame
        if number in (signal.SIGINT, signal.SIGQUIT) and _is_in_foreground():
            return  # the terminal sent it to the command too
        if self._root:
            self._send(number)
        else:
            self._early.append(number)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Pass signals on inside the block. Only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # One that is ignored, as by nohup, stays so: for the command too.
        numbers = [n for n in RELAYED if signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._arrived) for number in numbers}
        if (tee := self._tee) is not None:
            before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: tee.resize())
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _is_in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def wait_for(process: int) -> int | None:
    """Wait for a child; return its exit code, -n for signal n, None when it is not ours."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    except ChildProcessError:
        return None


def wait_for_orphan(process: int) -> int | None:
    """Wait for a process that is about to become our child; return as `wait_for` does.

    A guard that is killed closes its files before it hands on its children: who sees its pipe end may be too early.
    """
    deadline = time.monotonic() + GRACE_S
    while (code := wait_for(process)) is None and time.monotonic() < deadline and os.path.exists(f"/proc/{process}"):
        time.sleep(0.005)
    return code


def bury(processes: Iterable[int], *, wait: bool = False) -> None:
    """Reap those that ended (`wait`: that are about to end) and that are ours."""
    for process in processes:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, 0 if wait else os.WNOHANG)


def run_child(setting: Setting, command: Command) -> tuple[int, int]:
    """Run a command as a plain child, with its output copied; return its process and its exit code."""
    relay = Relay(setting.tee)
    with relay.listening():
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        child = os.fork()
        if child == 0:
            command.become()
        signal.pthread_sigmask(signal.SIG_SETMASK, command.mask)
        setting.tee.began()
        relay.to(child)
        end = os.pidfd_open(child)
        try:
            poll = select.poll()
            poll.register(end, select.POLLIN)
            if setting.tee.socket >= 0:
                poll.register(setting.tee.socket, select.POLLIN)
            deadline, code, tee_lives = None, None, setting.tee.socket >= 0
            while (code is None or tee_lives) and not (deadline and time.monotonic() > deadline):
                for descriptor, _ in poll.poll(100 if deadline else 1000):
                    if descriptor == end:
                        code = wait_for(child)
                        poll.unregister(end)
                        deadline = time.monotonic() + GRACE_S
                    elif not setting.tee.receive():
                        tee_lives = False
                        poll.unregister(descriptor)
        finally:
            os.close(end)
    bury({setting.tee.process} - {0}, wait=not tee_lives)
    return child, 125 if code is None else code
