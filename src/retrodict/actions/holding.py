"""Who holds keys, or what they sealed: named before they are destroyed. No verb."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Digest, EventId
from retrodict.workspace import Batch, Workspace, holders, open_text, sealed_text

_IN_ENTRY: Final = 200  # names; more of them are listed in an object


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A place that held the keys, or the values.

    Attributes:
        kind: "workspace": here; "clone": another workspace that was given keys, or gave them; "export": the person's
            data in a file; "backup".
        where: In words: a public key, a file, an address.
        event: What says so, and its entry; None for here.
        state: Whether the destruction is known there.
    """

    kind: Literal["workspace", "clone", "export", "backup"]
    where: str
    event: EventId | None
    entry: int | None
    state: Literal["confirmed", "not confirmed"]

    def as_body(self) -> dict[str, object]:
        """Return what an entry says of it."""
        return {"kind": self.kind, "event": self.event, "state": self.state}


def listed_or_blob(batch: Batch, names: Sequence[str]) -> Sequence[str] | Digest:
    """Return names as an entry holds them: in an object of their own where they are many."""
    return list(names) if len(names) <= _IN_ENTRY else batch.blob(json.dumps(list(names)).encode())


def holders_of(
    workspace: Workspace, keys: set[str], *, subjects: set[str] | None = None, since: int
) -> tuple[Holder, ...]:
    """Return who held one of the keys, or values of the subjects: this workspace, and the places outside.

    Args:
        since: The entry before which there were none of them.
    """
    own = Holder(kind="workspace", where=str(workspace.folder), event=None, entry=None, state="confirmed")
    return (own, *_outside(workspace, keys, subjects or set(), since))


def _outside(workspace: Workspace, keys: set[str], subjects: set[str], since: int) -> Iterator[Holder]:
    for index in holders(workspace):
        sequenced = workspace.logs.event(index)
        event, body = sequenced.event, sequenced.event.body
        match event.kind:
            case "keys.shared" | "keys.received":
                if keys & _listed(workspace, body.get("keys")):
                    where = str(body.get("to") or body.get("from"))
                    yield Holder(kind="clone", where=where, event=event.id, entry=index, state="not confirmed")
            case "subject.exported":
                if subjects & {str(name) for name in body.get("subjects", ())}:  # type: ignore[attr-defined]
                    rows = sum(n for n in (body.get("rows"), body.get("file_rows")) if isinstance(n, int))
                    where = f"the file that was written then ({rows} rows, {body.get('records', 0)} records of streams)"
                    yield Holder(kind="export", where=where, event=event.id, entry=index, state="not confirmed")
            case "backup.made" if body.get("what") != "store" and index > since:  # that of a store holds no keys
                where = open_text(workspace, sealed_text(body.get("destination"))) or "a backup"
                yield Holder(kind="backup", where=where, event=event.id, entry=index, state="not confirmed")


def _listed(workspace: Workspace, digest: object) -> set[str]:
    try:
        return {str(key) for key in json.loads(workspace.objects.get(Digest(str(digest))))}
    except (RetrodictError, ValueError):
        return set()
