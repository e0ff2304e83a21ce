"""The command, and how a fresh fork becomes it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

RELAYED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)  # sent to the recorder, meant for the command


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, and with which signal mask and standard streams it begins."""

    argv: Sequence[str]
    cwd: str
    environment: Mapping[str, str]
    mask: set[int | signal.Signals]
    streams: Mapping[int, int] = field(default_factory=dict)  # its descriptor -> ours

    def become(self) -> NoReturn:
        """Replace this process, a fresh fork, by the command."""
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; programs expect otherwise
            signal.signal(number, signal.SIG_DFL)
        for number in RELAYED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        for theirs, ours in self.streams.items():
            os.dup2(ours, theirs)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        try:
            os.chdir(self.cwd)
            os.execvpe(self.argv[0], list(self.argv), dict(self.environment))  # noqa: S606 -- no shell: that is the point
        except OSError as error:
            os.write(2, os.fsencode(f"{self.argv[0]}: {error.strerror}\n"))
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)
        except ValueError as error:
            os.write(2, os.fsencode(f"{self.argv[0]}: {error}\n"))
            os._exit(126)
        os._exit(126)
