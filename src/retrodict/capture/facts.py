"""What a capture found: frozen records, and the JSON object that they are kept as."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Literal

Mode = Literal["seccomp", "strace", "audit-hook"]
Completeness = Literal["os-trace", "in-process"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One file that the run read or wrote.

    Attributes:
        path: Absolute, links followed; for an input the name under which its content came.
        how: Of an input: read, read-write, executed, moved, linked, inherited N (a descriptor).
            Of an output: new, changed.
        at_ns: When it was first seen, nanoseconds since the Unix epoch.
        is_code: A program, a script, or a module, rather than data.
        preserved: Where the bytes that were read lie now, when the run put others (or nothing) at `path`.
        lost: The bytes that were read are not to be had any more.
        changed_while_read: Something that is not part of the run wrote the file after the run first opened it.
    """

    path: bytes
    how: str
    at_ns: int
    is_code: bool = False
    preserved: str | None = None
    lost: bool = False
    changed_while_read: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program that was executed; argv is cut after 32 arguments of 200 bytes, and empty where unknown."""

    path: bytes
    argv: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """A descriptor that the command was given: a path, or pipe:[n], socket:[n]."""

    descriptor: int
    target: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the command and its descendants took; CPU is 0.0 where it could not be told.

    Attributes:
        peak_rss_bytes: Of the largest single process.
    """

    user_s: float
    system_s: float
    peak_rss_bytes: int
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What one execution did, as far as it could be seen.

    Attributes:
        exit_code: Of the command; 128 + n when signal n ended it; 127 and 126 as a shell gives them.
        mode: How it was seen.
        completeness: "os-trace" sees every process; "in-process" only what Python's own functions open.
        inputs: What existed before and was read. outputs: What exists after and was written. Both sorted by path.
        temporary: Made and gone again. deleted: Existed before and is gone. unchanged: Opened for writing, but equal.
        environment_files: Installed software that was read; it is recorded as a whole (`environment.py`).
        connections: Addresses: work there was not seen.
        processes: How many, the command's included.
        warnings: What this record may be missing.
    """

    exit_code: int
    started_ns: int
    finished_ns: int
    mode: Mode
    completeness: Completeness
    inputs: tuple[Access, ...]
    outputs: tuple[Access, ...]
    temporary: tuple[bytes, ...]
    deleted: tuple[bytes, ...]
    unchanged: tuple[bytes, ...]
    programs: tuple[Program, ...]
    environment_files: tuple[bytes, ...]
    connections: tuple[str, ...]
    inherited: tuple[Inherited, ...]
    processes: int
    resources: Resources
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return the record as `docs/formats/capture.md` lays it out: no floats, paths as text or base64.

        Of the environment's files only the number: by what they hold, the environment's own record tells them.
        """
        took = self.resources
        return {
            "mode": self.mode,
            "completeness": self.completeness,
            "exit_code": self.exit_code,
            "started_ns": str(self.started_ns),
            "finished_ns": str(self.finished_ns),
            "inputs": [_access(a) for a in self.inputs],
            "outputs": [_access(a) for a in self.outputs],
            "temporary": [text(p) for p in self.temporary],
            "deleted": [text(p) for p in self.deleted],
            "unchanged": [text(p) for p in self.unchanged],
            "programs": [{"path": text(p.path), "argv": [text(a) for a in p.argv]} for p in self.programs],
            "environment_files": len(self.environment_files),
            "connections": list(self.connections),
            "inherited": [{"fd": i.descriptor, "target": text(i.target)} for i in self.inherited],
            "processes": self.processes,
            "resources": {
                "user_us": round(took.user_s * 1e6),
                "system_us": round(took.system_s * 1e6),
                "peak_rss_bytes": took.peak_rss_bytes,
                "wall_us": round(took.wall_s * 1e6),
            },
            "warnings": list(self.warnings),
        }


def _access(access: Access) -> dict[str, object]:
    return {
        "path": text(access.path),
        "how": access.how,
        "at_ns": str(access.at_ns),
        "is_code": access.is_code,
        "lost": access.lost,
        "changed_while_read": access.changed_while_read,
    }


def text(name: bytes) -> object:
    """Return a name as text, or as {"b64": ...} where it is not UTF-8."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(name).decode()}
