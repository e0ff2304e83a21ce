"""What was made of objects, through any chain of runs and versions: runs, files, models, answers. No verb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from retrodict import provenance
from retrodict.kernel.types import Digest, EventId, Ref
from retrodict.ledger import Sequenced
from retrodict.models import records as models
from retrodict.workspace import Workspace, forgotten_by, sealed_key, sealed_text

_LISTED: Final = 1_000  # neighbours of one thing that are named; predictions beyond are counted
_CALLS: Final = frozenset({"prediction.made", "prediction.declared"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A file that a run made, having read what is forgotten.

    Attributes:
        path: Where it lay; None: that is sealed.
        entry: Of the run.
        state: "destroyed": its key goes, too. "sealed": it stays, and can be opened. "in the clear": it was declared
            clean, or its run was not seen to read it. "erased": it was forgotten before.
    """

    ref: Digest
    path: str | None
    entry: int
    state: Literal["destroyed", "sealed", "in the clear", "erased"]


class Reached:
    """Everything that was made of objects, as the record has it."""

    def __init__(self, workspace: Workspace, targets: Iterable[Digest]) -> None:
        self._workspace = workspace
        database = workspace.views.database()
        runs: dict[int, Sequenced] = {}
        versions: dict[EventId, models.ModelVersion] = {}
        calls: set[int] = set()
        uncounted: dict[Ref, int] = {}
        for content in targets:
            graph = provenance.downstream(database, Ref(content), limit_per_node=_LISTED)
            for node in graph.nodes:
                if node.entry is None:
                    continue
                if node.event_kind == "run.finished":
                    runs[node.entry] = workspace.logs.event(node.entry)
                elif node.event_kind == "model.registered":
                    found = models.find(database, event=EventId(node.ref))
                    versions |= {version.event: version for version in found}
                elif node.event_kind in _CALLS:
                    calls.add(node.entry)
            for cut in graph.cuts:
                if cut.what in _CALLS:
                    uncounted[cut.ref] = cut.total - cut.shown
        self.runs = [runs[entry] for entry in sorted(runs)]
        self.models = sorted(versions.values(), key=lambda version: version.index)
        self.predictions = len(calls) + sum(uncounted.values())
        self.printed = list(self._printed())

    def derived(self, is_destroyed: bool) -> Iterator[Derived]:
        """Yield what the runs made, each once."""
        seen: set[Digest] = set()
        for run in self.runs:
            for edge in provenance.edges(run.event.makes, self._workspace.objects.get):
                ref = Digest(edge.ref)
                if ref not in seen:
                    seen.add(ref)
                    yield Derived(ref=ref, path=edge.path, entry=run.index, state=self._state(ref, is_destroyed))

    def _state(self, ref: Digest, is_destroyed: bool) -> Literal["destroyed", "sealed", "in the clear", "erased"]:
        key = sealed_key(self._workspace, ref)
        if key is None:
            return "in the clear"
        if forgotten_by(self._workspace, key) is not None:
            return "erased"
        return "destroyed" if is_destroyed else "sealed"

    def _printed(self) -> Iterator[str]:
        """Yield the keys of what the runs printed, and of the figures that they logged."""
        for run in self.runs:
            body = run.event.body
            texts = [sealed_text(body.get(name)) for name in ("stdout", "stderr")]
            found = [text.key for text in texts if text is not None]
            figures = body.get("metrics")
            if isinstance(figures, str) and (key := sealed_key(self._workspace, Digest(figures))) is not None:
                found.append(key)
            yield from (key for key in found if forgotten_by(self._workspace, key) is None)
