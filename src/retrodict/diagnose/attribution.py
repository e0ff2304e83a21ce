"""Which inputs carried an answer: Shapley values against a background of other inputs.

The value of an input is what it adds to the answer, averaged over every order in which the inputs could be told to the
model; inputs not yet told are those of a background row (S. M. Lundberg, S.-I. Lee, "A Unified Approach to Interpreting
Model Predictions", NeurIPS 2017). The values sum to the answer less the mean answer over the background.

* linear models: exact, by `shap.LinearExplainer`, on the scale on which they are linear (log-odds for logistic models);
* trees: exact, by `shap.TreeExplainer` against the background (Lundberg et al., "From local explanations to global
  understanding with explainable AI for trees", Nature Machine Intelligence 2020), on the scale on which trees add up;
* anything with few inputs: exact, by asking all combinations (`shap.ExactExplainer`);
* anything else: sampled, by repeating `shap.PermutationExplainer` with one permutation, forward and backward, against
  freshly drawn background rows; the spread of the repetitions gives a standard error for the permutations *and* the
  background.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from retrodict.diagnose.tables import Output, Predict, Rows, as_outputs, mix, numbers, stack, targets
from retrodict.kernel.errors import MissingExtraError
from retrodict.kernel.protocols import Progress
from retrodict.predictions import media

MOST_INPUTS_ENUMERATED: Final = 8
_BACKGROUND_ENUMERATED: Final = 64  # rows: 2^8 combinations of them are 16,384 questions
_BACKGROUND_PER_PERMUTATION: Final = 16
_BACKGROUND_TREES: Final = 200
_KERNEL = "Lundberg & Lee, NeurIPS 2017"
_TREES = "Lundberg et al., Nature Machine Intelligence 2020"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """What each input added to one part of one answer.

    Attributes:
        target: The part of the answer, or the scale, that is explained.
        names: k inputs.
        given: What the row has for them.
        values: k Shapley values; with `base` they sum to `output`.
        errors: k standard errors; zero where the values are exact for this background.
        output: The answer, as a number: a choice counts 1 (this one) or 0 (another).
        base: The mean answer over the background.
        kind: Exact for this background, or sampled.
        method: How, in words.
        citation: Where the method is described.
        background_rows: How many rows the background has.
    """

    target: str
    names: tuple[str, ...]
    given: tuple[object, ...]
    values: tuple[float, ...]
    errors: tuple[float, ...]
    output: float
    base: float
    kind: Literal["exact", "sampled"]
    method: str
    citation: str
    background_rows: int


def attribute(
    predict: Predict,
    row: Rows,
    background: Rows,
    *,
    seed: int,
    estimator: object | None = None,
    permutations: int = 50,
    progress: Progress | None = None,
) -> tuple[Attribution, ...]:
    """Return what the inputs of one row added to its answer, for each part of the answer.

    Args:
        predict: The model.
        row: One row.
        background: m >= 1 rows of the same inputs: what the row is compared with.
        seed: Of the sampling; the same seed gives the same values.
        estimator: The scikit-learn estimator behind `predict`, where there is one: linear models and trees are then
            taken apart exactly.
        permutations: How many permutations are sampled where nothing exact is possible; at least 2.
        progress: Told after each permutation.

    Raises:
        NotTabularError: The answer is not a row of named values.
        UnlikeInputsError: The background has other inputs.
        MissingExtraError: shap is not installed.
    """
    shap = import_shap()
    if estimator is not None:
        exact = _by_structure(shap, estimator, row, background, seed)
        if exact is not None:
            return (exact,)
    pool = stack([row, background])
    answer = predict(row.value())
    questions = _Questions(predict, pool, targets(answer))
    if len(row.names) <= MOST_INPUTS_ENUMERATED:
        found = _enumerated(shap, questions, row, len(background), seed)
    else:
        found = _sampled(shap, questions, row, len(background), seed, permutations, progress)
    return _with_class(found, answer, estimator)


def _with_class(found: tuple[Attribution, ...], answer: object, estimator: object) -> tuple[Attribution, ...]:
    """Call the probability that is explained by its class, where the estimator says which class that is."""
    names = by_class(answer, estimator)
    return tuple(replace(item, target=names.get(item.target, item.target)) for item in found)


def by_class(answer: object, estimator: object) -> dict[str, str]:
    """Return what to call each probability of an answer, by its class; {} where the estimator does not say classes."""
    *parts, last = as_outputs(answer)
    classes = getattr(estimator, "classes_", None)
    if not last.derived or classes is None or len(classes) != len(parts):
        return {}
    return {part.name: f"probability of class {plain(chosen)}" for part, chosen in zip(parts, classes, strict=True)}


def import_shap() -> Any:
    """Return the `shap` package.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        if "shap" not in sys.modules:
            import numba  # shap's own dependency, loaded before it

            # Compiling shap's loops takes 9 s in each process, and running them as they are a fraction of one: the
            # time goes into the model. Numba reads this when shap decorates its functions; others' are compiled still.
            compiling, numba.config.DISABLE_JIT = numba.config.DISABLE_JIT, True
            try:
                importlib.import_module("shap")
            finally:
                numba.config.DISABLE_JIT = compiling
        import shap  # 2 s
    except ImportError as error:
        raise MissingExtraError("which inputs carried the answer (shap)", "explain") from error
    return shap


class _Questions:
    """The model as shap sees it: rows of indexes into a pool (row 0 is the one explained) -> n x t numbers.

    shap's maskers mix floats only; indexes let them mix words, dates and missing values too.
    """

    def __init__(self, predict: Predict, pool: Rows, wanted: tuple[Output, ...]) -> None:
        self._predict = predict
        self._pool = pool
        self.wanted = wanted

    def __call__(self, indexes: Any) -> Any:
        return numbers(self._predict(mix(self._pool, indexes.astype("intp"))), self.wanted, len(indexes))


def _enumerated(shap: Any, questions: _Questions, row: Rows, rows: int, seed: int) -> tuple[Attribution, ...]:
    import numpy as np  # 90 ms

    k = len(row.names)
    chosen = _choose(np.random.default_rng(seed), rows, _BACKGROUND_ENUMERATED)
    masker = shap.maskers.Independent(np.repeat(chosen[:, None] + 1, k, axis=1).astype(float), max_samples=len(chosen))
    with _private_randomness():
        found = shap.ExactExplainer(questions, masker)(np.zeros((1, k)), silent=True)
    values, base = found.values.reshape(k, -1), np.ravel(found.base_values)  # shap drops an axis of one part
    return tuple(
        _attribution(
            row,
            target=name_of(target),
            values=values[:, t],
            errors=np.zeros(k),
            base=float(base[t]),
            kind="exact",
            method=f"every combination of {k} inputs (shap.ExactExplainer)",
            citation=_KERNEL,
            rows=len(chosen),
        )
        for t, target in enumerate(questions.wanted)
    )


def _sampled(
    shap: Any, questions: _Questions, row: Rows, rows: int, seed: int, permutations: int, progress: Progress | None
) -> tuple[Attribution, ...]:
    import numpy as np  # 90 ms

    k, random = len(row.names), np.random.default_rng(seed)
    draws, bases = [], []
    with _private_randomness():
        for i in range(permutations):
            # With replacement, so that the spread of the repetitions covers the choice of the background too.
            chosen = random.integers(0, rows, _BACKGROUND_PER_PERMUTATION) + 1
            masker = shap.maskers.Independent(np.repeat(chosen[:, None], k, axis=1).astype(float), max_samples=rows)
            explainer = shap.PermutationExplainer(questions, masker, seed=int(random.integers(2**31)))
            found = explainer(np.zeros((1, k)), max_evals=2 * k + 1, silent=True)
            draws.append(found.values.reshape(k, -1))
            bases.append(np.ravel(found.base_values))
            if progress is not None:
                progress(i + 1, permutations, "permutations")
    values = np.mean(draws, axis=0)
    errors = np.std(draws, axis=0, ddof=1) / np.sqrt(permutations)
    base = np.mean(bases, axis=0)
    return tuple(
        _attribution(
            row,
            target=name_of(target),
            values=values[:, t],
            errors=errors[:, t],
            base=float(base[t]),
            kind="sampled",
            method=f"{permutations} permutations, each forward and backward against {_BACKGROUND_PER_PERMUTATION} rows "
            "drawn anew (shap.PermutationExplainer)",
            citation=_KERNEL,
            rows=rows,
        )
        for t, target in enumerate(questions.wanted)
    )


def name_of(target: Output) -> str:
    """Return what is explained: a quantity, or that a choice is the one that it is."""
    return f"{target.name} = {media.brief(plain(target.values[0]))}" if target.is_decision else target.name


def _choose(random: Any, rows: int, limit: int) -> Any:
    import numpy as np  # 90 ms

    return np.sort(random.choice(rows, size=limit, replace=False)) if rows > limit else np.arange(rows)


@contextlib.contextmanager
def _private_randomness() -> Iterator[None]:
    """Give the caller's NumPy generator back as it was: shap seeds and draws from the global one."""
    import numpy as np  # 90 ms

    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)


def _attribution(
    row: Rows,
    *,
    target: str,
    values: Any,
    errors: Any,
    base: float,
    kind: Literal["exact", "sampled"],
    method: str,
    citation: str,
    rows: int,
) -> Attribution:
    return Attribution(
        target=target,
        names=row.names,
        given=tuple(plain(row.frame.iloc[0, j]) for j in range(row.frame.shape[1])),
        values=tuple(float(v) for v in values),
        errors=tuple(float(e) for e in errors),
        output=base + float(sum(values)),
        base=base,
        kind=kind,
        method=method,
        citation=citation,
        background_rows=rows,
    )


def plain(value: object) -> object:
    """Return a NumPy scalar as Python's own; anything else as it is."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", None) == 0 else value


# ---- models whose structure shap can take apart ----------------------------------------------------------------------


def _by_structure(shap: Any, estimator: Any, row: Rows, background: Rows, seed: int) -> Attribution | None:
    """Return exact values for a linear model or trees, alone or behind preprocessing of single columns; else None."""
    import numpy as np  # 90 ms

    steps = getattr(estimator, "steps", None)
    before, last = ([step for _, step in steps[:-1]], steps[-1][1]) if steps else ([], estimator)
    is_linear, is_trees = hasattr(last, "coef_") and hasattr(last, "intercept_"), _is_trees(last)
    if not (is_linear or is_trees):
        return None
    pool = stack([row, background])
    origins = list(range(len(row.names)))
    table: Any = pool.restore(pool.frame)
    for step in before:
        if step in (None, "passthrough"):
            continue
        sources = column_sources(step, table.shape[1])
        if sources is None:
            return None
        table = step.transform(table)
        origins = [origins[j] for j in sources]
    # For trees, the values of the columns made of one input do not add up to that input's own Shapley value.
    if is_trees and len(set(origins)) != len(origins):
        return None
    matrix = np.asarray(table.toarray() if hasattr(table, "toarray") else table)
    if matrix.dtype.kind not in "iufb" or matrix.shape[1] != len(origins):
        return None
    matrix = matrix.astype("float64")
    chosen = _choose(np.random.default_rng(seed), len(background), _BACKGROUND_TREES if is_trees else 10_000) + 1
    try:
        with _private_randomness(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # wrappers miss the names of the columns
            explain = _explain_linear if is_linear else _explain_trees
            values, base, scale = explain(shap, last, matrix[:1], matrix[chosen])
    except Exception:  # noqa: BLE001 - shap raises almost anything for a model that it does not know; we sample then
        return None
    grouped = np.zeros(len(row.names))
    np.add.at(grouped, origins, values)
    return _attribution(
        row,
        target=scale,
        values=grouped,
        errors=np.zeros(len(grouped)),
        base=base,
        kind="exact",
        method="taken apart as a linear model (shap.LinearExplainer)"
        if is_linear
        else "taken apart as trees, interventional (shap.TreeExplainer)",
        citation=_KERNEL if is_linear else _TREES,
        rows=len(chosen),
    )


def _is_trees(model: object) -> bool:
    names = {base.__name__ for base in type(model).__mro__}
    own = {"BaseDecisionTree", "BaseForest", "BaseGradientBoosting", "BaseHistGradientBoosting"}
    return bool(names & own) or _boosting(model) is not None


def _boosting(model: object) -> str | None:
    """Return which library's boosted trees a model is, None where it is none."""
    library = type(model).__module__.partition(".")[0]
    has_trees = hasattr(model, "get_booster") or hasattr(model, "booster_") or type(model).__name__ == "Booster"
    return library if library in {"xgboost", "lightgbm"} and has_trees else None


def _explain_linear(shap: Any, model: Any, row: Any, background: Any) -> tuple[Any, float, str]:
    import numpy as np  # 90 ms

    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.LinearExplainer(model, masker)
    values, base = np.asarray(explainer.shap_values(row))[0], np.atleast_1d(explainer.expected_value)
    chosen, scale = _class(model, row, values.ndim == 2)
    truth = np.ravel(model.decision_function(row) if hasattr(model, "decision_function") else model.predict(row))
    return _checked(values[:, chosen] if values.ndim == 2 else values, float(base[chosen]), float(truth[chosen]), scale)


def _explain_trees(shap: Any, model: Any, row: Any, background: Any) -> tuple[Any, float, str]:
    import numpy as np  # 90 ms

    explainer = shap.TreeExplainer(model, data=background, feature_perturbation="interventional", model_output="raw")
    values = np.asarray(explainer.shap_values(row, check_additivity=False))[0]
    base = np.atleast_1d(explainer.expected_value)
    chosen, scale = _class(model, row, values.ndim == 2)
    if _boosting(model) is not None:
        # A booster does not say what its classes are called, nor whether its margin is a logarithm of odds.
        truth = _margin(model, row)
        if not hasattr(model, "classes_"):
            chosen = int(truth.argmax()) if values.ndim == 2 else 0
            scale = f"margin of class {chosen}" if values.ndim == 2 else "margin"
    elif not hasattr(model, "classes_"):
        truth = model.predict(row)
    elif hasattr(model, "decision_function"):
        truth = model.decision_function(row)
    else:
        truth, scale = model.predict_proba(row), f"probability of class {model.classes_[chosen]}"
    truth = np.ravel(truth)
    return _checked(values[:, chosen] if values.ndim == 2 else values, float(base[chosen]), float(truth[chosen]), scale)


def _margin(model: Any, row: Any) -> Any:
    """Return what boosted trees add up to, before it is turned into an answer."""
    if _boosting(model) == "lightgbm":
        return getattr(model, "booster_", model).predict(row, raw_score=True)
    import xgboost  # loaded: the model is its

    booster = model.get_booster() if hasattr(model, "get_booster") else model
    names = booster.feature_names
    return booster.predict(xgboost.DMatrix(row, feature_names=names, missing=_missing(model)), output_margin=True)


def _missing(model: Any) -> float:
    found = getattr(model, "missing", None)
    return float("nan") if found is None else float(found)


def _class(model: Any, row: Any, many: bool) -> tuple[int, str]:
    """Return which output is explained, and the scale that it is on."""
    classes = getattr(model, "classes_", None)
    if classes is None:
        return 0, "answer"
    if not many:
        return 0, f"{_scale(model, row)} of class {classes[1]}" if len(classes) == 2 else f"score of class {classes[0]}"
    chosen = 1 if len(classes) == 2 else int(model.predict_proba(row).argmax())
    return chosen, f"score of class {classes[chosen]}"


def _scale(model: Any, row: Any) -> str:
    """Return what a classifier of two classes adds up: log-odds, where its probability says so, or just a score."""
    if not hasattr(model, "predict_proba"):
        return "score"
    boosted = _boosting(model) is not None
    score = float(_margin(model, row)[0] if boosted else model.decision_function(row)[0])
    probability = float(model.predict_proba(row)[0, 1])
    tolerance = 1e-6 if boosted else 1e-9  # XGBoost computes in single precision
    return "log-odds" if math.isclose(math.tanh(score / 2), 2 * probability - 1, abs_tol=tolerance) else "score"


def _checked(values: Any, base: float, truth: float, scale: str) -> tuple[Any, float, str]:
    """Return the values, if they add up to what the model says; trees are compared in single precision."""
    if abs(base + float(values.sum()) - truth) > 1e-4 * max(1.0, abs(truth)):
        raise ArithmeticError("the values do not add up to the model's answer")
    return values, base, scale


def column_sources(step: Any, columns: int) -> list[int] | None:
    """Return, for each column that a fitted scikit-learn transformer makes, the one column that it is made of.

    Args:
        step: The transformer.
        columns: How many columns go in.

    Returns:
        None where a column is made of several, or where this cannot be known.
    """
    name = type(step).__name__
    if name in {
        "StandardScaler",
        "MinMaxScaler",
        "MaxAbsScaler",
        "RobustScaler",
        "OrdinalEncoder",
        "QuantileTransformer",
        "PowerTransformer",
        "Binarizer",
    }:
        return list(range(columns))
    if name == "SimpleImputer":  # a column without any value is left out, and indicators are added
        is_one_to_one = not step.add_indicator and len(step.get_feature_names_out()) == columns
        return list(range(columns)) if is_one_to_one else None
    if name == "OneHotEncoder":
        names = len(step.get_feature_names_out())
        counts = [
            len(c) - (0 if step.drop_idx_ is None or step.drop_idx_[j] is None else 1)
            for j, c in enumerate(step.categories_)
        ]
        sources = [j for j, count in enumerate(counts) for _ in range(count)]
        return sources if len(sources) == names else None  # infrequent categories are merged
    if name == "ColumnTransformer":
        return _column_transformer_sources(step)
    if name == "Pipeline":
        origins = list(range(columns))
        for _, inner in step.steps:
            if inner in (None, "passthrough"):
                continue
            made_of = column_sources(inner, len(origins))
            if made_of is None:
                return None
            origins = [origins[j] for j in made_of]
        return origins
    return None


def _column_transformer_sources(step: Any) -> list[int] | None:
    import numpy as np  # 90 ms

    total = max((part.stop for part in step.output_indices_.values()), default=0)
    result: list[int | None] = [None] * total
    everything = np.arange(step.n_features_in_)
    names = getattr(step, "feature_names_in_", None)
    for name, inner, chosen in step.transformers_:
        part = step.output_indices_[name]
        if part.stop == part.start:
            continue
        taken = _positions(chosen, everything, names)
        if taken is None:
            return None
        sources = list(range(len(taken))) if inner == "passthrough" else column_sources(inner, len(taken))
        # A passthrough is fitted as a FunctionTransformer without a function.
        if sources is None and type(inner).__name__ == "FunctionTransformer" and inner.func is None:
            sources = list(range(len(taken)))
        if sources is None or len(sources) != part.stop - part.start:
            return None
        result[part] = [taken[j] for j in sources]
    return None if None in result else [j for j in result if j is not None]


def _positions(chosen: Any, everything: Any, names: Sequence[str] | None) -> list[int] | None:
    if isinstance(chosen, str):
        chosen = [chosen]
    if isinstance(chosen, (list, tuple)) and chosen and all(isinstance(c, str) for c in chosen):
        if names is None:
            return None
        position = {name: j for j, name in enumerate(names)}
        return [position[c] for c in chosen]
    try:
        return [int(j) for j in everything[chosen]]
    except (IndexError, TypeError, ValueError):
        return None
