"""Question 9, where models are run: what other versions answer, and how many other answers each way would change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from retrodict import predictions
from retrodict.actions import payloads
from retrodict.actions.explain.fixes import Way, ways
from retrodict.actions.explain.reading import Reader, gap
from retrodict.actions.explain.rerun import Cast, RerunError, quiet
from retrodict.actions.explain.served import Served, served
from retrodict.actions.explanation import Alternative, Fact
from retrodict.diagnose.alternatives import NO_CHANGES, Changes, changes, interval
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.words import count
from retrodict.predictions import Kept, payload

_AGAIN: Final = "the same versions, asked again"


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
    assert top.model is not None
    drawn, total = predictions.sample(reader.database, top.model.event, sample, seed=seed, without=top.call.index)
    asked = [served(reader, call, None) for index in drawn for call in predictions.calls(reader.database, entry=index)]
    candidates = [Way(change=_AGAIN, instead={}, commands=()), *ways(reader, top)]
    found = []
    for done, way in enumerate(candidates):
        base = Alternative(
            change=way.change,
            models=tuple((name, version.label) for name, version in way.instead.items()),
            commands=way.commands,
            population=total,
            seed=seed,
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
        answer, own = _again(reader, top, cast, way, is_shown=True)
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
            again, given = _again(reader, other, cast, way, is_shown=False)
        except RetrodictError:
            failed += 1
            continue
        if given is not None:
            total += changes(given, again)
    return replace(
        base,
        answer=said,
        differs=differs,
        **_counted(total, len(asked) - failed, base.population),  # type: ignore[arg-type]
        problem=f"{count(failed, 'other call')} could not be asked again" if failed else "",
    )


def _counted(total: Changes, calls: int, population: int) -> dict[str, object]:
    shares = [changed / total.rows if total.rows else 0.0 for changed in (total.decisions, total.values)]
    bounds = [(share, share) if calls == population and calls else interval(share * calls, calls) for share in shares]
    return {
        "sampled": total.rows,
        "calls": calls,
        "decisions": total.decisions if total.has_decisions else None,
        "values": total.values,
        "intervals": tuple(bounds),
    }


def _again(reader: Reader, call: Served, cast: Cast, way: Way, *, is_shown: bool) -> tuple[object, object | None]:
    """Return what is answered now, and what was answered then, for a whole call; `is_shown` to a person, or counted."""

    def read(kept: Kept) -> object:
        return reader.value(kept) if is_shown else payloads.load(reader.workspace, kept)

    top = way.instead.get(call.call.model_name)
    predict = cast.predictor(call, way.instead)
    # Another version of the outermost model gets the question as it was sent; the one on record, as it saw it.
    asked = call.raw if top is not None and call.raw is not None else call.inputs
    with quiet():
        now = predict(read(asked))
    if payload.rows(now) != call.call.rows:
        raise RerunError(f"it gave {payload.rows(now)} answers to {call.call.rows} rows", hint="")
    return now, None if call.outputs is None else read(call.outputs)


def _summary(found: Sequence[Alternative]) -> str:
    others = [item for item in found[1:] if item.differs is not None]
    if len(found) == 1:
        return "no other version is registered yet; the steps that make one are below"
    if not others:
        return "no other version could be asked"
    other = [item for item in others if item.differs]
    return f"{len(other)} of {len(others)} other ways answer this input otherwise"
