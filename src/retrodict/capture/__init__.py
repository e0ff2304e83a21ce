"""Observe what a run does, with nothing declared: files, programs, code, environment. Facts only; `docs/capture.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.capture.code import CodeFacts, CodeFile, Git, snapshot_code
    from retrodict.capture.environment import EnvironmentFacts, interpreter, snapshot_environment
    from retrodict.capture.errors import CaptureUnavailableError, InterpreterError, NoCommandError
    from retrodict.capture.facts import Access, Capture, Inherited, Program, Resources
    from retrodict.capture.ignore import DEFAULT_IGNORE, Ignore, is_device
    from retrodict.capture.reads import Read, Reads
    from retrodict.capture.recorder import recover, supervise
    from retrodict.capture.seccomp import SPOOL_NAME

_HOMES = {
    "Access": "facts",
    "Capture": "facts",
    "CaptureUnavailableError": "errors",
    "CodeFacts": "code",
    "CodeFile": "code",
    "DEFAULT_IGNORE": "ignore",
    "EnvironmentFacts": "environment",
    "Git": "code",
    "Ignore": "ignore",
    "Inherited": "facts",
    "InterpreterError": "errors",
    "NoCommandError": "errors",
    "Program": "facts",
    "Read": "reads",
    "Reads": "reads",
    "Resources": "facts",
    "SPOOL_NAME": "seccomp",
    "interpreter": "environment",
    "is_device": "ignore",
    "recover": "recorder",
    "snapshot_code": "code",
    "snapshot_environment": "environment",
    "supervise": "recorder",
}

__all__ = [
    "DEFAULT_IGNORE",
    "SPOOL_NAME",
    "Access",
    "Capture",
    "CaptureUnavailableError",
    "CodeFacts",
    "CodeFile",
    "EnvironmentFacts",
    "Git",
    "Ignore",
    "Inherited",
    "InterpreterError",
    "NoCommandError",
    "Program",
    "Read",
    "Reads",
    "Resources",
    "interpreter",
    "is_device",
    "recover",
    "snapshot_code",
    "snapshot_environment",
    "supervise",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
