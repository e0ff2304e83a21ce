"""A call is made again in a separate interpreter, with the recorded models where it asks for others."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retrodict.models import package
from retrodict.predictions import payload
from retrodict.predictions.payload import Encoded
from retrodict.replay.worker import CallRun, CallSpec, Result, WorkerError, prepare, start

VARIABLES = {"PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1", "HOME": "/nonexistent"}


def model(folder: Path, code: str) -> Path:
    source = folder.with_name(f"{folder.name}-source")
    source.mkdir(parents=True)
    (source / "answer.py").write_text(textwrap.dedent(code))
    package(source, folder)
    return folder


def value(encoded: Encoded | None) -> Any:
    assert encoded is not None
    return payload.decode(encoded.codec, encoded.schema, encoded.batch, encoded.meta)


def replay(folder: Path, call: CallSpec, **options: Any) -> Result:
    prepare(folder / "spec", call, **options)
    return start(folder / "spec", variables=VARIABLES, timeout_s=120)


def only(result: Result) -> CallRun:
    assert len(result.runs) == 1
    return result.runs[0]


def test_scikit_learn_answers_of_batches_and_single_rows_are_replayed_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(200, 8)), columns=list("abcdefgh"))
    truth = (table.a + table.b**2 > 1).astype(int)
    network = MLPClassifier((8,), max_iter=400, random_state=0, solver="lbfgs")
    checked = 0
    for n, estimator in enumerate([make_pipeline(StandardScaler(), LogisticRegression()), network]):
        estimator.fit(table, truth)
        (tmp_path / f"{n}.pkl").write_bytes(pickle.dumps(estimator))
        package(tmp_path / f"{n}.pkl", tmp_path / f"m{n}", method="predict_proba")
        f_order = pd.DataFrame(np.asfortranarray(table.to_numpy()), columns=table.columns)
        for k, data in enumerate([table.iloc[10:42]] if n else [table.iloc[3:4], table.iloc[10:42], f_order]):
            spec = CallSpec(requested="m", model=tmp_path / f"m{n}", inputs=payload.encode(data))
            run = only(replay(tmp_path / f"{n}-{k}", spec))
            assert run.status == "ok"
            recorded = payload.encode(estimator.predict_proba(data))
            assert run.outputs == recorded
            assert run.inputs == spec.inputs
            checked += 1
    assert checked == 4


CHAIN = """
    import retrodict as rd
    def predict(x):
        first = rd.load("limit@champion").predict(x + 1)
        from helper import half
        second = rd.load("score").predict([first])
        third = rd.load("limit@champion").predict(0)
        return {"first": first, "second": half(second), "third": third}
"""


@pytest.fixture
def chain(tmp_path: Path) -> CallSpec:
    top = model(tmp_path / "chain", CHAIN)
    (top / "code" / "helper.py").write_text("def half(x):\n    return x / 2\n")
    old = model(tmp_path / "old", "def predict(x):\n    return x * 10")
    new = model(tmp_path / "new", "def predict(x):\n    return 'new version'")
    inner = "import retrodict\ndef predict(x):\n    return retrodict.load('deep').predict(x[0]) + 0.5"
    score = model(tmp_path / "score", inner)
    deep = model(tmp_path / "deep", "def predict(x):\n    return float(x)")
    children = (
        CallSpec(requested="limit@champion", model=old),
        CallSpec(requested="score", model=score, children=(CallSpec(requested="deep", model=deep),)),
        CallSpec(requested="limit@champion", model=new),  # the alias moved while the call ran
    )
    return CallSpec(requested="chain", model=top, inputs=payload.encode(4), children=children)


def test_a_chain_asks_the_recorded_versions_in_order_and_shows_what_each_saw_and_answered(
    tmp_path: Path, chain: CallSpec
) -> None:
    result = replay(tmp_path, chain, repeat=2)
    assert len(result.runs) == 2
    for run in result.runs:
        assert value(run.outputs) == {"first": 50, "second": 25.25, "third": "new version"}
        assert [child.requested for child in run.children] == ["limit@champion", "score", "limit@champion"]
        assert [(value(child.inputs), value(child.outputs)) for child in run.children] == [
            (5, 50),
            ([50], 50.5),
            (0, "new version"),
        ]
        deep = run.children[1].children[0]
        assert (deep.requested, value(deep.inputs), value(deep.outputs)) == ("deep", 50, 50.0)
        assert all(child.is_expected and child.status == "ok" for child in run.children)


def test_a_call_that_the_record_does_not_have_is_marked_or_named(tmp_path: Path, chain: CallSpec) -> None:
    fewer = CallSpec(requested="chain", model=chain.model, inputs=chain.inputs, children=chain.children[:2])
    run = only(replay(tmp_path, fewer))
    assert [child.is_expected for child in run.children] == [True, True, False]
    assert value(run.outputs)["third"] == 0  # the model of that name that is on record
    none = CallSpec(requested="chain", model=chain.model, inputs=chain.inputs)
    run = only(replay(tmp_path / "none", none))
    assert run.status == "failed"
    assert run.message is not None
    assert "limit@champion" in run.message
    assert (run.children[0].status, run.children[0].outputs) == ("could not run", None)


def test_answers_of_models_that_are_asked_from_threads_are_found(tmp_path: Path) -> None:
    top = model(
        tmp_path / "top",
        """
        from concurrent.futures import ThreadPoolExecutor
        import retrodict as rd
        def predict(x):
            with ThreadPoolExecutor(2) as pool:
                return list(pool.map(lambda name: rd.load(name).predict(x), ["a", "b"]))
        """,
    )
    children = tuple(
        CallSpec(requested=name, model=model(tmp_path / name, f"def predict(x):\n    return {name!r}")) for name in "ab"
    )
    run = only(replay(tmp_path, CallSpec(requested="top", model=top, inputs=payload.encode(1), children=children)))
    assert value(run.outputs) == ["a", "b"]


def test_what_a_model_raises_is_told_on_one_line_and_what_it_prints_is_kept_apart(tmp_path: Path) -> None:
    code = "def predict(x):\n    print('said', x)\n    raise ValueError('no\\nmore')"
    result = replay(tmp_path, CallSpec(requested="m", model=model(tmp_path / "m", code), inputs=payload.encode(1)))
    run = only(result)
    assert (run.status, run.message, run.outputs) == ("failed", "ValueError: no", None)
    assert run.inputs is not None
    assert result.output == "said 1\n"


def test_a_model_that_cannot_be_loaded_could_not_run(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "MLmodel").write_text("flavors: {sklearn: {pickled_model: gone.pkl}}")
    run = only(replay(tmp_path, CallSpec(requested="m", model=tmp_path / "m", inputs=payload.encode(1))))
    assert run.status == "could not run"
    assert run.message is not None
    assert "gone.pkl" in run.message


def test_chance_shows_itself_when_the_call_is_repeated(tmp_path: Path) -> None:
    code = "import os\ncalls = []\ndef predict(x):\n    calls.append(x)\n    return os.urandom(8), len(calls)"
    spec = CallSpec(requested="m", model=model(tmp_path / "m", code), inputs=payload.encode(1))
    answers = [value(run.outputs) for run in replay(tmp_path, spec, repeat=3).runs]
    assert len({answer[0] for answer in answers}) == 3
    assert [answer[1] for answer in answers] == [1, 1, 1]  # loaded anew each time


def test_the_worker_brings_no_store_and_no_package_of_ours(tmp_path: Path) -> None:
    code = """
        import sys
        def predict(x):
            return sorted(sys.modules), sys.path
    """
    spec = CallSpec(requested="m", model=model(tmp_path / "m", code), inputs=payload.encode(1))
    (tmp_path / "code").mkdir()
    result = replay(tmp_path, spec, path=[tmp_path / "code"])
    modules, path = value(only(result).outputs)
    unwanted = {"apsw", "blake3", "uvicorn", "cryptography", "click", "jinja2", "rich", "retrodict.workspace"}
    assert not unwanted & set(modules)
    assert path[0] == str(tmp_path / "code")
    assert "" not in path
    assert result.environment["variables"]["OPENBLAS_NUM_THREADS"] == "1"
    assert "HOME" not in result.environment["variables"]
    assert result.environment["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_worker_that_dies_or_hangs_is_named(tmp_path: Path) -> None:
    dies = model(tmp_path / "dies", "import os\ndef predict(x):\n    print('last words', flush=True)\n    os._exit(7)")
    with pytest.raises(WorkerError, match="ended with 7: last words"):
        replay(tmp_path / "1", CallSpec(requested="m", model=dies, inputs=payload.encode(1)))
    hangs = model(tmp_path / "hangs", "import time\ndef predict(x):\n    time.sleep(600)")
    prepare(tmp_path / "2", CallSpec(requested="m", model=hangs, inputs=payload.encode(1)))
    with pytest.raises(WorkerError, match="within 1 s"):
        start(tmp_path / "2", variables=VARIABLES, timeout_s=1)
    with pytest.raises(WorkerError, match="does not start"):
        start(tmp_path / "2", python=tmp_path / "no-python", variables=VARIABLES)


def test_it_runs_as_a_module_too(tmp_path: Path) -> None:
    answers = model(tmp_path / "m", "def predict(x):\n    return x")
    prepare(tmp_path / "s", CallSpec(requested="m", model=answers, inputs=payload.encode(1)))
    command = [sys.executable, "-m", "retrodict.replay.worker"]
    assert subprocess.run([*command, str(tmp_path / "s")], check=False).returncode == 0
    told = subprocess.run([*command, str(tmp_path / "absent")], check=False, capture_output=True, text=True)
    assert told.returncode == 2
    assert len(told.stderr.splitlines()) == 1
    assert "absent" in told.stderr


def test_our_own_process_is_left_as_it_was() -> None:
    assert "load" not in vars(importlib.import_module("retrodict"))
