"""Question 8: which inputs carried the answer, of each model and of the whole, down to the inputs as they were sent."""

from __future__ import annotations

import contextlib
import random
from typing import Final

from retrodict import predictions
from retrodict.actions import payloads
from retrodict.actions.explain.reading import Reader, gap, listed
from retrodict.actions.explain.rerun import Cast, RerunError, quiet
from retrodict.actions.explain.served import Served
from retrodict.actions.explain.upstream import Upstream, path_of, table_of
from retrodict.actions.explanation import Attributed, Fact
from retrodict.diagnose.attribution import Attribution, attribute
from retrodict.diagnose.errors import UnlikeInputsError
from retrodict.diagnose.tables import Predict, Rows, as_rows, like, stack
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
from retrodict.kernel.words import count
from retrodict.models.records import ModelVersion

_MOST_ROWS: Final = 2_000  # of a background
_MOST_BYTES: Final = 256 * 1024 * 1024  # of a table that is read for it
_MOST_CALLS: Final = 100
_NAMED: Final = 3


def carried(
    reader: Reader, top: Served, cast: Cast, behind: dict[str, Upstream], *, seed: int, progress: Progress | None
) -> tuple[str, tuple[Fact, ...], tuple[Attributed, ...]]:
    """Return the Shapley values of every model of a family, the outermost first.

    Args:
        reader: Of the workspace.
        top: The call.
        cast: Loads the models.
        behind: What is upstream of each model version, by its event.
        seed: Of every sampling.
        progress: Told about sampled permutations.
    """
    facts: list[Fact] = []
    found: list[Attributed] = []
    for part in top.family():
        try:
            found += _of(reader, part, cast, behind, seed, progress)
        except RetrodictError as error:
            facts.append(gap(f"{part.label} ({part.ref}): {error.message}" + (f"; {error.hint}" if error.hint else "")))
    mine = [item for item in found if item.ref == top.ref]
    says = _strongest(mine[0].result) if mine else "could not be found; see below"
    return says, tuple(facts), tuple(found)


def _strongest(result: Attribution) -> str:
    order = sorted(range(len(result.names)), key=lambda j: -abs(result.values[j]))[:_NAMED]
    nothing = 1e-12 * max((abs(value) for value in result.values), default=0.0)  # what is left of a sum that cancels
    named = [f"{result.names[j]} ({result.values[j]:+.3g})" for j in order if abs(result.values[j]) > nothing]
    return f"of {result.target}, most was carried by {listed(named)}" if named else "no input made any difference"


def _of(
    reader: Reader, part: Served, cast: Cast, behind: dict[str, Upstream], seed: int, progress: Progress | None
) -> list[Attributed]:
    if part.row is None:
        raise UnlikeInputsError("its rows are not those of the call that it was part of", hint="")
    if part.is_third_party:
        raise UnlikeInputsError("it is a third party: there is no model to ask", hint="")
    if part.model is None:
        raise UnlikeInputsError("it was answered by another system: there is no model to ask", hint="")
    predict = cast.predictor(part)
    row = as_rows(reader.value(part.inputs)).row(part.row)
    estimator = None if part.children else cast.load(part.model).model
    found = _trained(reader, row, behind.get(part.model.event), seed)
    if found is None:
        found = _logged(reader, part, part.model, row, seed, "no training data has its inputs")
    elif not _answers(predict, found[0]):
        # The script did something to the table before the model saw it: filled what was missing, for one.
        found = _logged(reader, part, part.model, row, seed, f"it does not answer all rows of {found[1]}")
    background, words = found
    with quiet():
        results = attribute(predict, row, background, seed=seed, estimator=estimator, progress=progress)
    of = f"{part.label}, through {listed([child.label for child in part.children])}" if part.children else part.label
    return [Attributed(of=of, ref=part.ref, background=words, result=result) for result in results]


def _trained(reader: Reader, row: Rows, up: Upstream | None, seed: int) -> tuple[Rows, str] | None:
    """Return rows of the largest table with the model's inputs that its training read, and words for it."""
    best: tuple[Rows, str] | None = None
    for run, sequenced in up.runs if up is not None else ():
        for edge in reader.edges(sequenced):
            digest = Digest(edge.ref)
            if edge.role != "input" or not edge.ref.startswith("b3-") or not _is_readable(reader, digest):
                continue
            path = path_of(reader, edge)
            table = table_of(reader, digest, path)
            if table is None or len(table) <= (0 if best is None else len(best[0])):
                continue
            with contextlib.suppress(UnlikeInputsError):
                whole = count(len(table), "row")
                said = f"{path} ({whole}), read by run {run.name} ({sequenced.index}) in the model's training"
                best = like(row, table), said
    if best is None:
        return None
    rows, said = best
    chosen = _sample(len(rows), _MOST_ROWS, seed)
    return Rows(frame=rows.frame.iloc[chosen].reset_index(drop=True), restore=rows.restore), said


def _answers(predict: Predict, rows: Rows) -> bool:
    try:
        with quiet():
            predict(rows.restore(rows.frame.copy()))  # a model may write into what it is given
    except RerunError:
        return False
    return True


def _logged(reader: Reader, part: Served, model: ModelVersion, row: Rows, seed: int, why: str) -> tuple[Rows, str]:
    """Return rows of other calls of the same version, and words for them.

    Args:
        why: No others are compared with.

    Raises:
        UnlikeInputsError: There are none.
    """
    logged = []
    drawn, _ = predictions.sample(reader.database, model.event, _MOST_CALLS, seed=seed, without=part.call.index)
    for index in drawn:
        event = reader.workspace.logs.event(index).event
        with contextlib.suppress(RetrodictError):
            logged.append(like(row, as_rows(payloads.load(reader.workspace, predictions.payloads(event)[0])).frame))
    if not logged:
        raise UnlikeInputsError(
            f"there is nothing to compare with: {why}, and no other call is logged",
            hint="",
        )
    rows = stack([row, *logged])
    rows = Rows(frame=rows.frame.iloc[1:].reset_index(drop=True), restore=rows.restore)
    return rows, f"{count(len(logged), 'other logged call')} of {model.label}, since {why}"


def _is_readable(reader: Reader, digest: Digest) -> bool:
    objects = reader.workspace.objects
    return objects.has(digest) and not reader.is_tree(digest) and objects.size(digest) <= _MOST_BYTES


def _sample(n: int, limit: int, seed: int) -> list[int]:
    return sorted(random.Random(seed).sample(range(n), limit)) if n > limit else list(range(n))  # noqa: S311 - seeded
