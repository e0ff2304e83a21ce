"""`audit coverage`: what may have been answered beside the record. "Ensure that all predictions are logged"."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from retrodict import predictions, provenance, runs
from retrodict.actions import names
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Digest, EventId, Evidence, Ref
from retrodict.models import records as models
from retrodict.models.records import ModelVersion
from retrodict.predictions import Call
from retrodict.runs import Run
from retrodict.workspace import Workspace, agent_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A run that opened a model's file.

    Attributes:
        run: The entry of the run; `command` what ran.
        model: `credit@v2`; `path` the file of it that was opened.
        logged: How many predictions of the model were put on record meanwhile.
        evidence: How it is known that they are the run's: "observed": they name the code that the run ran; "inferred":
            they fell into its time. "observed" too where there are none.
        outputs: Files that the run wrote: where answers may stand that are on no record.
    """

    run: int
    command: str
    model: str
    path: str | None
    logged: int
    evidence: Evidence
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Untraced:
    """A caller whose questions did not say which trace they belong to; `calls` of all `of` that they asked."""

    caller: str | None
    calls: int
    of: int
    last: str  # the reference of the last one


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingSpan:
    """A span that asked, and that no call on record is.

    Attributes:
        calls: How many calls name it as the span that asked them; `first` is the reference of the first one.
        known: Spans of the trace that are on record.
    """

    trace: str
    span: str
    calls: int
    first: str
    known: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Answers that are not observed: a system that says what it answered, or a batch scoring without a record.

    Attributes:
        system: Who says so; None for a run.
        run: The entry of the run; None for a system.
        model: What answered, as said or as its file was opened.
        rows: How many answers were declared; None where nobody counted.
    """

    system: str | None
    run: int | None
    model: str
    rows: int | None
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What was found.

    Attributes:
        is_covered: No run opened a model without a prediction on record, every caller named a trace, every span that
            asked is on record, and no scoring stands outside.
        opened: Every run that opened a model's file without having made it, those without a prediction first.
        models, runs, calls: How many were looked at.
        blind: What this could not see.
    """

    is_covered: bool
    opened: tuple[Opened, ...]
    untraced: tuple[Untraced, ...]
    missing: tuple[MissingSpan, ...]
    outside: tuple[Outside, ...]
    models: int
    runs: int
    calls: int
    blind: tuple[str, ...]


def coverage(workspace: Workspace, *, model: str | None = None, since: str | None = None) -> Coverage:
    """Look for answers that are on no record, or whose place among others is not known.

    Args:
        model: Only of this model's name.
        since: First instant that counts (RFC 3339).

    Raises:
        UnknownReferenceError: There is no such model.
    """
    if model is not None:
        names.check_model(workspace, model)
    database = workspace.views.database()
    versions = models.versions(database, model)
    calls = predictions.calls(database, model_name=model, since=since)
    made = [call for call in calls if call.kind == "made"]
    all_runs = [run for run in runs.runs(database) if since is None or (run.finished or run.started) >= since]
    blind = ["processes that were not started with `retrodict run`, and machines where it is not installed"]
    opened = sorted(_opened(workspace, versions, all_runs, made, blind), key=lambda one: (one.logged > 0, one.run))
    outside = [
        Outside(system=None, run=one.run, model=one.model, rows=None, outputs=one.outputs)
        for one in opened
        if one.logged == 0 and one.outputs
    ]
    outside += _declared(workspace, calls)
    untraced, missing = _untraced(workspace, made), _missing(workspace, made)
    return Coverage(
        is_covered=not (untraced or missing or outside or any(one.logged == 0 for one in opened)),
        opened=tuple(opened),
        untraced=untraced,
        missing=missing,
        outside=tuple(outside),
        models=len(versions),
        runs=len(all_runs),
        calls=len(made),
        blind=tuple(blind),
    )


def _opened(
    workspace: Workspace, versions: list[ModelVersion], found: list[Run], made: list[Call], blind: list[str]
) -> Iterator[Opened]:
    files = _files(workspace, versions)
    unfinished = 0
    for run in found:
        sequenced = None if run.event is None else workspace.logs.find(run.event)
        if sequenced is None or run.finished is None:
            unfinished += 1
            continue
        uses = list(provenance.edges(sequenced.event.uses, workspace.objects.get))
        makes = list(provenance.edges(sequenced.event.makes, workspace.objects.get))
        own = {edge.ref for edge in makes}
        reads: dict[EventId, tuple[ModelVersion, str | None]] = {}
        for edge in uses:
            for version in files.get(edge.ref, ()):
                roles = {"input", "params"} | ({"code-input"} if version.flavor == "callable" else set())
                if edge.role in roles and edge.ref not in own:
                    reads.setdefault(version.event, (version, edge.path))
        if not reads:
            continue
        seen = {edge.ref for edge in uses}
        outputs = tuple(sorted({edge.path for edge in makes if edge.role == "output" and edge.path is not None}))
        for version, path in reads.values():
            logged = [c for c in made if c.model == version.event and run.started <= c.received <= run.finished]
            certain = not logged or all(_is_of(workspace, call, seen) for call in logged)
            yield Opened(
                run=run.index,
                command=runs.command_line(run.argv),
                model=version.label,
                path=path,
                logged=len(logged),
                evidence="observed" if certain else "inferred",
                outputs=outputs,
            )
    if unfinished:
        blind.append(f"runs that have not ended, or whose recorder died: {unfinished}")


def _files(workspace: Workspace, versions: list[ModelVersion]) -> Mapping[Ref, list[ModelVersion]]:
    """Return which versions were made of an object."""
    files: dict[Ref, list[ModelVersion]] = defaultdict(list)
    for version in versions:
        sequenced = workspace.logs.find(version.event)
        assert sequenced is not None
        for edge in provenance.edges(sequenced.event.uses, workspace.objects.get):
            if edge.role == "artifact":
                files[edge.ref].append(version)
    return files


def _is_of(workspace: Workspace, call: Call, seen: set[Ref]) -> bool:
    """Say whether a call names code that a run read as its answering code."""
    code = workspace.logs.event(call.index).event.body.get("serving_code")
    if code is None:
        return False
    try:
        return any(Ref(entry.digest) in seen for _, entry in workspace.objects.walk(Digest(str(code))))
    except RetrodictError:
        return False


def _questions(made: list[Call]) -> Iterator[tuple[Call, str, str | None, str | None, str | None, str | None]]:
    """Yield call, reference, caller, trace, span and asking span of every question that came from outside."""
    for call in made:
        if call.parent is not None:
            continue
        if not call.parts:
            reference = f"{call.index}.0" if call.rows == 1 else str(call.index)
            yield call, reference, call.caller, call.trace, call.span, call.parent_span
        for part in call.parts:
            yield call, f"{call.index}.{part.first_row}", part.caller, part.trace, part.span, part.parent_span


def _untraced(workspace: Workspace, made: list[Call]) -> tuple[Untraced, ...]:
    asked: Counter[str | None] = Counter()
    without: Counter[str | None] = Counter()
    last: dict[str | None, str] = {}
    for _, reference, caller, _, _, parent_span in _questions(made):
        asked[caller] += 1
        if parent_span is None:
            without[caller] += 1
            last[caller] = reference
    return tuple(
        Untraced(
            caller=None if caller is None else agent_name(workspace, caller),
            calls=calls,
            of=asked[caller],
            last=last[caller],
        )
        for caller, calls in without.most_common()
    )


def _missing(workspace: Workspace, made: list[Call]) -> tuple[MissingSpan, ...]:
    traces = {trace for _, _, _, trace, _, parent_span in _questions(made) if parent_span is not None}
    database = workspace.views.database()
    known: dict[str | None, set[str]] = defaultdict(set)  # by trace, whatever model answered
    for trace in traces:
        for call in predictions.calls(database, trace=trace):
            for name, span in ((call.trace, call.span), *((part.trace, part.span) for part in call.parts)):
                if span is not None:
                    known[name].add(span)
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for _, reference, _, trace, _, parent_span in _questions(made):
        if parent_span is not None and trace is not None and parent_span not in known[trace]:
            found[trace, parent_span].append(reference)
    return tuple(
        MissingSpan(trace=trace, span=span, calls=len(references), first=references[0], known=len(known[trace]))
        for (trace, span), references in found.items()
    )


def _declared(workspace: Workspace, calls: list[Call]) -> list[Outside]:
    rows: Counter[tuple[str, str]] = Counter()
    for call in calls:
        if call.kind == "declared":
            system = str(workspace.logs.event(call.index).event.body.get("system"))
            version = f"v{call.model_version}" if call.model is not None else call.model_version
            rows[system, f"{call.model_name}@{version}"] += call.rows
    return [
        Outside(system=system, run=None, model=name, rows=count, outputs=())
        for (system, name), count in rows.most_common()
    ]
