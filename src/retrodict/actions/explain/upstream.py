"""Everything behind one model version: the runs that led to it, what they read, and where that came from."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from retrodict import datasets, provenance, runs
from retrodict.actions import attaching, derivation
from retrodict.actions.contents import Row, difference
from retrodict.actions.explain import by_itself, parquet
from retrodict.actions.explain.reading import Reader, gap, listed, moment
from retrodict.actions.explanation import Fact
from retrodict.datasets import DatasetVersion
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.kernel.words import count
from retrodict.ledger import Sequenced
from retrodict.models.records import ModelVersion
from retrodict.runs import Run

_COUNTED_BYTES: Final = 8 * 1024 * 1024  # larger files are not read only to count their rows
_SHOWN_WAYS: Final = 4
_MOST_WAYS: Final = 64  # from one source


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file at the beginning of everything: no run made it.

    Attributes:
        edge: How a run read it.
        version: The dataset version that it is, where somebody added it.
        steps: The ways from it to the model, the longest first: the runs of each, the first reader first.
        through: The derived versions, one made from the other, that lie between it and its first reader.
        current: The newest version of that dataset; None where it is this one.
    """

    edge: Edge
    version: DatasetVersion | None
    steps: tuple[tuple[Run, ...], ...]
    through: tuple[DatasetVersion, ...]
    current: DatasetVersion | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The runs behind a model, the one that made it first, then those that made what it read, and so on."""

    trained_by: tuple[tuple[Run, Sequenced], ...]
    earlier: tuple[tuple[Run, Sequenced], ...]
    sources: tuple[Source, ...]

    @property
    def runs(self) -> tuple[tuple[Run, Sequenced], ...]:
        """All of them."""
        return (*self.trained_by, *self.earlier)

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for two models that the same runs made."""
        return tuple(run.started_event for run, _ in self.trained_by)


def upstream(reader: Reader, model: ModelVersion) -> Upstream:
    """Walk from a model version to its runs and sources, breadth first."""
    registered = reader.find(model.event)
    makers = [] if model.run is None else [model.run]
    if registered is not None:
        makers += [e.made_by for e in reader.edges(registered) if e.role == "artifact" and e.made_by is not None]
    found: dict[str, tuple[Run, Sequenced]] = {}
    readers: dict[str, list[str]] = {}  # of what a run wrote: the runs that read it
    sources: dict[tuple[str, str | None], tuple[Edge, tuple[DatasetVersion, ...], list[str]]] = {}
    first = [maker for maker in dict.fromkeys(makers) if runs.find(reader.database, maker) is not None]
    queue: list[str] = list(first)
    while queue:
        event = queue.pop(0)
        run, sequenced = runs.find(reader.database, EventId(event)), reader.find(event)
        if run is None or sequenced is None or event in found:
            continue
        found[event] = run, sequenced
        for edge in reader.edges(sequenced):
            if edge.role not in {"input", "params", "code-input"}:
                continue
            if edge.made_by is not None and runs.find(reader.database, edge.made_by) is not None:
                queue.append(edge.made_by)
                if event not in readers.setdefault(edge.made_by, []):
                    readers[edge.made_by].append(event)
            elif edge.role == "input" or edge.made_by is not None:
                for source, through in _behind(reader, edge):
                    sources.setdefault((source.ref, source.path), (source, through, []))[2].append(event)
    return Upstream(
        trained_by=tuple(found[event] for event in first if event in found),
        earlier=tuple(pair for event, pair in found.items() if event not in first),
        sources=tuple(
            _source(
                reader,
                edge,
                through,
                [way for event in by for way in itertools.islice(_ways(event, readers, first, found), _MOST_WAYS)],
            )
            for edge, through, by in sources.values()
        ),
    )


def _ways(
    event: str, readers: dict[str, list[str]], last: Sequence[str], found: dict[str, tuple[Run, Sequenced]]
) -> Iterator[tuple[Run, ...]]:
    """Yield every way along which what a run read can have reached the model, through what later runs read."""
    # An event's makers are older than itself, so there are no circles.
    if event in last:
        yield (found[event][0],)
    for following in readers.get(event, []):
        for way in _ways(following, readers, last, found):
            yield (found[event][0], *way)


def _behind(
    reader: Reader, edge: Edge, through: tuple[DatasetVersion, ...] = ()
) -> Iterator[tuple[Edge, tuple[DatasetVersion, ...]]]:
    """Yield what a run read and, where that is a derived version, what it was made from; with what lies between."""
    yield edge, through
    version = reader.dataset_of(edge.made_by)
    sequenced = None if version is None or version.recipe is None else reader.find(version.event)
    if version is not None and sequenced is not None:
        for made_from in reader.edges(sequenced):
            if made_from.role == "input":
                yield from _behind(reader, made_from, (version, *through))


def _source(reader: Reader, edge: Edge, through: tuple[DatasetVersion, ...], ways: Sequence[tuple[Run, ...]]) -> Source:
    version = reader.dataset_of(edge.made_by)
    if version is None:
        same = datasets.find(reader.database, content=Digest(edge.ref))
        version = same[0] if len(same) == 1 else None
    current = None
    if version is not None:
        heads = datasets.current(reader.database, version.name)
        current = heads[-1] if heads and heads[-1].event != version.event else None
        if current is not None and version.is_attached and current.is_attached:
            current = current if _pinned_anew(reader, version, current, Digest(edge.ref)) else None
    once = {tuple(run.index for run in way): way for way in ways}
    longest_first = sorted(once.items(), key=lambda item: (-len(item[0]), item[0]))
    steps = tuple(way for _, way in longest_first)
    return Source(edge=edge, version=version, steps=steps, through=through, current=current)


def _pinned_anew(reader: Reader, version: DatasetVersion, current: DatasetVersion, content: Digest) -> bool:
    """Say whether a bucket's newer version pins something else where a file came from."""
    try:
        before, after = (attaching.read(reader.workspace, one) for one in (version, current))
    except RetrodictError:
        return True
    return any(
        (now := after.listing.names.get(name)) is None or now.content != pin.content
        for name, pin in before.listing.names.items()
        if before.content(pin) == content
    )


def path_of(reader: Reader, edge: Edge) -> str:
    """Return where a file lay, also where that is sealed since it lay outside the workspace."""
    if edge.path is not None:
        return edge.path
    sealed = reader.text(edge.extra.get("sealed_path"))
    return "a file outside the workspace" if sealed is None else sealed


# ---- question 4 ------------------------------------------------------------------------------------------------------


def trained_on(reader: Reader, up: Upstream) -> tuple[str, tuple[Fact, ...]]:
    """Return what the training runs read, and what the runs before them read."""
    if not up.trained_by:
        return "unknown: no run on record made this model", (
            gap("no run on record made this model's files, so what it was trained on is not known"),
        )
    facts = tuple(_read_by(reader, run, sequenced) for run, sequenced in up.runs)
    inputs = [edge for _, sequenced in up.trained_by for edge in reader.edges(sequenced) if edge.role == "input"]
    said = [_with_rows(reader, edge) for edge in inputs]
    said += [what for run, _ in up.trained_by for what in by_itself.named(reader, run)]
    earlier = (
        f"; made from {_named_sources(reader, up)} by {count(len(up.earlier), 'earlier run')}" if up.earlier else ""
    )
    return (listed(said, 4) or "no file at all") + earlier, facts


def _named_sources(reader: Reader, up: Upstream) -> str:
    return (
        listed([path_of(reader, source.edge) for source in up.sources if source.edge.role == "input"], 4) or "no file"
    )


def _with_rows(reader: Reader, edge: Edge) -> str:
    rows = row_count(reader, Digest(edge.ref), path_of(reader, edge))
    return path_of(reader, edge) + ("" if rows is None else f" ({count(rows, 'row')})")


def _read_by(reader: Reader, run: Run, sequenced: Sequenced) -> Fact:
    edges = [edge for edge in reader.edges(sequenced) if edge.role == "input"]
    facts = [_input(reader, edge) for edge in edges] + by_itself.read(reader, run)
    facts = facts or [gap(f"run {run.name} is not seen to have read any data")]
    between = f"between {moment(run.started)} and {moment(run.finished)}"
    grade = f"; how completely it was watched: {run.completeness}" if run.completeness else ""
    says = f"run {run.name} read {count(len(edges), 'file')} of data {between}{grade}"
    facts += [gap(warning) for warning in _warnings(reader, sequenced)]
    return reader.entry_fact(says, sequenced, "observed", facts=tuple(facts))


def _warnings(reader: Reader, sequenced: Sequenced) -> list[str]:
    details = sequenced.event.body.get("capture")
    text = reader.text(details) if isinstance(details, dict) else None
    try:
        found = json.loads(text)["warnings"] if text else []
    except (ValueError, KeyError, TypeError):
        return []
    return [str(warning) for warning in found]


def _input(reader: Reader, edge: Edge) -> Fact:
    version = reader.dataset_of(edge.made_by)
    maker = None if edge.made_by is None else reader.find(edge.made_by)
    if version is not None:
        origin = f"dataset:{version.name}@v{version.version}"
    elif maker is not None:
        run = runs.find(reader.database, maker.event.id)
        origin = f"written by run {run.name} (entry {maker.index})" if run else f"made by entry {maker.index}"
    else:
        origin = "nobody is on record for having made it"
    return reader.object_fact(f"{_with_rows(reader, edge)}: {origin}", Digest(edge.ref), edge.evidence)


def row_count(reader: Reader, digest: Digest, path: str) -> int | None:
    """Return how many rows a table has; None where it is no CSV or Parquet file, not held, or too large to read now."""
    name = path.lower()
    try:
        if name.endswith((".csv", ".tsv")):
            data = reader.blob(digest, _COUNTED_BYTES)
            return None if data is None else max(0, _csv_rows(data) - 1)
        if name.endswith((".parquet", ".pq")):
            return _parquet_rows(reader, digest)
    except Exception:  # noqa: BLE001 - a file may be anything, whatever its name says; its rows are then not known
        return None
    return None


def _csv_rows(data: bytes) -> int:
    if b'"' not in data:
        return data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    return sum(1 for _ in csv.reader(io.StringIO(data.decode("utf-8", "replace"), newline="")))


def _parquet_rows(reader: Reader, digest: Digest) -> int | None:
    objects = reader.workspace.objects
    if not objects.has(digest):
        return None
    size = objects.size(digest)
    # The footer alone is read: its length stands in the last 8 bytes.
    length = int.from_bytes(objects.read(digest, size - 8, 4), "little")
    return parquet.row_count(objects.read(digest, size - 8 - length, length))


# ---- question 6 ------------------------------------------------------------------------------------------------------


def origins(reader: Reader, up: Upstream, about: Row) -> tuple[str, tuple[Fact, ...], tuple[Source, ...]]:
    """Return who brought each source, and what has become of it since; and those that have newer versions.

    Args:
        reader: Of the workspace.
        up: What is behind the model.
        about: The inputs that are explained: of lines that changed, those with their values come first.
    """
    if not up.trained_by:
        return "unknown: no run on record made this model", (gap("without its run, the model leads to no data"),), ()
    facts, newer = [], []
    for source in up.sources:
        facts.append(_origin(reader, source, about))
        if source.current is not None:
            newer.append(source)
    tables = [fact for run, _ in up.runs for fact in by_itself.origins(reader, run)]
    facts += tables
    if not facts:
        return "no file at all was read", (gap("no run behind this model is seen to have read any data"),), ()
    unknown = sum(1 for source in up.sources if source.version is None)
    says = count(len(up.sources) + len(tables), "source")
    if newer:
        says += f"; {len(newer)} of them corrected since: {listed([path_of(reader, s.edge) for s in newer])}"
    if unknown:
        says += f"; who brought {unknown} of them is not on record"
    return says, tuple(facts), tuple(newer)


def _origin(reader: Reader, source: Source, about: Row) -> Fact:
    path, version = path_of(reader, source.edge), source.version
    derived = [f"{made.label}, derived ({made.index})" for made in source.through]
    ways = [
        " -> ".join([*derived, *(f"run {run.name} ({run.index})" for run in way)]) for way in source.steps[:_SHOWN_WAYS]
    ]
    more = f", and in {len(source.steps) - len(ways)} more ways" if len(source.steps) > len(ways) else ""
    says = f"reached the model through {', and through '.join(ways)}{more}"
    steps = Fact(says=says, evidence="observed", state="held")
    if version is None:
        missing = gap(f"who brought {path}, and from where, is not on record; its bytes are kept as they were read")
        return reader.object_fact(path, Digest(source.edge.ref), source.edge.evidence, facts=(missing, steps))
    facts = [*_added(reader, version), steps]
    history = datasets.versions(reader.database, version.name)
    precedes = reader.workspace.logs.precedes
    before = [v for v in history if precedes(v.index, version.index)][-1:]
    for old in before:
        facts.append(_change(reader, old, version, f"it had replaced v{old.version}", about))
    last = version
    if version.is_attached:  # most of what changes there is not about this file
        history = [] if source.current is None else [source.current]
    for new in history:
        if precedes(version.index, new.index):
            facts.append(_change(reader, last, new, "since then", about))
            last = new
    says = f"{path}: dataset:{version.name}@v{version.version}"
    if source.current is not None:
        says += f", and there is v{source.current.version} now"
    return reader.object_fact(says, Digest(source.edge.ref), source.edge.evidence, facts=tuple(facts))


def _added(reader: Reader, version: DatasetVersion) -> Iterator[Fact]:
    sequenced = reader.find(version.event)
    if sequenced is None:
        yield gap(f"the entry that added v{version.version} is not held")
        return
    if version.recipe is not None:
        made = f"v{version.version} was derived {reader.signed(sequenced)}{_by_command(reader, version.recipe)}"
        yield reader.entry_fact(made, sequenced, "observed")
        verdicts = datasets.verdicts(reader.database, version.event)
        if verdicts:
            entry, verdict, at = verdicts[-1]
            says = f"made again from its recipe, {moment(at)}: {verdict}"
            yield Fact(says=says, evidence="observed", state="held", ref=str(entry))
        return
    if version.is_attached:
        yield from _attached(reader, version, sequenced)
        return
    yield reader.entry_fact(f"v{version.version} was added {reader.signed(sequenced)}", sequenced, "declared")
    source = reader.text(sequenced.event.body.get("source"))
    if source is None:
        yield gap(f"where v{version.version} comes from was not said")
    else:
        yield reader.entry_fact(f"source, as stated: {source}", sequenced, "declared")


def _attached(reader: Reader, version: DatasetVersion, sequenced: Sequenced) -> Iterator[Fact]:
    body = sequenced.event.body
    url = reader.text(body.get("source")) or "an address that is sealed"
    when = "" if body.get("as_of") is None else f" of {moment(str(body['as_of']))}"
    try:
        attached = attaching.read(reader.workspace, version)
    except RetrodictError:
        attached = None
    how = "by VersionId" if version.type == "bucket" else "by its files' digests"
    if attached is not None and attached.listing.table is not None:
        said = attached.listing.table
        if version.type == "table":
            how = f"by a digest over {said['rows']:,} rows"
            url = f"{said['table']} of {url}"
        else:
            url = f"{url}, a table whose own version is {said['number']},"
    says = f"v{version.version} pins the state{when} of {url} {how}; attached {reader.signed(sequenced)}"
    yield reader.entry_fact(says, sequenced, "observed" if body.get("how") == "listed" else "declared")
    if (commit := attaching.commit(reader.text(body.get("commit")))) is not None:
        yield reader.entry_fact(f"made, as the table's own log says, by {commit}", sequenced, "declared")
    if attached is None:
        yield gap(f"what v{version.version} pins is not held")
        return
    if not attached.listing.pins:
        return
    held, thing = attaching.held(reader.workspace, attached), "object" if version.type == "bucket" else "file"
    says = f"of its {count(version.files, thing)} {held} are held here; the others are elsewhere, pinned {how}"
    yield Fact(says=says, evidence="observed", state="held", ref=str(sequenced.index))


def _by_command(reader: Reader, recipe: Digest) -> str:
    try:
        found = derivation.read_recipe(reader.workspace, recipe)
        return f", by {derivation.means(reader.workspace, found).removeprefix('-- ')}"
    except RetrodictError:
        return ", by a recipe that is not held"


def _change(reader: Reader, old: DatasetVersion, new: DatasetVersion, when: str, about: Row) -> Fact:
    sequenced = reader.find(new.event)
    assert sequenced is not None
    facts = tuple(fact for fact in _added(reader, new) if fact.says.startswith("source"))
    if old.is_attached and new.is_attached:
        lines = attaching.difference(reader.workspace, old, new)
    else:
        lines = difference(reader.workspace, old.content, new.content, about=about)
    changed = f"; {lines[0]}" if lines else ""
    how = "attached" if new.is_attached else "added" if new.recipe is None else "derived"
    return Fact(
        says=f"{when}: v{new.version} was {how} {reader.signed(sequenced)}{changed}",
        evidence="observed",
        state=reader.state(new.content)[0],
        rehashed=reader.state(new.content)[1],
        ref=str(sequenced.index),
        digest=new.content,
        lines=lines[1:],
        facts=facts,
    )


def table_of(reader: Reader, digest: Digest, path: str) -> Any:
    """Return a CSV or Parquet file as a pandas frame; None where it is neither, or not held."""
    import pandas as pd  # 300 ms

    data = reader.blob(digest)
    if data is None:
        return None
    try:
        if path.lower().endswith((".csv", ".tsv")):
            return pd.read_csv(io.BytesIO(data), sep="\t" if path.lower().endswith(".tsv") else ",")
        if path.lower().endswith((".parquet", ".pq")):
            return pd.read_parquet(io.BytesIO(data))
    except Exception:  # noqa: BLE001 - a file may be anything, whatever its name says
        return None
    return None


def registered_as(reader: Reader, edge: Edge) -> list[str]:
    """Return the model versions that a file is an artifact of."""
    neighbours = provenance.neighbours(reader.database, Ref(edge.ref), limit=20)
    found = []
    for how, index in neighbours:
        event = reader.workspace.logs.event(index).event
        if how == "used" and event.kind == "model.registered":
            model = reader.model(event.id)
            found += [] if model is None else [model.label]
    return found
