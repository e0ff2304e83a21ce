"""`format.json`: whose a folder is, and which logs lie in it.

A workspace with one log has format 1, and its log lies in `ledger.db`. With a second one the file becomes format 2 and
lists them in their order, the own one first. Which log is the own one changes with this one file, so a crash leaves a
workspace as it was or as it is to be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from retrodict.kernel.durable import write_file
from retrodict.kernel.errors import FormatError, NewerFormatError, NoWorkspaceError, UnavailableError
from retrodict.ledger import key_hash

FOLDER = ".retrodict"
FORMAT = 1  # what a new workspace has
NEWEST_FORMAT = 2
LOGS = "logs"

_ID = re.compile(r"[0-9a-f]{32}\Z")
_HASH = re.compile(r"[0-9a-f]{16}\Z")
_TAG = re.compile(r"[0-9a-f]{5}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """A log that lies here.

    Attributes:
        origin: Its name.
        hash: What names its file, and it in tables: `ledger.key_hash` of the origin.
        tag: What marks numbers of its entries; 5 hex digits. The own log has one too, which is not used.
        file: Relative to the folder: `ledger.db` or `logs/HASH.db`.
        key: Its public key as it was known first; None: unknown.
    """

    origin: str
    hash: str
    tag: str
    file: str
    key: str | None

    def fields(self) -> dict[str, object]:
        """Return what stands in the file."""
        return {"origin": self.origin, "hash": self.hash, "tag": self.tag, "file": self.file, "key": self.key}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What `format.json` says.

    Attributes:
        workspace: The workspace's id.
        own: The file of its own log.
        others: Logs that it has received, in the order of their arrival.
        extra: Fields that this release does not know, kept and written back.
    """

    workspace: str
    own: str = "ledger.db"
    own_log: LogFile | None = None
    others: tuple[LogFile, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Layout:
        """Read the file in `folder`.

        Raises:
            NoWorkspaceError: There is none.
            NewerFormatError: It was written by a release that this one cannot read.
            FormatError: It is not such a file.
        """
        path = folder / "format.json"
        try:
            value = json.loads(path.read_bytes())
            workspace, version = value.pop("workspace"), value.pop("format")
            if not _ID.match(workspace):
                raise ValueError(f"{workspace!r} is no workspace's id")
        except FileNotFoundError:
            raise NoWorkspaceError(str(folder.parent)) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"{path} is not a workspace's format file: {error}") from error
        if type(version) is int and version > NEWEST_FORMAT:
            raise NewerFormatError(str(folder), version, NEWEST_FORMAT)
        if type(version) is not int or version < 1:
            raise FormatError(f"{folder} has format {version!r}; this release reads {NEWEST_FORMAT}")
        if version == 1:
            return cls(workspace=workspace, extra=value)
        try:
            own, *others = (_log_file(item) for item in value.pop("logs"))
            if len({log.hash for log in (own, *others)}) != 1 + len(others) or len({log.tag for log in others}) != len(
                others
            ):
                raise ValueError("a log stands there twice")
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path} does not list the logs as it should: {error}") from error
        return cls(workspace=workspace, own=own.file, own_log=own, others=tuple(others), extra=value)

    def write(self, folder: Path) -> None:
        """Write the file; durable when it returns.

        Raises:
            UnavailableError: The disk refuses it.
        """
        assert self.own_log is not None
        logs = [log.fields() for log in (self.own_log, *self.others)]
        value = {"format": NEWEST_FORMAT, "workspace": self.workspace, "logs": logs, **self.extra}
        path = folder / "format.json"
        try:
            write_file(path, json.dumps(value, indent=1).encode() + b"\n")
        except OSError as error:
            raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error

    def log(self, log_hash: str) -> LogFile | None:
        """Return the received log of that hash, or None."""
        return next((log for log in self.others if log.hash == log_hash), None)

    def new_log(self, origin: str, key: str | None, file: str | None = None) -> LogFile:
        """Return what another log that is to be received would be called here."""
        log_hash = key_hash(origin)
        taken = {log.tag for log in self.others}
        tag = int(log_hash[:5], 16)
        while f"{tag:05x}" in taken:  # two hashes that begin alike: one in a million
            tag = (tag + 1) % (1 << 20)
        return LogFile(origin=origin, hash=log_hash, tag=f"{tag:05x}", file=file or f"{LOGS}/{log_hash}.db", key=key)


def log_path(folder: Path, log: LogFile) -> Path:
    """Return where a log lies."""
    return folder / log.file


def _log_file(value: Mapping[str, object]) -> LogFile:
    origin, log_hash, tag, file, key = (value[name] for name in ("origin", "hash", "tag", "file", "key"))
    if not isinstance(origin, str) or log_hash != key_hash(origin):
        raise ValueError(f"{log_hash!r} is not the hash of {origin!r}")
    if not isinstance(log_hash, str) or not _HASH.match(log_hash) or not isinstance(tag, str) or not _TAG.match(tag):
        raise ValueError(f"{log_hash!r}, {tag!r}")
    if not isinstance(file, str) or file not in ("ledger.db", f"{LOGS}/{log_hash}.db"):
        raise ValueError(f"{file!r} is no place of a log")
    if key is not None and not isinstance(key, str):
        raise ValueError(f"{key!r} is no key")
    return LogFile(origin=origin, hash=log_hash, tag=tag, file=file, key=key)


def format_file(workspace_id: str) -> bytes:
    """Return what `format.json` of a workspace with one log holds."""
    return json.dumps({"format": FORMAT, "workspace": workspace_id}).encode() + b"\n"
