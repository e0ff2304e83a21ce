"""Models of XGBoost, LightGBM and ONNX, made again in another interpreter: the same bits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from retrodict.actions.explain import explain
from retrodict.actions.register import register
from retrodict.actions.replay import replay
from retrodict.serving import Service
from retrodict.testing.workbench import make_workspace
from retrodict.workspace import Workspace

RNG = np.random.default_rng(3)
FRAME = pd.DataFrame(RNG.normal(size=(300, 12)), columns=[f"x{i}" for i in range(12)])
TARGET = (FRAME["x0"] + FRAME["x1"] ** 2 > 0.5).astype(int)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with make_workspace(tmp_path_factory.mktemp("flavors")) as made:
        booster = xgboost.train(
            {"objective": "binary:logistic", "max_depth": 4}, xgboost.DMatrix(FRAME, label=TARGET), 30
        )
        booster.save_model(made.root / "x.ubj")
        gradient: dict[str, Any] = {"objective": "binary", "verbose": -1}
        lightgbm.train(gradient, lightgbm.Dataset(FRAME, TARGET), 20).save_model(made.root / "l.txt")
        fitted = LogisticRegression().fit(FRAME.to_numpy("f4"), TARGET)
        options = {"zipmap": False}
        (made.root / "o.onnx").write_bytes(
            to_onnx(fitted, FRAME.to_numpy("f4")[:1], options=options).SerializeToString()
        )
        for name, file in (("xgboost", "x.ubj"), ("lightgbm", "l.txt"), ("onnx", "o.onnx")):
            register(made, str(made.root / file), name, threads=2)
        yield made


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "onnx"])
@pytest.mark.parametrize("form", ["frame", "array"])
def test_every_bit_is_the_same_in_another_interpreter(workspace: Workspace, name: str, form: str) -> None:
    data = FRAME if form == "frame" else FRAME.to_numpy()
    answer = Service(workspace, os.environ).predict(name, data)
    found = replay(workspace, str(answer.index), variables=os.environ)
    assert (found.verdict, found.environment) == ("replicated", "present"), found.reason
    assert found.calls[0].outputs is not None
    assert found.calls[0].outputs.of >= 300


@pytest.mark.parametrize(("name", "kind"), [("xgboost", "exact"), ("lightgbm", "exact"), ("onnx", "sampled")])
def test_trees_are_taken_apart_and_graphs_are_asked(workspace: Workspace, name: str, kind: str) -> None:
    service = Service(workspace, os.environ)
    index = service.predict(name, FRAME.head(1)).index
    service.predict(name, FRAME.tail(40))
    found = explain(workspace, f"{index}.0", replay=True, sample=2, variables=os.environ)
    assert found.answers[0].verdict == "replicated"
    (carried, *_) = found.answers[7].attributions
    assert (carried.result.kind, carried.result.names) == (kind, tuple(FRAME.columns))
    if kind == "exact":
        assert carried.result.target.startswith("margin")
