"""Question 8: which inputs carried the answer, of each model and of the whole, down to the inputs as they were sent."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable
from typing import Final

from retrodict import predictions
from retrodict.actions import payloads
from retrodict.actions.explain.reading import Reader, count, gap, listed
from retrodict.actions.explain.rerun import Cast, quiet
from retrodict.actions.explain.served import Served
from retrodict.actions.explain.upstream import Upstream, path_of, table_of
from retrodict.actions.explanation import Attributed, Fact
from retrodict.diagnose.attribution import Attribution, attribute
from retrodict.diagnose.errors import UnlikeInputsError
from retrodict.diagnose.tables import Rows, as_rows, like, stack
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
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
    named = [f"{result.names[j]} ({result.values[j]:+.3g})" for j in order if result.values[j]]
    return f"of {result.target}, most was carried by {listed(named)}" if named else "no input made any difference"


def _of(
    reader: Reader, part: Served, cast: Cast, behind: dict[str, Upstream], seed: int, progress: Progress | None
) -> list[Attributed]:
    if part.row is None:
        raise UnlikeInputsError("its rows are not those of the call that it was part of", hint="")
    if part.model is None:
        raise UnlikeInputsError("it was answered by another system: there is no model to ask", hint="")
    predict = cast.predictor(part)
    row = as_rows(payloads.load(reader.workspace, part.inputs)).row(part.row)
    background, words = _background(reader, part, part.model, row, behind.get(part.model.event), seed)
    estimator = None if part.children else cast.load(part.model).model
    with quiet():
        results = attribute(predict, row, background, seed=seed, estimator=estimator, progress=progress)
    of = f"{part.label}, through {listed([child.label for child in part.children])}" if part.children else part.label
    return [Attributed(of=of, ref=part.ref, background=words, result=result) for result in results]


def _background(
    reader: Reader, part: Served, model: ModelVersion, row: Rows, up: Upstream | None, seed: int
) -> tuple[Rows, str]:
    """Return rows to compare with: of the largest table with its inputs that its training read, else of other calls."""
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
    if best is not None:
        rows, said = best
        chosen = _sample(len(rows), _MOST_ROWS, seed)
        return Rows(frame=rows.frame.iloc[chosen].reset_index(drop=True), restore=rows.restore), said
    logged = list(_logged(reader, part, model, row, seed))
    if not logged:
        raise UnlikeInputsError(
            "there is nothing to compare with: no training data with its inputs is held, and no other call is logged",
            hint="",
        )
    rows = stack([row, *logged])
    rows = Rows(frame=rows.frame.iloc[1:].reset_index(drop=True), restore=rows.restore)
    return rows, f"{count(len(logged), 'other logged call')} of {model.label}, since no training data has its inputs"


def _is_readable(reader: Reader, digest: Digest) -> bool:
    objects = reader.workspace.objects
    return objects.has(digest) and not reader.is_tree(digest) and objects.size(digest) <= _MOST_BYTES


def _sample(n: int, limit: int, seed: int) -> list[int]:
    return sorted(random.Random(seed).sample(range(n), limit)) if n > limit else list(range(n))  # noqa: S311 - seeded


def _logged(reader: Reader, part: Served, model: ModelVersion, row: Rows, seed: int) -> Iterable[Rows]:
    for index in sampled_calls(reader, model, _MOST_CALLS, seed)[0]:
        if index == part.call.index:
            continue
        event = reader.workspace.ledger.event(index).event
        try:
            yield like(row, as_rows(payloads.load(reader.workspace, predictions.payloads(event)[0])).frame)
        except RetrodictError:
            continue


def sampled_calls(reader: Reader, model: ModelVersion, limit: int, seed: int) -> tuple[list[int], int]:
    """Return the entries of at most `limit` answered calls of a model version, drawn evenly, and how many there are."""
    where = "FROM predictions_calls WHERE model_name = ? AND model_version = ? AND kind = 'made' AND status = 'ok'"
    named = (model.name, str(model.version))
    query = f"SELECT count(*) {where}"
    total = next(iter(reader.database.execute(query, named)))[0]
    assert isinstance(total, int)
    wanted = iter(_sample(total, limit, seed))
    position, found = next(wanted, -1), []
    for i, (entry,) in enumerate(reader.database.execute(f"SELECT entry {where} ORDER BY entry", named)):
        if i == position:
            found.append(int(str(entry)))
            position = next(wanted, -1)
            if position < 0:
                break
    return found, total
