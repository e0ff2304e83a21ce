"""Pass a command's output on as it comes, and give a copy to the recorder.

A process of its own copies: if the recorder is killed, the command keeps its terminal. Where our stream is a terminal,
the command gets one too (colours, progress bars and line buffering stay as they are), else a pipe.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import termios
from collections.abc import Callable
from typing import NoReturn

from retrodict.capture.syscalls import libc

_HEADER = struct.Struct("BI")
_CHUNK_BYTES = 1 << 16


class Tee:
    """Standard output and error of one command.

    Args:
        output: Called with 1 or 2 and the bytes, in the recorder.

    Attributes:
        streams: What the command's 1 and 2 shall be; empty when nobody wants a copy.
        socket: Where copies arrive; -1 when there are none to come.
    """

    def __init__(self, output: Callable[[int, bytes], None] | None) -> None:
        self._output = output
        self.streams: dict[int, int] = {}
        self._sources: dict[int, int] = {}
        self._received = b""
        self._masters: list[int] = []
        self.socket = -1
        self.process = 0
        if output is None:
            return
        for stream in (1, 2):
            self._sources[stream], self.streams[stream] = _channel(stream)
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.process = os.fork()
        if self.process == 0:
            try:
                ours.close()
                for descriptor in self.streams.values():
                    os.close(descriptor)
                _copy({source: stream for stream, source in self._sources.items()}, theirs)
            finally:
                os._exit(1)
        theirs.close()
        self.socket = ours.detach()
        os.set_blocking(self.socket, False)
        for source in self._sources.values():
            if os.isatty(source):
                self._masters.append(source)  # kept to pass on the size of the window
            else:
                os.close(source)

    def began(self) -> None:
        """Close our ends: the command has them."""
        for descriptor in self.streams.values():
            os.close(descriptor)
        self.streams = {}

    def resize(self) -> None:
        """Pass on the size of our terminal."""
        for master in self._masters:
            for stream in (1, 2):
                with contextlib.suppress(OSError):
                    fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(stream, termios.TIOCGWINSZ, bytes(8)))
                    break

    def receive(self) -> bool:
        """Hand on what has arrived; return whether more may come."""
        try:
            data = os.read(self.socket, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        self._received += data
        while len(self._received) >= _HEADER.size:
            stream, size = _HEADER.unpack_from(self._received)
            if len(self._received) < _HEADER.size + size:
                break
            if self._output is not None:
                self._output(stream, self._received[_HEADER.size : _HEADER.size + size])
            self._received = self._received[_HEADER.size + size :]
        if data:
            return True
        self.close()
        return False

    def close(self) -> None:
        """Take no more copies; what still writes keeps its terminal."""
        if self.streams:  # no command ever began: nobody can write
            self.began()
            os.waitpid(self.process, 0)
        if self.socket >= 0:
            os.close(self.socket)
            self.socket = -1
        for master in self._masters:
            os.close(master)
        self._masters = []


def _channel(stream: int) -> tuple[int, int]:
    """Return (where to read, what the command writes to)."""
    if not os.isatty(stream):
        return os.pipe()
    master, slave = pty.openpty()
    with contextlib.suppress(OSError, termios.error):
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.OPOST  # the real terminal does that
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, fcntl.ioctl(stream, termios.TIOCGWINSZ, bytes(8)))
    return master, slave


def _copy(sources: dict[int, int], recorder: socket.socket) -> NoReturn:
    """Be the process that copies, until nobody can write any more."""
    os.setsid()
    libc.prctl(15, b"rd-tee", 0, 0, 0)  # PR_SET_NAME
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    keep = {1, 2, recorder.fileno(), *sources}
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor not in keep:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    listening = True
    while sources:
        for source, _ in poll.poll():
            stream = sources[source]
            try:
                data = os.read(source, _CHUNK_BYTES)
            except OSError:  # EIO: the last of a terminal's other ends was closed
                data = b""
            written = bool(data) and _write(stream, data)
            if not written:  # the end; or who read us is gone: then the command shall get SIGPIPE
                poll.unregister(source)
                os.close(source)
                del sources[source]
            if data and listening:
                try:
                    recorder.sendall(_HEADER.pack(stream, len(data)) + data)
                except OSError:
                    listening = False
    os._exit(0)


def _write(stream: int, data: bytes) -> bool:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(stream, view) :]
        except BlockingIOError:
            select.select([], [stream], [])
        except OSError as error:
            return error.errno != errno.EPIPE  # a full disk or a closed terminal: the copy still goes on
    return True
