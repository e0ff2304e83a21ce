"""Question 9: the ways to fix it, what other versions answer, and how many other answers each way would change."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from retrodict import runs
from retrodict.actions import payloads
from retrodict.actions.explain.carried import sampled_calls
from retrodict.actions.explain.reading import Reader, command, count, gap, listed
from retrodict.actions.explain.rerun import Cast, RerunError, quiet
from retrodict.actions.explain.served import Served, by_name, served
from retrodict.actions.explain.upstream import Source, Upstream, path_of
from retrodict.actions.explanation import Alternative, Fact
from retrodict.actions.metrics import read_metrics
from retrodict.diagnose.alternatives import NO_CHANGES, Changes, changes, interval
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.protocols import Progress
from retrodict.models import records as models
from retrodict.models.records import ModelVersion
from retrodict.predictions import calls, payload
from retrodict.runs import Run

_MOST_WAYS: Final = 12
_AGAIN = "the same versions, asked again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Versions in place of those that answered, by the name of their model."""

    change: str
    instead: Mapping[str, ModelVersion]
    commands: tuple[str, ...]


def ways(reader: Reader, top: Served) -> list[Way]:
    """Return the other versions that could stand in place: one at a time, and together those of one run."""
    found: list[Way] = []
    together: dict[str, dict[str, ModelVersion]] = {}
    parts = {name: part for name, part in by_name(top).items() if part.model is not None}
    for name, part in parts.items():
        for version in reversed(models.versions(reader.database, name)):
            if version.event == part.model.event:  # type: ignore[union-attr]
                continue
            if version.run is not None:
                together.setdefault(version.run, {})[name] = version
            found.append(_way(parts, {name: version}))
    for group in together.values():
        if len(group) > 1:
            found.insert(0, _way(parts, group))
    return found[:_MOST_WAYS]


def _way(parts: Mapping[str, Served], instead: Mapping[str, ModelVersion]) -> Way:
    words = [f"{version.label} in place of {parts[name].label}" for name, version in instead.items()]
    commands = []
    for name, version in instead.items():
        _, _, alias = parts[name].call.requested.removeprefix("model:").partition("@")
        alias = alias if alias and not alias.lstrip("vV").isdigit() else "champion"
        commands.append(f'retrodict alias {name}@{alias} v{version.version} --reason "..."')
    return Way(change=listed(words, 20), instead=instead, commands=tuple(commands))


# ---- what can be said without running anything -----------------------------------------------------------------------


def plans(reader: Reader, top: Served, behind: Mapping[str, Upstream], newer: Sequence[Source]) -> tuple[Fact, ...]:
    """Return the versions there are, and the commands for each way to fix the answer."""
    facts = [_versions(reader, part) for part in by_name(top).values() if part.model is not None]
    found = ways(reader, top)
    if found:
        facts.append(
            Fact(
                says="let another version answer from now on",
                evidence="inferred",
                state="held",
                facts=tuple(command(line, way.change) for way in found for line in way.commands),
            )
        )
    else:
        facts.append(gap("there is no other version of any model that took part"))
    up = behind.get(top.model.event) if top.model is not None else None
    if up is not None and up.trained_by and top.model is not None:
        facts.append(_retrain(reader, top.model, up, newer))
    facts.append(_override(top))
    facts.append(_resolve(reader, top))
    return tuple(facts)


def _versions(reader: Reader, part: Served) -> Fact:
    assert part.model is not None
    moves = [move for move in models.aliases(reader.database, part.model.name) if move.is_current]
    lines = []
    for version in models.versions(reader.database, part.model.name):
        sequenced = reader.find(version.event)
        assert sequenced is not None
        named = [f"{move.name}@{move.alias}" for move in moves if move.version_event == version.event]
        metrics = read_metrics(reader.workspace, version.metrics)
        said = [
            f"{version.label}, registered {reader.signed(sequenced)}",
            *([f"it is {listed(named)}"] if named else []),
            *([listed([f"{key}={value}" for key, value in metrics.items()])] if metrics else []),
            *(["it gave this answer"] if version.event == part.model.event else []),
        ]
        lines.append(reader.entry_fact("; ".join(said), sequenced, "declared", ref=version.label))
    return Fact(
        says=f"versions of {part.model.name}: {len(lines)}", evidence="observed", state="held", facts=tuple(lines)
    )


def _retrain(reader: Reader, model: ModelVersion, up: Upstream, newer: Sequence[Source]) -> Fact:
    steps = _pipeline(up)
    lines: list[Fact] = []
    for source in [source for source in up.sources if source.edge.role == "input" and source.edge.path is not None]:
        path = shlex.quote(path_of(reader, source.edge))
        if source in newer and source.current is not None:
            current = f"dataset:{source.current.name}@v{source.current.version}"
            lines.append(command(f"retrodict checkout {current} {path}", "a newer version is there already: take it"))
        else:
            lines.append(
                command(
                    f'retrodict add {path} --source "..." --reason "..."', "after correcting it, or leaving records out"
                )
            )
    lines += [
        command(
            f"retrodict run --name {shlex.quote(run.name)}{_params(run)} -- {runs.command_line(run.argv)}", "then again"
        )
        for run in steps
    ]
    registered = reader.find(model.event)
    paths = [e.path for e in reader.edges(registered) if e.role == "artifact" and e.path] if registered else []
    if paths:
        folder = _common(paths) if len(paths) > 1 else paths[0]
        lines.append(
            command(f'retrodict register {shlex.quote(folder)} {model.name} --reason "..."', "makes the next version")
        )
    return Fact(
        says="correct the data, or train without some of it, and register what comes out",
        evidence="inferred",
        state="held",
        facts=tuple(lines),
    )


def _params(run: Run) -> str:
    return "".join(f" --param {shlex.quote(f'{key}={value}')}" for key, value in run.params.items())


def _pipeline(up: Upstream) -> list[Run]:
    """Return the runs behind a model in the order in which they ran."""
    return sorted((run for run, _ in up.runs), key=lambda run: run.started)


def _common(paths: Sequence[str]) -> str:
    split = [path.split("/") for path in paths]
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "/".join(shared) or "."


def _override(top: Served) -> Fact:
    name = top.call.model_name
    return Fact(
        says="set a rule on top: a function that asks the model and decides otherwise where the rule holds; registered "
        "like a model, it is on record as a step of its own, beside the answer that it overrides",
        evidence="inferred",
        state="held",
        facts=(
            command(
                f'retrodict register rule.py:decide {name}-with-rule --reason "..."',
                f'in rule.py, `decide(frame)` begins with rd.load("{top.call.requested}").predict(frame)',
            ),
        ),
    )


def _resolve(reader: Reader, top: Served) -> Fact:
    from retrodict.predictions import disputes

    open_ones = [d for d in disputes(reader.database, prediction=top.call.event) if d.resolution is None]
    lines = [
        command(
            f'retrodict dispute {dispute.index} --resolve "..." --fixed-by REF', "tell what became of the complaint"
        )
        for dispute in open_ones
    ] or [command(f'retrodict dispute {top.ref} --reason "..."', "put a complaint on record")]
    return Fact(
        says="keep the complaint and its outcome on record", evidence="inferred", state="held", facts=tuple(lines)
    )


# ---- what needs models to be run -------------------------------------------------------------------------------------


def alternatives(
    reader: Reader, top: Served, cast: Cast, *, sample: int, seed: int, progress: Progress | None
) -> tuple[str, tuple[Alternative, ...], tuple[Fact, ...]]:
    """Ask every other version the same, and what a sample of the other calls asked.

    Args:
        reader: Of the workspace.
        top: The call.
        cast: Loads the models.
        sample: How many other calls of the version that answered are asked again, for each way.
        seed: Of the sample.
        progress: Told how many of the calls are done.
    """
    if top.model is None:
        return (
            "no version of it is registered here",
            (),
            (gap("it was answered by another system: nothing can be asked"),),
        )
    others, total = sampled_calls(reader, top.model, sample + 1, seed)
    others = [index for index in others if index != top.call.index][:sample]
    asked = [served(reader, call, None) for index in others for call in calls(reader.database, entry=index)]
    candidates = [Way(change=_AGAIN, instead={}, commands=()), *ways(reader, top)]
    found = []
    for done, way in enumerate(candidates):
        base = Alternative(
            change=way.change,
            models=tuple((name, version.label) for name, version in way.instead.items()),
            commands=way.commands,
            population=max(0, total - (1 if top.call.status == "ok" else 0)),
        )
        found.append(_ask(reader, top, cast, way, base, asked, progress, (done, len(candidates))))
    facts = [gap(f"{item.change}: {item.problem}") for item in found if item.problem]
    return _summary(found), tuple(found), tuple(facts)


def _ask(
    reader: Reader,
    top: Served,
    cast: Cast,
    way: Way,
    base: Alternative,
    asked: Sequence[Served],
    progress: Progress | None,
    place: tuple[int, int],
) -> Alternative:
    try:
        answer, own = _again(reader, top, cast, way)
    except RetrodictError as error:
        return replace(base, problem=error.message)
    row = top.row or 0
    said = tuple(payload.row(answer, row).items())
    differs = True if own is None else changes(own, answer, rows=[row]).values > 0
    total = NO_CHANGES
    failed = 0
    for i, other in enumerate(asked):
        if progress is not None and i % 10 == 0:
            progress(place[0] * len(asked) + i, place[1] * len(asked), "logged answers asked again")
        try:
            again, given = _again(reader, other, cast, way)
        except RetrodictError:
            failed += 1
            continue
        if given is not None:
            total += changes(given, again)
    return replace(
        base,
        answer=said,
        differs=differs,
        **_counted(total),  # type: ignore[arg-type]
        problem=f"{count(failed, 'other call')} could not be asked again" if failed else "",
    )


def _counted(total: Changes) -> dict[str, object]:
    return {
        "sampled": total.rows,
        "decisions": total.decisions if total.has_decisions else None,
        "values": total.values,
        "intervals": (interval(total.decisions, total.rows), interval(total.values, total.rows)),
    }


def _again(reader: Reader, call: Served, cast: Cast, way: Way) -> tuple[object, object | None]:
    """Return what is answered now, and what was answered then, for a whole call."""
    top = way.instead.get(call.call.model_name)
    predict = cast.predictor(call, way.instead)
    # Another version of the outermost model gets the question as it was sent; the one on record, as it saw it.
    asked = call.raw if top is not None and call.raw is not None else call.inputs
    with quiet():
        now = predict(payloads.load(reader.workspace, asked))
    if payload.rows(now) != call.call.rows:
        raise RerunError(f"it gave {payload.rows(now)} answers to {call.call.rows} rows", hint="")
    return now, None if call.outputs is None else payloads.load(reader.workspace, call.outputs)


def _summary(found: Sequence[Alternative]) -> str:
    others = [item for item in found[1:] if item.differs is not None]
    if not others:
        return "no other version could be asked"
    other = [item for item in others if item.differs]
    return f"{len(other)} of {len(others)} other ways answer this input otherwise"
