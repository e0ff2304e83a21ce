"""A call of a model: who asks it, while it is under way, when it has answered, and what they get."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from retrodict.kernel.types import Digest, Event, EventId
from retrodict.keys import Subject
from retrodict.ledger import Sequenced
from retrodict.models.records import ModelVersion
from retrodict.predictions import Part
from retrodict.predictions.personal import Owners
from retrodict.serving.errors import ModelFailedError

ERROR_CHARACTERS = 20_000  # of a failure's traceback that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks one of several questions that are scored together.

    Attributes:
        rows: How many rows of the call are theirs.
        caller: As they say; recorded under a pseudonym.
        trace: W3C trace that the question is part of; None: a new one. `parent_span`: the span that sent it.
        request_id: What they call the question.
    """

    rows: int
    caller: str | None = None
    trace: str | None = None
    parent_span: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model answered, and where that is on record.

    Attributes:
        output: As the model returned it.
        prediction: The `prediction.made` event.
        index: Its entry; None for a child, whose family is recorded when its parent has answered.
        leaf_hash: Of the entry, 32 bytes; None likewise.
        version: Who answered.
        trace, span: W3C trace context, hex.
        parts: Where several questions were scored together: whose rows are whose, as recorded.
    """

    output: Any
    prediction: EventId
    index: int | None
    leaf_hash: bytes | None
    version: ModelVersion
    trace: str
    span: str
    parts: tuple[Part, ...] = ()


@dataclass(slots=True, kw_only=True)
class Call:
    """A call under way; its descendants gather here until it is recorded."""

    service: object  # that it was asked of
    id: EventId
    trace: str
    span: str
    caller: str | None
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_open: bool = True
    children: list[EventId] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    schemas: set[Digest] = field(default_factory=set)  # of its payloads
    owners: Owners | None = None  # whom it is about
    touched: dict[str, Subject] = field(default_factory=dict)  # whom its parts are about


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call that has answered or failed, and is not on record yet; its family of events ends with itself."""

    call: Call
    version: ModelVersion
    output: Any
    failure: BaseException | None
    parts: tuple[Part, ...]


def joined(asked: Sequence[Asked]) -> tuple[list[Event], dict[Digest, bytes]]:
    """Return the events and payloads of calls, family after family."""
    events: list[Event] = []
    blobs: dict[Digest, bytes] = {}
    for one in asked:
        events += one.call.events
        blobs |= one.call.blobs
    return events, blobs


def answer(finished: Asked, sequenced: Sequenced | None) -> Answer:
    """Return the answer of a recorded call, or raise for a failed one."""
    found = outcome(finished, sequenced)
    if isinstance(found, ModelFailedError):
        raise found from (None if finished.call.owners is not None else finished.failure)
    return found


def outcome(finished: Asked, sequenced: Sequenced | None) -> Answer | ModelFailedError:
    """Return the answer of a call, or the error where it failed.

    Args:
        finished: The call.
        sequenced: Its entry; None for a child, whose family is recorded when its parent has answered.
    """
    call, version = finished.call, finished.version
    index = None if sequenced is None else sequenced.index
    if finished.failure is not None:
        return ModelFailedError(version.label, call.id, index, finished.failure, is_personal=call.owners is not None)
    return Answer(
        output=finished.output,
        prediction=call.id,
        index=index,
        leaf_hash=None if sequenced is None else sequenced.leaf_hash,
        version=version,
        trace=call.trace,
        span=call.span,
        parts=finished.parts,
    )


def everybody(call: Call) -> Owners | None:
    """Return all whom a call is about: what it asks of others is about them, in no order that is known."""
    if call.owners is None:
        return None
    return Owners(rows=tuple({owner.subject: owner for owner in call.owners.rows}.values()), is_aligned=False)


def describe(failure: BaseException) -> str:
    """Return the traceback, its end if it is long."""
    return "".join(traceback.format_exception(failure))[-ERROR_CHARACTERS:]
