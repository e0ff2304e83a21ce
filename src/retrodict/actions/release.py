"""`gc release`: evidence let go on purpose. What that makes impossible is told before it is done."""

from __future__ import annotations

from dataclasses import dataclass, replace

from retrodict import datasets, predictions, provenance
from retrodict.actions import names
from retrodict.actions.needs import Named
from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, EventId, Ref
from retrodict.models import records as models
from retrodict.objects import Weight
from retrodict.workspace import Batch, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A model version that leans on what goes.

    Attributes:
        how: "answered": it is what goes, so none of its answers can be replayed. "trained": it came from what goes, so
            its answers can be replayed still, and the model not be made again.
        answers: How many calls it has answered.
    """

    model: str
    how: str
    answers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaking:
    """A derived version that is made from what goes, and could not be made again, nor its proof be repeated.

    Attributes:
        is_held: Its bytes are here; if they are not, they would be lost.
    """

    version: str
    is_held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What was let go, or would be.

    Attributes:
        reference: What was named; `content` is its object, a file or a folder.
        frees: What the store holds for it and for nothing else.
        entries: How many entries name it.
        losses: Which models lean on it; `remakings`: which derived versions do.
        recipe: It is a derived version, which can be made again; `proven`: it was, bit for bit, the last time.
        entry: Of the event that records it; None: nothing was done.
    """

    reference: str
    content: Digest
    frees: Weight
    entries: int
    losses: tuple[Loss, ...]
    remakings: tuple[Remaking, ...]
    recipe: Digest | None
    proven: bool
    entry: int | None


def release(
    workspace: Workspace,
    reference: str,
    *,
    reason: str | None = None,
    apply: bool = False,
    progress: Progress | None = None,
) -> Released:
    """Let the bytes go that a version, a model or an object has; the record of them stays.

    They go at the sweep after the grace. Whoever records something that needs them before that keeps them.

    Args:
        reason: Why; needed to do it.
        apply: False: only say what it would free, and what would become impossible.

    Raises:
        UsageError: It names no bytes, or no reason is given.
        IntegrityError: See `gc`.
    """
    if apply and not (reason or "").strip():
        raise UsageError("evidence is let go for a reason", hint='Add --reason "...".')
    resolved = names.resolve(workspace, reference)
    database = workspace.views.database()
    content, recipe, proven = resolved.object, None, False
    if resolved.event is not None:
        for dataset in datasets.find(database, event=resolved.event):
            content, recipe = dataset.content, dataset.recipe
            proven = [verdict for _, verdict, _ in datasets.verdicts(database, dataset.event)][-1:] == ["replicated"]
        for model in models.find(database, event=resolved.event):
            content = model.content
    if content is None:
        raise UsageError(f"{reference} names no bytes", hint="Name a dataset's or a model's version, or an object.")
    objects = workspace.objects
    named = Named(workspace, progress=progress)
    with_it = objects.needed(named.roots().needed, progress=progress)
    without = objects.needed(named.roots(without=content).needed, progress=progress)
    losses, remakings = _leaning(workspace, content)
    found = Released(
        reference=resolved.printed,
        content=content,
        frees=objects.weigh(with_it - without),
        entries=len(provenance.neighbours(database, Ref(content), limit=1_000)),
        losses=losses,
        remakings=remakings,
        recipe=recipe,
        proven=proven,
        entry=None,
    )
    if not apply:
        return found
    batch = Batch(workspace)
    batch.event(
        "evidence.released",
        uses=(),
        makes=(),
        body={"content": content, "models": [loss.model for loss in found.losses][:100]},
        reason=reason,
    )
    return replace(found, entry=batch.append()[-1].index)


def _leaning(workspace: Workspace, content: Digest) -> tuple[tuple[Loss, ...], tuple[Remaking, ...]]:
    database = workspace.views.database()
    graph = provenance.downstream(database, Ref(content), limit_per_node=1_000)
    own = {model.event for model in models.find(database, content=content)}
    reached = own | {EventId(node.ref) for node in graph.nodes if node.event_kind == "model.registered"}
    losses = []
    for event in reached:
        for model in models.find(database, event=event):
            losses.append(
                Loss(
                    model=model.label,
                    how="answered" if event in own else "trained",
                    answers=predictions.answered(database, model.event),
                )
            )
    remakings = [
        Remaking(version=version.label, is_held=workspace.objects.has(version.content))
        for node in graph.nodes
        if node.event_kind == "dataset.derived" and node.depth == 1
        for version in datasets.find(database, event=EventId(node.ref))
    ]
    return (
        tuple(sorted(losses, key=lambda loss: (loss.how, loss.model))),
        tuple(sorted(remakings, key=lambda one: (one.is_held, one.version))),
    )
