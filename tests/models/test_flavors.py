"""Files of XGBoost, LightGBM and ONNX: recognised, laid out as MLflow does, loaded without it, the same bits."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skl2onnx
import xgboost
from onnx import TensorProto, helper, numpy_helper, save_model

from retrodict.kernel.errors import MissingExtraError, UsageError
from retrodict.models import UnloadableModelError, load_model, package
from retrodict.models.loading import read_description

DATA = Path(__file__).parent / "data"
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(60, 3)), columns=list("abc"))
TARGET = (FRAME["a"] + FRAME["b"] > 0).astype(int)
BOOSTING: dict[str, Any] = {"objective": "binary", "num_leaves": 3, "min_data_in_leaf": 5, "verbose": -1}


def booster(**options: Any) -> Any:
    matrix = xgboost.DMatrix(FRAME, label=TARGET)
    return xgboost.train({"max_depth": 2, "objective": "binary:logistic", **options}, matrix, 5)


def gradient() -> Any:
    return lightgbm.train(BOOSTING, lightgbm.Dataset(FRAME, TARGET), 5)


def graph(path: Path, *, outputs: int = 1) -> None:
    """Write softmax(x W), and as a second output x W."""
    weights = numpy_helper.from_array(np.random.default_rng(1).normal(size=(3, 2)).astype("f4"), "W")
    nodes = [helper.make_node("MatMul", ["x", "W"], ["z"]), helper.make_node("Softmax", ["z"], ["p"], axis=1)]
    shapes = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("p", "z")}
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])]
    made = helper.make_graph(nodes, "softmax", given, list(shapes.values())[:outputs], [weights])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    save_model(model, str(path))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("xgboost-booster", "float32"),
        ("xgboost-sklearn", "int64"),
        ("lightgbm-booster", "float64"),
        ("lightgbm-sklearn", "int64"),
    ],
)
def test_a_model_logged_by_mlflow_loads_without_mlflow(tmp_path: Path, name: str, dtype: str) -> None:
    packaged = package(DATA / f"mlflow-{name}", tmp_path / "m")
    model = load_model(tmp_path / "m")
    assert packaged.flavor == model.flavor == name.partition("-")[0]
    assert model.signature is not None
    answer = model.predict(model.signature.check(FRAME))
    assert (answer.dtype, answer.shape) == (dtype, (60,))
    assert ((answer > 0.5) == TARGET).mean() > 0.8
    assert "mlflow" not in sys.modules


def test_a_graph_logged_by_mlflow_answers_frames_and_arrays_alike() -> None:
    model = load_model(DATA / "mlflow-onnx")
    by_frame, by_array = model.predict(FRAME), model.predict(FRAME.to_numpy().astype("f4"))
    assert by_frame.shape == (60, 2)
    assert by_frame.tobytes() == by_array.tobytes()
    assert np.allclose(by_frame.sum(axis=1), 1)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_a_booster_of_xgboost_in_its_own_format(tmp_path: Path, suffix: str) -> None:
    made = booster()
    path = tmp_path / f"any name.{suffix}"
    made.save_model(path)
    packaged = package(path, tmp_path / "m")
    description = read_description(tmp_path / "m")
    assert packaged.flavor == "xgboost"
    assert description["flavors"]["xgboost"] == {
        "code": None,
        "data": f"model.{suffix}",
        "model_class": "xgboost.core.Booster",
        "model_format": suffix,
        "xgb_version": xgboost.__version__,
    }
    assert (tmp_path / "m" / f"model.{suffix}").read_bytes() == path.read_bytes()
    assert packaged.signature is not None
    assert [item["name"] for item in packaged.signature["inputs"]] == list("abc")  # type: ignore[attr-defined]
    model, expected = load_model(tmp_path / "m"), made.predict(xgboost.DMatrix(FRAME))
    assert model.predict(FRAME).tobytes() == expected.tobytes()
    assert model.predict(FRAME.to_numpy()).tobytes() == expected.tobytes()


def test_what_a_wrapper_of_xgboost_saved_is_that_wrapper_again(tmp_path: Path) -> None:
    made = xgboost.XGBClassifier(n_estimators=4, max_depth=2).fit(FRAME, TARGET)
    made.save_model(tmp_path / "m.json")
    package(tmp_path / "m.json", tmp_path / "m", method="predict_proba")
    assert load_model(tmp_path / "m").predict(FRAME).tobytes() == made.predict_proba(FRAME).tobytes()
    with pytest.raises(UsageError, match="no method 'transform'"):
        package(tmp_path / "m.json", tmp_path / "n", method="transform")


@pytest.mark.parametrize(
    ("make", "method", "flavor"),
    [
        (lambda: booster(), "predict", "xgboost"),
        (lambda: xgboost.XGBClassifier(n_estimators=4, missing=-1.0).fit(FRAME, TARGET), "predict_proba", "sklearn"),
        (lambda: gradient(), "predict", "lightgbm"),
        (
            lambda: lightgbm.LGBMClassifier(n_estimators=4, min_child_samples=5, verbose=-1).fit(FRAME, TARGET),
            "predict_proba",
            "lightgbm",
        ),
    ],
)
def test_what_was_pickled_answers_the_same_bits(tmp_path: Path, make: Any, method: str, flavor: str) -> None:
    made = make()
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(made))
    assert package(tmp_path / "m.pkl", tmp_path / "m", method=method).flavor == flavor
    question = FRAME.copy()
    question.iloc[0, 0], question.iloc[1, 1] = -1.0, np.nan
    data = xgboost.DMatrix(question) if isinstance(made, xgboost.Booster) else question
    assert load_model(tmp_path / "m").predict(question).tobytes() == getattr(made, method)(data).tobytes()


@pytest.mark.parametrize("suffix", ["txt", "lgb", "model"])
def test_a_booster_of_lightgbm_in_its_own_format(tmp_path: Path, suffix: str) -> None:
    made = gradient()
    made.save_model(tmp_path / f"m.{suffix}")
    FRAME.head(3).to_csv(tmp_path / "e.csv", index=False)
    packaged = package(tmp_path / f"m.{suffix}", tmp_path / "m", example=tmp_path / "e.csv")
    assert packaged.flavor == "lightgbm"
    assert packaged.signature is not None
    assert packaged.signature["outputs"] == [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]
    model = load_model(tmp_path / "m")
    assert model.predict(FRAME).tobytes() == made.predict(FRAME).tobytes()
    assert model.predict(FRAME.to_numpy()).tobytes() == made.predict(FRAME).tobytes()


def test_a_graph_with_several_outputs_answers_by_their_names(tmp_path: Path) -> None:
    graph(tmp_path / "g.onnx", outputs=2)
    assert package(tmp_path / "g.onnx", tmp_path / "m").flavor == "onnx"
    answer = load_model(tmp_path / "m").predict({"x": FRAME.to_numpy()})
    assert {name: part.shape for name, part in answer.items()} == {"p": (60, 2), "z": (60, 2)}


def test_a_converted_pipeline_answers_what_it_answered(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(FRAME, TARGET)
    types = [("input", skl2onnx.common.data_types.FloatTensorType([None, 3]))]
    (tmp_path / "g.onnx").write_bytes(skl2onnx.convert_sklearn(fitted, initial_types=types).SerializeToString())
    package(tmp_path / "g.onnx", tmp_path / "m")
    answer = load_model(tmp_path / "m").predict(FRAME)
    assert (answer["output_label"] == fitted.predict(FRAME)).all()


def test_threads_are_part_of_the_version(tmp_path: Path) -> None:
    graph(tmp_path / "g.onnx")
    for threads in (None, 2):
        package(tmp_path / "g.onnx", tmp_path / f"m{threads}", threads=threads)
    for name, threads in (("mNone", 1), ("m2", 2)):
        assert read_description(tmp_path / name)["metadata"] == {"retrodict": {"threads": threads}}
    options = [load_model(tmp_path / f"m{n}").model.get_session_options().intra_op_num_threads for n in (None, 2)]
    assert options == [1, 2]
    (tmp_path / "f.py").write_text("def predict(x):\n    return x\n")
    with pytest.raises(UsageError, match="threads"):
        package(tmp_path / "f.py", tmp_path / "other", threads=2)
    with pytest.raises(UsageError, match="taken as it is"):
        package(DATA / "mlflow-onnx", tmp_path / "third", threads=2)


def test_a_folder_with_one_such_file_is_that_model(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    booster().save_model(tmp_path / "folder" / "b.json")
    (tmp_path / "folder" / "notes.json").write_text("{}")
    assert package(tmp_path / "folder", tmp_path / "m").flavor == "xgboost"
    (tmp_path / "folder" / "own.py").write_text("def predict(x):\n    return 'by itself'\n")
    assert package(tmp_path / "folder", tmp_path / "own").flavor == "callable"
    (tmp_path / "folder" / "own.py").write_text("WIDTH = 3\n")
    graph(tmp_path / "folder" / "g.onnx")
    (tmp_path / "folder" / "b.json").unlink()
    assert package(tmp_path / "folder", tmp_path / "n").flavor == "onnx"
    assert load_model(tmp_path / "n").predict(FRAME).shape == (60, 2)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.json", b'{"learner": 3}', "cannot be loaded"),
        ("m.json", b'{"a": 3}', "neither"),
        ("m.txt", b"tree\nversion=v4\n", "cannot be loaded"),
        ("m.onnx", b"nothing", "cannot be loaded"),
        ("m.ubj", b"", "neither"),
    ],
)
def test_a_file_that_is_not_what_it_looks_like_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnloadableModelError, match=says) as caught:
        package(tmp_path / name, tmp_path / "m")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("folder", "package_name", "extra"),
    [
        ("xgboost-booster", "xgboost", "xgboost"),
        ("lightgbm-booster", "lightgbm", "lightgbm"),
        ("onnx", "onnxruntime", "onnx"),
    ],
)
def test_a_missing_library_is_answered_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, folder: str, package_name: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package_name, None)
    with pytest.raises(MissingExtraError) as caught:
        load_model(DATA / f"mlflow-{folder}")
    assert caught.value.hint == f"pip install 'retrodict[{extra}]'"
    assert "\n" not in caught.value.message


def test_a_missing_file_of_a_folder_is_named(tmp_path: Path) -> None:
    shutil.copytree(DATA / "mlflow-onnx", tmp_path / "m")
    (tmp_path / "m" / "model.onnx").unlink()
    with pytest.raises(UnloadableModelError, match=r"there is no model\.onnx"):
        load_model(tmp_path / "m")
    (tmp_path / "m" / "MLmodel").write_text("flavors: {onnx: {data: ../../x}}")
    with pytest.raises(UnloadableModelError, match="leads out"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_graph_with_several_outputs_is_registered_with_an_example(tmp_path: Path, zipmap: bool) -> None:
    """Labels, and beside them scores: rows of mappings as the converter has them by default, or a matrix."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(FRAME, TARGET)
    types = [("input", skl2onnx.common.data_types.FloatTensorType([None, 3]))]
    made = skl2onnx.convert_sklearn(fitted, initial_types=types, options={"zipmap": zipmap})
    (tmp_path / "g.onnx").write_bytes(made.SerializeToString())
    FRAME.head(3).to_csv(tmp_path / "example.csv", index=False)
    packaged = package(tmp_path / "g.onnx", tmp_path / "m", example=tmp_path / "example.csv")
    assert packaged.signature is not None
    names = [given["name"] for given in packaged.signature["inputs"]]  # type: ignore[attr-defined]
    assert names == list(FRAME.columns)
    if not zipmap:
        assert packaged.signature["outputs"] == [
            {"type": "tensor", "name": "label", "tensor-spec": {"dtype": "int64", "shape": [-1]}},
            {"type": "tensor", "name": "probabilities", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}},
        ]
    labels = next(iter(load_model(tmp_path / "m").predict(FRAME).values()))
    assert (labels == fitted.predict(FRAME)).all()
