"""`settle`: end a conflict, by setting the name anew in sight of everything that it meant."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict import datasets
from retrodict.actions.conflicts import Claim, Conflict, find_conflicts
from retrodict.kernel.errors import UnknownReferenceError, UsageError
from retrodict.kernel.types import Edge, Event, EventId, Ref
from retrodict.models import records as models
from retrodict.workspace import Batch, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A name that means one thing again.

    Attributes:
        name: As `status` calls it.
        what: What it means now; `was` what it meant on one side or the other.
        entry: The event that says so.
    """

    name: str
    what: str
    was: tuple[str, ...]
    entry: int


def settle(workspace: Workspace, name: str, choice: str, *, reason: str | None = None) -> Settled:
    """Let a name that was set on both sides mean one of these.

    An alias is set again. Of a dataset or a model a further version is added, with the content of the one that was
    chosen: both numbers were given, and stay what they are.

    Args:
        name: `dataset:NAME`, `model:NAME` or `NAME@ALIAS`, as `status` lists it.
        choice: The version, entry or event that it is to mean, as `status` lists it.

    Raises:
        UnknownReferenceError: There is no such claim.
        UsageError: There is no such conflict, or two claims are called so.
    """
    there = find_conflicts(workspace)
    found = next((one for one in there if name in (one.name, one.name.partition(":")[2])), None)
    if found is None:
        listed = ", ".join(one.name for one in there)
        hint = (
            f"These are: {listed}."
            if there
            else "No name was set on both sides; `retrodict status` lists those that were."
        )
        raise UsageError(f"{name} means one thing only, or nothing", hint=hint)
    chosen = _chosen(found, choice)
    batch = Batch(workspace)
    about = workspace.logs.find(chosen.event)
    assert about is not None
    what = _set_again(workspace, batch, found, about.event, reason)
    index = batch.append()[-1].index
    return Settled(name=found.name, what=what, was=tuple(claim.what for claim in found.claims), entry=index)


def _chosen(conflict: Conflict, choice: str) -> Claim:
    """Return the claim that is called so: by its label or number, its entry, or its event.

    Raises:
        UnknownReferenceError: None is.
        UsageError: Two are, as where both sides have made a version 2.
    """
    number = f"v{choice}" if choice.isdigit() else choice
    claims = [claim for claim in conflict.claims if choice in (str(claim.entry), claim.event, claim.what)]
    claims = claims or [claim for claim in conflict.claims if claim.what.rpartition("@")[2] == number]
    if not claims:
        raise UnknownReferenceError(choice, tuple(str(claim.entry) for claim in conflict.claims))
    if len(claims) > 1:
        entries = " or ".join(str(claim.entry) for claim in claims)
        raise UsageError(f"{choice} is what both sides call theirs", hint=f"Name the entry: {entries}.")
    return claims[0]


def _set_again(workspace: Workspace, batch: Batch, conflict: Conflict, chosen: Event, reason: str | None) -> str:
    """Add the event that sets the name again; return what it means then."""
    database, body = workspace.views.database(), dict(chosen.body)
    heads = [claim.event for claim in conflict.claims]
    if conflict.kind == "alias":
        version = EventId(str(body["version"]))
        edge = Edge(ref=Ref(version), role="model-version", evidence="declared")
        batch.event("alias.set", uses=(edge,), makes=(), body=body, reason=reason, replaces=heads)
        return next((target.label for target in models.find(database, event=version)), version)
    name = str(body["name"])
    numbers = [one.version for one in datasets.versions(database, name)]
    if conflict.kind == "model":
        numbers = [one.version for one in models.versions(database, name)]
    body["version"] = max(numbers) + 1
    edge = Edge(ref=Ref(chosen.id), role="settled-from", evidence="declared")
    uses = (*chosen.uses, edge)
    batch.event(chosen.kind, uses=uses, makes=chosen.makes, body=body, reason=reason, replaces=heads)
    return f"{'dataset:' if conflict.kind == 'dataset' else ''}{name}@v{body['version']}"
