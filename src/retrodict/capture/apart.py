"""Supervise a command from a process of its own, where this one has other threads.

Guards are forked, and a fork has every lock as it was, but only the thread that forked: what another thread held is
held for ever, and a guard that meets such a lock (in a finalizer, a library's handler of forks) hangs the run. So a
fresh interpreter is started by `posix_spawn`, which runs nothing of this process's between fork and exec; it gets what
to run over a socket, forks the guards, sends back what the command prints, and in the end what was seen.

That process takes the recorder's place. If it is killed, the guards go on, and what they wrote is read when the last of
them has ended; if this process is killed, it goes on to the end of the command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

from retrodict.capture.errors import CaptureUnavailableError
from retrodict.capture.facts import Capture
from retrodict.capture.running import Relay, Request

_BEGIN = (
    "import sys; sys.path[:] = sys.argv[2:]; from retrodict.capture import apart, recorder; "
    "apart.serve(int(sys.argv[1]), recorder.observe)"
)

Output = Callable[[int, bytes], None]


def observe(request: Request, output: Output | None) -> Capture | None:
    """Do what `recorder.observe` does, in another process.

    Returns:
        None where that process was killed.

    Raises:
        CaptureUnavailableError: The mode asked for does not work here.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-I", "-c", _BEGIN, str(theirs.fileno()), *sys.path]
        process = os.posix_spawn(
            sys.executable,
            command,
            request.command.environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), theirs.fileno())],  # inherited there, and only there
            setsigmask=signal.valid_signals(),  # one that comes early waits until it can be passed on
        )
        theirs.close()
        relay = Relay(None)
        with relay.listening(), Connection(ours.detach()) as connection:
            relay.to(process)
            answer = None
            with contextlib.suppress(EOFError, ConnectionError):
                connection.send((request, output is not None))
                while isinstance(answer := connection.recv(), tuple):
                    if output is not None:
                        output(*answer)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process, 0)
    match answer:
        case Capture():
            return answer
        case [str(mode), str(reason)]:
            raise CaptureUnavailableError(mode, reason)
        case _:
            return None


def serve(descriptor: int, observe: Callable[[Request, Output | None], Capture]) -> None:
    """Be that process.

    Args:
        descriptor: The socket.
        observe: Observes a command here.
    """
    os.set_inheritable(descriptor, False)
    with Connection(descriptor) as connection:
        request, wants_output = connection.recv()

        def output(stream: int, data: bytes) -> None:
            with contextlib.suppress(OSError):  # nobody listens any more
                connection.send((stream, data))

        answer: object
        try:
            answer = observe(request, output if wants_output else None)
        except CaptureUnavailableError as error:
            answer = [error.mode, error.reason]
        with contextlib.suppress(OSError):
            connection.send(answer)
