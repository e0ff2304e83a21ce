"""Models load from what people have, answer with every bit, and fail with one clear line."""

from __future__ import annotations

import os
import pickle
import py_compile
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from retrodict.kernel import canonical
from retrodict.kernel.errors import MissingExtraError, RetrodictError, UsageError
from retrodict.models import UnloadableModelError, load_example, load_model, package, read_example
from retrodict.models.mlflow_loader import _load_pyfunc

# The folders in data/ were written by one release of scikit-learn, and are read by others.
pytestmark = pytest.mark.filterwarnings("ignore:Trying to unpickle")

DATA = Path(__file__).parent / "data"
FRAME = pd.DataFrame({"a": [0.1, -2.0], "b": [1.5, 0.3], "c": [0.0, -0.0], "n": [3, 4]})


@pytest.fixture(scope="module")
def fitted() -> Any:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(40, 3)), columns=["x", "y", "z"])
    return LogisticRegression().fit(table, (table.x > 0).astype(int)), table


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder


@pytest.mark.parametrize("name", ["mlflow-default", "mlflow-cloudpickle", "mlflow-tensor"])
def test_a_model_logged_by_mlflow_loads_without_mlflow(name: str) -> None:
    model = load_model(DATA / name)
    assert model.flavor == "sklearn"
    assert model.signature is not None
    data = FRAME.to_numpy() if model.signature.is_tensor else FRAME
    checked = model.signature.check(data)
    assert checked is data
    answer = model.predict(checked)
    assert answer.shape == ((2, 2) if name == "mlflow-tensor" else (2,))
    assert "mlflow" not in sys.modules


def test_the_input_example_of_a_folder_fits_its_signature() -> None:
    model = load_model(DATA / "mlflow-default")
    example = load_example(model.folder)
    assert model.signature is not None
    assert model.signature.check(example) is example
    assert load_example(DATA / "mlflow-tensor") is None


@pytest.mark.parametrize("suffix", [".pkl", ".joblib", ".skops"])
def test_a_pickled_estimator_is_packaged_and_answers_the_same_bits(tmp_path: Path, fitted: Any, suffix: str) -> None:
    from skops import io as skops

    estimator, table = fitted
    path = tmp_path / f"anything{suffix}"
    writers: dict[str, Any] = {
        ".pkl": lambda: path.write_bytes(pickle.dumps(estimator)),
        ".joblib": lambda: joblib.dump(estimator, path),
        ".skops": lambda: skops.dump(estimator, path),
    }
    writers[suffix]()
    table.to_csv(tmp_path / "example.csv", index=False)
    packaged = package(path, tmp_path / "m", example=tmp_path / "example.csv", method="predict_proba")
    canonical.encode(packaged.signature)  # stands in an event
    assert packaged.flavor == "sklearn"
    assert packaged.signature == {
        "inputs": [{"type": "double", "name": name, "required": True} for name in "xyz"],
        "outputs": [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}],
    }
    assert packaged.example == "input_example.json"
    loaded = load_model(tmp_path / "m")
    assert loaded.predict(table).tobytes() == estimator.predict_proba(table).tobytes()
    again = load_example(tmp_path / "m")
    assert again.to_numpy().tobytes() == table.head(5).to_numpy().tobytes()


def test_without_an_example_the_names_that_were_seen_in_fitting_are_the_signature(tmp_path: Path, fitted: Any) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(fitted[0]))
    packaged = package(tmp_path / "m.pkl", tmp_path / "out")
    assert packaged.signature is not None
    assert [item["name"] for item in packaged.signature["inputs"]] == ["x", "y", "z"]  # type: ignore[attr-defined]
    assert packaged.example is None


def test_numbers_of_a_csv_example_are_read_to_the_last_bit(tmp_path: Path) -> None:
    numbers = np.random.default_rng(5).normal(size=400) * 10.0 ** np.arange(-200, 200)
    (tmp_path / "e.csv").write_text("\n".join(["x", *map(repr, numbers.tolist())]))
    assert read_example(tmp_path / "e.csv")["x"].to_numpy().tobytes() == numbers.tobytes()


def test_packaging_twice_gives_the_same_bytes(tmp_path: Path, fitted: Any) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(fitted[0]))
    for name in "ab":
        package(tmp_path / "m.pkl", tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_a_folder_with_an_mlmodel_file_is_taken_as_it_is(tmp_path: Path) -> None:
    packaged = package(DATA / "mlflow-default", tmp_path / "m")
    for path in (DATA / "mlflow-default").iterdir():
        assert (tmp_path / "m" / path.name).read_bytes() == path.read_bytes()
    assert packaged.flavor == "sklearn"
    assert packaged.example == "input_example.json"


def test_a_python_file_answers_with_its_callable_and_brings_the_modules_it_imports(tmp_path: Path) -> None:
    write(
        tmp_path / "p",
        score="import scale\ndef predict(x):\n    return scale.twice(x)\ndef other(x):\n    return 'other'",
        scale="from base import TWO\ndef twice(x):\n    return TWO * x",
        base="TWO = 2",
        unrelated="raise SystemExit",
    )
    package(tmp_path / "p" / "score.py", tmp_path / "m")
    package(tmp_path / "p" / "score.py", tmp_path / "o", attribute="other")
    assert load_model(tmp_path / "m").predict(21) == 42
    assert load_model(tmp_path / "o").predict(21) == "other"
    assert not (tmp_path / "m" / "code" / "unrelated.py").exists()
    assert _load_pyfunc(str(tmp_path / "m")).predict(4) == 8


def test_a_folder_answers_with_its_callable_or_its_pickle(tmp_path: Path, fitted: Any) -> None:
    write(
        tmp_path / "p",
        chain="import helper\ndef predict(x):\n    return helper.f(x)",
        helper="def f(x):\n    return -x",
    )
    package(tmp_path / "p", tmp_path / "m")
    assert load_model(tmp_path / "m").predict(1) == -1
    package(tmp_path / "p", tmp_path / "n", attribute="helper:f")
    assert load_model(tmp_path / "n").predict(2) == -2
    (tmp_path / "p" / "m.pkl").write_bytes(pickle.dumps(fitted[0]))
    assert package(tmp_path / "p", tmp_path / "s").flavor == "sklearn"


def test_an_estimator_of_an_own_class_loads_with_the_module_beside_it(tmp_path: Path) -> None:
    write(
        tmp_path / "p",
        own="class Own:\n    def predict(self, x):\n        from shift import BY\n        return x + BY",
        shift="BY = 5",
    )
    make = "import pickle, own; pickle.dump(own.Own(), open('m.pkl', 'wb'))"
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path / "p", check=True)
    package(tmp_path / "p", tmp_path / "m")
    (tmp_path / "p" / "shift.py").write_text("BY = 7")
    package(tmp_path / "p", tmp_path / "n")
    old, new = load_model(tmp_path / "m"), load_model(tmp_path / "n")
    assert (old.flavor, old.predict(1), new.predict(1)) == ("pickle", 6, 8)
    assert "own" not in sys.modules
    assert "shift" not in sys.modules
    with pytest.raises(UnloadableModelError, match="needs the module 'own'"):
        package(tmp_path / "p" / "m.pkl", tmp_path / "alone")


def test_two_versions_of_one_module_live_side_by_side_whenever_they_import(tmp_path: Path) -> None:
    for version in (1, 2):
        write(
            tmp_path / f"v{version}",
            credit_chain="""
                import features as f, pkg.deep
                from features import VERSION
                def predict(_):
                    import features
                    from late import LATE
                    import pkg.deep as d
                    import json
                    return [f.VERSION, VERSION, features.VERSION, LATE, pkg.deep.V, d.V, d.parent(), json.dumps(1)]
            """,
            features=f"VERSION = {version}",
            late=f"import features\nLATE = features.VERSION, {version}",
        )
        write(tmp_path / f"v{version}" / "pkg", __init__=f"P = {version}", deep="""
            from . import P
            import features
            V = features.VERSION, P
            def parent():
                from pkg import P as again
                return again
        """)  # fmt: skip
        package(tmp_path / f"v{version}", tmp_path / f"m{version}")
    models = {version: load_model(tmp_path / f"m{version}") for version in (1, 2)}
    truth = {v: [v, v, v, (v, v), (v, v), (v, v), v, "1"] for v in (1, 2)}
    answers: dict[int, list[Any]] = {1: [], 2: []}

    def ask(version: int) -> None:
        for _ in range(20):
            answers[version].append(models[version].predict(None))

    threads = [threading.Thread(target=ask, args=(version,)) for version in (1, 2, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answer == truth[version] for version, given in answers.items() for answer in given)
    assert not {"features", "late", "pkg", "credit_chain"} & sys.modules.keys()
    assert not list(tmp_path.rglob("m*/**/__pycache__"))


def test_compiled_files_in_a_folder_are_never_run(tmp_path: Path) -> None:
    package(write(tmp_path / "p", score="def predict(x):\n    return 'source'"), tmp_path / "m")
    source = tmp_path / "m" / "code" / "score.py"
    evil = source.read_text().replace("source", "poison")
    stat = source.stat()
    keep = source.read_text()
    source.write_text(evil)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    py_compile.compile(str(source), doraise=True)
    source.write_text(keep)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load_model(tmp_path / "m").predict(None) == "source"


def test_the_generic_flavor_loads_a_module_of_the_folder(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "m",
        chain="from pathlib import Path\nclass M:\n    def __init__(self, p):\n        self.p = p\n"
        "    def predict(self, x):\n        return Path(self.p).name\ndef _load_pyfunc(p):\n    return M(p)",
    )
    (folder / "MLmodel").write_text('{"flavors": {"python_function": {"loader_module": "chain", "code": "."}}}')
    assert load_model(folder).predict(None) == "m"


def garbage(folder: Path) -> list[tuple[Path, str, dict[str, Any]]]:
    write(
        folder,
        broken="def predict(x:\n",
        raises="raise RuntimeError('at import')\ndef predict(x): pass",
        needs="import not_installed_anywhere\ndef predict(x): pass",
        constant="predict = 5",
        fine="def predict(x): return x",
    )
    (folder / "text.pkl").write_text("no pickle at all")
    (folder / "empty.pkl").write_bytes(b"")
    (folder / "cut.pkl").write_bytes(pickle.dumps(list(range(1000)))[:50])
    (folder / "number.pkl").write_bytes(pickle.dumps(5))
    (folder / "lost.pkl").write_bytes(b"cnowhere_to_be_found\nThing\n.")
    (folder / "main.pkl").write_bytes(b"c__main__\nNotThere\n.")
    (folder / "text.joblib").write_text("no joblib at all")
    (folder / "text.skops").write_text("no skops at all")
    (folder / "notes.txt").write_text("")
    (folder / "folder").mkdir()
    return [
        (folder / "text.pkl", "text.pkl", {}),
        (folder / "empty.pkl", "empty.pkl", {}),
        (folder / "cut.pkl", "cut.pkl", {}),
        (folder / "number.pkl", "no method 'predict'", {}),
        (folder / "lost.pkl", "nowhere_to_be_found", {}),
        (folder / "main.pkl", "__main__", {}),
        (folder / "text.joblib", "text.joblib", {}),
        (folder / "text.skops", "text.skops", {}),
        (folder / "broken.py", "not Python", {}),
        (folder / "raises.py", "RuntimeError: at import", {}),
        (folder / "needs.py", "not_installed_anywhere", {}),
        (folder / "constant.py", "cannot be called", {}),
        (folder / "fine.py", "no 'absent'", {"attribute": "absent"}),
        (folder / "notes.txt", "neither", {}),
        (folder / "missing.pkl", "missing.pkl", {}),
        (folder / "folder", "0 of its Python files", {}),
    ]


@pytest.mark.parametrize("case", range(16))
def test_what_is_no_model_is_refused_in_one_line_that_names_it(tmp_path: Path, case: int) -> None:
    path, text, options = garbage(tmp_path / "g")[case]
    with pytest.raises(RetrodictError) as caught:
        package(path, tmp_path / "m", **options)
    assert isinstance(caught.value, UnloadableModelError)
    assert text in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("mlmodel", "text"),
    [
        ("", "names no flavors"),
        ("{", "not YAML"),
        ("flavors: [1]", "names no flavors"),
        ("flavors: {spark: {}}", "it has spark"),
        ("flavors: {sklearn: {pickled_model: ../outside.pkl}}", "leads out"),
        ("flavors: {sklearn: {pickled_model: /etc/passwd}}", "leads out"),
        ("flavors: {sklearn: {pickled_model: absent.pkl}}", "no absent.pkl"),
        ("flavors: {retrodict: {loader: telepathy}}", "telepathy"),
        ("flavors: {retrodict: {loader: callable, module: 'os.path; x', attribute: join}}", "no module's name"),
        ("flavors: {retrodict: {loader: callable, module: os, attribute: getcwd}}", "no module 'os'"),
        ("{flavors: {retrodict: {loader: pickle}}, signature: {inputs: '[5]'}}", "signature"),
    ],
)
def test_a_wrong_mlmodel_file_is_refused_in_one_line(tmp_path: Path, mlmodel: str, text: str) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "MLmodel").write_text(mlmodel)
    with pytest.raises(UnloadableModelError, match=text) as caught:
        load_model(folder)
    assert "\n" not in caught.value.message


def test_a_folder_that_does_not_load_is_named_as_the_person_named_it(tmp_path: Path) -> None:
    folder = tmp_path / "credit"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.pkl}}")
    (folder / "model.pkl").write_bytes(b"no pickle")
    with pytest.raises(UnloadableModelError) as caught:
        package(folder, tmp_path / "elsewhere")
    assert caught.value.path == str(folder / "model.pkl")


def test_what_only_mlflow_can_load_says_so(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {python_function: {loader_module: mlflow.pyfunc.model}}")
    with pytest.raises(MissingExtraError, match="mlflow") as caught:
        load_model(tmp_path)
    assert "mlflow" in caught.value.hint


def test_an_example_that_does_not_fit_is_refused(tmp_path: Path, fitted: Any) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(fitted[0]))
    (tmp_path / "wrong.csv").write_text("x,y\n1,2\n")
    (tmp_path / "broken.parquet").write_text("no parquet")
    for n, name in enumerate(["wrong.csv", "broken.parquet", "absent.csv", "m.pkl"]):
        with pytest.raises(UsageError) as caught:
            package(tmp_path / "m.pkl", tmp_path / f"out{n}", example=tmp_path / name)
        assert "\n" not in caught.value.message


def test_prediction_hands_the_input_over_as_it_lies(tmp_path: Path) -> None:
    package(write(tmp_path / "p", score="def predict(x):\n    return x.strides, x.dtype.str, id(x)"), tmp_path / "m")
    array = np.asfortranarray(np.zeros((3, 4), "f4"))
    assert load_model(tmp_path / "m").predict(array) == (array.strides, "<f4", id(array))


def test_links_become_what_they_lead_to(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", score="def predict(x):\n    return open(__file__[:-8] + 'data.txt').read()")
    (tmp_path / "outside.txt").write_text("held")
    (folder / "data.txt").symlink_to(tmp_path / "outside.txt")
    package(folder, tmp_path / "m")
    (tmp_path / "outside.txt").unlink()
    assert load_model(tmp_path / "m").predict(None) == "held"
    with pytest.raises(UnloadableModelError, match="No such file"):
        package(folder, tmp_path / "n")
    shutil.rmtree(tmp_path / "m")
