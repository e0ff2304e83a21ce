"""`show`: one thing, with its bytes, its neighbours and its history."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from retrodict import datasets, predictions, provenance
from retrodict.actions import attaching, looks, names
from retrodict.actions.authorship import Authors, How
from retrodict.actions.contents import difference
from retrodict.actions.forgetting import find_forgetting
from retrodict.actions.holding import Holder, Holders
from retrodict.actions.looks import Look
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.types import Digest, Edge, EdgeList, EventId, Ref
from retrodict.ledger import Sequenced
from retrodict.models import records as models
from retrodict.predictions import Kept
from retrodict.predictions.errors import ErasedError, SealedValuesError
from retrodict.predictions.glance import read_row
from retrodict.workspace import Workspace, agent_name, forgotten_by, open_text, sealed_key, sealed_text

_PREVIEW_BYTES = 2_000
_PREVIEW_ENTRIES = 50
_PREVIEW_ROWS = 20
_CHANGED_LINES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRow:
    """One edge of an event.

    Attributes:
        ref: What to paste: an abbreviated digest or the entry of an event.
        maker: The entry of the event that made it, where that is known.
        state: Of the bytes: held (and re-hashed now), missing or altered; or erased: they cannot be read any more.
    """

    role: str
    ref: str
    path: str | None
    evidence: str
    maker: int | None
    state: Literal["held", "missing", "altered", "erased"]


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
    authorship: How


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One event or one object.

    Attributes:
        entry: Of an event.
        body: Of an event, with the texts opened that can be opened.
        preview: Of an object, or of what a version holds: its first lines, or its first names where it is a tree; None
            for other bytes.
        changes: Of a dataset's version: a sentence about what changed since the version before it, then the numbered
            lines (of a folder: the names) that differ.
        values: Of a prediction, of the row that was named or of the first 20: by what they are ("as sent", "as the
            model saw it", "answer"), then by row; no rows where they are not held as they were recorded.
        authorship: Of an event: "authenticated": the agent's own key has signed it; else "claimed".
        signature: Why the signature that an event has does not count, or None.
        holders: Of a forgetting: who held something of it, and who has confirmed by now that they do no longer.
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
    changes: tuple[str, ...]
    values: Mapping[str, Mapping[int, Mapping[str, object]]]
    mentions: tuple[Mention, ...]
    authorship: How | None = None
    signature: str | None = None
    holders: tuple[Holder, ...] = ()


def show(workspace: Workspace, reference: str) -> Shown:
    """Return what a reference names, with everything around it.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    resolved = names.resolve(workspace, reference)
    look = Look(workspace, "show")
    if resolved.event is not None:
        sequenced = workspace.logs.find(resolved.event)
        assert sequenced is not None
        shown = _event(workspace, look, resolved.printed, sequenced, resolved.row)
    else:
        assert resolved.object is not None
        shown = _object(workspace, look, resolved.printed, resolved.object)
    look.record()
    return shown


def _event(workspace: Workspace, look: Look, printed: str, sequenced: Sequenced, row: int | None) -> Shown:
    event, authorship = sequenced.event, Authors(workspace).of(sequenced)
    content = _content(workspace, event.id)
    has_text = event.reason is not None or any(_is_text(value) for value in event.body.values())
    may_read = not has_text or look.text_of(looks.people_in(workspace, sequenced))
    return Shown(
        reference=printed,
        kind=event.kind,
        event=event.id,
        content=None,
        entry=sequenced.index,
        at=event.at,
        agent=agent_name(workspace, event.agent),
        reason=open_text(workspace, event.reason) if may_read else looks.NOT_POSSIBLE,
        leaf_hash=sequenced.leaf_hash.hex(),
        body={key: _opened(workspace, value, may_read) for key, value in event.body.items()},
        uses=tuple(_edges(workspace, event.uses)),
        makes=tuple(_edges(workspace, event.makes)),
        size_bytes=None,
        state=None,
        preview=_listed(workspace, event.id)
        if event.kind == "dataset.attached"
        else None
        if content is None
        else _preview(workspace, content),
        changes=tuple(_changes(workspace, sequenced)),
        values=_values(workspace, look, sequenced, row),
        mentions=tuple(_mentions(workspace, look, Ref(event.id), _versions(workspace, event.id))),
        authorship=authorship.how,
        signature=authorship.because,
        holders=_holders(workspace, sequenced),
    )


def _holders(workspace: Workspace, sequenced: Sequenced) -> tuple[Holder, ...]:
    if sequenced.event.kind in ("subject.forgotten", "file.forgotten"):
        with contextlib.suppress(RetrodictError, ValueError):  # the object that lists the keys is not held
            return Holders(workspace).now(sequenced)
    return ()


def _object(workspace: Workspace, look: Look, printed: str, digest: Digest) -> Shown:
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
        preview=_preview(workspace, digest),
        changes=(),
        values={},
        mentions=tuple(_mentions(workspace, look, Ref(digest), [])),
    )


def _is_text(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"sealed", "key"}


def _opened(workspace: Workspace, value: object, may_read: bool) -> object:
    """Return a body's value with its sealed texts opened."""
    if isinstance(value, Mapping):
        if _is_text(value):
            return open_text(workspace, sealed_text(value)) if may_read else looks.NOT_POSSIBLE
        return {key: _opened(workspace, item, may_read) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_opened(workspace, item, may_read) for item in value]
    return value


def _edges(workspace: Workspace, edges: Iterable[Edge | EdgeList]) -> Iterable[EdgeRow]:
    for edge in provenance.edges(edges, workspace.objects.get):
        made_by = None if edge.made_by is None else workspace.logs.find(edge.made_by)
        if edge.ref.startswith("b3-"):
            digest = Digest(edge.ref)
            key = sealed_key(workspace, digest)
            is_erased = key is not None and forgotten_by(workspace, key) is not None
            ref, state = names.short(edge.ref), "erased" if is_erased else workspace.objects.state(digest)
        else:
            other = workspace.logs.find(EventId(edge.ref))
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


def _mentions(workspace: Workspace, look: Look, ref: Ref, others: list[tuple[str, int]]) -> Iterable[Mention]:
    neighbours = provenance.neighbours(workspace.views.database(), ref, limit=_PREVIEW_ENTRIES)
    authors = Authors(workspace)
    for how, index in sorted({*neighbours, *others}, key=lambda pair: pair[1]):
        sequenced = workspace.logs.event(index)
        yield Mention(
            entry=index,
            how=how,
            kind=sequenced.event.kind,
            what=names.label(workspace, sequenced),
            at=sequenced.event.at,
            agent=agent_name(workspace, sequenced.event.agent),
            reason=looks.reason(workspace, look, sequenced),
            authorship=authors.of(sequenced).how,
        )


def _content(workspace: Workspace, event: EventId) -> Digest | None:
    """Return what a version of a dataset or a model holds."""
    database = workspace.views.database()
    for dataset in datasets.find(database, event=event):
        return dataset.content
    for model in models.find(database, event=event):
        return model.content
    return None


def _values(
    workspace: Workspace, look: Look, sequenced: Sequenced, row: int | None
) -> Mapping[str, Mapping[int, Mapping[str, object]]]:
    """Return the values of a prediction, as far as they are held; a row that is erased or sealed says so instead."""
    calls = predictions.calls(workspace.views.database(), entry=sequenced.index)
    if not calls:
        return {}
    inputs, outputs, raw = predictions.payloads(sequenced.event)
    rows = range(min(calls[0].rows, _PREVIEW_ROWS)) if row is None else (row,)
    values: dict[str, dict[int, Mapping[str, object]]] = {}
    for title, kept in (("as sent", raw), ("as the model saw it", inputs), ("answer", outputs)):
        if kept is not None:
            try:
                values[title] = {i: _row(look, kept, i) for i in rows}
            except (RetrodictError, IndexError):  # gone; or an answer with fewer rows than the question
                values[title] = {}
    return values


def _row(look: Look, kept: Kept, row: int) -> Mapping[str, object]:
    try:
        found, place = look.encoded_row(kept, row)
    except (ErasedError, SealedValuesError) as error:
        return {"not shown": error.message}
    return read_row(found.codec, found.schema, found.batch, found.meta, place)


def _changes(workspace: Workspace, sequenced: Sequenced) -> Iterable[str]:
    """Return what differs between a dataset's version and the one that it replaced."""
    database = workspace.views.database()
    present = datasets.find(database, event=sequenced.event.id)
    replaced = [found for event in sequenced.event.replaces for found in datasets.find(database, event=event)]
    if present and present[0].is_attached and len(replaced) == 1:
        return attaching.difference(workspace, replaced[0], present[0], most=_CHANGED_LINES)
    if not present or len(replaced) != 1:  # no dataset; the first version, or the end of a conflict
        return ()
    return difference(workspace, replaced[0].content, present[0].content, most=_CHANGED_LINES)


def _listed(workspace: Workspace, event: EventId) -> str | None:
    """Return what a bucket's version pins, and where the bytes are."""
    (version,) = datasets.find(workspace.views.database(), event=event)
    if not workspace.objects.has(version.content):
        return None
    attached = attaching.read(workspace, version)
    pins = list(attached.listing.names.items())
    lines = [
        f"{attaching.where(workspace, attached, pin):9}  {pin.size_bytes:>12}  {name}  {pin.stamp}"
        for name, pin in pins[:_PREVIEW_ENTRIES]
    ]
    if len(pins) > _PREVIEW_ENTRIES:
        lines.append(f"... ({len(pins)} objects)")
    return "\n".join(lines)


def _preview(workspace: Workspace, digest: Digest) -> str | None:
    if (key := sealed_key(workspace, digest)) is not None:
        forgotten = find_forgetting(workspace, key)
        return "(personal: `retrodict checkout` opens it)" if forgotten is None else f"({forgotten})"
    if workspace.objects.state(digest) != "held":
        return None
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
