"""The values that every room shares: digests, references, edges, events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NewType

Digest = NewType("Digest", str)  # an object: "b3-" and 64 hex digits
EventId = NewType("EventId", str)  # a UUIDv7, lower case, with dashes
Ref = NewType("Ref", str)  # a Digest or an EventId: entries name nothing else
Evidence = Literal["declared", "observed", "inferred"]

DIGEST_PATTERN = re.compile(r"b3-[0-9a-f]{64}\Z")
EVENT_ID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")

_OF_ANOTHER_LOG = 1 << 52  # above every index; all numbers stay below 2^53, so that JSON can carry them
_INDEX_BITS = 32

MAX_EDGES = 64  # more of them become one edge-list object


class EntryNumber(int):
    """The number of an entry within a workspace, as views hold it: in its own log the index.

    An entry of another log has the log's tag (20 bits, which begin its key hash) and the index in one number; people
    read and write that as `ab12f:12`.

    >>> str(EntryNumber(12)), str(EntryNumber.of(0xAB12F, 12))
    ('12', 'ab12f:12')
    """

    @classmethod
    def of(cls, tag: int | None, index: int) -> EntryNumber:
        """Return the number of entry `index` of the log with this tag; None: the workspace's own."""
        return cls(index if tag is None else _OF_ANOTHER_LOG | tag << _INDEX_BITS | index)

    @property
    def tag(self) -> int | None:
        """The tag of the log; None: the workspace's own."""
        return (self ^ _OF_ANOTHER_LOG) >> _INDEX_BITS if self.is_of_another_log else None

    @property
    def index(self) -> int:
        """The index in its log."""
        return self & ((1 << _INDEX_BITS) - 1) if self.is_of_another_log else int(self)

    @property
    def is_of_another_log(self) -> bool:
        """Say whether it is an entry of another log than the workspace's own."""
        return self >= _OF_ANOTHER_LOG

    def __str__(self) -> str:
        tag = self.tag
        return int.__repr__(self) if tag is None else f"{tag:05x}:{self.index}"


def is_digest(text: str) -> bool:
    """Say whether `text` is an object's full name."""
    return DIGEST_PATTERN.match(text) is not None


def is_event_id(text: str) -> bool:
    """Say whether `text` is an event's full id."""
    return EVENT_ID_PATTERN.match(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One dependency, and how we know it.

    Attributes:
        ref: The object or event at the other end.
        role: Why it is there, e.g. "training-data", "model", "code", "environment", "input", "output".
        evidence: How the edge is known.
        path: Relative to the workspace, where there is one; bytes that are not UTF-8 are kept as surrogates
            (`os.fsdecode`) here and as `{"b64": ...}` in the entry.
        made_by: The event that made `ref` (in `uses` only), written as "from". None: every maker is possible.
        extra: Fields that this release does not know, kept and written back.
    """

    ref: Ref
    role: str
    evidence: Evidence
    path: str | None = None
    made_by: EventId | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeList:
    """Edges kept in an object of their own: many of them, or those that all calls of one deployment share."""

    digest: Digest
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedText:
    """Free text, kept as an object that is named by its ciphertext (DESIGN: texts count as personal).

    Attributes:
        digest: The object: nonce, ciphertext and tag.
        key: A random id of the key that opens it.
        extra: Fields that this release does not know, kept and written back.
    """

    digest: Digest
    key: str
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact, never edited.

    Attributes:
        id: UUIDv7; what other events refer to.
        kind: Past-tense name, e.g. "run.finished".
        at: The uncorrected wall clock, RFC 3339 with nanoseconds and Z.
        tick: Hybrid logical clock, assigned by the ledger inside its write transaction; 0 in a draft.
        agent: A random pseudonym; the name behind it is a sealed text of an `agent.named` event.
        reason: Why, where a person gave one.
        replaces: For an event that sets a name: the events that it saw as current.
        uses: What the fact depended on; written out even when empty.
        makes: What the fact brought into being. Lineage is exactly these two.
        body: The rest, as `docs/formats/event.md` lays out for this kind.
        extra: Top-level fields that this release does not know, kept and written back.
    """

    id: EventId
    kind: str
    at: str
    agent: str
    uses: tuple[Edge | EdgeList, ...]
    makes: tuple[Edge | EdgeList, ...]
    body: Mapping[str, object]
    tick: int = 0
    reason: SealedText | None = None
    replaces: tuple[EventId, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that `verify` has to say.

    Attributes:
        level: "altered" and "missing" make the answer no; "unprotected" and "note" do not.
        what: The thing, by the name a person can paste: a digest, an entry, a path below `.retrodict`.
        message: One sentence.
    """

    level: Literal["altered", "missing", "unprotected", "note"]
    what: str
    message: str
