"""Names that were set on both sides without seeing each other: each is current until somebody settles it. No verb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrodict import datasets
from retrodict.kernel.types import EntryNumber, EventId
from retrodict.models import records as models
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One of the things that a name means now: its label, and the entry that says so (either can be pasted)."""

    what: str
    entry: EntryNumber
    event: EventId
    at: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A name that means more than one thing: `dataset:NAME`, `model:NAME` or `NAME@ALIAS`."""

    name: str
    kind: Literal["dataset", "model", "alias"]
    claims: tuple[Claim, ...]


def find_conflicts(workspace: Workspace) -> tuple[Conflict, ...]:
    """Return every name that means more than one thing now."""
    database = workspace.views.database()
    heads: dict[tuple[Literal["dataset", "model", "alias"], str], list[Claim]] = {}
    for dataset in datasets.versions(database):
        if dataset.is_current:
            label = f"dataset:{dataset.name}@v{dataset.version}"
            heads.setdefault(("dataset", f"dataset:{dataset.name}"), []).append(
                Claim(
                    what=label,
                    entry=EntryNumber(dataset.index),
                    event=dataset.event,
                    at=dataset.at,
                    agent=dataset.agent,
                )
            )
    for model in models.versions(database):
        if model.is_current:
            heads.setdefault(("model", f"model:{model.name}"), []).append(
                Claim(
                    what=model.label, entry=EntryNumber(model.index), event=model.event, at=model.at, agent=model.agent
                )
            )
    for move in models.aliases(database):
        if move.is_current:
            (target,) = models.find(database, event=move.version_event) or (None,)
            what = move.version_event if target is None else target.label
            heads.setdefault(("alias", f"{move.name}@{move.alias}"), []).append(
                Claim(what=what, entry=EntryNumber(move.index), event=move.event, at=move.at, agent=move.agent)
            )
    return tuple(
        Conflict(name=name, kind=kind, claims=tuple(claims))
        for (kind, name), claims in sorted(heads.items())
        if len(claims) > 1
    )
