"""What sets two answers apart: every difference exchanged alone, both ways, and its Shapley value.

The players of the game are the differences: each input that has another value, and whatever else differs as a whole
(the model's version). The value of a set of them is the answer when just these are taken from the second call. Shapley
values share the whole difference out: exactly for up to ten differences, else over sampled permutations.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import Any, Final, Literal

from retrodict.diagnose.attribution import by_class, name_of, plain
from retrodict.diagnose.tables import Predict, Rows, as_outputs, mix, numbers, same, stack, targets

MOST_DIFFERENCES_ENUMERATED: Final = 10
_CITATION = "Shapley, A Value for n-Person Games, 1953"
_SAMPLED = "Castro, Gómez & Tejada, Computers & Operations Research 2009"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one difference is worth to one part of the answer.

    Attributes:
        name: The input, or "model".
        first, second: What the two calls have for it.
        forward: The first answer's change when only this is taken from the second call.
        backward: What the second answer loses when only this is taken from the first call.
        value: Its Shapley value: all of them sum to the difference.
        error: Standard error of `value`; 0 where exact.
    """

    name: str
    first: object
    second: object
    forward: float
    backward: float
    value: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """What sets two answers apart, for one part of the answer.

    Attributes:
        target: The part of the answer.
        first, second: The two answers; for a choice 1 where it is the first's, else 0.
        first_said, second_said: The two answers as they were given.
        shares: A share for each difference.
    """

    target: str
    first: float
    second: float
    first_said: object
    second_said: object
    shares: tuple[Share, ...]
    kind: Literal["exact", "sampled"]
    method: str
    citation: str


def differing(first: Rows, second: Rows) -> tuple[int, ...]:
    """Return the positions of the inputs in which two single rows differ (NaN equals NaN).

    Raises:
        UnlikeInputsError: They have other inputs.
    """
    pool = stack([first, second])
    return tuple(j for j in range(pool.frame.shape[1]) if not same(pool.frame.iloc[0, j], pool.frame.iloc[1, j]))


def contrast(
    predict: Predict,
    first: Rows,
    second: Rows,
    *,
    seed: int,
    other: Predict | None = None,
    models: tuple[str, str] = ("", ""),
    estimator: object | None = None,
    permutations: int = 200,
) -> tuple[Contrast, ...]:
    """Return what each difference between two calls of one row is worth.

    Args:
        predict: The first call's model.
        first: One row.
        second: One row of the same inputs.
        other: The second call's model, where it is another: it is one difference more, called "model".
        models: What the two models are called.
        estimator: The scikit-learn estimator behind `predict`, where there is one: it says what its classes are called.
        seed: Of the sampling; not used for ten differences and fewer.
        permutations: How many are sampled otherwise.

    Raises:
        UnlikeInputsError: The calls have other inputs.
        NotTabularError: An answer is not a row of named values.
    """
    import numpy as np  # 90 ms

    pool, inputs = stack([first, second]), differing(first, second)
    names = [(first.names[j], plain(pool.frame.iloc[0, j]), plain(pool.frame.iloc[1, j])) for j in inputs]
    if other is not None:
        names.append(("model", *models))
    k = len(names)
    answer = predict(first.value())
    wanted, classes = targets(answer), by_class(answer, estimator)

    def worth(sets: Any) -> Any:
        """Take sets of differences (booleans, n x k) -> n x t numbers."""
        source = np.zeros((len(sets), pool.frame.shape[1]), dtype="intp")
        source[:, list(inputs)] = sets[:, : len(inputs)]
        by_second = sets[:, -1] if other is not None else np.zeros(len(sets), dtype=bool)
        result = np.empty((len(sets), len(wanted)))
        for model, rows in ((predict, np.flatnonzero(~by_second)), (other, np.flatnonzero(by_second))):
            if model is not None and len(rows):
                result[rows] = numbers(model(mix(pool, source[rows])), wanted, len(rows))
        return result

    if k <= MOST_DIFFERENCES_ENUMERATED:
        values, errors = enumerate_game(worth, k)
        kind, method = "exact", f"all {2**k} combinations of {k} differences"
    else:
        values, errors = sample_game(worth, k, seed=seed, permutations=permutations)
        kind, method = "sampled", f"{permutations} permutations of {k} differences, each forward and backward"
    alone = worth(np.vstack([np.zeros((1, k), dtype=bool), np.eye(k, dtype=bool)]))
    without = worth(np.vstack([np.ones((1, k), dtype=bool), ~np.eye(k, dtype=bool)]))
    second_said = {part.name: part for part in as_outputs((other or predict)(second.value()))}
    return tuple(
        Contrast(
            target=classes.get(part.name) or name_of(part),
            first=float(alone[0, t]),
            second=float(without[0, t]),
            first_said=plain(part.values[0]),
            second_said=plain(second_said[part.name].values[0]) if part.name in second_said else None,
            shares=tuple(
                Share(
                    name=name,
                    first=a,
                    second=b,
                    forward=float(alone[i + 1, t] - alone[0, t]),
                    backward=float(without[0, t] - without[i + 1, t]),
                    value=float(values[i, t]),
                    error=float(errors[i, t]),
                )
                for i, (name, a, b) in enumerate(names)
            ),
            kind=kind,  # type: ignore[arg-type]
            method=method,
            citation=_CITATION if kind == "exact" else _SAMPLED,
        )
        for t, part in enumerate(wanted)
    )


def enumerate_game(worth: Any, k: int) -> tuple[Any, Any]:
    """Return the exact Shapley values of a game of k players, k x t, and zeros.

    Args:
        worth: From n sets (booleans, n x k) to n x t numbers.
        k: Number of players, small.

    Source: L. S. Shapley, "A Value for n-Person Games" (1953), formula 12.
    """
    import numpy as np  # 90 ms

    codes = np.arange(2**k)
    sets = (codes[:, None] >> np.arange(k) & 1).astype(bool)
    found = worth(sets)
    sizes = sets.sum(axis=1)
    weight = np.array([factorial(s) * factorial(k - s - 1) / factorial(k) for s in range(k)])
    values = np.zeros((k, found.shape[1]))
    for i in range(k):
        without = codes[~sets[:, i]]
        gain = found[without | 1 << i] - found[without]
        values[i] = (weight[sizes[without], None] * gain).sum(axis=0)
    return values, np.zeros_like(values)


def sample_game(worth: Any, k: int, *, seed: int, permutations: int) -> tuple[Any, Any]:
    """Return sampled Shapley values of a game of k players, k x t, and their standard errors.

    Args:
        worth: As for `enumerate_game`.
        k: Number of players.
        seed: Of the permutations.
        permutations: At least 2; each is walked forward and backward (antithetic pairs).
    """
    import numpy as np  # 90 ms

    random = np.random.default_rng(seed)
    orders = np.array([random.permutation(k) for _ in range(permutations)])
    place = np.argsort(orders, axis=1)  # when player j comes
    steps = np.arange(k + 1)
    forward = place[:, None, :] < steps[None, :, None]  # permutations x (k + 1) x k
    backward = (k - 1 - place)[:, None, :] < steps[None, :, None]
    found = worth(np.concatenate([forward, backward]).reshape(-1, k))
    found = found.reshape(2, permutations, k + 1, -1)
    gains = np.diff(found, axis=2)
    rows = np.arange(permutations)[:, None]
    draws = (gains[0][rows, place] + gains[1][rows, k - 1 - place]) / 2
    return draws.mean(axis=0), draws.std(axis=0, ddof=1) / np.sqrt(permutations)
