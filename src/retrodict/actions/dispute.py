"""`dispute` and `disputes`: a complaint is a fact too, with its outcome and what fixed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrodict import predictions
from retrodict.actions import looks, names
from retrodict.actions.authorship import Authors, How
from retrodict.actions.looks import Look
from retrodict.kernel.errors import AmbiguousReferenceError, UsageError
from retrodict.kernel.types import Edge, EventId, Ref
from retrodict.workspace import Batch, Workspace, agent_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Disputed:
    """A complaint on record.

    Attributes:
        reference: Its entry, to paste.
        prediction: What it is about: `41.0`, or `41` for a whole call.
    """

    reference: str
    event: EventId
    index: int
    prediction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A complaint that has ended; `fixed_by` as it was given."""

    reference: str
    event: EventId
    index: int
    dispute: str
    fixed_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeRow:
    """One complaint.

    Attributes:
        reference: Its entry, to paste.
        prediction: What it is about.
        by: Who complained, or recorded it.
        reason: What they say.
        resolution: How it ended; None while it is open.
        fixed_by: What fixed it, as tables print it.
    """

    reference: str
    event: EventId
    prediction: str
    at: str
    by: str
    reason: str | None
    is_open: bool
    resolved_at: str | None
    resolved_by: str | None
    resolution: str | None
    fixed_by: tuple[str, ...]
    authorship: How


@dataclass(frozen=True, slots=True, kw_only=True)
class Disputes:
    """Complaints, newest first."""

    rows: tuple[DisputeRow, ...]


def dispute(workspace: Workspace, reference: str, reason: str) -> Disputed:
    """Record a complaint about a prediction (`41.0`; `41` for all rows of the call); the reason is sealed.

    Raises:
        UsageError: It is no prediction, or there is no reason.
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    if not reason.strip():
        raise UsageError("a dispute needs a reason", hint='Add --reason "...".')
    call, row = names.call(workspace, reference)
    batch = Batch(workspace)
    event = batch.event(
        "prediction.disputed",
        uses=(Edge(ref=Ref(call.event), role="prediction", evidence="declared"),),
        makes=(),
        body={"prediction": call.event, "row": row},
        reason=reason,
    )
    index = batch.append()[-1].index
    return Disputed(reference=str(index), event=event.id, index=index, prediction=_prediction(call.index, row))


def resolve(workspace: Workspace, reference: str, text: str, *, fixed_by: Sequence[str] = ()) -> Resolved:
    """Record how a complaint ended.

    Args:
        reference: The complaint's entry, or a prediction that has one open complaint.
        text: The outcome (sealed).
        fixed_by: References to what fixed it: a new dataset, model version, ...

    Raises:
        UsageError: There is no open complaint, or `text` is empty.
        AmbiguousReferenceError: The prediction has several.
        UnknownReferenceError: See there.
    """
    if not text.strip():
        raise UsageError("a resolution needs a text", hint='Add --resolve "...".')
    found = _open_dispute(workspace, reference)
    fixes = []
    for fix in fixed_by:
        meant = names.resolve(workspace, fix)
        ref = meant.event or meant.object
        assert ref is not None
        fixes.append(Edge(ref=Ref(ref), role="fix", evidence="declared"))
    batch = Batch(workspace)
    event = batch.event(
        "dispute.resolved",
        uses=(Edge(ref=Ref(found.event), role="dispute", evidence="declared"), *fixes),
        makes=(),
        body={"dispute": found.event, "fixed_by": [edge.ref for edge in fixes]},
        reason=text,
    )
    index = batch.append()[-1].index
    return Resolved(
        reference=str(index), event=event.id, index=index, dispute=str(found.index), fixed_by=tuple(fixed_by)
    )


def disputes(workspace: Workspace, *, open_only: bool = False) -> Disputes:
    """List the complaints."""
    database = workspace.views.database()
    authors, look = Authors(workspace), Look(workspace, "disputes")
    rows = [_row(workspace, look, found, authors) for found in predictions.disputes(database, open_only=open_only)]
    look.record()
    return Disputes(rows=tuple(reversed(rows)))


def _open_dispute(workspace: Workspace, reference: str) -> predictions.Dispute:
    database = workspace.views.database()
    meant = names.resolve(workspace, reference)
    if meant.event is None:
        raise UsageError(f"{reference} is no dispute", hint="`retrodict disputes` lists them.")
    found = predictions.disputes(database, event=meant.event)
    if not found:
        about = predictions.disputes(database, prediction=meant.event)
        found = [d for d in about if meant.row is None or d.row in (None, meant.row)]
        if not found:
            raise UsageError(f"nobody has disputed {reference}", hint="`retrodict disputes` lists the disputes.")
    still_open = [d for d in found if d.resolution is None]
    if not still_open:
        ended = ", ".join(str(d.resolution_index) for d in found)
        raise UsageError(f"the dispute about {reference} has ended already (entry {ended})")
    if len(still_open) > 1:
        raise AmbiguousReferenceError(reference, tuple(str(d.index) for d in still_open))
    return still_open[0]


def _row(workspace: Workspace, look: Look, found: predictions.Dispute, authors: Authors) -> DisputeRow:
    about = workspace.logs.find(found.prediction)
    begun = workspace.logs.event(found.index)
    ended = None if found.resolution_index is None else workspace.logs.event(found.resolution_index)
    return DisputeRow(
        reference=str(found.index),
        event=found.event,
        prediction="?" if about is None else _prediction(about.index, found.row),
        at=found.at,
        by=agent_name(workspace, found.agent),
        reason=looks.reason(workspace, look, begun),
        is_open=ended is None,
        resolved_at=None if ended is None else ended.event.at,
        resolved_by=None if ended is None else agent_name(workspace, ended.event.agent),
        resolution=None if ended is None else looks.reason(workspace, look, ended),
        fixed_by=() if ended is None else tuple(_printed(workspace, ref) for ref in _refs(ended.event.body)),
        authorship=authors.of(begun).how,
    )


def _refs(body: object) -> list[str]:
    fixes = body.get("fixed_by") if isinstance(body, dict) else None
    return [str(ref) for ref in fixes] if isinstance(fixes, list) else []


def _printed(workspace: Workspace, ref: str) -> str:
    sequenced = None if ref.startswith("b3-") else workspace.logs.find(EventId(ref))
    if sequenced is None:
        return names.short(ref)
    has_name = sequenced.event.kind in ("dataset.added", "dataset.attached", "dataset.derived", "model.registered")
    return names.label(workspace, sequenced) if has_name else str(sequenced.index)


def _prediction(index: int, row: int | None) -> str:
    return str(index) if row is None else f"{index}.{row}"
