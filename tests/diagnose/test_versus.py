"""Two answers side by side: exchanged alone, both ways, and shared out in full."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from retrodict.diagnose.errors import UnlikeInputsError
from retrodict.diagnose.tables import as_rows
from retrodict.diagnose.versus import contrast, differing, enumerate_game, sample_game


def limit(frame: Any) -> pd.DataFrame:
    """A limit that is a product, so that a difference is worth more beside another."""
    return pd.DataFrame(
        {
            "limit": frame["income"] * frame["factor"],
            "decision": np.where(frame["income"] * frame["factor"] > 50, "approve", "decline"),
        }
    )


HIM = as_rows(pd.DataFrame({"income": [10.0], "factor": [20.0], "city": ["A"]}))
HER = as_rows(pd.DataFrame({"income": [5.0], "factor": [2.0], "city": ["A"]}))


def test_each_difference_is_exchanged_alone_both_ways_and_the_shares_sum_up() -> None:
    amount, decision = contrast(limit, HIM, HER, seed=0)
    assert [(s.name, s.first, s.second) for s in amount.shares] == [("income", 10.0, 5.0), ("factor", 20.0, 2.0)]
    income, factor = amount.shares
    assert (income.forward, income.backward) == (-100.0, -10.0)
    assert (factor.forward, factor.backward) == (-180.0, -90.0)
    assert (income.value, factor.value) == (-55.0, -135.0)
    assert income.value + factor.value == amount.second - amount.first == -190.0
    assert (decision.first_said, decision.second_said) == ("approve", "decline")
    assert sum(s.value for s in decision.shares) == -1.0


def test_another_model_is_one_difference_more() -> None:
    halved = lambda frame: limit(frame).assign(limit=lambda t: t["limit"] / 2)  # noqa: E731
    amount, _ = contrast(limit, HIM, HER, seed=0, other=halved, models=("credit@v1", "credit@v2"))
    assert [s.name for s in amount.shares] == ["income", "factor", "model"]
    model = amount.shares[-1]
    assert (model.first, model.second) == ("credit@v1", "credit@v2")
    assert (model.forward, model.backward) == (-100.0, -5.0)
    assert sum(s.value for s in amount.shares) == pytest.approx(amount.second - amount.first)
    assert amount.second == 5.0


def test_equal_calls_have_no_differences() -> None:
    amount, _ = contrast(limit, HIM, HIM, seed=0)
    assert (amount.shares, amount.first) == ((), amount.second)
    missing = as_rows(pd.DataFrame({"income": [np.nan], "factor": [20.0], "city": ["A"]}))
    assert differing(missing, missing) == ()


def test_more_than_ten_differences_are_sampled_with_errors() -> None:
    names = [f"x{i}" for i in range(12)]
    first = as_rows(pd.DataFrame([np.zeros(12)], columns=names))
    second = as_rows(pd.DataFrame([np.arange(12.0)], columns=names))
    (found,) = contrast(lambda f: f["x1"] * f["x2"] + 3 * f["x11"], first, second, seed=0)
    shares = {s.name: s for s in found.shares}
    assert found.kind == "sampled"
    assert (shares["x11"].value, shares["x11"].error) == (33.0, 0.0)
    assert shares["x1"].value == pytest.approx(1.0, abs=1e-12)  # a pair is symmetric in every antithetic walk
    assert sum(s.value for s in found.shares) == pytest.approx(35.0)


def test_a_probability_is_called_by_its_class() -> None:
    frame = pd.DataFrame({"income": [10.0, 5.0, 20.0, 1.0], "factor": [20.0, 2.0, 30.0, 1.0]})
    model = LogisticRegression().fit(frame, ["yes", "no", "yes", "no"])
    rows = [as_rows(frame.iloc[[i]]) for i in (0, 1)]
    (found,) = contrast(model.predict_proba, *rows, seed=0, estimator=model)
    assert found.target == "probability of class yes"
    (unnamed,) = contrast(model.predict_proba, *rows, seed=0)
    assert unnamed.target == "answer[1]"


def test_calls_with_other_inputs_cannot_be_mixed() -> None:
    with pytest.raises(UnlikeInputsError, match="'income'"):
        contrast(limit, HIM, as_rows(pd.DataFrame({"age": [1]})), seed=0)
    with pytest.raises(UnlikeInputsError, match="'limit'"):
        contrast(limit, HIM, HER, seed=0, other=lambda frame: frame["income"], models=("a", "b"))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_both_ways_to_share_out_a_game_agree_with_the_definition(k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    table = random.normal(size=(2**k, 2))
    worth = lambda sets: table[(sets * 2 ** np.arange(k)).sum(axis=1)]  # noqa: E731
    exact, errors = enumerate_game(worth, k)
    assert not errors.any()
    assert exact.sum(axis=0) == pytest.approx(table[-1] - table[0])
    player = int(random.integers(k))
    total = np.zeros(2)
    for code in range(2**k):
        if not code >> player & 1:
            size = code.bit_count()
            weight = factorial(size) * factorial(k - size - 1) / factorial(k)
            total += weight * (table[code | 1 << player] - table[code])
    assert exact[player] == pytest.approx(total)
    sampled, error = sample_game(worth, k, seed=seed, permutations=400)
    assert sampled.sum(axis=0) == pytest.approx(table[-1] - table[0])
    assert (np.abs(sampled - exact) <= 6 * error + 1e-9).all()
