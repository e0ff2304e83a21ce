"""Shapley values: they sum up, they agree with each other and with formulas that need no library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from retrodict.diagnose.attribution import attribute, column_sources, import_shap
from retrodict.diagnose.errors import NotTabularError, UnlikeInputsError
from retrodict.diagnose.tables import as_rows

RANDOM = np.random.default_rng(7)
TABLE = pd.DataFrame(
    {
        "age": RANDOM.integers(18, 80, 120),
        "income": RANDOM.normal(3000, 800, 120),
        "home": RANDOM.choice(["rent", "own", "free"], 120),
    }
)
LABEL = ((TABLE["income"] > 3000) ^ (TABLE["home"] == "free")).to_numpy()
NUMBERS = TABLE[["age", "income"]]


def encoder(passthrough: bool = True) -> ColumnTransformer:
    rest = "passthrough" if passthrough else StandardScaler()
    return ColumnTransformer([("home", OneHotEncoder(sparse_output=False), ["home"])], remainder=rest)


def expect_sum(found: object, output: float, tolerance: float = 1e-9) -> None:
    assert found.base + sum(found.values) == pytest.approx(found.output, rel=1e-12)  # type: ignore[attr-defined]
    assert found.output == pytest.approx(output, rel=tolerance)  # type: ignore[attr-defined]


def test_linear_values_are_the_coefficient_times_the_distance_from_the_mean() -> None:
    model = LinearRegression().fit(NUMBERS, LABEL)
    row, background = as_rows(NUMBERS.iloc[[3]]), as_rows(NUMBERS.iloc[20:80])
    (found,) = attribute(model.predict, row, background, seed=0, estimator=model)
    expected = model.coef_ * (NUMBERS.iloc[3] - NUMBERS.iloc[20:80].mean()).to_numpy()
    assert found.kind == "exact"
    assert found.values == pytest.approx(tuple(expected))
    assert set(found.errors) == {0.0}
    expect_sum(found, model.predict(NUMBERS.iloc[[3]])[0])


def test_a_logistic_pipeline_is_exact_in_log_odds_of_its_raw_columns() -> None:
    model = make_pipeline(encoder(passthrough=False), LogisticRegression()).fit(TABLE, LABEL)
    (found,) = attribute(
        model.predict_proba, as_rows(TABLE.iloc[[0]]), as_rows(TABLE.iloc[1:90]), seed=0, estimator=model
    )
    assert (found.kind, found.names) == ("exact", ("age", "income", "home"))
    assert found.target == "log-odds of class True"
    assert found.given == (TABLE["age"][0], TABLE["income"][0], TABLE["home"][0])
    expect_sum(found, model.decision_function(TABLE.iloc[[0]])[0])
    expect = model.decision_function(TABLE.iloc[1:90]).mean()
    assert found.base == pytest.approx(expect)


@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingRegressor(n_estimators=20, random_state=0),
        GradientBoostingClassifier(n_estimators=20, random_state=0),
        RandomForestClassifier(n_estimators=20, max_depth=4, random_state=0),
    ],
)
def test_trees_are_exact_and_equal_to_asking_every_combination(model: object) -> None:
    model.fit(NUMBERS.to_numpy(), LABEL)  # type: ignore[attr-defined]
    data = NUMBERS.to_numpy()
    row, background = as_rows(data[:1]), as_rows(data[1:50])
    (exact,) = attribute(model.predict, row, background, seed=0, estimator=model)  # type: ignore[attr-defined]
    if hasattr(model, "decision_function"):
        ask = model.decision_function
    elif hasattr(model, "predict_proba"):
        ask = lambda x: model.predict_proba(x)[:, exact.target.endswith("True") * 1]  # noqa: E731
    else:
        ask = model.predict  # type: ignore[attr-defined]
    (asked,) = attribute(ask, row, background, seed=0)
    assert "TreeExplainer" in exact.method
    assert "combination" in asked.method
    assert exact.values == pytest.approx(asked.values, abs=1e-4)
    expect_sum(exact, float(ask(data[:1])[0]), 1e-5)


def test_trees_behind_one_hot_columns_are_asked_since_their_parts_do_not_add_up() -> None:
    model = make_pipeline(encoder(), GradientBoostingRegressor(n_estimators=10, random_state=0)).fit(TABLE, LABEL)
    (found,) = attribute(model.predict, as_rows(TABLE.iloc[[0]]), as_rows(TABLE.iloc[1:40]), seed=0, estimator=model)
    assert "combination" in found.method
    assert found.names == ("age", "income", "home")
    expect_sum(found, model.predict(TABLE.iloc[[0]])[0])


def wide(n: int) -> pd.DataFrame:
    table = pd.DataFrame(np.random.default_rng(3).normal(size=(n, 9)), columns=list("abcdefghi"))
    return table.assign(word=np.random.default_rng(4).choice(["yes", "no"], n))


def answer(frame: pd.DataFrame) -> pd.DataFrame:
    score = frame["a"] * frame["b"] + 2 * frame["c"] + (frame["word"] == "yes") * frame["d"]
    return pd.DataFrame({"score": score, "decision": np.where(score > 0, "approve", "decline")})


def test_sampled_values_sum_up_and_lie_within_their_errors_of_the_truth() -> None:
    table = wide(60)
    row, background = as_rows(table.iloc[[0]]), as_rows(table.iloc[1:])
    score, decision = attribute(answer, row, background, seed=1, permutations=150)
    assert (score.kind, score.target) == ("sampled", "score")
    assert decision.target == f"decision = {answer(table.iloc[[0]])['decision'][0]}"
    assert decision.output == pytest.approx(1.0)
    expect_sum(score, answer(table.iloc[[0]])["score"][0])
    # c enters alone, so its value is known; e takes no part.
    truth = 2 * (table["c"][0] - table["c"][1:].mean())
    value, error = (dict(zip(score.names, column, strict=True))["c"] for column in (score.values, score.errors))
    assert 0 < error < 0.2
    assert abs(value - truth) < 4 * error
    assert dict(zip(score.names, score.values, strict=True))["e"] == pytest.approx(0, abs=1e-12)


def test_the_seed_decides_and_the_callers_randomness_is_left_alone() -> None:
    table = wide(30)
    row, background = as_rows(table.iloc[[0]]), as_rows(table.iloc[1:])
    np.random.seed(5)
    expected = np.random.random(3).tolist()
    np.random.seed(5)
    first = attribute(answer, row, background, seed=1, permutations=5)
    assert np.random.random(3).tolist() == expected
    assert attribute(answer, row, background, seed=1, permutations=5) == first
    assert attribute(answer, row, background, seed=2, permutations=5) != first


def test_missing_words_categories_and_dates_are_mixed_as_they_are() -> None:
    table = pd.DataFrame(
        {
            "word": pd.Series(["x", None, "y"], dtype="object"),
            "kind": pd.Categorical(["u", "v", "u"]),
            "day": pd.to_datetime(["2019-11-07", "2019-11-08", None]),
            "n": pd.Series([1, 2, 2**53 + 1], dtype="int64"),
        }
    )
    dtypes = []

    def ask(frame: Any) -> object:
        dtypes.append(tuple(frame.dtypes))
        return frame["word"].isna().to_numpy() * 1.0 + (frame["n"] == 2**53 + 1) * 2.0

    (found,) = attribute(ask, as_rows(table.iloc[[2]]), as_rows(table.iloc[:2]), seed=0)
    assert set(dtypes) == {tuple(table.dtypes)}
    assert found.values == pytest.approx((-0.5, 0, 0, 2))


def test_inputs_that_are_not_rows_and_other_inputs_are_refused() -> None:
    with pytest.raises(NotTabularError, match="str"):
        as_rows("a picture")
    with pytest.raises(UnlikeInputsError, match="'income'"):
        attribute(lambda x: [1.0], as_rows(NUMBERS.iloc[[0]]), as_rows(TABLE[["age"]]), seed=0)


def test_of_answers_that_are_no_numbers_it_is_told_which_input_makes_them_what_they_are() -> None:
    def rank(frame: Any) -> list[list[str]]:
        return [["old", "young"] if age > 30 else ["young"] for age in frame["age"]]

    pair = pd.DataFrame({"age": [40.0, 20.0], "income": [1.0, 2.0]})
    (found,) = attribute(rank, as_rows(pair.iloc[[0]]), as_rows(pair.iloc[1:]), seed=0)
    assert found.target == "answer = ['old', 'young']"
    assert found.values == pytest.approx((1.0, 0.0))
    (found,) = attribute(
        lambda frame: [np.full((2, 2, 3), int(age), "uint8") for age in frame["age"]],
        as_rows(pair.iloc[[0]]),
        as_rows(pair.iloc[1:]),
        seed=0,
    )
    assert found.target.startswith("answer = RGB image 2×2")
    assert found.values == pytest.approx((1.0, 0.0))
    with pytest.raises(NotTabularError):
        attribute(lambda _: "one text", as_rows(pair.iloc[[0]]), as_rows(pair.iloc[1:]), seed=0)


def test_column_sources_follow_nested_pipelines() -> None:
    model = Pipeline([("scale", StandardScaler()), ("again", StandardScaler())])
    assert column_sources(model, 3) == [0, 1, 2]
    fitted = encoder().fit(TABLE)
    assert column_sources(fitted, 3) == [2, 2, 2, 0, 1]
    dropped = OneHotEncoder(drop="first").fit(TABLE[["home"]])
    assert column_sources(dropped, 1) == [0, 0]
    merged = OneHotEncoder(max_categories=2).fit(TABLE[["home"]])
    assert column_sources(merged, 1) is None
    assert math.isfinite(len(fitted.get_feature_names_out()))


def test_numba_still_compiles_for_others() -> None:
    import_shap()
    import numba

    assert not numba.config.DISABLE_JIT


@pytest.mark.parametrize("model", [RidgeClassifier(), LinearSVC()])
def test_only_log_odds_are_called_so(model: Any) -> None:
    numbers = NUMBERS.to_numpy()
    fitted = model.fit(numbers, LABEL)
    (found,) = attribute(fitted.predict, as_rows(numbers[[3]]), as_rows(numbers[20:80]), seed=0, estimator=fitted)
    assert found.target == "score of class True"
    expect_sum(found, fitted.decision_function(numbers[[3]])[0], tolerance=1e-5)


def test_an_imputer_is_a_preprocessing_of_single_columns() -> None:
    table = NUMBERS.astype("float64").mask(NUMBERS > 3000)
    model = make_pipeline(SimpleImputer(), LinearRegression()).fit(table, LABEL)
    row, background = as_rows(table.iloc[[3]]), as_rows(table.iloc[20:80])
    (found,) = attribute(model.predict, row, background, seed=0, estimator=model)
    assert "LinearExplainer" in found.method
    expect_sum(found, model.predict(table.iloc[[3]])[0])
    without_a_column = SimpleImputer(add_indicator=True).fit(table.assign(income=math.nan))
    assert column_sources(without_a_column, 2) is None


def test_a_probability_is_called_by_its_class() -> None:
    model = KNeighborsClassifier().fit(NUMBERS, np.where(LABEL, "yes", "no"))
    row, background = as_rows(NUMBERS.iloc[[3]]), as_rows(NUMBERS.iloc[20:80])
    (found,) = attribute(model.predict_proba, row, background, seed=0, estimator=model)
    assert found.target == "probability of class yes"
    expect_sum(found, model.predict_proba(NUMBERS.iloc[[3]])[0, 1])


def boosted() -> list[Any]:
    import lightgbm
    import xgboost

    data, label = NUMBERS.to_numpy(), LABEL.astype(int)
    quiet: dict[str, Any] = {"min_child_samples": 5, "verbose": -1}
    return [
        xgboost.train({"objective": "binary:logistic", "max_depth": 3}, xgboost.DMatrix(data, label=label), 10),
        xgboost.XGBClassifier(n_estimators=10, max_depth=3).fit(NUMBERS, label),
        xgboost.XGBRegressor(n_estimators=10, max_depth=3).fit(NUMBERS, label),
        lightgbm.train(
            {"objective": "binary", "min_data_in_leaf": 5, "verbose": -1}, lightgbm.Dataset(data, label), 10
        ),
        lightgbm.LGBMClassifier(n_estimators=10, **quiet).fit(NUMBERS, label),
        lightgbm.LGBMRegressor(n_estimators=10, **quiet).fit(NUMBERS, label),
    ]


@pytest.mark.parametrize("which", range(6))
def test_boosted_trees_of_other_libraries_are_exact_on_the_scale_of_their_margin(which: int) -> None:
    from retrodict.diagnose.attribution import _margin

    model = boosted()[which]
    row, background = as_rows(NUMBERS.iloc[[0]]), as_rows(NUMBERS.iloc[1:50])

    def margin(frame: Any) -> Any:
        return _margin(model, frame.to_numpy())

    (exact,) = attribute(margin, row, background, seed=0, estimator=model)
    (asked,) = attribute(margin, row, background, seed=0)
    assert exact.kind == "exact"
    assert "taken apart as trees" in exact.method
    assert exact.target == ("log-odds of class 1" if hasattr(model, "classes_") else "margin")
    assert exact.values == pytest.approx(asked.values, abs=1e-5)
    expect_sum(exact, float(margin(NUMBERS.iloc[[0]])[0]), 1e-4)


def test_outputs_by_name_have_a_part_for_each_column_and_class() -> None:
    from retrodict.diagnose.tables import as_outputs

    answer = {
        "label": np.array([1, 0]),
        "scores": np.array([[0.5, 0.25], [1.0, 2.0]]),
        "probability": [{0: 0.25, 1: 0.75}, {0: 0.5, 1: 0.5}],
    }
    parts = {part.name: part.values.tolist() for part in as_outputs(answer)}
    assert parts == {
        "label": [1, 0],
        "scores[0]": [0.5, 1.0],
        "scores[1]": [0.25, 2.0],
        "0": [0.25, 0.5],
        "1": [0.75, 0.5],
    }
