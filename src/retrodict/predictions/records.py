"""The audit trail: `prediction.made` (one per call), `.declared`, `.fetched`, `.disputed`, and `dispute.resolved`.

A prediction is logged as the call that it was part of, since for many models the last bit of a row's score depends on
the batch that it was scored in. The view holds no input and no output: those are read from the payloads.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from retrodict.kernel.errors import FormatError
from retrodict.kernel.types import Digest, EntryNumber, Event, EventId, is_event_id

if TYPE_CHECKING:
    import apsw


CSV_COLUMNS = ("date", "model", "model version", "feature inputs", "output")  # of an audit trail as CSV


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Where the values of a call lie: two objects and what is needed to read them (`docs/formats/payload.md`)."""

    codec: str
    schema: Digest
    batch: Digest
    meta: Mapping[str, object]

    def as_body(self) -> dict[str, object]:
        """Return what an entry holds of it."""
        return {"codec": self.codec, "schema": self.schema, "batch": self.batch, "meta": dict(self.meta)}

    @classmethod
    def of(cls, value: object) -> Payload | None:
        """Read it from an entry; None stays None.

        Raises:
            FormatError: It is something else.
        """
        match value:
            case None:
                return None
            case {"codec": str(codec), "schema": str(schema), "batch": str(batch), "meta": Mapping() as meta}:
                return cls(codec=codec, schema=Digest(schema), batch=Digest(batch), meta=meta)
            case _:
                raise FormatError(f"not a payload: {value!r}")


SEALED = "sealed/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What is sealed as one: the rows of one person, or of several where the value could not be cut.

    Attributes:
        subjects: Their pseudonyms; `keys` the ids of their keys, in the same order: all of them open it. Of what was
            made by a run that had read personal values: its `run.started` (without a run, the look).
        sealed: The object, named by its ciphertext.
        rows: Which rows of the call: first row and count of each range.
    """

    subjects: tuple[str, ...]
    keys: tuple[str, ...]
    sealed: Digest
    rows: tuple[tuple[int, int], ...]

    def as_body(self) -> dict[str, object]:
        """Return what an entry holds of it."""
        return {
            "subjects": list(self.subjects),
            "keys": list(self.keys),
            "sealed": self.sealed,
            "rows": [list(pair) for pair in self.rows],
        }

    @classmethod
    def of(cls, value: object) -> Segment:
        """Read it.

        Raises:
            FormatError: It is something else.
        """
        match value:
            case {"subjects": [*subjects], "keys": [*keys], "sealed": str(sealed), "rows": [*rows]} if (
                len(subjects) == len(keys) > 0
                and all(isinstance(item, str) for item in (*subjects, *keys))
                and all(
                    isinstance(pair, list | tuple) and len(pair) == 2 and all(type(n) is int and n >= 0 for n in pair)
                    for pair in rows
                )
            ):
                return cls(
                    subjects=tuple(subjects),
                    keys=tuple(keys),
                    sealed=Digest(sealed),
                    rows=tuple((first, count) for first, count in rows),
                )
        raise FormatError(f"not a segment of a sealed payload: {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPayload:
    """Values that are about people, each person's under a key of their own (`docs/formats/payload.md`).

    Attributes:
        rows: How many rows the whole has.
        segments: The sealed parts, or where there are many the object that lists them.
        clear: The columns that are not personal, as an ordinary payload; None where there are none.
    """

    rows: int
    segments: tuple[Segment, ...] | Digest
    clear: Payload | None

    def as_body(self) -> dict[str, object]:
        """Return what an entry holds of it."""
        listed = isinstance(self.segments, str)
        return {
            "codec": SEALED,
            "rows": self.rows,
            "segments": None if listed else [segment.as_body() for segment in self.segments],  # type: ignore[union-attr]
            "segment_list": self.segments if listed else None,
            "clear": self.clear and self.clear.as_body(),
        }

    def parts(self, blob: Callable[[Digest], bytes]) -> tuple[Segment, ...]:
        """Return the segments; `blob` reads the object that may list them.

        Raises:
            FormatError: It does not list them.
        """
        if not isinstance(self.segments, str):
            return self.segments
        try:
            listed = json.loads(blob(self.segments))
        except ValueError as error:
            raise FormatError(f"{self.segments} is no list of segments: {error}") from error
        if not isinstance(listed, list):
            raise FormatError(f"{self.segments} is no list of segments")
        return tuple(Segment.of(item) for item in listed)


Kept = Payload | SealedPayload


def kept(value: object) -> Kept | None:
    """Read from an entry where values lie; None stays None.

    Raises:
        FormatError: It is something else.
    """
    match value:
        case {"codec": "sealed/1", "rows": int(rows), "segments": listed, "clear": clear}:
            name = value.get("segment_list")  # type: ignore[attr-defined]
            if isinstance(name, str):
                return SealedPayload(rows=rows, segments=Digest(name), clear=Payload.of(clear))
            if not isinstance(listed, list | tuple):
                raise FormatError("a sealed payload without segments")
            segments = tuple(Segment.of(item) for item in listed)
            return SealedPayload(rows=rows, segments=segments, clear=Payload.of(clear))
        case _:
            return Payload.of(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One question of a call in which several were scored together.

    Attributes:
        first_row, rows: Which rows of the call it is, from 0.
        caller: Pseudonym of who asked it.
        trace, span: W3C trace context of its answer; `parent_span` the span that asked.
        request_id: What the caller named it.
    """

    first_row: int
    rows: int
    caller: str | None
    trace: str
    span: str
    parent_span: str | None
    request_id: str | None

    def as_body(self) -> dict[str, object]:
        """Return what an entry holds of it."""
        return {
            "first_row": self.first_row,
            "rows": self.rows,
            "caller": self.caller,
            "trace": self.trace,
            "span": self.span,
            "parent_span": self.parent_span,
            "request_id": self.request_id,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One row of the audit trail, without its values.

    Attributes:
        event: The `prediction.made`, `prediction.declared` or `prediction.fetched` event; `index` is its entry.
        kind: "made" here, "declared" by somebody, or "fetched" from a third party.
        model: The `model.registered` event; None where the model is only named (`model_name`, `model_version`).
        rows: How many rows were scored together.
        caller: Pseudonym of who asked; None where nobody said, and where several did.
        trace, span: W3C trace context, hex; `parent_span` the span that asked.
        request_id: What the caller named the question.
        parts: The questions that were scored together, by their rows; empty where it was one.
        parent: The prediction of a composed model that this one was part of.
        received: When the question came (RFC 3339).
    """

    event: EventId
    index: int
    kind: Literal["made", "declared", "fetched"]
    model: EventId | None
    model_name: str
    model_version: str
    requested: str
    status: Literal["ok", "error"]
    rows: int
    caller: str | None
    trace: str | None
    span: str | None
    parent_span: str | None
    parent: EventId | None
    received: str
    duration_ns: int
    request_id: str | None = None
    parts: tuple[Part, ...] = ()

    def part(self, row: int) -> Part | None:
        """Return the question that a row belongs to; None where all rows are one question."""
        return next((part for part in self.parts if part.first_row <= row < part.first_row + part.rows), None)

    def caller_of(self, row: int) -> str | None:
        """Return the pseudonym of who asked a row."""
        part = self.part(row)
        return self.caller if part is None else part.caller

    def trace_of(self, row: int) -> str | None:
        """Return the trace of the question that a row belongs to."""
        part = self.part(row)
        return self.trace if part is None else part.trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A complaint about a prediction, and what became of it.

    Attributes:
        event: The `prediction.disputed` event; its reason is the complaint.
        row: The row of the call that it is about; None: all of it.
        resolution: The `dispute.resolved` event; None while it is open.
    """

    event: EventId
    index: int
    prediction: EventId
    row: int | None
    at: str
    agent: str
    resolution: EventId | None
    resolution_index: int | None


def made_body(
    *,
    model: EventId,
    model_name: str,
    model_version: int,
    requested: str,
    rows: int,
    status: Literal["ok", "error"],
    inputs: Kept,
    outputs: Kept | None,
    raw: Kept | None,
    error: Mapping[str, str] | None,
    caller: str | None,
    trace: str,
    span: str,
    parent_span: str | None,
    parent: EventId | None,
    received: str,
    duration_ns: int,
    environment: Digest | None,
    serving_code: Digest | None,
    request_id: str | None = None,
    parts: Sequence[Part] = (),
) -> dict[str, object]:
    """Return the body of `prediction.made`; `parts` where several questions were scored together."""
    return {
        "model": model,
        "model_name": model_name,
        "model_version": str(model_version),
        "requested": requested,
        "rows": rows,
        "status": status,
        "inputs": inputs.as_body(),
        "outputs": outputs and outputs.as_body(),
        "raw": raw and raw.as_body(),
        "error": error,
        "caller": caller,
        "trace": trace,
        "span": span,
        "parent_span": parent_span,
        "parent": parent,
        "received": received,
        "duration_ns": duration_ns,
        "environment": environment,
        "serving_code": serving_code,
        "request_id": request_id,
        "parts": [part.as_body() for part in parts] if parts else None,
    }


def declared_body(
    *,
    system: str,
    model: EventId | None,
    model_name: str,
    model_version: str,
    rows: int,
    inputs: Kept,
    outputs: Kept | None,
    caller: str | None,
    trace: str | None,
    received: str,
    log: Digest | None,
    lines: tuple[int, int] | None,
) -> dict[str, object]:
    """Return the body of `prediction.declared`: an answer that another system gave.

    Args:
        system: Who says so: the name of the system or of the imported file.
        log: The imported file; `lines` the first and the last line of it, from 1.
    """
    return {
        "system": system,
        "model": model,
        "model_name": model_name,
        "model_version": model_version,
        "requested": f"{model_name}@{model_version}",
        "rows": rows,
        "status": "ok",
        "inputs": inputs.as_body(),
        "outputs": outputs and outputs.as_body(),
        "raw": None,
        "error": None,
        "caller": caller,
        "trace": trace,
        "span": None,
        "parent_span": None,
        "parent": None,
        "received": received,
        "duration_ns": 0,
        "log": log,
        "lines": None if lines is None else list(lines),
    }


def fetched_body(
    *,
    name: str,
    endpoint: str,
    address: Digest | None,
    method: str,
    claimed_version: str | None,
    header_names: Sequence[str],
    request: Digest,
    request_type: str | None,
    response: Digest | None,
    response_type: str | None,
    http_status: int | None,
    rows: int,
    inputs: Kept,
    outputs: Kept | None,
    error: Mapping[str, str] | None,
    caller: str | None,
    trace: str,
    span: str,
    parent_span: str | None,
    parent: EventId | None,
    received: str,
    duration_ns: int,
    keys: Sequence[str] | None,
) -> dict[str, object]:
    """Return the body of `prediction.fetched`: an answer of a third party, asked over HTTP.

    Args:
        endpoint: The address without what may be a secret; of a question about people also without path and query.
        address: The address with path and query, sealed as `request` is; None: `endpoint` has them.
        claimed_version: What the third party says it is.
        header_names: Of the request; their values are never recorded.
        keys: Of people whom it is about: `request` and `response` are sealed under all of them. None: nobody.
        request: The bytes that were sent; `response` those that came back, None where none did.
    """
    return {
        "model": None,
        "model_name": name,
        "model_version": claimed_version or "unknown",
        "requested": name,
        "rows": rows,
        "status": "error" if outputs is None else "ok",
        "inputs": inputs.as_body(),
        "outputs": outputs and outputs.as_body(),
        "raw": None,
        "error": error,
        "caller": caller,
        "trace": trace,
        "span": span,
        "parent_span": parent_span,
        "parent": parent,
        "received": received,
        "duration_ns": duration_ns,
        "endpoint": endpoint,
        "address": address,
        "method": method,
        "claimed_version": claimed_version,
        "header_names": list(header_names),
        "keys": None if keys is None else list(keys),
        "request": request,
        "request_type": request_type,
        "response": response,
        "response_type": response_type,
        "http_status": http_status,
    }


CALL_COLUMNS = (
    "model", "model_name", "model_version", "requested", "status", "rows", "caller", "trace", "span", "parent_span",
    "parent", "received", "duration_ns",
)  # fmt: skip


def parts_of(body: Mapping[str, object]) -> list[Part]:
    """Read the parts of an entry; fields that this release does not know are left where they stand.

    Raises:
        FormatError: They are something else.
    """
    parts = body.get("parts")
    if parts is None:
        return []
    try:
        assert isinstance(parts, list)
        return [Part(**{name: part[name] for name in Part.__dataclass_fields__}) for part in parts]
    except (AssertionError, KeyError, TypeError) as error:
        raise FormatError(f"not the parts of a call: {parts!r}") from error


_CALL = ", ".join(("event", "entry", "kind", *CALL_COLUMNS, "request_id", "parts"))


def calls(
    db: apsw.Connection,
    *,
    entry: int | None = None,
    model_name: str | None = None,
    model_version: str | None = None,
    caller: str | None = None,
    trace: str | None = None,
    parent: EventId | None = None,
    since: str | None = None,
    until: str | None = None,
    top_level: bool = False,
    newest_first: bool = False,
    limit: int = -1,
) -> list[Call]:
    """Return the calls that fit every argument given, in the order of the log.

    Args:
        caller: Who asked the call, or a part of it; `trace` likewise.
        since: First instant (RFC 3339) that counts; `until` the first that no longer does.
        top_level: Leave out those that were part of another prediction.
        limit: At most so many; -1: all.
    """
    conditions: list[str] = []
    parameters: list[object] = []
    for column, operator, value in (
        ("entry", "=", entry),
        ("model_name", "=", model_name),
        ("model_version", "=", model_version),
        ("parent", "=", parent),
        ("received", ">=", since),
        ("received", "<", until),
    ):
        if value is not None:
            conditions.append(f"{column} {operator} ?")
            parameters.append(value)
    for column, value in (("caller", caller), ("trace", trace)):
        if value is not None:
            conditions.append(
                f"entry IN (SELECT entry FROM predictions_calls WHERE {column} = ? "  # noqa: S608
                f"UNION SELECT entry FROM predictions_parts WHERE {column} = ?)"
            )
            parameters += [value, value]
    if top_level:
        conditions.append("parent IS NULL")
    where = " AND ".join(conditions) or "1"
    order = "DESC" if newest_first else "ASC"
    last = db.execute("SELECT max(entry) FROM predictions_calls").fetchall()[0][0]
    # Numbers of one log are in its order; between logs, the time when they were asked is.
    by = f"received {order}, entry" if EntryNumber(last or 0).is_of_another_log else "entry"
    query = f"SELECT {_CALL} FROM predictions_calls WHERE {where} ORDER BY {by} {order} LIMIT ?"  # noqa: S608
    return [_call(db, row) for row in db.execute(query, (*parameters, limit)).fetchall()]


def _call(db: apsw.Connection, row: tuple[Any, ...]) -> Call:
    event, entry, kind, *columns, request_id, parts = row
    return Call(
        event=EventId(event),
        index=EntryNumber(entry),
        kind=kind,
        **dict(zip(CALL_COLUMNS, columns, strict=True)),
        request_id=request_id,
        parts=_parts_of(db, entry) if parts else (),
    )


def _parts_of(db: apsw.Connection, entry: int) -> tuple[Part, ...]:
    names = ("first_row", "rows", "caller", "trace", "span", "parent_span", "request_id")
    query = f"SELECT {', '.join(names)} FROM predictions_parts WHERE entry = ? ORDER BY first_row"  # noqa: S608
    return tuple(Part(**dict(zip(names, row, strict=True))) for row in db.execute(query, (entry,)))


def sample(
    db: apsw.Connection, model: EventId, limit: int, *, seed: int, without: int | None = None
) -> tuple[list[int], int]:
    """Draw answered calls of a model version, evenly and without replacement.

    The same log, seed and limit give the same calls. Only those that are drawn are looked at.

    Args:
        model: The version's `model.registered` event.
        limit: At most so many are drawn.
        seed: Of the draw.
        without: The entry of a call that is neither drawn nor counted.

    Returns:
        Their entries in the order of the log, and how many calls there were to draw from.
    """
    query = "SELECT nth FROM predictions_calls WHERE entry = ? AND model = ? AND nth IS NOT NULL"
    own = next((int(str(nth)) for (nth,) in db.execute(query, (without, model))), None)
    total = answered(db, model) - (own is not None)
    chosen: Sequence[int] = range(total)
    if total > limit:
        chosen = sorted(random.Random(seed).sample(chosen, limit))  # noqa: S311 - a sample that can be drawn again
    query = "SELECT entry FROM predictions_calls WHERE model = ? AND nth = ?"
    # The numbers from its own on stand for the calls after it.
    numbers = (n if own is None or n < own else n + 1 for n in chosen)
    return [EntryNumber(str(entry)) for n in numbers for (entry,) in db.execute(query, (model, n))], total


def answered(db: apsw.Connection, model: str) -> int:
    """Return how many answered calls of a model version there are."""
    query = "SELECT max(nth) FROM predictions_calls WHERE model = ? AND nth IS NOT NULL"
    last = db.execute(query, (model,)).fetchall()[0][0]
    return 0 if last is None else int(last) + 1


def disputes(
    db: apsw.Connection, *, prediction: EventId | None = None, event: EventId | None = None, open_only: bool = False
) -> list[Dispute]:
    """Return the disputes (about one prediction; the one that an event began), oldest first."""
    conditions = ["1"]
    parameters: list[str] = []
    if prediction is not None:
        conditions.append("prediction = ?")
        parameters.append(prediction)
    if event is not None:
        conditions.append("event = ?")
        parameters.append(event)
    if open_only:
        conditions.append("resolution IS NULL")
    query = (
        "SELECT event, entry, prediction, row, at, agent, resolution, resolution_entry FROM predictions_disputes "  # noqa: S608
        f"WHERE {' AND '.join(conditions)} ORDER BY rowid"
    )
    return [
        Dispute(
            event=EventId(row[0]),
            index=EntryNumber(row[1]),
            prediction=EventId(row[2]),
            row=row[3],
            at=row[4],
            agent=row[5],
            resolution=row[6],
            resolution_index=None if row[7] is None else EntryNumber(row[7]),
        )
        for row in db.execute(query, parameters)
    ]


def payloads(event: Event) -> tuple[Kept, Kept | None, Kept | None]:
    """Return where the inputs, the outputs and the raw inputs of a call lie.

    Raises:
        FormatError: The event has no inputs: it is no call.
    """
    body = event.body
    inputs = kept(body.get("inputs"))
    if inputs is None:
        raise FormatError(f"event {event.id} ({event.kind}) has no inputs")
    return inputs, kept(body.get("outputs")), kept(body.get("raw"))


def subjects_of(event: Event, blob: Callable[[Digest], bytes]) -> set[str]:
    """Return the pseudonyms of the people whom a call is about; none where its values are not personal.

    Raises:
        FormatError: The event is no call.
    """
    sealed = [item for item in payloads(event) if isinstance(item, SealedPayload)]
    return {subject for item in sealed for segment in item.parts(blob) for subject in segment.subjects}


def subjects(db: apsw.Connection, entry: int) -> tuple[str, ...]:
    """Return the pseudonyms of the people whom the call at an entry is about."""
    query = "SELECT subject FROM predictions_subjects WHERE entry = ? ORDER BY subject"
    return tuple(str(row[0]) for row in db.execute(query, (entry,)))


def people(db: apsw.Connection) -> set[str]:
    """Return the pseudonyms of everybody whom a call is about."""
    found = {str(row[0]) for row in db.execute("SELECT DISTINCT subject FROM predictions_subjects")}
    return {subject for subject in found if not is_event_id(subject)}


def entries_about(db: apsw.Connection, subject: str) -> list[int]:
    """Return the entries of the calls that are about a person, by pseudonym, oldest first."""
    query = "SELECT entry FROM predictions_subjects WHERE subject = ? ORDER BY entry"
    return [EntryNumber(row[0]) for row in db.execute(query, (subject,)).fetchall()]  # type: ignore[arg-type]
