"""`show`: one thing, with its bytes, its neighbours and its history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from retrodict import datasets, provenance
from retrodict.actions import names
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, Edge, EdgeList, EventId, Ref
from retrodict.ledger import Sequenced
from retrodict.models import records as models
from retrodict.workspace import Workspace, agent_name, open_text, sealed_text

_PREVIEW_BYTES = 2_000
_PREVIEW_ENTRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRow:
    """One edge of an event.

    Attributes:
        ref: What to paste: an abbreviated digest or the entry of an event.
        maker: The entry of the event that made it, where that is known.
        state: Of the bytes: held (and re-hashed now), missing or altered.
    """

    role: str
    ref: str
    path: str | None
    evidence: str
    maker: int | None
    state: Literal["held", "missing", "altered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """An entry that stands in relation to what is shown: `how` is "made", "used" or "replaced"."""

    entry: int
    how: str
    kind: str
    what: str
    at: str
    agent: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One event or one object.

    Attributes:
        entry: Of an event.
        body: Of an event, with the texts opened that can be opened.
        preview: Of an object: its first lines, or its first names where it is a tree; None for other bytes.
        mentions: The events that made or used it, and for a version those before and after it.
    """

    reference: str
    kind: str
    event: EventId | None
    content: Digest | None
    entry: int | None
    at: str | None
    agent: str | None
    reason: str | None
    leaf_hash: str | None
    body: Mapping[str, object] | None
    uses: tuple[EdgeRow, ...]
    makes: tuple[EdgeRow, ...]
    size_bytes: int | None
    state: Literal["held", "missing", "altered"] | None
    preview: str | None
    mentions: tuple[Mention, ...]


def show(workspace: Workspace, reference: str) -> Shown:
    """Return what a reference names, with everything around it.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    resolved = names.resolve(workspace, reference)
    if resolved.event is not None:
        sequenced = workspace.ledger.find(resolved.event)
        assert sequenced is not None
        return _event(workspace, resolved.printed, sequenced)
    assert resolved.object is not None
    return _object(workspace, resolved.printed, resolved.object)


def _event(workspace: Workspace, printed: str, sequenced: Sequenced) -> Shown:
    event = sequenced.event
    return Shown(
        reference=printed,
        kind=event.kind,
        event=event.id,
        content=None,
        entry=sequenced.index,
        at=event.at,
        agent=agent_name(workspace, event.agent),
        reason=open_text(workspace, event.reason),
        leaf_hash=sequenced.leaf_hash.hex(),
        body={key: _opened(workspace, value) for key, value in event.body.items()},
        uses=tuple(_edges(workspace, event.uses)),
        makes=tuple(_edges(workspace, event.makes)),
        size_bytes=None,
        state=None,
        preview=None,
        mentions=tuple(_mentions(workspace, Ref(event.id), _versions(workspace, event.id))),
    )


def _object(workspace: Workspace, printed: str, digest: Digest) -> Shown:
    state = workspace.objects.state(digest)
    return Shown(
        reference=printed,
        kind="object",
        event=None,
        content=digest,
        entry=None,
        at=None,
        agent=None,
        reason=None,
        leaf_hash=None,
        body=None,
        uses=(),
        makes=(),
        size_bytes=workspace.objects.size(digest) if state == "held" else None,
        state=state,
        preview=_preview(workspace, digest) if state == "held" else None,
        mentions=tuple(_mentions(workspace, Ref(digest), [])),
    )


def _opened(workspace: Workspace, value: object) -> object:
    """Return a body's value with its sealed texts opened."""
    if isinstance(value, Mapping):
        if set(value) == {"sealed", "key"}:
            return open_text(workspace, sealed_text(value))
        return {key: _opened(workspace, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_opened(workspace, item) for item in value]
    return value


def _edges(workspace: Workspace, edges: Iterable[Edge | EdgeList]) -> Iterable[EdgeRow]:
    for edge in provenance.edges(edges, workspace.objects.get):
        made_by = None if edge.made_by is None else workspace.ledger.find(edge.made_by)
        if edge.ref.startswith("b3-"):
            ref, state = names.short(edge.ref), workspace.objects.state(Digest(edge.ref))
        else:
            other = workspace.ledger.find(EventId(edge.ref))
            ref, state = (edge.ref, "missing") if other is None else (str(other.index), "held")
        yield EdgeRow(
            role=edge.role,
            ref=ref,
            path=edge.path,
            evidence=edge.evidence,
            maker=None if made_by is None else made_by.index,
            state=state,
        )


def _versions(workspace: Workspace, event: EventId) -> list[tuple[str, int]]:
    database = workspace.views.database()
    rows: list[tuple[str, int]] = []
    for dataset in datasets.find(database, event=event):
        rows += [("version", v.index) for v in datasets.versions(database, dataset.name) if v.event != event]
    for model in models.find(database, event=event):
        rows += [("version", v.index) for v in models.versions(database, model.name) if v.event != event]
        rows += [("alias", m.index) for m in models.aliases(database, model.name) if m.version_event == event]
    return rows


def _mentions(workspace: Workspace, ref: Ref, others: list[tuple[str, int]]) -> Iterable[Mention]:
    neighbours = provenance.neighbours(workspace.views.database(), ref, limit=_PREVIEW_ENTRIES)
    for how, index in sorted({*neighbours, *others}, key=lambda pair: pair[1]):
        sequenced = workspace.ledger.event(index)
        yield Mention(
            entry=index,
            how=how,
            kind=sequenced.event.kind,
            what=names.label(workspace, sequenced),
            at=sequenced.event.at,
            agent=agent_name(workspace, sequenced.event.agent),
            reason=open_text(workspace, sequenced.event.reason),
        )


def _preview(workspace: Workspace, digest: Digest) -> str | None:
    try:
        entries = list(workspace.objects.list_tree(digest))
    except UsageError:
        size = workspace.objects.size(digest)
        head = workspace.objects.read(digest, 0, min(size, _PREVIEW_BYTES))
        if b"\0" in head:
            return None
        text = head.decode("utf-8", "replace")
        return text if size <= _PREVIEW_BYTES else f"{text}\n... ({size} bytes)"
    lines = [
        f"{names.short(entry.digest)}  {entry.size:>12}  {entry.name.decode('utf-8', 'replace')}"
        + ("/" if entry.kind == "tree" else "")
        for entry in entries[:_PREVIEW_ENTRIES]
    ]
    if len(entries) > _PREVIEW_ENTRIES:
        lines.append(f"... ({len(entries)} entries)")
    return "\n".join(lines)
