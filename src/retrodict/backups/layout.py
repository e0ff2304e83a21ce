"""The bytes of a backup: manifests and segments (`docs/formats/backup.md`). Everything is named by its BLAKE3."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from retrodict.backups.errors import DamagedBackupError
from retrodict.kernel import canonical
from retrodict.kernel.errors import FormatError
from retrodict.kernel.types import Digest
from retrodict.ledger import Payload, Piece
from retrodict.objects import digest_of

HEADER = b"RETRODICT-SEGMENT1\n"
SEGMENT_BYTES = 16 << 20  # a segment is ended once it has reached this
VERSION = 1

_ENTRY, _PAYLOAD = b"E", b"P"
_LENGTH = struct.Struct(">I")
_NUMBER = struct.Struct(">QI")  # number, length
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_KEY = re.compile(r"([0-9a-f]{2}){0,32}[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of a backup: its key in hex, which ends in the BLAKE3 of its bytes, and how many they are."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of the log as bytes."""

    part: Part
    data: bytes
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one backup has added to the ones before it. It is written last: without it the backup was not made.

    Attributes:
        number: From 1; `previous` is the name of the manifest before it, None for the first.
        at: When, by the wall clock.
        workspace, origin: Whose it is.
        size, root: Length and RFC 9162 root (hex) of the log with this backup.
        note: The log's last signed checkpoint, or None.
        payloads, last_payload: Number and digest of the last payload.
        segments, packs: What it added.
        closing: It only adds that the one before was made.
        extra: Fields that this release does not know.
    """

    number: int
    previous: str | None
    at: str
    workspace: str
    origin: str
    size: int
    root: str
    note: str | None
    payloads: int
    last_payload: Digest | None
    segments: tuple[Part, ...]
    packs: tuple[Part, ...]
    closing: bool = False
    extra: dict[str, object] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return its bytes."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "extra"}
        for name in ("segments", "packs"):
            fields[name] = [{"name": part.name, "size_bytes": part.size_bytes} for part in fields[name]]
        return canonical.encode({"format": "retrodict backup", "version": VERSION, **fields, **self.extra}) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Return the manifest in `data`.

        Raises:
            FormatError: It is none, or one of a later release.
        """
        value = canonical.decode(data)
        if not isinstance(value, dict) or value.pop("format", None) != "retrodict backup":
            raise FormatError("not the manifest of a backup")
        if (version := value.pop("version", None)) != VERSION:
            raise FormatError(f"a backup of format {version}; this release reads {VERSION}", hint="Update retrodict.")
        try:
            known = {name: value.pop(name) for name in cls.__dataclass_fields__ if name != "extra"}
            known["segments"], known["packs"] = _parts(known["segments"]), _parts(known["packs"])
            found = cls(**known, extra=value)
            if not all(type(number) is int and number >= 0 for number in (found.number, found.size, found.payloads)):
                raise ValueError("a number that is none")
            if not _HEX.match(found.root) or not all(
                isinstance(t, str) for t in (found.at, found.workspace, found.origin)
            ):
                raise ValueError("a text that is none")
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"not the manifest of a backup: {error}") from error
        return found


def _parts(value: object) -> tuple[Part, ...]:
    if not isinstance(value, list):
        raise TypeError("no list of parts")
    parts = tuple(Part(name=item["name"], size_bytes=item["size_bytes"]) for item in value)
    if not all(_KEY.match(part.name) and type(part.size_bytes) is int for part in parts):
        raise ValueError("a part without a name")
    return parts


def hash_of(data: bytes) -> str:
    """Return the BLAKE3 of some bytes: 64 hex digits."""
    return digest_of(data).removeprefix("b3-")


def segments(entries: Iterable[bytes], payloads: Iterable[Payload]) -> Iterator[Segment]:
    """Lay entries and payloads out, 16 MiB and a bit at a time."""
    records = chain(
        ((_ENTRY + _LENGTH.pack(len(data)), data) for data in entries),
        ((_PAYLOAD + _NUMBER.pack(payload.number, len(payload.data)), payload.data) for payload in payloads),
    )
    body, count = bytearray(HEADER), 0
    for head, data in records:
        body += head + data
        count += head[:1] == _ENTRY
        if len(body) >= SEGMENT_BYTES:
            yield _segment(bytes(body), count)
            body, count = bytearray(HEADER), 0
    if len(body) > len(HEADER):
        yield _segment(bytes(body), count)


def _segment(data: bytes, entries: int) -> Segment:
    return Segment(part=Part(name=hash_of(data), size_bytes=len(data)), data=data, entries=entries)


def read_segment(data: bytes) -> Piece:
    """Return what a segment holds.

    Raises:
        DamagedBackupError: It is none.
    """
    entries: list[bytes] = []
    payloads: list[Payload] = []
    at = len(HEADER)
    try:
        if data[:at] != HEADER:
            raise ValueError("its header is another")
        while at < len(data):
            kind, at = data[at : at + 1], at + 1
            number = 0
            if kind == _ENTRY:
                (length,), at = _LENGTH.unpack_from(data, at), at + _LENGTH.size
            elif kind == _PAYLOAD:
                (number, length), at = _NUMBER.unpack_from(data, at), at + _NUMBER.size
            else:
                raise ValueError(f"a record of kind {kind!r}")
            body, at = data[at : at + length], at + length
            if len(body) != length:
                raise ValueError("it is cut short")
            if kind == _ENTRY:
                entries.append(body)
            else:
                payloads.append(Payload(number=number, digest=digest_of(body), data=body))
    except (ValueError, struct.error) as error:
        raise DamagedBackupError(f"a segment of the backup is malformed: {error}") from error
    return Piece(entries=entries, payloads=payloads)
