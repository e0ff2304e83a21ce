"""Question 9: the ways to fix it, what other versions answer, and how many other answers each way would change."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from retrodict import runs
from retrodict.actions import derivation
from retrodict.actions.explain.reading import Reader, command, gap, listed
from retrodict.actions.explain.served import Served, by_name
from retrodict.actions.explain.upstream import Source, Upstream, path_of
from retrodict.actions.explanation import Fact
from retrodict.actions.metrics import read_metrics
from retrodict.datasets import DatasetVersion
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.words import count
from retrodict.models import records as models
from retrodict.models.records import ModelVersion
from retrodict.runs import Run

_MOST_WAYS: Final = 12
_MOST_VERSIONS: Final = 20
_IN_FORCE: Final = Fact(says="this is so already: the aliases were moved", evidence="observed", state="held")


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
            found.append(_way(reader, parts, {name: version}))
    for group in together.values():
        if len(group) > 1:
            found.insert(0, _way(reader, parts, group))
    return found[:_MOST_WAYS]


def _way(reader: Reader, parts: Mapping[str, Served], instead: Mapping[str, ModelVersion]) -> Way:
    words = [f"{version.label} in place of {parts[name].label}" for name, version in instead.items()]
    commands = []
    for name, version in instead.items():
        _, _, alias = parts[name].call.requested.removeprefix("model:").partition("@")
        alias = alias if alias and not alias.lstrip("vV").isdigit() else "champion"
        heads = [move for move in models.aliases(reader.database, name, alias) if move.is_current]
        if [move.version_event for move in heads] != [version.event]:  # else it is so already
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
                facts=tuple(
                    Fact(
                        says=way.change,
                        evidence="inferred",
                        state="held",
                        facts=tuple(command(line) for line in way.commands) or (_IN_FORCE,),
                    )
                    for way in found
                ),
            )
        )
    elif top.model is not None:
        facts.append(gap("there is no other version of any model that took part"))
    up = behind.get(top.model.event) if top.model is not None else None
    if up is not None and up.trained_by and top.model is not None:
        made = [part.model for part in by_name(top).values() if part.model is not None]
        alike = [m for m in made if m.event in behind and behind[m.event].key == up.key]
        facts.append(_retrain(reader, alike[::-1], up, newer))  # the outermost last
    if top.model is not None:
        facts.append(_override(top))
    facts.append(_resolve(reader, top))
    return tuple(facts)


def _versions(reader: Reader, part: Served) -> Fact:
    assert part.model is not None
    moves = [move for move in models.aliases(reader.database, part.model.name) if move.is_current]
    lines = []
    known = models.versions(reader.database, part.model.name)
    for version in known[-_MOST_VERSIONS:]:
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
    newest = f", the newest {len(lines)} of them" if len(lines) < len(known) else ""
    says = f"{count(len(known), 'version')} of {part.model.name}{newest}"
    return Fact(says=says, evidence="observed", state="held", facts=tuple(lines))


def _retrain(reader: Reader, made: Sequence[ModelVersion], up: Upstream, newer: Sequence[Source]) -> Fact:
    steps = _pipeline(up)
    lines: list[Fact] = []
    for source in [source for source in up.sources if source.edge.role == "input" and source.edge.path is not None]:
        if source.version is not None and source.version.recipe is not None:
            continue  # it is made again, below
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
    derived = {
        v.event: v for s in up.sources for v in (s.version, *s.through) if v is not None and v.recipe is not None
    }
    lines += [
        command(_derive(reader, version), "then derive it again")
        for version in sorted(derived.values(), key=lambda version: version.index)
    ]
    lines += [
        command(
            f"retrodict run --name {shlex.quote(run.name)}{_params(run)} -- {runs.command_line(run.argv)}", "then again"
        )
        for run in steps
    ]
    for model in made:
        registered = reader.find(model.event)
        paths = [e.path for e in reader.edges(registered) if e.role == "artifact" and e.path] if registered else []
        if paths:
            folder = _common(paths) if len(paths) > 1 else paths[0]
            again = f'retrodict register {shlex.quote(folder)} {model.name} --reason "..."'
            lines.append(command(again, f"makes the next version of {model.name}"))
    return Fact(
        says="correct the data, or train without some of it, and register what comes out",
        evidence="inferred",
        state="held",
        facts=tuple(lines),
    )


def _derive(reader: Reader, version: DatasetVersion) -> str:
    """Return the command that derives a dataset anew, from the current versions of what it was made from."""
    sequenced = reader.find(version.event)
    made_from = [reader.dataset_of(edge.made_by) for edge in reader.edges(sequenced)] if sequenced else []
    sources = "".join(f" --from {shlex.quote(source.name)}" for source in made_from if source is not None)
    try:
        assert version.recipe is not None
        recipe = derivation.read_recipe(reader.workspace, version.recipe)
    except RetrodictError:
        return f"retrodict derive {shlex.quote(version.name)}{sources} -- COMMAND"
    out = "" if recipe.output == version.name else f" --out {shlex.quote(recipe.output)}"
    return f"retrodict derive {shlex.quote(version.name)}{sources}{out} {derivation.means(reader.workspace, recipe)}"


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
