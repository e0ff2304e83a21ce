"""What can keep a command from being captured."""

from __future__ import annotations

from retrodict.kernel.errors import UnavailableError, UsageError


class CaptureUnavailableError(UnavailableError):
    """A way of capturing that was asked for by name is not to be had on this machine."""

    slug = "capture-unavailable"
    hint = "Leave the mode at auto: the best one that works here is taken, and the record names it."

    def __init__(self, mode: str, reason: str) -> None:
        super().__init__(f"capture by {mode} is not available here: {reason}")
        self.mode = mode
        self.reason = reason


class NoCommandError(UsageError):
    """A run without a command, or in a folder that is not there."""

    slug = "no-command"
    hint = "Name what to run after --, as in: retrodict run -- python train.py"


class InterpreterError(UnavailableError):
    """An interpreter that cannot say what is installed in it."""

    slug = "interpreter"
    hint = "Name a Python of version 3.8 or later that starts."
