"""`untrack`: follow a file or folder no longer; its versions stay."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict import datasets
from retrodict.actions import names, pinning
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Edge, EventId, Ref
from retrodict.workspace import Batch, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Untracked:
    """A name that is no longer followed; `versions` of it stay, and its file stays where it is."""

    name: str
    path: str
    versions: int
    event: EventId
    index: int


def untrack(workspace: Workspace, name: str, *, reason: str | None = None) -> Untracked:
    """Record that `status`, the lock folder and a checkout of it no longer follow the dataset `name`.

    Raises:
        UnknownReferenceError: There is none of that name.
        UsageError: It is not followed as it is.
    """
    database = workspace.views.database()
    heads = datasets.current(database, names.dataset(workspace, name))
    if not any(head.is_tracked for head in heads):
        raise UsageError(f"{heads[0].name} is not tracked", hint="`retrodict add` tracks it again.")
    batch = Batch(workspace)
    event_ = batch.event(
        "dataset.untracked",
        uses=[Edge(ref=Ref(head.event), role="version", evidence="declared") for head in heads],
        makes=(),
        body=datasets.untracked_body(name=heads[0].name, versions=[head.event for head in heads]),
        reason=reason,
    )
    index = batch.append()[-1].index
    pinning.unpin(workspace, heads[0].name, heads[0].path)
    return Untracked(
        name=heads[0].name,
        path=heads[0].path,
        versions=len(datasets.versions(database, heads[0].name)),
        event=event_.id,
        index=index,
    )
