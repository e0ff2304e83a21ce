"""What was made of objects, through any chain of runs and versions: runs, files, models, answers. No verb."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final, Literal

from retrodict import datasets, provenance
from retrodict.actions.stream_people import RecordsAbout
from retrodict.datasets import DatasetVersion
from retrodict.kernel.lazy import dataclass
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.ledger import Sequenced
from retrodict.models import records as models
from retrodict.workspace import Workspace, forgotten_by, sealed_key, sealed_objects, sealed_text

_ALL: Final = 1_000_000
_LISTED: Final = 1_000  # neighbours of one thing that are named; predictions beyond are counted
_DATASETS: Final = frozenset({"dataset.added", "dataset.derived"})
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
    """Everything that was made of objects, and of records of streams and tables, as the record has it.

    Attributes:
        versions: The versions of datasets that are, or hold, what was made.
    """

    def __init__(self, workspace: Workspace, targets: Collection[Digest], records: Iterable[RecordsAbout] = ()) -> None:
        self._workspace = workspace
        database = workspace.views.database()
        runs: dict[int, Sequenced] = {}
        versions: dict[EventId, models.ModelVersion] = {}
        added: dict[EventId, DatasetVersion] = {}
        calls: set[int] = set()
        uncounted: dict[Ref, int] = {}
        starts = dict.fromkeys([*map(Ref, targets), *_users_of(workspace, records)])
        for start in starts:
            graph = provenance.downstream(database, start, limit_per_node=_LISTED)
            for node in graph.nodes:
                if node.entry is None:
                    continue
                if node.event_kind == "run.finished":
                    runs[node.entry] = workspace.logs.event(node.entry)
                elif node.event_kind == "model.registered":
                    found = models.find(database, event=EventId(node.ref))
                    versions |= {version.event: version for version in found}
                elif node.event_kind in _DATASETS:
                    made = datasets.find(database, event=EventId(node.ref))
                    added |= {version.event: version for version in made}
                elif node.event_kind in _CALLS:
                    calls.add(node.entry)
            for cut in graph.cuts:
                if cut.what in _CALLS:
                    uncounted[cut.ref] = cut.total - cut.shown
        self.runs = [runs[entry] for entry in sorted(runs)]
        self.models = sorted(versions.values(), key=lambda version: version.index)
        self.predictions = len(calls) + sum(uncounted.values())
        self.printed = list(self._printed())
        outputs = {*targets, *(item.ref for item in self.derived(is_destroyed=False))}
        for version in datasets.versions(database) if outputs else ():
            if version.content in outputs or outputs.intersection(self._parts(version)):
                added[version.event] = version
        self.versions = sorted(added.values(), key=lambda version: version.index)

    def _parts(self, version: DatasetVersion) -> Iterator[Digest]:
        """Yield the files of a personal folder."""
        if version.key is not None and version.type == "tree":
            sequenced = self._workspace.logs.find(version.event)
            assert sequenced is not None
            yield from (Digest(ref) for ref, _ in sealed_objects(sequenced.event.body, self._workspace.objects.get))

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


def _users_of(workspace: Workspace, records: Iterable[RecordsAbout]) -> Iterator[Ref]:
    """Yield the runs that used one of these records, and the events that made something of one.

    Most use more than one segment, and of a segment more than these records and less than all.
    """
    database = workspace.views.database()
    by_segment: dict[Digest, list[RecordsAbout]] = {}
    for about in records:
        by_segment.setdefault(about.append.segment, []).append(about)
    entries: set[int] = set()
    for segment in by_segment:
        near = provenance.neighbours(database, Ref(segment), limit=_ALL)
        entries |= {entry for how, entry in near if how == "used it"}
    for entry in sorted(entries):
        event = workspace.logs.event(entry).event
        if event.makes or event.kind == "run.finished":  # neither a look nor what a run has read makes anything
            edges = provenance.edges(event.uses, workspace.objects.get)
            if any(_has_one(edge, about) for edge in edges for about in by_segment.get(Digest(edge.ref), ())):
                yield Ref(event.id)


def _has_one(edge: Edge, about: RecordsAbout) -> bool:
    """Say whether an edge to a segment is to one of these records: to all of it, where it does not say to which."""
    match edge.extra.get("records"):
        case [int(start), int(stop)] if about.gap is None:
            return any(start <= offset < stop for offset in about.offsets)
    return True
