"""Values into the record and out of it: as they are, or sealed for the people whom they are about."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from retrodict.kernel.errors import UnavailableError
from retrodict.kernel.types import Digest, is_event_id
from retrodict.keys import KeyRing, Subject
from retrodict.objects import ObjectStore, digest_of
from retrodict.predictions import payload, sealing
from retrodict.predictions.errors import ErasedError, SealedValuesError
from retrodict.predictions.payload import Encoded
from retrodict.predictions.records import Kept, Payload, SealedPayload, Segment
from retrodict.workspace import Workspace, forgotten_by

RIDES_ALONG: Final = 1 << 20  # bytes; larger payloads go into the object store first
_SEGMENTS_IN_ENTRY: Final = 16  # more of them are listed in an object: an entry is small


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Whom the rows of a call are about, and which of its columns say nothing about them.

    Attributes:
        rows: The subject of each row; where `is_aligned` is False, everybody whom the call as a whole is about.
        personal: The personal columns; None: all are.
    """

    rows: tuple[Subject, ...]
    personal: frozenset[str] | None = None
    is_aligned: bool = True


def store(
    objects: ObjectStore,
    keys: KeyRing | None,
    blobs: dict[Digest, bytes],
    encoded: Encoded,
    rows: int,
    owners: Owners | None,
    *,
    is_derived: bool = False,
) -> Kept:
    """Keep a payload; small parts go to `blobs`, to ride in the transaction of their event.

    Args:
        rows: How many it has, as `payload.rows` counts them.
        owners: None, or of nobody: it is not personal, and kept as it is.
        is_derived: It was made from personal values, so all of it is personal.

    Raises:
        KeyNotHeldError: A person was forgotten meanwhile.
        SealedValuesError: There are no keys to seal with.
    """
    if owners is None or not owners.rows:
        return store_clear(objects, blobs, encoded)
    if keys is None:
        raise SealedValuesError("personal values cannot be sealed: the keys of this workspace are out of reach")
    by_name = {owner.subject: owner for owner in owners.rows}
    segments = []
    names = [owner.subject for owner in owners.rows]
    for piece in sealing.cut(encoded, rows, names, is_aligned=owners.is_aligned):
        of = [by_name[name].key for name in piece.owners]
        sealed = keys.seal_under(of[0], piece.data) if len(of) == 1 else keys.seal_jointly(of, piece.data)
        segments.append(
            Segment(subjects=piece.owners, keys=tuple(of), sealed=keep(objects, blobs, sealed), rows=piece.rows)
        )
    listed: tuple[Segment, ...] | Digest = tuple(segments)
    if len(segments) > _SEGMENTS_IN_ENTRY or any(len(segment.keys) > _SEGMENTS_IN_ENTRY for segment in segments):
        listed = keep(objects, blobs, json.dumps([segment.as_body() for segment in segments]).encode())
    clear = None if is_derived else _clear(encoded, owners)
    return SealedPayload(
        rows=rows,
        segments=listed,
        clear=None if clear is None else store_clear(objects, blobs, payload.encode(clear)),
    )


def seal_bytes(keys: KeyRing, owners: Sequence[Subject], data: bytes) -> bytes:
    """Return bytes sealed for people: all their keys open it.

    Raises:
        KeyNotHeldError: One of them was forgotten meanwhile.
    """
    of = [owner.key for owner in owners]
    return keys.seal_under(of[0], data) if len(of) == 1 else keys.seal_jointly(of, data)


def exchanged(workspace: Workspace, body: Mapping[str, object], role: str) -> bytes:
    """Return the bytes that went to a third party, or came back; raises as `encoded` does.

    Args:
        body: Of a `prediction.fetched`.
        role: "request", "response" or "address".
    """
    digest, of = Digest(str(body[role])), body.get("keys")
    if not isinstance(of, list | tuple):
        return workspace.objects.get(digest)
    segment = Segment(subjects=tuple(map(str, of)), keys=tuple(map(str, of)), sealed=digest, rows=())
    return _opened(workspace, segment)


def store_clear(objects: ObjectStore, blobs: dict[Digest, bytes], encoded: Encoded) -> Payload:
    """Keep values as they are."""
    schema = _digest_of_schema(encoded.schema)
    blobs[schema] = encoded.schema
    return Payload(codec=encoded.codec, schema=schema, batch=keep(objects, blobs, encoded.batch), meta=encoded.meta)


_digest_of_schema = functools.lru_cache(maxsize=512)(digest_of)  # calls of one shape share it


def keep(objects: ObjectStore, blobs: dict[Digest, bytes], data: bytes) -> Digest:
    """Let bytes ride with an event, or store them where they are large."""
    if len(data) > RIDES_ALONG:
        return objects.put(data)
    digest = digest_of(data)
    blobs[digest] = data
    return digest


def _clear(encoded: Encoded, owners: Owners) -> Any:
    """Return the columns that are not personal, without the index; None where there are none, or no columns."""
    personal = owners.personal
    if personal is None or encoded.codec not in {"frame/1", "json/1"}:
        return None
    value = payload.decode(encoded.codec, encoded.schema, encoded.batch, encoded.meta)
    if encoded.codec == "frame/1":
        names = [name for name in value.columns if str(name) not in personal]
        return value[names].reset_index(drop=True) if names else None
    if type(value) is list and value and all(isinstance(item, Mapping) for item in value):
        records = [{name: cell for name, cell in item.items() if str(name) not in personal} for item in value]
        return records if any(records) else None
    return None


# ---- reading ---------------------------------------------------------------------------------------------------------


def encoded(workspace: Workspace, kept: Kept) -> Encoded:
    """Return a payload of the record, whole.

    Raises:
        MissingObjectError, AlteredObjectError: Its bytes are not held as they were.
        ErasedError: It was about somebody who was forgotten.
        SealedValuesError: A key is not held here.
    """
    if isinstance(kept, Payload):
        return _clear_encoded(workspace, kept)
    pieces = [(segment.rows, _opened(workspace, segment)) for segment in kept.parts(workspace.objects.get)]
    return sealing.join(pieces, kept.rows)


def encoded_row(workspace: Workspace, kept: Kept, row: int) -> tuple[Encoded, int]:
    """Return a payload that holds row `row` of a call, and which of its rows that is; raises as `encoded` does."""
    if isinstance(kept, Payload):
        return _clear_encoded(workspace, kept), row
    for segment in kept.parts(workspace.objects.get):
        if any(first <= row < first + count for first, count in segment.rows):
            return sealing.piece_row(segment.rows, _opened(workspace, segment), row)
    raise IndexError(row)


def value(workspace: Workspace, kept: Kept) -> Any:
    """Return a value of the record; raises as `encoded` does, and FormatError where the bytes are no payload."""
    found = encoded(workspace, kept)
    return payload.decode(found.codec, found.schema, found.batch, found.meta)


def segment_value(workspace: Workspace, segment: Segment) -> Any:
    """Return what one segment holds, as a value of its own; raises as `encoded` does."""
    found = sealing.alone(_opened(workspace, segment))
    return payload.decode(found.codec, found.schema, found.batch, found.meta)


def _clear_encoded(workspace: Workspace, kept: Payload) -> Encoded:
    objects = workspace.objects
    return Encoded(codec=kept.codec, schema=objects.get(kept.schema), batch=objects.get(kept.batch), meta=kept.meta)


def _opened(workspace: Workspace, segment: Segment) -> bytes:
    ciphertext, keys = workspace.objects.get(segment.sealed), workspace.keys
    plain = None
    if keys is not None:
        one = len(segment.keys) == 1
        plain = keys.open_sealed(segment.keys[0], ciphertext) if one else keys.open_jointly(segment.keys, ciphertext)
    if plain is None:
        raise unopened(workspace, segment)
    return plain


def unopened(workspace: Workspace, segment: Segment) -> UnavailableError:
    """Return why a segment does not open."""
    entry = erased_by(workspace, segment)
    if entry is not None:
        return ErasedError(entry)
    whose = "what its run derived" if all(map(is_event_id, segment.subjects)) else "the person whom it is about"
    return SealedValuesError(f"sealed: the key of {whose} is not held here")


def erased_by(workspace: Workspace, segment: Segment) -> int | None:
    """Return the entry that erased a segment, None where none did."""
    found = [entry for key in segment.keys if (entry := forgotten_by(workspace, key)) is not None]
    return min(found, default=None)


def segments(kept: Kept | None, blob: Callable[[Digest], bytes]) -> tuple[Segment, ...]:
    """Return the sealed parts of a payload; none where it is not personal."""
    return kept.parts(blob) if isinstance(kept, SealedPayload) else ()


def row_subjects(kept: Kept | None, blob: Callable[[Digest], bytes], row: int | None) -> set[str]:
    """Return whom a row of a payload is about, or all of it."""
    return {
        subject
        for segment in segments(kept, blob)
        if row is None or any(first <= row < first + count for first, count in segment.rows)
        for subject in segment.subjects
    }
