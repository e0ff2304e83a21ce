"""What this process reads and writes while a run lasts, seen by an audit hook.

The weakest way of capturing: it sees what Python's own functions open, not what compiled code opens (Parquet, Arrow,
polars, DuckDB), and no other process. Hence the grade "in-process"; `retrodict run` sees everything.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

from retrodict.capture import DEFAULT_IGNORE, Capture
from retrodict.capture import records as r
from retrodict.capture.files import Status, status
from retrodict.capture.fold import fold
from retrodict.capture.preserve import DEFAULT_LIMIT_BYTES, Preserver
from retrodict.kernel.protocols import Clock

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_EVENTS = frozenset(
    {"open", "os.rename", "os.remove", "os.truncate", "sqlite3.connect", "socket.connect", "subprocess.Popen"}
)
_lock = threading.Lock()
_observers: tuple[Observer, ...] = ()  # a hook cannot be taken away: there is one, for whoever observes now
_busy = threading.local()
_is_hooked = False


class Observer:
    """Collects records of this process from `start` to `stop`.

    Attributes:
        records: What was seen so far.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Hold originals of files that are overwritten in `folder`."""
        self._clock = clock
        self._process = os.getpid()
        self._cwd = os.path.realpath(os.fsencode(os.getcwd()))
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        started = clock.now_ns()
        self._preserver = Preserver(folder=os.fsencode(folder), limit_bytes=DEFAULT_LIMIT_BYTES, since_ns=started)
        argv = [os.fsencode(argument) for argument in sys.orig_argv]
        program = os.path.realpath(os.fsencode(sys.executable))
        self._programs = 0
        self.records: list[tuple[Any, ...]] = [
            (r.INVOKED, started, argv, self._cwd, [], started),
            (r.COMMAND, started, self._process),
            (r.THREAD, started, self._process, self._process, os.getppid()),
            (r.EXECUTE, started, self._process, program, status(program), argv),
        ]

    def start(self) -> None:
        """Begin; the modules that are loaded already count as read now."""
        global _is_hooked, _observers
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and file.endswith(".py"):
                self._opened(os.path.realpath(os.fsencode(file)), os.O_RDONLY)
        with _lock:
            _observers = (*_observers, self)
            if not _is_hooked:
                sys.addaudithook(_hook)
                _is_hooked = True

    def stop(self, exit_code: int) -> Capture:
        """End, and return what was seen."""
        global _observers
        with _lock:
            _observers = tuple(other for other in _observers if other is not self)
        usage, now = resource.getrusage(resource.RUSAGE_SELF), self._clock.now_ns()
        self.records += [
            (r.EXIT, now, exit_code),
            (
                r.USAGE,
                now,
                round((usage.ru_utime - self._usage.ru_utime) * 1e6),
                round((usage.ru_stime - self._usage.ru_stime) * 1e6),
                usage.ru_maxrss,
            ),
            (r.LAST, now),
        ]
        notes = ["only what Python's own functions opened in this process was seen"]
        if self._programs:
            notes.append(f"programs that were started, and not observed: {self._programs}")
        rules = DEFAULT_IGNORE.within(self._cwd, os.environ)
        return fold(self.records, ignore=rules, mode="audit-hook", completeness="in-process", notes=notes)

    def saw(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take in one audit event of this process."""
        if os.getpid() != self._process:
            return
        match event, arguments:
            case "open", (path, _, flags) if not isinstance(path, int):
                flags = flags or 0
                place = _place(path, follow=not flags & os.O_NOFOLLOW)
                if flags & os.O_CREAT or status(place) is not None:
                    self._opened(place, flags)
            case "sqlite3.connect", (str() | bytes() as name, *_) if name not in {"", ":memory:", b"", b":memory:"}:
                self._opened(_place(name, follow=True), os.O_RDWR | os.O_CREAT)
            case "os.rename", (source, target, *_):
                one, two = _place(source), _place(target)
                self._preserve(two, keeps_content=False, only_name_goes=True)
                self._put(r.MOVE, 0, one, status(one), two, status(two))
            case "os.remove", (path, *_):
                place = _place(path)
                self._preserve(place, keeps_content=False, only_name_goes=True)
                self._put(r.DELETE, place, status(place))
            case "os.truncate", (path, _) if not isinstance(path, int):
                place = _place(path, follow=True)
                self._preserve(place, keeps_content=True, only_name_goes=False)
                self._put(r.TRUNCATE, place, status(place))
            case "socket.connect", (_, (host, port, *_)):
                self._put(r.CONNECT, f"{host}:{port}")
            case "subprocess.Popen", _:
                self._programs += 1

    def _opened(self, place: bytes, flags: int) -> None:
        before = status(place)
        if flags & _WRITES:
            self._preserve(place, keeps_content=not flags & os.O_TRUNC, only_name_goes=False)
        if before is not None and flags & os.O_ACCMODE != os.O_WRONLY:
            self._preserver.read.add(before[:2])
        self._put(r.OPEN, flags & 0xFFFFFFFF, place, before)

    def _preserve(self, place: bytes, *, keeps_content: bool, only_name_goes: bool) -> None:
        before = status(place)
        if before is None or not self._preserver.wants(before, keeps_content=keeps_content):
            return
        copied = self._preserver.copied_bytes
        outcome, where = self._preserver.hold(place, before, only_name_goes=only_name_goes, beat=lambda: None)
        self._put(r.PRESERVED, place, before, outcome, where, self._preserver.copied_bytes - copied)

    def _put(self, kind: str, *fields: Any) -> None:
        plain = [tuple(field) if isinstance(field, Status) else field for field in fields]
        self.records.append((kind, self._clock.now_ns(), self._process, *plain))


def _place(path: str | bytes | os.PathLike[Any], *, follow: bool = False) -> bytes:
    name = os.fsencode(os.fspath(path))
    if follow:
        return os.path.realpath(name)
    return os.path.join(os.path.realpath(os.path.dirname(name) or b"."), os.path.basename(name))


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Tell the observers; never disturb the program that is observed."""
    observers = _observers
    if not observers or event not in _EVENTS or getattr(_busy, "is_set", False):
        return
    _busy.is_set = True
    try:
        for observer in observers:
            observer.saw(event, arguments)
    except Exception:  # noqa: BLE001, S110 - an exception in a hook would fail the program's own call
        pass
    finally:
        _busy.is_set = False
