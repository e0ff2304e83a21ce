"""The remotes of a workspace by name, and what the verbs about them share. No verb.

`.retrodict/remotes.json` holds names and addresses. It is set-up, not history: `log.pulled` says what came from where.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from time import monotonic

from retrodict.backups import Depot, Head
from retrodict.kernel.durable import write_file
from retrodict.kernel.errors import FormatError, IntegrityError, RetrodictError, UnavailableError, UsageError
from retrodict.kernel.note import decode_checkpoint, verify_note
from retrodict.kernel.protocols import Progress
from retrodict.keys import LogVerifier
from retrodict.ledger import HeldLog, key_hash
from retrodict.objects import open_remote
from retrodict.workspace import Workspace, log_keys

_FILE = "remotes.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRemote:
    """A place under the name that it has in this workspace.

    Attributes:
        origin, pushed: The log that was last pushed there from here, and how many of its entries lay there then; None
            and 0: none was.
    """

    name: str
    url: str
    origin: str | None = None
    pushed: int = 0


def read_remotes(workspace: Workspace) -> list[NamedRemote]:
    """Return the remotes in the order in which they were added.

    Raises:
        FormatError: The file is not what was written.
    """
    path = workspace.folder / _FILE
    try:
        value = json.loads(path.read_bytes())
        return [
            NamedRemote(
                name=str(item["name"]),
                url=str(item["url"]),
                origin=item.get("origin"),
                pushed=int(item.get("pushed", 0)),
            )
            for item in value["remotes"]
        ]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} does not list remotes: {error}", hint="Put it right, or delete it.") from error


def write_remotes(workspace: Workspace, remotes: list[NamedRemote]) -> None:
    """Keep the remotes. Raises `UnavailableError` where they cannot be written."""
    value = {"format": 1, "remotes": [asdict(remote) for remote in remotes]}
    try:
        write_file(workspace.folder / _FILE, json.dumps(value, indent=1).encode() + b"\n")
    except OSError as error:
        raise UnavailableError(f"{workspace.folder / _FILE} cannot be written: {error.strerror}") from error


def check_remote_name(name: str) -> None:
    """Refuse a name that could be taken for an address. Raises `UsageError`."""
    if not _NAME.match(name):
        raise UsageError(
            f"{name!r} cannot be a remote's name", hint="Use letters, digits, '.', '_' and '-', at most 100 of them."
        )


def full_address(url: str, folder: Path) -> str:
    """Return an address that means the same from every folder."""
    return url if "://" in url else os.path.abspath(folder / Path(url).expanduser())


def find_remote(workspace: Workspace, named: str | None) -> tuple[str, Depot]:
    """Return the name (or address) and the place of a remote.

    Args:
        named: Its name, or an address; None: the only one, or the one that is called `origin`.

    Raises:
        UsageError: There is none, several and none was named, or it is neither a name nor an address.
    """
    remotes = {remote.name: remote.url for remote in read_remotes(workspace)}
    if named is None:
        if len(remotes) != 1 and "origin" not in remotes:
            if remotes:
                raise UsageError(f"there are several remotes: {', '.join(remotes)}", hint="Name one of them.")
            raise UsageError("there is no remote", hint="`retrodict remote add origin ADDRESS` adds one.")
        named = "origin" if "origin" in remotes else next(iter(remotes))
    if named in remotes:
        return named, Depot(open_remote(remotes[named]))
    if "://" in named or "/" in named:
        return named, Depot(open_remote(full_address(named, Path(workspace.root))))
    raise unknown_remote(named, list(remotes))


def unknown_remote(name: str, known: list[str]) -> UsageError:
    """Return the error for a name that no remote has."""
    import difflib  # 1 ms, of every command, for what was mistyped

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else "`retrodict remote` lists them; an address has a / in it."
    return UsageError(f"there is no remote called {name!r}", hint=hint)


def first_key(workspace: Workspace, log: HeldLog) -> LogVerifier | None:
    """Return the key that signed a log first: its hash stands in the origin. None: it is not known here.

    Raises:
        IntegrityError: The log cannot be read.
    """
    texts = [str(sequenced.event.body["before"]) for sequenced in log.ledger.entries_of("key.rotated")]
    if log.key is not None:
        texts.append(log.key)
    if log.tag is None and workspace.state is not None and workspace.state.verifier is not None:
        texts.append(str(workspace.state.verifier))
    for text in texts:
        with contextlib.suppress(RetrodictError):
            key = LogVerifier.from_text(text)
            if is_first_key(key, log.ledger.origin):
                return key
    return None


def is_first_key(key: LogVerifier, origin: str) -> bool:
    """Say whether a log's name holds the hash of this key: then nobody else can have named it so."""
    return key.name == origin and sha256(key.public_key).hexdigest()[:16] == key_hash(origin)


def signed_heads(workspace: Workspace, log: HeldLog, heads: Sequence[Head]) -> list[Head]:
    """Return the heads of a log that it has signed, as far as its keys are known here: others say nothing."""
    first = first_key(workspace, log)
    if first is None:
        return list(heads)
    known, found = log_keys(log, first), []
    for head in heads:
        with contextlib.suppress(IntegrityError):
            checkpoint = decode_checkpoint(head.note.encode())
            verify_note(checkpoint, known)
            if (checkpoint.origin, checkpoint.size, checkpoint.root.hex()) == (head.origin, head.size, head.root):
                found.append(head)
    return found


class Transfer:
    """Tells how much has travelled, and how fast. Safe for threads."""

    def __init__(self, progress: Progress | None, what: str, total: int) -> None:
        """Take what is counted ("packs of objects sent"), and how many there are."""
        self._progress = progress
        self._what = what
        self._total = total
        self._began = monotonic()
        self._lock = Lock()
        self.count = 0
        self.size_bytes = 0
        self._done = 0
        self._passed = 0  # of those that are under way, too

    def passing(self, parts: Iterable[memoryview]) -> Iterator[memoryview]:
        """Yield the parts of one, and tell that they pass."""
        for part in parts:
            yield part
            with self._lock:
                self._passed += len(part)
                self._tell()

    def add(self, size_bytes: int) -> None:
        """Count one more that has come to its end; 0 bytes: it did not need to travel."""
        with self._lock:
            self._done += 1
            self.count += size_bytes > 0
            self.size_bytes += size_bytes
            self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            mib = self._passed / (1 << 20)
            rate = mib / max(monotonic() - self._began, 1e-3)
            self._progress(self._done, self._total, f"{self._what}, {mib:,.1f} MiB at {rate:,.1f} MiB/s")
