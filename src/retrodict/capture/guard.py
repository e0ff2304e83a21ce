"""The two guards: processes that answer every watched call of the command with "go on", and write down what it was.

    recorder -> guard 1 (keeper) -> guard 2 (worker) -> command

The worker alone receives, reads the path, preserves what is about to be destroyed, answers and records. The
notification and the records not yet written lie in memory that both share. If the worker dies or makes no progress,
the keeper answers what was pending, writes what was unwritten, and becomes the worker, with a new keeper; if the keeper
dies, the worker forks one. The recorder only reads a file: killed, it loses nothing and hangs nobody. Only when both
guards die in the same moment does the command see its opens fail (ENOSYS: the kernel's answer for a listener that is
gone).

Both guards are ancestors of the command's processes (Yama lets ancestors read memory) and adopt its orphans. A guard
never decides: each answer is SECCOMP_USER_NOTIF_FLAG_CONTINUE, so what was read may be changed by another thread before
the kernel reads it. That is fine for a record of what honest programs do, and no good for a jail.
Sources: seccomp_unotify(2), linux/seccomp.h, prctl(2), ptrace(2) on Yama.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import resource
import select
import signal
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from retrodict.capture import records as r
from retrodict.capture.command import Command
from retrodict.capture.files import Status, of, status
from retrodict.capture.ignore import Ignore, is_device
from retrodict.capture.memory import ProcessMemory, UnreadableError, socket_address
from retrodict.capture.preserve import Preserver
from retrodict.capture.spool import BEAT, DONE, DUMB, NOTIFICATION_BYTES, STALLS, TOUCHING, Spool, parse
from retrodict.capture.syscalls import (
    AUDIT_ARCH_I386,
    CALLS,
    NO_ARGUMENT,
    STRUCT_ARGUMENT,
    Call,
    install_filter,
    libc,
)
from retrodict.kernel.protocols import Clock

JOIN = b"/.retrodict-join/"  # opening this, and a token after it, is how a run inside a run finds the outer one
_RECEIVE, _SEND, _IS_VALID, _ADD_FD, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103, 0x40082104
_NOTIFICATION = struct.Struct("QIIiIQ6Q").unpack_from  # id, thread, flags, number, architecture, pointer, arguments
_ANSWER = struct.Struct("QqiI").pack  # id, value, error, flags
_CONTINUE = 1
_NOTHING = bytes(NOTIFICATION_BYTES + 2)
_AT_FDCWD, _AT_EMPTY_PATH, _AT_SYMLINK_FOLLOW, _AT_REMOVEDIR = -100, 0x1000, 0x400, 0x200
_PR_SET_CHILD_SUBREAPER, _PR_SET_NAME = 36, 15
_STALL_ROUNDS, _ROUND_MS, _MOST_STALLS = 4, 500, 3
_MOST_SEEN, _MOST_FOLDERS = 200_000, 50_000
_OPENAT = next(
    (number for (system, number), c in CALLS.items() if c.name == "openat" and system != AUDIT_ARCH_I386), -1
)
_NOT_PLAIN = r.ACCESS_MODE | r.CREATES | r.TRUNCATES | os.O_PATH | os.O_NOFOLLOW
_NEVER_SOFTWARE = (b"/proc/", b"/dev/", JOIN, r.SO_FAR)
_PATH_BYTES = 256  # nearly every path is shorter
_SELF = (
    (b"/proc/self/", b""),
    (b"/proc/thread-self/", b""),
    (b"/dev/fd/", b"fd/"),
    (b"/dev/stdin", b"fd/0"),
    (b"/dev/stdout", b"fd/1"),
    (b"/dev/stderr", b"fd/2"),
)


@dataclass(slots=True, kw_only=True)
class Watch:
    """What both guards hold.

    Attributes:
        spool: Where records go.
        preserver: Holds originals; each worker has a copy of its own.
        ignore: What is not worth preserving.
        clock: Stamps the records.
        guards: The processes that are not the command's.
        root: The command's process.
        listener: Where the notifications arrive.
    """

    spool: Spool
    preserver: Preserver
    ignore: Ignore
    clock: Clock
    guards: set[int] = field(default_factory=set)
    root: int = 0
    listener: int = -1


def start(watch: Watch, command: Command) -> NoReturn:
    """Be guard 1: fork guard 2, which forks the command, which sends its listener to both.

    A refusal of the kernel goes to the recorder through the poke pipe, as a minus sign and the errno.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    first = os.getpid()
    watch.guards.add(first)
    second = os.fork()
    if second == 0:
        watch.guards.add(os.getpid())
        if os.fork() == 0:
            try:
                ours.close()
                listener = install_filter()
                held = [listener] if listener >= 0 else []
                for _ in range(2):
                    socket.send_fds(theirs, [b"%d" % (os.getpid() if held else listener)], held)
                if held:
                    os.close(listener)
                    theirs.close()
                    command.become()
            finally:
                os._exit(125)
    theirs.close()
    watch.guards.add(second)
    _withdraw()
    message, descriptors, _, _ = socket.recv_fds(ours, 64, 1)
    if not descriptors:
        if second:
            os.write(watch.spool.poke, message or b"-0")
        os._exit(0)
    watch.root, watch.listener = int(message), descriptors[0]
    _let_go({watch.listener, watch.spool.descriptor, watch.spool.poke})
    if second:
        _keep(watch, second, newborn=True)
    _work(watch, first)


def _withdraw() -> None:
    """Leave the terminal, heed no signal, adopt orphans, and carry a name that `pkill -f COMMAND` does not match."""
    os.setsid()
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_NAME, b"rd-guard", 0, 0, 0)
    gc.freeze()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with open("/proc/self/stat") as file:  # fields 48 and 49 of proc(5): where the command line lies
        begin, end = map(int, file.read().rsplit(") ", 1)[1].split()[45:47])
    if end > begin > 0:
        ctypes.memset(begin, 0, end - begin)
        ctypes.memmove(begin, b"rd-guard", min(8, end - begin - 1))


def _let_go(keep: set[int]) -> None:
    """Close every descriptor but ours: a pipe that a guard holds open would never end."""
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in keep:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # one for each process of the command


class Worker:
    """The guard that answers."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.spool, self.preserver = watch, watch.spool, watch.preserver
        self.shared, self.listener = watch.spool.memory, watch.listener
        self.now = watch.clock.now_ns
        self.memory = ProcessMemory()
        self.guards = watch.guards | {os.getpid()}
        self.threads: dict[int, int] = {}  # thread -> a serial number, for ids come back
        self.processes: dict[int, list[int]] = {}  # process -> its threads
        self.process_ends: dict[int, int] = {}  # descriptor -> process
        self.serial = self.highest = 0
        self.read: set[tuple[int, object]] = set()  # what a thread already read: not recorded twice
        self.written: set[tuple[object, ...]] = set()
        self.folders: dict[bytes, bytes] = {}  # folder as written -> where it really is
        # Most opens read installed software, through a processor cache that the command has just filled with its own
        # work: what they touch here must be little.
        self.memories: dict[int, int] = {}  # process -> its memory, open
        self.software: dict[bytes, bytes | None] = {}  # folder as written -> where it is; None: a cache; "-": neither
        self.known: set[bytes] = set()  # files of software as written, that are on record
        self.other_view = self.root_ended = self.degraded = False
        self.ends = select.epoll()
        # Two pollers: only a direct poll of the listener keeps the kernel's wake-up on the same CPU.
        self.poll = select.poll()
        self.poll.register(self.listener, select.POLLIN)
        self.poll.register(self.ends, select.POLLIN)

    # What a path means ----------------------------------------------------------------------------------------

    def absolute(self, thread: int, dirfd: int, path: bytes) -> bytes:
        """Return a path as the thread means it, from the root; links are not yet followed."""
        if path[:1] == b"/":
            if path[:5] == b"/dev/" or path[:6] == b"/proc/":
                for start, instead in _SELF:
                    if path.startswith(start):
                        path = b"/proc/%d/%s%s" % (thread, instead, path[len(start) :])
                        break
                if path[:6] == b"/proc/" and b"/fd/" in path:
                    return os.readlink(path)
            return path
        number = ctypes.c_int(dirfd & 0xFFFFFFFF).value
        base = os.readlink(b"/proc/%d/cwd" % thread if number == _AT_FDCWD else b"/proc/%d/fd/%d" % (thread, number))
        return base + b"/" + path if path else base

    def resolve(self, thread: int, path: bytes, follow: bool) -> tuple[bytes, Status | int | None]:
        """Return the real path, and the status of what is there: None nothing, 0 nobody could look."""
        self.shared[TOUCHING] = 1
        if self.degraded:
            return path, r.UNKNOWN
        if self.other_view:
            return path, status(b"/proc/%d/root" % thread + path, follow=follow)
        folder, _, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            path = os.path.realpath(path)
            return path, status(path)
        path = self.real_folder(folder) + b"/" + name
        found = status(path)
        if follow and found and found.is_link:
            path = os.path.realpath(path)
            found = status(path)
        return path, found

    def argument(self, thread: int, arguments: Sequence[int], dirfd: int, path: int) -> bytes:
        """Return the absolute path that two arguments of a call name."""
        text = self.memory.string(thread, arguments[path]) if path >= 0 else b""
        return self.absolute(thread, arguments[dirfd] if dirfd >= 0 else _AT_FDCWD, text)

    # Who acts -------------------------------------------------------------------------------------------------

    def meet(self, thread: int, depth: int = 0) -> None:
        """Record a thread that was not seen before, its parents first."""
        if thread < self.highest - 1000:  # ids began anew: a thread's may have been used again unseen
            for old in [t for t in self.threads if t not in self.processes]:
                del self.threads[old]
            self.highest = thread
        for _ in range(3):
            with open(f"/proc/{thread}/status", "rb") as file:
                text = file.read(400)
            process, parent = (int(text.split(key)[1].split(b"\n")[0]) for key in (b"\nTgid:\t", b"\nPPid:\t"))
            if parent < 2 or parent in self.threads or parent in self.guards or depth > 50:
                break
            try:
                self.meet(parent, depth + 1)  # a parent that opened nothing yet
                break
            except OSError:
                continue  # it ended meanwhile: look who adopted
        self.highest = max(thread, self.highest)
        self.serial += 1
        self.threads[thread] = self.serial
        self.processes.setdefault(process, []).append(thread)
        self.attach(process)
        self.spool.append(r.THREAD, self.now(), thread, process, parent)
        if len(self.processes[process]) == 1:
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(process)  # its end frees its ids before they are used again
                self.ends.register(descriptor, select.EPOLLIN)
                self.process_ends[descriptor] = process

    def attach(self, process: int) -> None:
        """Open the memory of a process: of what it is now, since another program has other memory."""
        with contextlib.suppress(OSError):  # then it is read in the slower way
            self.memories[process] = os.open(b"/proc/%d/mem" % process, os.O_RDONLY | os.O_CLOEXEC)

    def detach(self, process: int) -> None:
        """Close the memory of a process that ends, or becomes another program."""
        memory = self.memories.pop(process, -1)
        if memory >= 0:
            os.close(memory)

    def forget_places(self) -> None:
        """Unlearn where paths lead, after a change of folders or links."""
        self.folders.clear()
        self.software.clear()
        self.known.clear()

    def forget(self, descriptor: int) -> None:
        """Drop a process that ended."""
        process = self.process_ends.pop(descriptor)
        self.detach(process)
        self.ends.unregister(descriptor)
        os.close(descriptor)
        self.spool.append(r.ENDED, self.now(), process)
        for thread in self.processes.pop(process, ()):
            self.threads.pop(thread, None)
        self.reap(wait=process == self.watch.root)

    def reap(self, *, wait: bool = False) -> None:
        """Record the command's exit code, then bury it and the orphans.

        Args:
            wait: The command has ended, or (a listener's hang-up, since Linux 6.11 sent before the zombie) is about to.
        """
        root = self.watch.root
        try:
            if wait and not self.root_ended:
                os.waitid(os.P_PID, root, os.WEXITED | os.WNOWAIT)
            # Each is looked at before it is buried: the command may end between any two lines here.
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                if ended.si_pid == root and not self.root_ended:
                    self.root_ended = True
                    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                    self.spool.append(r.EXIT, self.now(), code)
                    self.spool.flush()  # before it is buried: then nobody can ask again
                _, _, took = os.wait4(ended.si_pid, 0)
                if ended.si_pid == root:
                    self.spool.append(
                        r.USAGE, self.now(), int(took.ru_utime * 1e6), int(took.ru_stime * 1e6), took.ru_maxrss
                    )
        except ChildProcessError:
            if wait and not self.root_ended:  # a third guard is not its parent: the recorder is, by adoption
                self.root_ended = True
                self.spool.append(r.EXIT, self.now(), None)
                self.spool.flush()

    # What was called ------------------------------------------------------------------------------------------

    def answer_join(self, notification: int, thread: int, token: bytes) -> None:
        """Let a run inside the run join this one, and give it the records, as `answer_records` does."""
        process = next(p for p, threads in self.processes.items() if thread in threads)
        now = self.now()
        self.known.clear()  # its record is whole by itself
        self.preserver.since_ns = now  # what the inner run destroys may have been made by the outer one
        self.spool.append(r.JOINED, now, thread, token, process)
        self.answer_records(notification)

    def answer_records(self, notification: int) -> None:
        """Give a process of the run a descriptor of the spool, with everything so far in it."""
        self.spool.flush()
        descriptor = os.open(f"/proc/self/fd/{self.spool.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # A bytearray: for bytes, Python would return the bytes instead of the number.
            request = bytearray(struct.pack("QIIII", notification, 0, descriptor, 0, os.O_CLOEXEC))
            number = fcntl.ioctl(self.listener, _ADD_FD, request)
            fcntl.ioctl(self.listener, _SEND, _ANSWER(notification, number, 0, 0))
        finally:
            os.close(descriptor)

    def beat(self) -> None:
        """Tell the keeper that a long copy makes progress."""
        self.spool.set_word(BEAT, self.spool.word(BEAT) + 1)

    def protect(self, thread: int, path: bytes, found: Status | int | None, *, keeps: bool, name_only: bool) -> None:
        """Preserve a file before the call that may destroy it is answered."""
        if not isinstance(found, Status) or self.other_view or not self.preserver.wants(found, keeps_content=keeps):
            return
        if self.watch.ignore.is_noise(path) or self.watch.ignore.is_environment(path):
            return
        before = self.preserver.copied_bytes
        outcome, where = self.preserver.hold(path, found, only_name_goes=name_only, beat=self.beat)
        self.spool.append(
            r.PRESERVED, self.now(), thread, path, found, outcome, where, self.preserver.copied_bytes - before
        )

    def look(
        self, notification: int, thread: int, call: Call, architecture: int, arguments: Sequence[int]
    ) -> int | None:
        """Record a call.

        Returns:
            Where its record begins, None where there is none, -1 where the call was already answered.
        """
        if thread not in self.threads:
            self.meet(thread)
        elif thread in self.processes and thread not in self.memories:
            self.attach(thread)
        operation = call.operation
        match operation:
            case r.VIEW:
                if call.name == "open_by_handle_at":
                    return self.spool.append(r.BLIND, self.now(), thread, call.name)
                self.other_view = True
                self.forget_places()
                return self.spool.append(r.VIEW, self.now(), thread, call.name)
            case r.CONNECT:
                return self.look_connect(thread, arguments)
            case r.OPEN:
                return self.look_open(notification, thread, call, arguments)
        flags = arguments[call.flags] & 0xFFFFFFFF if call.flags >= 0 else 0
        text = self.memory.string(thread, arguments[call.path]) if call.path >= 0 else b""
        if not text and call.path >= 0 and not (operation in "xl" and flags & _AT_EMPTY_PATH):
            return None  # fails
        path = self.absolute(thread, arguments[call.dirfd] if call.dirfd >= 0 else _AT_FDCWD, text)
        if _is_kernel_interface(path):
            return None
        follow = bool(flags & _AT_SYMLINK_FOLLOW) if operation == r.LINK else operation in (r.EXECUTE, r.TRUNCATE)
        path, found = self.resolve(thread, path, follow)
        match operation:
            case r.MOVE | r.LINK:
                return self.look_move(thread, call, arguments, flags, path, found)
            case r.EXECUTE:
                return self.look_execute(thread, call, architecture, arguments, path, found)
            case r.TRUNCATE:
                self.protect(thread, path, found, keeps=True, name_only=False)
            case r.REMOVE_FOLDER | r.SYMLINK:
                self.written.clear()
                self.forget_places()
            case r.DELETE:
                self.written.clear()
                if isinstance(found, Status) and found.is_link:
                    self.forget_places()
                if flags & _AT_REMOVEDIR:
                    self.forget_places()
                    return None
                self.protect(thread, path, found, keeps=False, name_only=True)
        return None if operation == r.REMOVE_FOLDER else self.spool.append(operation, self.now(), thread, path, found)

    def glance(self, thread: int, arguments: Sequence[int]) -> bool:
        """Deal with an open that plainly reads installed software or a cache; say whether it was one."""
        memory = self.memories.get(thread)
        if memory is None or arguments[2] & _NOT_PLAIN:
            return False
        data = os.pread(memory, _PATH_BYTES, arguments[1])
        end = data.find(b"\0")
        if end < 1:
            if not data:  # another program by now
                self.detach(thread)
            return False
        text = data[:end]
        if text in self.known:
            return True
        if text[0] != 47 or text.startswith(_NEVER_SOFTWARE) or self.other_view or self.degraded:
            return False
        self.shared[TOUCHING] = 1
        try:
            found = os.lstat(text)
        except OSError:
            return True  # fails
        folder, _, name = text.rpartition(b"/")
        place = self.software.get(folder, b"")
        if place == b"":
            place = self.learn(folder)
        if place == b"-" or found.st_mode & 0o170000 != 0o100000:
            return False
        self.known.add(text)
        if place is not None and name[-4:] != b".pyc":
            self.spool.append(r.OPEN, self.now(), thread, arguments[2], place + b"/" + name, tuple(of(found)))
        return True

    def learn(self, folder: bytes) -> bytes | None:
        """Note where a folder is that holds installed software; None: it is a cache; "-": neither."""
        place = self.real_folder(folder)
        if self.watch.ignore.is_noise(place + b"/"):
            self.software[folder] = None
        else:
            self.software[folder] = place if self.watch.ignore.is_environment(place + b"/") else b"-"
        return self.software[folder]

    def real_folder(self, folder: bytes) -> bytes:
        """Return where a folder really is, "" for the root; its parents are remembered, and looked at once."""
        real = self.folders.get(folder)
        if real is None:
            parent, _, name = folder.rpartition(b"/")
            real, found = b"", None
            if folder and name not in (b"", b".", b".."):
                real = self.real_folder(parent) + b"/" + name
                found = status(real)
            if found is None or not found.is_folder:  # a link, or oddly written
                real = os.path.realpath(folder or b"/").rstrip(b"/")
                if not os.path.isdir(real or b"/"):
                    return real
            if len(self.folders) > _MOST_FOLDERS:
                self.forget_places()
            self.folders[folder] = real
        return real

    def look_connect(self, thread: int, arguments: Sequence[int]) -> int | None:
        """Record a connection, once for each thread and address."""
        if not arguments[2]:
            return None
        address = socket_address(self.memory.read(thread, arguments[1], min(arguments[2], 128)))
        key = (self.threads[thread], address)
        if address is None or key in self.read:
            return None
        self.read.add(key)
        return self.spool.append(r.CONNECT, self.now(), thread, address)

    def look_open(self, notification: int, thread: int, call: Call, arguments: Sequence[int]) -> int | None:
        """Record an open, and preserve what it may overwrite."""
        if call.flags == STRUCT_ARGUMENT:
            (flags,) = struct.unpack("Q", self.memory.read(thread, arguments[2], 8))
        elif call.flags == NO_ARGUMENT:
            flags = r.CREATES | r.TRUNCATES | os.O_WRONLY
        else:
            flags = arguments[call.flags] & 0xFFFFFFFF
        text = self.memory.string(thread, arguments[call.path])
        key = (self.threads[thread], text)
        if text[:1] == b"/":
            if key in self.read and not flags & (r.ACCESS_MODE | r.TRUNCATES):
                return None
            if text.startswith(JOIN):
                self.answer_join(notification, thread, text[len(JOIN) :])
                return -1
            if text == r.SO_FAR:
                self.answer_records(notification)
                return -1
        elif not text:
            return None
        path = self.absolute(thread, arguments[call.dirfd] if call.dirfd >= 0 else _AT_FDCWD, text)
        if _is_kernel_interface(path):
            return None
        path, found = self.resolve(thread, path, not flags & os.O_NOFOLLOW)
        if (found is None and not flags & r.CREATES) or flags & os.O_PATH:
            return None  # fails, or opens no content
        writes = bool(flags & (r.ACCESS_MODE | r.TRUNCATES))
        if isinstance(found, Status) and flags & r.ACCESS_MODE != os.O_WRONLY and not flags & r.TRUNCATES:
            if writes:
                self.protect(thread, path, found, keeps=True, name_only=False)
            self.preserver.read.add(found[:2])
        elif writes:
            self.protect(thread, path, found, keeps=not flags & r.TRUNCATES, name_only=False)
        if not writes and not flags & r.CREATES:
            if len(self.read) > _MOST_SEEN:
                self.read.clear()
            self.read.add(key)
            return self.spool.append(r.OPEN, self.now(), thread, flags, path, found)
        again = (key, flags, path)
        if again in self.written:
            return None
        if len(self.written) > _MOST_SEEN:
            self.written.clear()
        self.written.add(again)
        return self.spool.append(r.OPEN, self.now(), thread, flags, path, found)

    def look_move(
        self,
        thread: int,
        call: Call,
        arguments: Sequence[int],
        flags: int,
        path: bytes,
        found: Status | int | None,
    ) -> int | None:
        """Record a rename or a hard link, and preserve what a rename replaces."""
        target, there = self.resolve(thread, self.argument(thread, arguments, call.dirfd2, call.path2), False)
        self.written.clear()
        if any(isinstance(s, Status) and (s.is_folder or s.is_link) for s in (found, there)):
            self.forget_places()
        if isinstance(found, Status) and not self.other_view:
            folder = status(os.path.dirname(target), follow=True)
            if folder and folder.device != found.device:
                return None  # EXDEV: programs copy instead
        if call.operation == r.MOVE and not flags & (r.RENAME_EXCHANGE | r.RENAME_NOREPLACE):
            self.protect(thread, target, there, keeps=False, name_only=True)
        return self.spool.append(call.operation, self.now(), thread, flags, path, found, target, there)

    def look_execute(
        self,
        thread: int,
        call: Call,
        architecture: int,
        arguments: Sequence[int],
        path: bytes,
        found: Status | int | None,
    ) -> int | None:
        """Record a program and the beginning of its arguments."""
        if found is None:
            return None
        argv: list[bytes] = []
        if architecture != AUDIT_ARCH_I386:  # its pointers have another size
            with contextlib.suppress(UnreadableError):
                argv = [a[:200] for a in self.memory.strings(thread, arguments[2 if call.dirfd >= 0 else 1], 32)]
        if isinstance(found, Status):
            self.preserver.read.add(found[:2])
        self.detach(thread)
        return self.spool.append(r.EXECUTE, self.now(), thread, path, found, argv)

    # The loop -------------------------------------------------------------------------------------------------

    def handle(self) -> None:
        """Record and answer the notification that lies in shared memory."""
        notification, thread, _, number, architecture, _, *arguments = _NOTIFICATION(self.shared)
        at: int | None = None
        try:
            if number != _OPENAT or architecture == AUDIT_ARCH_I386 or not self.glance(thread, arguments):
                call = CALLS[architecture, number & 0xFFFFFFFF]
                at = self.look(notification, thread, call, architecture, arguments)
        except UnreadableError:
            name = CALLS[architecture, number & 0xFFFFFFFF].name
            at = self.spool.append(r.BLIND, self.now(), thread, name)  # said, not hidden
        except (FileNotFoundError, ProcessLookupError):
            pass  # the thread is gone, or its descriptor is not open: the call fails
        except Exception as error:  # noqa: BLE001 -- whatever it is, the command must get its answer
            name = CALLS[architecture, number & 0xFFFFFFFF].name
            at = self.spool.append(r.BLIND, self.now(), thread, f"{name}: {error!r}")
        if at != -1:
            try:
                fcntl.ioctl(self.listener, _SEND, _ANSWER(notification, 0, 0, _CONTINUE))
            except OSError:  # ENOENT: killed or interrupted meanwhile, it did not happen
                if at is not None:
                    self.spool.retract(at)

    def recover(self, *, stalled: bool) -> None:
        """Take over: write what was unwritten, learn what the last worker knew, answer what was pending."""
        self.spool.flush()
        self.spool.append(r.TAKEOVER, self.now(), os.getpid(), stalled)
        size = os.fstat(self.spool.descriptor).st_size
        for record in parse(os.pread(self.spool.descriptor, size, 0)):
            match record[0]:
                case r.OPEN if record[5] and not record[3] & r.TRUNCATES and record[3] & r.ACCESS_MODE != os.O_WRONLY:
                    self.preserver.read.add(tuple(record[5][:2]))
                case r.EXECUTE if record[4]:
                    self.preserver.read.add(tuple(record[4][:2]))
                case r.PRESERVED:
                    self.preserver.held.add(tuple(record[4][:4]))
                    self.preserver.copied_bytes += record[7]
                case r.EXIT:
                    self.root_ended = True
        if self.shared[:8] == _NOTHING[:8]:
            return
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.listener, _IS_VALID, self.shared[:8])
            if stalled and not self.shared[TOUCHING]:  # it stalled in the memory of the process: leave that alone
                (notification,) = struct.unpack_from("Q", self.shared)
                fcntl.ioctl(self.listener, _SEND, _ANSWER(notification, 0, 0, _CONTINUE))
                self.spool.append(r.BLIND, self.now(), 0, "a call that could not be looked at")
            else:
                self.degraded = stalled
                self.handle()
        self.degraded = self.shared[STALLS] >= _MOST_STALLS

    def new_keeper(self) -> int | None:
        """Fork a keeper; return a descriptor of it, None where no process is to be had now."""
        worker = os.getpid()
        try:
            keeper = os.fork()
            if keeper == 0:
                self.ends.close()
                for descriptor in (*self.process_ends, *self.memories.values()):
                    os.close(descriptor)
                _keep(self.watch, worker)
            return self._mind(keeper)
        except OSError:
            return None  # at the next idle moment again

    def _mind(self, keeper: int) -> int:
        self.spool.append(r.GUARD, self.now(), keeper)
        descriptor = os.pidfd_open(keeper)
        self.ends.register(descriptor, select.EPOLLIN)
        return descriptor

    def run(self, keeper: int | None, *, took_over: bool, stalled: bool) -> NoReturn:
        """Answer until nothing of the command is left."""
        minded: int | None = None
        if keeper is not None:
            with contextlib.suppress(OSError):
                minded = self._mind(keeper)
        minded = minded or self.new_keeper()
        self.spool.append(r.GUARD, self.now(), os.getpid())
        if took_over:
            self.recover(stalled=stalled)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.listener, _SET_FLAGS, 1)  # SYNC_WAKE_UP, from Linux 6.6: a third of the cost
        self.spool.append(r.COMMAND, self.now(), self.watch.root)
        self.spool.flush()
        with contextlib.suppress(OSError):
            self.meet(self.watch.root)
        unwritten = True
        poll, alone, shared, listener = self.poll.poll, [(self.listener, select.POLLIN)], self.shared, self.listener
        while True:
            events = poll(20 if unwritten else 1000)
            if events == alone:
                shared[: len(_NOTHING)] = _NOTHING
                try:
                    fcntl.ioctl(listener, _RECEIVE, shared)
                except OSError:
                    continue
                self.handle()
                unwritten = True
                continue
            if not events:
                self.spool.flush()
                unwritten = False
                self.reap()
                minded = minded or self.new_keeper()
                continue
            ready = dict(events)
            event = ready.pop(self.listener, 0)
            if ready:
                for descriptor, _ in self.ends.poll(0):
                    if descriptor in self.process_ends:
                        self.forget(descriptor)
                    elif descriptor == minded:
                        self.ends.unregister(descriptor)
                        os.close(descriptor)
                        self.reap()
                        minded = self.new_keeper()
                unwritten = True  # what waits is met in the next round
            elif event & select.POLLHUP:
                self.reap(wait=True)
                self.spool.append(r.LAST, self.now())
                self.spool.flush()
                self.shared[DONE] = 1
                os._exit(0)


def _is_kernel_interface(path: bytes) -> bool:
    if path[:1] != b"/":
        return True
    return path[:6] == b"/proc/" or path[:5] == b"/sys/" or is_device(path)


def _work(watch: Watch, keeper: int | None, *, took_over: bool = False, stalled: bool = False) -> NoReturn:
    """Be the worker; after an error of our own, only answer: the command must not suffer."""
    try:
        Worker(watch).run(keeper, took_over=took_over, stalled=stalled)
    except BaseException:  # noqa: BLE001 -- see above
        shared, poll = watch.spool.memory, select.poll()
        shared[DUMB] = 1
        poll.register(watch.listener, select.POLLIN)
        while True:
            with contextlib.suppress(OSError):
                if shared[:8] != _NOTHING[:8]:
                    (notification,) = struct.unpack_from("Q", shared)
                    fcntl.ioctl(watch.listener, _SEND, _ANSWER(notification, 0, 0, _CONTINUE))
            if not poll.poll()[0][1] & select.POLLIN:
                shared[DONE] = 1
                os._exit(0)
            shared[: len(_NOTHING)] = _NOTHING
            with contextlib.suppress(OSError):
                fcntl.ioctl(watch.listener, _RECEIVE, shared)


def _keep(watch: Watch, worker: int, *, newborn: bool = False) -> NoReturn:
    """Be the keeper: watch the worker, and become it when it dies or stalls.

    Args:
        worker: The process to watch.
        newborn: This is guard 1, whose parent is the recorder; a later keeper is the worker's child.
    """
    stalled, last, rounds, shared = False, None, 0, watch.spool.memory
    try:
        descriptor = os.pidfd_open(worker)
        death, pending = select.poll(), select.poll()
        death.register(descriptor, select.POLLIN)
        pending.register(watch.listener, select.POLLIN)
        while (newborn or os.getppid() == worker) and not death.poll(_ROUND_MS):
            held = shared[:8]
            ready = pending.poll(0)
            waits = bool(ready and ready[0][1] & select.POLLIN)
            if not waits and held != _NOTHING[:8]:
                with contextlib.suppress(OSError):
                    fcntl.ioctl(watch.listener, _IS_VALID, held)
                    waits = True
            seen = (held, watch.spool.word(BEAT))
            rounds = rounds + 1 if waits and seen == last else 0
            last = seen
            if rounds >= _STALL_ROUNDS:
                # Two seconds without progress: stopped, or blocked by a file system that is served from inside the run.
                with open(f"/proc/{worker}/stat") as file:
                    stalled = file.read().rsplit(") ", 1)[1][0] not in "Tt"
                if stalled:
                    shared[STALLS] = min(255, shared[STALLS] + 1)
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                death.poll(5000)
                break
        os.close(descriptor)
    except OSError:
        pass  # the worker is gone
    with contextlib.suppress(ChildProcessError):
        os.waitpid(worker, os.WNOHANG)
    if shared[DONE]:
        os._exit(0)
    _work(watch, None, took_over=True, stalled=stalled)
