"""`--versus`: two predictions side by side, and what each difference is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrodict.actions.explain.reading import Reader
from retrodict.actions.explain.served import Served, by_name
from retrodict.actions.explanation import Fact
from retrodict.diagnose.errors import UnlikeInputsError
from retrodict.diagnose.tables import as_rows, same
from retrodict.diagnose.versus import Contrast, contrast

if TYPE_CHECKING:
    from retrodict.actions.explain.rerun import Cast


def compared(
    reader: Reader, first: Served, second: Served
) -> tuple[tuple[tuple[str, object, object], ...], tuple[str, ...], tuple[Fact, ...]]:
    """Return the inputs of both, the names of those that differ, and whether versions and code are the same."""
    sent = [dict(reader.row(part.raw or part.inputs, part.row or 0) or ()) for part in (first, second)]
    inputs = tuple((name, sent[0].get(name), sent[1].get(name)) for name in dict.fromkeys([*sent[0], *sent[1]]))
    differing = tuple(name for name, a, b in inputs if not same(a, b) or (name in sent[0]) != (name in sent[1]))
    facts = []
    ours, theirs = by_name(first), by_name(second)
    for name in dict.fromkeys([*ours, *theirs]):
        labels = [parts[name].label if name in parts else "not asked" for parts in (ours, theirs)]
        facts.append(_fact(f"model {name}", labels[0], labels[1]))
    for what, key in (("serving code", "serving_code"), ("libraries", "environment")):
        digests = [part.digest(key) for part in (first, second)]
        facts.append(_fact(what, *[d[:15] if d else "none on record" for d in digests]))
    return inputs, differing, tuple(facts)


def _fact(what: str, first: str, second: str) -> Fact:
    says = f"the same {what}: {first}" if first == second else f"another {what}: {first}, {second}"
    return Fact(says=says, evidence="observed", state="held")


def contrasts(reader: Reader, first: Served, second: Served, cast: Cast, *, seed: int) -> tuple[Contrast, ...]:
    """Return what each difference between two calls is worth.

    Raises:
        UnlikeInputsError, NotTabularError: They cannot be mixed.
        RerunError: A model cannot be run here.
    """
    from retrodict.actions.explain.rerun import quiet  # with serving and capture, 100 ms

    if first.row is None or second.row is None:
        raise UnlikeInputsError("a row is not known", hint="")
    rows = [as_rows(reader.value(p.inputs)).row(p.row or 0) for p in (first, second)]
    versions = [tuple(part.label for part in call.family()) for call in (first, second)]
    other = cast.predictor(second) if versions[0] != versions[1] else None
    labels = (", ".join(versions[0]), ", ".join(versions[1]))
    estimator = None if first.children or first.model is None else cast.load(first.model).model
    with quiet():
        return contrast(cast.predictor(first), *rows, seed=seed, other=other, models=labels, estimator=estimator)
