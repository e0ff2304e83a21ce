"""A remote: a place where the logs of many workspaces lie, with what their entries name (`docs/formats/remote.md`).

`packs/KEY.pack` as in a backup, `names/KEY` (what is in that pack), `logs/LOG-HASH` (a stretch of one log), and
`heads/LOG-SIZE-HASH`, which says how far a log has come and is written last: a push that was cut off is not seen, and
what it did copy is used by the next one or removed by it. A log is written by its own workspace, and by others only as
far as that has signed it, so two pushers cannot lose each other's work, whoever comes last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from retrodict.backups.errors import DamagedRemoteError
from retrodict.backups.layout import Part, hash_of, read_segment
from retrodict.kernel import canonical
from retrodict.kernel.errors import FormatError, IntegrityError
from retrodict.kernel.protocols import Remote
from retrodict.kernel.types import Digest
from retrodict.ledger import Piece, key_hash
from retrodict.objects import checked

VERSION = 1
AT_ONCE = 4  # packs that travel at once

_HEAD = re.compile(r"heads/(?P<log>[0-9a-f]{16})-(?P<size>[0-9]{12})-(?P<hash>[0-9a-f]{64})\Z")
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_KEY = re.compile(r"([0-9a-f]{2}){0,32}[0-9a-f]{64}\Z")

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A segment of a log: a file, and how far the log has come with it: entries, and the number of its last payload."""

    name: str
    size_bytes: int
    entries: int
    payloads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How far a log has come.

    Attributes:
        at: When it was pushed, by the pusher's clock.
        origin: The log's name; `key` its first public key, as a verifier key.
        size, root: As in `note`, the log's signed checkpoint.
        payloads, last_payload: Number and digest of the last payload.
        stretches: All of the log.
        packs: What its own workspace held then; none where another workspace has passed the log on.
        extra: Fields that this release does not know.
    """

    at: str
    origin: str
    key: str
    size: int
    root: str
    note: str
    payloads: int
    last_payload: Digest | None
    stretches: tuple[Stretch, ...]
    packs: tuple[Part, ...]
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def log(self) -> str:
        """The hash of the log."""
        return key_hash(self.origin)

    @property
    def name(self) -> str:
        """Where it lies."""
        return f"heads/{self.log}-{self.size:012d}-{hash_of(self.encode())}"

    def encode(self) -> bytes:
        """Return its bytes."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "extra"}
        fields["stretches"] = [
            {"name": s.name, "size_bytes": s.size_bytes, "entries": s.entries, "payloads": s.payloads}
            for s in self.stretches
        ]
        fields["packs"] = [{"name": part.name, "size_bytes": part.size_bytes} for part in self.packs]
        return canonical.encode({"format": "retrodict log", "version": VERSION, **fields, **self.extra}) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Head:
        """Return the head in `data`.

        Raises:
            FormatError: It is none, or one of a later release.
        """
        value = canonical.decode(data)
        if not isinstance(value, dict) or value.pop("format", None) != "retrodict log":
            raise FormatError("not the head of a log")
        if (version := value.pop("version", None)) != VERSION:
            raise FormatError(f"a head of format {version}; this release reads {VERSION}", hint="Update retrodict.")
        try:
            known = {name: value.pop(name) for name in cls.__dataclass_fields__ if name != "extra"}
            known["stretches"] = tuple(
                Stretch(**{name: item[name] for name in Stretch.__dataclass_fields__}) for item in known["stretches"]
            )
            known["packs"] = tuple(Part(name=item["name"], size_bytes=item["size_bytes"]) for item in known["packs"])
            found = cls(**known, extra=value)
            texts = (found.at, found.origin, found.key, found.note, *(s.name for s in found.stretches))
            numbers = [found.size, found.payloads, *(part.size_bytes for part in found.packs)]
            numbers += [n for s in found.stretches for n in (s.size_bytes, s.entries, s.payloads)]
            if not all(isinstance(text, str) for text in texts) or not _HEX.match(found.root):
                raise ValueError("a text that is none")
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError("a number that is none")
            if not all(_HEX.match(s.name) for s in found.stretches) or not all(_KEY.match(p.name) for p in found.packs):
                raise ValueError("a part without a name")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FormatError(f"not the head of a log: {error}") from error
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What lies in a remote.

    Attributes:
        heads: Of each log (by its hash) the heads whose stretches are all there, the one that has come furthest first.
        packs: Key and size of every pack.
        logs: Names and sizes of the files in `logs/`.
        damaged: What is wrong with a head that is left out, by its name.
    """

    heads: Mapping[str, Sequence[Head]]
    packs: Mapping[str, int]
    logs: Mapping[str, int]
    damaged: Mapping[str, str]


class Depot:
    """One remote. It is not trusted: whatever is read is checked."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    @property
    def place(self) -> str:
        """Where it is, without credentials."""
        return self.remote.place

    def contents(self) -> Contents:
        """Look at what there is: three listings, and the heads."""
        names = [name for name in self.remote.list("heads/") if _HEAD.match(name)]
        logs = self.remote.list("logs/")
        packs = {
            name.removeprefix("packs/").removesuffix(".pack"): size for name, size in self.remote.list("packs/").items()
        }
        found: dict[str, list[Head]] = {}
        damaged: dict[str, str] = {}
        for name, data in sorted(side_by_side(self.remote.get, names, 2 * AT_ONCE)):
            match = _HEAD.match(name)
            assert match is not None
            if data is None:
                continue  # a later push has taken its place meanwhile
            if hash_of(data) != match["hash"]:
                damaged[name] = "its bytes are not those of its name"
                continue
            try:
                head = Head.decode(data)
            except FormatError as error:
                damaged[name] = error.message
                continue
            if (head.log, head.size) != (match["log"], int(match["size"])):
                damaged[name] = "it is of another log than its name says"
            elif any(logs.get(_log_name(head.log, s.name)) != s.size_bytes for s in head.stretches):
                damaged[name] = "a part of the log that it names is missing or cut short"
            else:
                found.setdefault(head.log, []).append(head)
        heads = {log: sorted(some, key=lambda head: (-head.size, head.name)) for log, some in found.items()}
        return Contents(heads=heads, packs=packs, logs=logs, damaged=damaged)

    # Writing

    def put_pack(self, key: str, size_bytes: int, parts: Callable[[], Iterable[memoryview]], names: bytes) -> None:
        """Bring a pack there, and what is in it. Where `parts` say that it is altered, nothing is there."""
        self.remote.put(f"names/{key}", names)
        try:
            self.remote.put_parts(f"packs/{key}.pack", size_bytes, parts)
        except IntegrityError:
            self.remote.delete(f"names/{key}")
            raise

    def put_stretch(self, log: str, name: str, data: bytes) -> None:
        """Bring a stretch of a log there, and read it back."""
        where = _log_name(log, name)
        self.remote.put(where, data)
        if self._whole(where, name) != data:
            raise DamagedRemoteError(f"{self.place}: {where} did not arrive as it was sent")

    def put_head(self, head: Head) -> None:
        """Show how far a log has come; then remove what it has taken the place of."""
        data = head.encode()
        self.remote.put(head.name, data)
        self._whole(head.name, hash_of(data))

    def remove_superseded(self, head: Head, contents: Contents, *, is_own: bool) -> None:
        """Remove the heads that `head` has taken the place of, with what only they name.

        Args:
            is_own: The log is that of the workspace that pushes, so nobody else is in the middle of writing what no
                head names yet: what a push that was cut off has left is removed, too.
        """
        named = {_log_name(head.log, s.name) for s in head.stretches}
        others = [other for other in contents.heads.get(head.log, ()) if other.name != head.name]
        for other in others:
            if other.size <= head.size:
                self.remote.delete(other.name)
        later = {_log_name(o.log, s.name) for o in others if o.size > head.size for s in o.stretches}
        gone = {_log_name(o.log, s.name) for o in others if o.size <= head.size for s in o.stretches}
        if is_own:
            gone |= {name for name in contents.logs if name.startswith(f"logs/{head.log}-")}
            for name in contents.damaged:
                if name.startswith(f"heads/{head.log}-"):
                    self.remote.delete(name)
        for name in sorted(gone - named - later):
            self.remote.delete(name)

    # Reading

    def stretch(self, log: str, name: str) -> Piece:
        """Return a stretch of a log.

        Raises:
            DamagedRemoteError: It is missing or altered.
        """
        return read_segment(self._whole(_log_name(log, name), name))

    def pack(self, key: str) -> Iterator[memoryview]:
        """Return a pack as parts, each good until the next is asked for. Raises as `stretch`, or at its end."""
        name = f"packs/{key}.pack"
        parts = self.remote.parts(name)
        if parts is None:
            raise self._missing(name)
        return checked(parts, key[-64:], lambda: self._altered(name))

    def names(self, key: str) -> set[bytes]:
        """Return the names of what is in a pack, as the remote says; none where it does not."""
        data = self.remote.get(f"names/{key}") or b""
        return {data[i : i + 32] for i in range(0, len(data) - 31, 32)}

    def _whole(self, name: str, expected: str) -> bytes:
        data = self.remote.get(name)
        if data is None:
            raise self._missing(name)
        if hash_of(data) != expected:
            raise self._altered(name)
        return data

    def _missing(self, name: str) -> DamagedRemoteError:
        return DamagedRemoteError(f"{self.place}: {name} is missing")

    def _altered(self, name: str) -> DamagedRemoteError:
        return DamagedRemoteError(f"{self.place}: {name} is altered: its bytes are not those of its name")


def _log_name(log: str, name: str) -> str:
    return f"logs/{log}-{name}"


def side_by_side(do: Callable[[T], U], items: Iterable[T], at_once: int = AT_ONCE) -> Iterator[tuple[T, U]]:
    """Do something for each item, a few at once; yield each with its result as it is ready.

    What one raises is raised once those that run have ended; no more are begun.
    """
    rest = iter(items)
    with ThreadPoolExecutor(at_once) as pool:
        running: dict[Future[U], T] = {pool.submit(do, item): item for item in islice(rest, at_once)}
        while running:
            ready, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                item = running.pop(future)
                yield item, future.result()
                for following in islice(rest, 1):
                    running[pool.submit(do, following)] = following
