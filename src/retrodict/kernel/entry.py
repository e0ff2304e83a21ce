"""Events as entries: canonical JSON bytes, one object per event (`docs/formats/event.md`).

The ledger assigns the tick inside its write transaction, so an entry is built in two parts around it
(`encode_around_tick`): what can fail or takes time is done before the lock is held.

Fields that this release does not know are kept and written back, so for canonical bytes `encode(decode(data)) == data`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple, NoReturn, cast

from retrodict.kernel import canonical
from retrodict.kernel.canonical import MAX_ENTRY_BYTES, MAX_INTEGER
from retrodict.kernel.errors import EntryTooLargeError, FormatError, UsageError
from retrodict.kernel.types import (
    DIGEST_PATTERN,
    EVENT_ID_PATTERN,
    MAX_EDGES,
    Digest,
    Edge,
    EdgeList,
    Event,
    EventId,
    Evidence,
    Ref,
    SealedText,
)

KIND_PATTERN = re.compile(r"[a-z]+(\.[a-z_]+)+\Z")
AT_PATTERN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z\Z", re.ASCII)
SIGNATURE = "signature"  # the field of the envelope that holds the author's own signature, where there is one
_REF_PATTERN = re.compile(f"{DIGEST_PATTERN.pattern}|{EVENT_ID_PATTERN.pattern}")
_EVIDENCE = ("declared", "observed", "inferred")
_EDGE = frozenset({"evidence", "path", "ref", "role"})
_ENVELOPE = ("agent", "at", "body", "id", "kind", "makes", "reason", "replaces", "tick", "uses")
_TICK_DIGITS = len(str(MAX_INTEGER))
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Split(NamedTuple):
    """The bytes of an entry before and after its tick."""

    head: bytes
    tail: bytes

    def at(self, tick: int) -> bytes:
        """Return the entry's bytes with its tick."""
        return b"%b%d%b" % (self.head, tick, self.tail)


def encode(event: Event) -> bytes:
    """Return the entry of `event`.

    Raises:
        UsageError: A field breaks the format.
        EntryTooLargeError: More than 65,535 bytes.
    """
    return encode_around_tick(event).at(event.tick)


def encode_around_tick(event: Event) -> Split:
    """Return the entry of `event` without its tick, checked; the length is checked for the longest tick.

    Raises:
        UsageError: A field breaks the format.
        EntryTooLargeError: More than 65,535 bytes.
    """
    reason = event.reason
    known: dict[str, object] = {
        "agent": event.agent,
        "at": event.at,
        "body": event.body if type(event.body) is dict else dict(event.body),
        "id": event.id,
        "kind": event.kind,
        "makes": [_edge_fields(edge, "makes") for edge in event.makes],
        "reason": None if reason is None else _with_extra({"key": reason.key, "sealed": reason.digest}, reason.extra),
        "replaces": list(event.replaces),
        "uses": [_edge_fields(edge, "uses") for edge in event.uses],
    }
    _check_envelope(known, event.tick, _misused)
    head, tail = known, {"uses": known.pop("uses")}
    if event.extra:
        _with_extra({**known, **tail, "tick": 0}, event.extra)  # refuses the name of a known field
        head |= {key: value for key, value in event.extra.items() if key < "tick"}
        tail |= {key: value for key, value in event.extra.items() if key > "tick"}
    split = Split(canonical.encode(head)[:-1] + b',"tick":', b"," + canonical.encode(tail)[1:])
    size = len(split.head) + _TICK_DIGITS + len(split.tail)
    if size > MAX_ENTRY_BYTES:
        raise EntryTooLargeError(event.kind, size, MAX_ENTRY_BYTES)
    return split


def authored_bytes(event: Event) -> bytes:
    """Return what the author of an event signs: its entry without `tick`, which the log gives, and `signature`.

    Raises:
        UsageError: A field breaks the format.
    """
    extra = {name: value for name, value in event.extra.items() if name != SIGNATURE}
    split = encode_around_tick(replace(event, extra=extra))
    return split.head.removesuffix(b',"tick":') + split.tail


def decode(data: bytes) -> Event:
    """Return the event of an entry.

    Raises:
        FormatError: Not an entry: not JSON, a field is missing or breaks the format, or it is too long.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise FormatError(f"an entry of {len(data):,} bytes; at most {MAX_ENTRY_BYTES:,} are allowed")
    value = _decode_object(data, "an entry")
    missing = [name for name in _ENVELOPE if name not in value]
    if missing:
        raise FormatError(f"the entry lacks {', '.join(missing)}")
    extra = {} if len(value) == len(_ENVELOPE) else {k: v for k, v in value.items() if k not in _ENVELOPE}
    _check_envelope(value, value["tick"], _malformed)
    reason = cast("dict[str, str] | None", value["reason"])
    return Event(
        id=cast("EventId", value["id"]),
        kind=cast("str", value["kind"]),
        at=cast("str", value["at"]),
        tick=cast("int", value["tick"]),
        agent=cast("str", value["agent"]),
        reason=None
        if reason is None
        else SealedText(
            digest=Digest(reason.pop("sealed")), key=reason.pop("key"), extra=cast("dict[str, object]", reason)
        ),
        replaces=tuple(cast("list[EventId]", value["replaces"])),
        uses=tuple([_edge(fields) for fields in cast("list[dict[str, object]]", value["uses"])]),
        makes=tuple([_edge(fields) for fields in cast("list[dict[str, object]]", value["makes"])]),
        body=cast("dict[str, object]", value["body"]),
        extra=extra,
    )


def encode_edge_list(edges: Iterable[Edge]) -> bytes:
    """Return the object that holds many edges; each is written as in `uses`.

    Raises:
        UsageError: An edge breaks the format.
    """
    fields: list[dict[str, object]] = [_edge_fields(edge, "uses") for edge in edges]
    for item in fields:
        if not _is_edge(item, "uses"):
            _misused(f"an edge is malformed: {item!r}")
    return canonical.encode({"edges": fields})


def decode_edge_list(data: bytes) -> tuple[Edge, ...]:
    """Return the edges of an edge-list object.

    Raises:
        FormatError: Not an edge-list object.
    """
    fields = _decode_object(data, "an edge list").get("edges")
    if type(fields) is not list:
        raise FormatError("an edge list lacks its edges")
    for item in fields:
        if not _is_edge(item, "uses") or "list" in item:
            raise FormatError(f"an edge of an edge list is malformed: {item!r}")
    return tuple([cast("Edge", _edge(item)) for item in fields])


def _decode_object(data: bytes, what: str) -> dict[str, object]:
    value = canonical.decode(data)
    if type(value) is not dict:
        raise FormatError(f"{what} is a JSON object; this is {type(value).__name__}")
    if _ESCAPED_SURROGATE.search(data):  # never in canonical text; half a pair would not survive being written
        try:
            canonical.encode(value)
        except UsageError as error:
            raise FormatError(error.message) from None
    return value


def _malformed(message: str) -> NoReturn:
    raise FormatError(f"a malformed entry: {message}")


def _misused(message: str) -> NoReturn:
    raise UsageError(f"an event cannot be written: {message}")


def _with_extra(fields: dict[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    if not fields.keys().isdisjoint(extra):
        _misused(f"an extra field has the name of a known one: {', '.join(sorted(fields.keys() & extra.keys()))}")
    return {**fields, **extra} if extra else fields


def _check_envelope(value: Mapping[str, object], tick: object, refuse: Callable[[str], NoReturn]) -> None:
    """Check every field that has a fixed form; the rest of the JSON is checked by `canonical`."""
    if not _is_event_id(value["id"]):
        refuse(f"`id` is not a UUIDv7: {value['id']!r}")
    kind, at, agent, reason, replaces = (value[name] for name in ("kind", "at", "agent", "reason", "replaces"))
    if not (isinstance(kind, str) and KIND_PATTERN.match(kind)):
        refuse(f"`kind` is not a name such as model.trained: {kind!r}")
    if not _is_instant(at):
        refuse(f"`at` is not a time such as 2019-11-07T20:34:00.000000000Z: {at!r}")
    if type(tick) is not int or not 0 <= tick <= MAX_INTEGER:
        refuse(f"`tick` is not an integer from 0 to 2^53-1: {tick!r}")
    if not (isinstance(agent, str) and agent):
        refuse(f"`agent` is not a name: {agent!r}")
    if reason is not None and not _is_sealed_text(reason):
        refuse(f"`reason` is neither null nor a sealed text with its key: {reason!r}")
    if type(value["body"]) is not dict:
        refuse(f"`body` is not an object: {value['body']!r}")
    if type(replaces) is not list or not all(map(_is_event_id, replaces)):
        refuse(f"`replaces` is not a list of event ids: {replaces!r}")
    for side in ("uses", "makes"):
        edges = value[side]
        if type(edges) is not list:
            refuse(f"`{side}` is not a list: {edges!r}")
        if len(edges) > MAX_EDGES:
            refuse(f"`{side}` has {len(edges)} edges; more than {MAX_EDGES} belong into an edge-list object")
        for edge in edges:
            if not _is_edge(edge, side):
                refuse(f"an edge in `{side}` is malformed: {edge!r}")


def _is_event_id(value: object) -> bool:
    return isinstance(value, str) and EVENT_ID_PATTERN.match(value) is not None


def _is_instant(text: object) -> bool:
    if not (isinstance(text, str) and AT_PATTERN.match(text)):
        return False
    try:
        datetime.fromisoformat(text[:19])
    except ValueError:
        return False
    return True


def _is_sealed_text(value: object) -> bool:
    if type(value) is not dict:
        return False
    digest, key = value.get("sealed"), value.get("key")
    return isinstance(digest, str) and DIGEST_PATTERN.match(digest) is not None and isinstance(key, str) and key != ""


def _is_edge(edge: object, side: str) -> bool:
    if type(edge) is not dict:
        return False
    if "list" in edge:
        digest = edge["list"]
        return isinstance(digest, str) and DIGEST_PATTERN.match(digest) is not None and _EDGE.isdisjoint(edge)
    if not edge.keys() >= _EDGE or ("from" in edge) != (side == "uses"):
        return False
    ref, role, path, made_by = edge["ref"], edge["role"], edge["path"], edge.get("from")
    return (
        isinstance(ref, str)
        and _REF_PATTERN.match(ref) is not None
        and isinstance(role, str)
        and role != ""
        and edge["evidence"] in _EVIDENCE
        and (path is None or isinstance(path, str) or _is_bytes_path(path))
        and (made_by is None or _is_event_id(made_by))
    )


def _is_bytes_path(value: object) -> bool:
    """Say whether this is `{"b64": ...}` over bytes that are not UTF-8; nothing has two ways to be written."""
    match value:
        case {"b64": str(text), **others} if not others:
            try:
                raw = base64.b64decode(text, validate=True)
                raw.decode()
            except UnicodeDecodeError:
                return base64.b64encode(raw).decode() == text
            except (binascii.Error, ValueError):
                pass
    return False


def _edge_fields(edge: Edge | EdgeList, side: str) -> dict[str, object]:
    """Return the fields as they are written. Extra fields cannot hide a known one."""
    if isinstance(edge, EdgeList):
        return _with_extra({"list": edge.digest}, edge.extra)
    path: object = edge.path
    if edge.path is not None and not edge.path.isascii():
        path = _written_path(edge.path)
    fields: dict[str, object] = {"evidence": edge.evidence, "path": path, "ref": edge.ref, "role": edge.role}
    if side == "uses":
        fields["from"] = edge.made_by
    elif edge.made_by is not None:
        _misused(f"an edge in `makes` names a maker: {edge!r}")
    return _with_extra(fields, edge.extra) if edge.extra else fields


def _written_path(path: str) -> object:
    try:
        path.encode()
    except UnicodeEncodeError:
        try:
            return {"b64": base64.b64encode(path.encode("utf-8", "surrogateescape")).decode()}
        except UnicodeEncodeError:
            _misused(f"a path that is neither text nor bytes: {path!r}")
    return path


def _edge(fields: dict[str, object]) -> Edge | EdgeList:
    """Return the edge of checked fields, which are used up: what is left over is kept as `extra`."""
    if "list" in fields:
        return EdgeList(digest=Digest(cast("str", fields.pop("list"))), extra=fields)
    path = fields.pop("path")
    if isinstance(path, dict):
        path = base64.b64decode(path["b64"]).decode("utf-8", "surrogateescape")
    return Edge(
        ref=Ref(cast("str", fields.pop("ref"))),
        role=cast("str", fields.pop("role")),
        evidence=cast("Evidence", fields.pop("evidence")),
        path=cast("str | None", path),
        made_by=cast("EventId | None", fields.pop("from", None)),
        extra=fields,
    )
