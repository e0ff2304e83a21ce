"""`tag`: a name of its own for one version of a dataset."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict import datasets
from retrodict.actions import names
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Edge, EventId, Ref
from retrodict.workspace import Batch, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A tag, the version that it stands at, and where it stood before (None: it is new).

    Attributes:
        is_new: False: it stood there already, and nothing was recorded.
    """

    reference: str
    version: str
    before: str | None
    event: EventId
    index: int
    is_new: bool


def tag(workspace: Workspace, reference: str, label: str, *, reason: str, move: bool = False) -> Tagged:
    """Let `NAME@LABEL` mean the version that `reference` names.

    Args:
        workspace: Where it is recorded.
        reference: A version of a dataset; its bare name: the current one.
        label: A word that looks like no version.
        reason: Why this version has a name.
        move: It may stand at another version until now.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: It is no dataset; the label looks like a version; it stands elsewhere, and `move` is not said.
    """
    datasets.check_label(label)
    if not reason.strip():
        raise UsageError("the reason is empty", hint="Say why this version gets a name.")
    database = workspace.views.database()
    event = names.resolve(workspace, reference).event
    found = [] if event is None else datasets.find(database, event=event)
    if not found:
        raise UsageError(f"{reference} is no dataset", hint="`retrodict ls` lists them.")
    target = found[0]
    heads = [t for t in datasets.tags(database, target.name) if t.is_current and t.label == label]
    before = [version for t in heads for version in datasets.find(database, event=t.version_event)]
    if len(heads) == 1 and before == [target]:
        return Tagged(
            reference=f"dataset:{target.name}@{label}",
            version=target.label,
            before=target.label,
            event=heads[0].event,
            index=heads[0].index,
            is_new=False,
        )
    if heads and not move:
        places = " and ".join(version.label for version in before)
        raise UsageError(f"{target.name}@{label} stands at {places}", hint="Add --move to let it stand elsewhere.")
    batch = Batch(workspace)
    tagged = batch.event(
        "dataset.tagged",
        uses=(Edge(ref=Ref(target.event), role="version", evidence="declared"),),
        makes=(),
        body=datasets.tagged_body(name=target.name, label=label, version=target.event),
        reason=reason,
        replaces=[head.event for head in heads],
    )
    index = batch.append()[-1].index
    return Tagged(
        reference=f"dataset:{target.name}@{label}",
        version=target.label,
        before=" and ".join(version.label for version in before) or None,
        event=tagged.id,
        index=index,
        is_new=True,
    )
