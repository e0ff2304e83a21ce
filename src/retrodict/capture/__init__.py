"""Observe what a run does, with nothing declared: files, programs, code, environment. Facts only; `docs/capture.md`."""

from retrodict.capture.code import CodeFacts, CodeFile, snapshot_code
from retrodict.capture.environment import EnvironmentFacts, snapshot_environment
from retrodict.capture.errors import CaptureUnavailableError, InterpreterError, NoCommandError
from retrodict.capture.facts import Access, Capture, Inherited, Program, Resources
from retrodict.capture.ignore import DEFAULT_IGNORE, Ignore
from retrodict.capture.recorder import recover, supervise
from retrodict.capture.seccomp import SPOOL_NAME

__all__ = [
    "DEFAULT_IGNORE",
    "SPOOL_NAME",
    "Access",
    "Capture",
    "CaptureUnavailableError",
    "CodeFacts",
    "CodeFile",
    "EnvironmentFacts",
    "Ignore",
    "Inherited",
    "InterpreterError",
    "NoCommandError",
    "Program",
    "Resources",
    "recover",
    "snapshot_code",
    "snapshot_environment",
    "supervise",
]
