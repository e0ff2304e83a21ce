"""What was made of objects, through any chain of runs and versions: runs, files, models, answers. No verb."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from retrodict import datasets, predictions, provenance
from retrodict import runs as recorded
from retrodict.actions import people
from retrodict.actions.stream_people import RecordsAbout
from retrodict.datasets import DatasetVersion
from retrodict.kernel.types import Digest, Edge, EventId, Ref, is_event_id
from retrodict.ledger import Sequenced
from retrodict.models import records as models
from retrodict.predictions import personal
from retrodict.workspace import Workspace, forgotten_by, looks_at, sealed_key, sealed_objects, sealed_text

_ALL: Final = 1_000_000
_LISTED: Final = 1_000  # neighbours of one thing that are named; predictions beyond are counted
_DATASETS: Final = frozenset({"dataset.added", "dataset.derived"})
_CALLS: Final = frozenset({"prediction.made", "prediction.declared"})
_EXPOSING: Final = frozenset({"run.started", "run.read", "run.finished", "personal.viewed"})


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
    """Everything that was made of objects, of records of streams and tables, and of looks, as the record has it.

    Attributes:
        versions: The versions of datasets that are, or hold, what was made.
        asked: The predictions that runs, and processes, have asked and can be read, which had read what is forgotten:
            they are sealed with what these made. `asked_keys` are the keys of them and of texts about them.
    """

    def __init__(
        self,
        workspace: Workspace,
        targets: Collection[Digest],
        records: Iterable[RecordsAbout] = (),
        people_: Collection[str] = (),
    ) -> None:
        self._workspace = workspace
        self._exposing: set[str] = set()
        database = workspace.views.database()
        runs: dict[int, Sequenced] = {}
        versions: dict[EventId, models.ModelVersion] = {}
        added: dict[EventId, DatasetVersion] = {}
        calls: set[int] = set()
        asked: dict[int, people.About] = {}
        uncounted: dict[Ref, int] = {}
        # What exposed runs and processes have asked leads to others that looked at the answers.
        given = [*map(Ref, targets), *_users_of(workspace, records), *_looks_at(workspace, people_)]
        starts = deque(dict.fromkeys(given))
        seen: set[Ref] = set(starts)
        while starts:
            graph = provenance.downstream(database, starts.popleft(), limit_per_node=_LISTED)
            exposing: dict[str, None] = {}
            for node in graph.nodes:
                if node.entry is None:
                    continue
                if node.event_kind in _EXPOSING:
                    event = workspace.logs.event(node.entry).event
                    exposing[str(event.body.get("run", event.id))] = None
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
                if cut.what in _CALLS and not is_event_id(cut.ref):
                    uncounted[cut.ref] = cut.total - cut.shown
            found_calls = people.calls_about(workspace, set(exposing))
            asked |= {about.sequenced.index: about for about in found_calls}
            further = [*map(Ref, exposing), *(Ref(about.sequenced.event.id) for about in asked.values())]
            further += [*_ends_of(workspace, exposing), *_looks_at(workspace, exposing)]
            starts += [ref for ref in further if ref not in seen]
            seen.update(further)
            self._exposing |= exposing.keys()
        calls -= {entry for entry, about in asked.items() if about.sequenced.event.body.get("model") not in versions}
        self.runs = [runs[entry] for entry in sorted(runs)]
        self.models = sorted(versions.values(), key=lambda version: version.index)
        self.predictions = len(calls) + sum(uncounted.values())
        self.printed = list(self._printed())
        keys = {entry: self._keys(about) for entry, about in sorted(asked.items())}
        self.asked = [asked[entry].sequenced for entry, found_keys in keys.items() if found_keys]
        self.asked_keys = list(dict.fromkeys(key for found_keys in keys.values() for key in found_keys))
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

    def _keys(self, about: people.About) -> list[str]:
        """Return the keys, not destroyed yet, that seal a prediction as derived, and texts about it."""
        kept = predictions.payloads(about.sequenced.event)
        segments = [s for one in kept for s in personal.segments(one, self._workspace.objects.get)]
        pairs = [pair for s in segments for pair in zip(s.subjects, s.keys, strict=True)]
        keys = [key for subject, key in pairs if subject in self._exposing]
        keys += [key for text in about.texts for key in sorted(people.text_keys(text))]
        return [key for key in dict.fromkeys(keys) if forgotten_by(self._workspace, key) is None]

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


def _looks_at(workspace: Workspace, subjects: Collection[str]) -> Iterator[Ref]:
    """Yield the looks at values of people, or at what was sealed for a run or a look.

    They say so themselves: that they showed a call does not say which of its rows, and of very many they name none.
    """
    yield from (Ref(workspace.logs.event(entry).event.id) for entry in looks_at(workspace, subjects))


def _ends_of(workspace: Workspace, started: Iterable[str]) -> Iterator[Ref]:
    """Yield the ends of runs, which say what these have made; a look is none."""
    for event in started:
        run = recorded.find(workspace.views.database(), EventId(event))
        if run is not None and run.event is not None:
            yield Ref(run.event)


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
        if event.makes or event.kind in _EXPOSING:
            edges = provenance.edges(event.uses, workspace.objects.get)
            if any(_has_one(edge, about) for edge in edges for about in by_segment.get(Digest(edge.ref), ())):
                yield Ref(event.id)


def _has_one(edge: Edge, about: RecordsAbout) -> bool:
    """Say whether an edge to a segment is to one of these records: to all of it, where it does not say to which."""
    match edge.extra.get("records"):
        case [int(start), int(stop)] if about.gap is None:
            return any(start <= offset < stop for offset in about.offsets)
    return True
