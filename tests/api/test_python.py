"""`import retrodict as rd`, as a script or a notebook uses it."""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import retrodict as rd
from retrodict import provenance, runs
from retrodict.api import world
from retrodict.kernel.durable import RealDisk
from retrodict.kernel.errors import NoWorkspaceError, UsageError
from retrodict.kernel.types import Ref
from retrodict.models import InputError
from retrodict.models import records as models
from retrodict.workspace import open_text, sealed_text

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
TARGET = (FRAME["a"] + FRAME["b"] > 0).astype(int)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "project"
    monkeypatch.setenv("RETRODICT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("RETRODICT_AGENT", "Ada")
    monkeypatch.delenv("RETRODICT_WORKSPACE", raising=False)
    rd.init(folder)
    monkeypatch.chdir(folder)
    yield folder
    world.close()


def test_an_argument_of_another_kind_is_named(project: Path) -> None:
    calls: list[tuple[Any, str]] = [
        (lambda: rd.load(3), "load: reference is a text, not int"),
        (lambda: rd.read(None), "read: reference is a text, not NoneType"),
        (lambda: rd.explain(b"12"), "explain: reference is a text"),
        (lambda: rd.table(["t"]), "table: name is a text"),
        (lambda: rd.add("a.csv", name=1.5), "add: name is a text"),
        (lambda: rd.search_predictions(since=2026), "since is a text"),
        (lambda: rd.search_predictions(limit=None), "limit is a whole number"),
        (
            lambda: rd.load("credit", workspace="here"),
            r"workspace is a workspace, as `retrodict.open` returns it, not str",
        ),
    ]
    for call, says in calls:
        with pytest.raises(UsageError, match=says):
            call()
    assert len(rd.search_predictions(limit=np.int64(3), workspace=None)) == 0


def train(**options: Any) -> Any:
    with rd.run("train", params={"C": 0.5}, reason="a test", **options) as run:
        frame = pd.read_csv("data.csv")
        model = LogisticRegression(C=0.5).fit(frame[["a", "b", "c"]], frame["y"])
        run.log_params(solver="lbfgs")
        run.log_metrics(accuracy=model.score(frame[["a", "b", "c"]], frame["y"]))
        run.log_model(model, "credit", example=FRAME.head(3), method="predict_proba", reason="first")
    return run


@pytest.fixture
def trained(project: Path) -> Any:
    FRAME.assign(y=TARGET).to_csv("data.csv", index=False)
    rd.add("data.csv", source="made up", reason="a test")
    return train()


def test_a_run_of_this_process_is_recorded_with_what_it_read_and_wrote(trained: Any, project: Path) -> None:
    del project
    workspace = world.current()
    found = runs.find(workspace.views.database(), trained.record.event)
    assert found is not None
    assert (found.name, found.exit_code, found.completeness) == ("train", 0, "in-process")
    assert found.params == {"C": "0.5", "solver": "lbfgs"}
    assert found.metrics is not None
    assert set(json.loads(workspace.objects.get(found.metrics))) == {"accuracy"}
    assert "data.csv" in {file.path for file in trained.record.inputs if file.role == "input"}
    assert {"models/credit.pkl", "models/credit.metrics.json"} <= {file.path for file in trained.record.outputs}
    assert not any("site-packages" in file.path for file in trained.record.inputs)


def test_a_model_that_was_logged_leads_back_to_its_data(trained: Any) -> None:
    (registered,) = trained.models
    workspace = world.current()
    assert registered.run == trained.record.event
    assert registered.metrics is not None
    graph = provenance.upstream(workspace.views.database(), Ref(registered.event))
    kinds = set()
    for node in graph.nodes:
        sequenced = None if node.ref.startswith("b3-") else workspace.ledger.find(node.ref)  # type: ignore[arg-type]
        kinds.add("" if sequenced is None else sequenced.event.kind)
    assert {"run.finished", "dataset.added"} <= kinds


def test_a_model_answers_and_every_answer_is_on_record(trained: Any) -> None:
    model = rd.load("credit")
    output = model.predict(FRAME)
    assert output.shape == (60, 2)
    assert isinstance(model, rd.Model)
    assert model.version == "credit@v1"
    answer = model.ask(FRAME.head(1), caller="Bob")
    table = rd.search_predictions("a > 0", model="credit")
    assert (table["input.a"] > 0).all()
    assert len(rd.search_predictions(model="credit")) == 61
    arrow = rd.search_predictions(caller="Bob", form="arrow")
    assert arrow.column("reference").to_pylist() == [f"{answer.index}.0"]
    with pytest.raises(InputError):
        model.predict(FRAME[["a"]])
    with pytest.raises(UsageError, match="not 'csv'"):
        rd.search_predictions(form="csv")


def test_an_empty_search_is_an_empty_table(project: Path) -> None:
    del project
    assert list(rd.search_predictions().columns)[:2] == ["reference", "date"]
    assert rd.search_predictions(form="arrow").num_rows == 0


def test_an_error_says_what_to_do_in_a_traceback_too(project: Path) -> None:
    with pytest.raises(UsageError) as caught:
        rd.open_array("nothing")
    shown = "".join(traceback.format_exception(caught.value))
    assert caught.value.hint in shown
    assert str(caught.value) == caught.value.message


def test_an_explanation_shows_itself(trained: Any) -> None:
    model = rd.load("credit")
    assert isinstance(model, rd.Model)
    answer = model.ask(FRAME.head(1))
    explanation = rd.explain(f"{answer.index}.0")
    assert "credit@v1" in str(explanation)
    assert "<" in explanation._repr_html_()


def fail(run: Any) -> None:
    with run:
        run.log_model({"a": 1}, "nothing")
        _ = 1 / 0


def test_a_run_that_fails_is_recorded_and_the_error_goes_on(project: Path) -> None:
    del project
    run = rd.run("broken")
    with pytest.raises(ZeroDivisionError):
        fail(run)
    assert run.record is not None
    assert (run.record.exit_code, run.models) == (1, ())
    workspace = world.current()
    event = workspace.ledger.event(run.record.entry).event
    text = open_text(workspace, sealed_text(event.body["stderr"]))
    assert text is not None
    assert "ZeroDivisionError" in text
    assert not models.versions(workspace.views.database())


def test_an_input_that_is_overwritten_is_kept_as_it_was_read(project: Path) -> None:
    (project / "in.txt").write_text("before")
    with rd.run("rewrite") as run:
        text = Path("in.txt").read_text()
        Path("in.txt").write_text(text + " and after")
    assert run.record is not None
    workspace = world.current()
    (read,) = [file for file in run.record.inputs if file.path == "in.txt"]
    (written,) = [file for file in run.record.outputs if file.path == "in.txt"]
    assert workspace.objects.get(read.digest) == b"before"
    assert workspace.objects.get(written.digest) == b"before and after"


def test_nothing_is_seen_outside_of_a_run(project: Path) -> None:
    with rd.run("quiet") as run:
        pass
    (project / "later.txt").write_text("x")
    with rd.run("second") as second:
        (project / "inside.txt").write_text("y")
    assert run.record is not None
    assert second.record is not None
    assert {f.path for f in second.record.outputs} == {"inside.txt"}
    assert not run.record.outputs


def test_parameters_and_metrics_are_checked(project: Path) -> None:
    del project
    with rd.run("checked", params={"a": 1}) as run:
        run.log_params(a=1)
        with pytest.raises(UsageError, match="is 1 already"):
            run.log_params(a=2)
        with pytest.raises(UsageError, match="not a number"):
            run.log_metrics(score="high")
        with pytest.raises(UsageError, match="cannot be a model's name"):
            run.log_model({}, "no name")
    with pytest.raises(UsageError, match="inside"):
        run.log_model({}, "late")


def test_an_answer_given_elsewhere_is_declared(project: Path) -> None:
    del project
    recorded = rd.record_prediction(
        system="mainframe", model="limits", model_version="7", inputs=FRAME.head(2), outputs=[1, 2], caller="Ann"
    )
    table = rd.search_predictions()
    assert list(table["output.value"]) == [1, 2]
    assert recorded.reference == str(recorded.index)


@pytest.mark.parametrize("trace", ["zz", "0" * 32, "A" * 32, "a" * 31, "a" * 32 + "\n"])
def test_what_is_no_trace_is_not_recorded_as_one(project: Path, trace: str) -> None:
    del project
    with pytest.raises(UsageError, match="no trace"):
        rd.record_prediction(system="s", model="m", model_version="1", inputs=[1], outputs=[1], trace=trace)
    assert len(rd.search_predictions()) == 0


def test_the_audit_trail_comes_as_arrow_whatever_the_values_are(project: Path) -> None:
    del project
    for value in (2**64 - 1, 2**64, -1, 0.5, "x", None):
        rd.record_prediction(system="mainframe", model="limits", model_version="7", inputs=[{"a": value}], outputs=[1])
    table = rd.search_predictions(form="arrow")
    assert table.column("input.a").to_pylist() == [None, "x", "0.5", "-1", str(2**64), str(2**64 - 1)]


def test_a_call_without_rows_cannot_be_explained(project: Path) -> None:
    del project
    answer = rd.record_prediction(
        system="mainframe", model="limits", model_version="7", inputs=FRAME.iloc[:0], outputs=[]
    )
    for reference in (f"{answer.index}", f"{answer.index}.0"):
        with pytest.raises(UsageError, match="no rows"):
            rd.explain(reference)


def test_inputs_are_not_compared_with_a_table_that_the_model_does_not_answer(project: Path) -> None:
    FRAME.mask(FRAME > 1).to_csv("gaps.csv", index=False)
    rd.add("gaps.csv")
    with rd.run("train") as run:
        table = pd.read_csv("gaps.csv").fillna(0.0)
        run.log_model(LinearRegression().fit(table[["a", "b"]], table["c"]), "filled")
    answers = [rd.load("filled").ask(FRAME[["a", "b"]].iloc[[i]]) for i in range(3)]
    found = rd.explain(f"{answers[0].index}", replay=True).answers[7]
    (attributed,) = found.attributions
    assert attributed.background.startswith("2 other logged calls of filled@v1, since it does not answer all rows of")
    assert "gaps.csv" in attributed.background
    assert attributed.result.output == pytest.approx(answers[0].output[0])


def test_a_background_is_what_training_read_though_the_model_writes_into_what_it_is_given(project: Path) -> None:
    FRAME.to_csv("data.csv", index=False)
    rd.add("data.csv")
    carried = []
    for name, body in (("reads", "a = frame.a / 10"), ("writes", "frame['a'] /= 10\n    a = frame.a")):
        with rd.run("train") as run:
            pd.read_csv("data.csv")
            Path(f"{name}.py").write_text(f"def predict(frame):\n    {body}\n    return (a + frame.b).to_numpy()\n")
            run.log_model(f"{name}.py", name)
        answer = rd.load(name).ask(FRAME[["a", "b"]].iloc[[0]])
        (attributed,) = rd.explain(f"{answer.index}", replay=True).answers[7].attributions
        assert "data.csv" in attributed.background
        carried.append(attributed.result.values)
    assert carried[1] == pytest.approx(carried[0])


def test_every_model_that_a_run_logs_is_a_version(project: Path) -> None:
    one, other = (LinearRegression().fit(FRAME[["a"]], slope * FRAME["a"]) for slope in (1.0, 10.0))
    with rd.run("train") as run:
        first = run.log_model(one, "credit", example=FRAME[["a"]].head(1))
        second = run.log_model(other, "credit", example=FRAME[["a"]].head(1))
        run.log_model(second, "other")
        saved = project / "saved.pkl"
        saved.write_bytes(first.read_bytes())
        run.log_model(saved, "saved")
        saved.write_bytes(second.read_bytes() + b" ")
        with pytest.raises(UsageError, match="has changed since it was logged"):
            run.log_model("saved.pkl", "saved")
    assert first.name == "credit.pkl"
    assert second != first
    assert [version.reference for version in run.models] == ["credit@v1", "credit@v2", "other@v1", "saved@v1"]
    asked = pd.DataFrame({"a": [2.0]})
    assert [rd.load(f"credit@v{n}").predict(asked)[0] for n in (1, 2)] == pytest.approx([2.0, 20.0])


def test_threads_share_the_workspace(trained: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        shapes = list(pool.map(lambda i: rd.load("credit@v1").predict(FRAME.iloc[i : i + 1]).shape, range(40)))
    assert set(shapes) == {(1, 2)}
    assert len(rd.search_predictions(model="credit")) == 40


def test_the_package_gives_what_the_door_has() -> None:
    assert set(importlib.import_module("retrodict.api").__all__) <= set(dir(rd))
    assert all(getattr(rd, name) is getattr(importlib.import_module("retrodict.api"), name) for name in rd.api.__all__)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = rd.nothing_such


@pytest.mark.parametrize("room", ["objects", "workspace", "actions.init", "serving", "server", "replay", "api"])
def test_any_room_can_be_imported_first(room: str) -> None:
    subprocess.run([sys.executable, "-c", f"import retrodict.{room}"], check=True)
    top, _, rest = room.partition(".")
    subprocess.run(
        [sys.executable, "-c", f"from retrodict import {top}" if not rest else f"from retrodict.{top} import {rest}"],
        check=True,
    )


def test_another_workspace_can_be_given(trained: Any, tmp_path: Path) -> None:
    rd.init(tmp_path / "other", agent="Eve")
    with rd.open(tmp_path / "other", agent="Eve") as other:
        (tmp_path / "other" / "x.csv").write_text("1\n")
        rd.add(tmp_path / "other" / "x.csv", workspace=other)
        with pytest.raises(rd.kernel.errors.UnknownReferenceError):
            rd.load("credit", workspace=other)
    with pytest.raises(UsageError, match="nothing to add"):
        rd.add()


def test_without_a_workspace_it_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETRODICT_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoWorkspaceError):
        rd.load("credit")


def test_a_script_needs_no_more_than_this_and_publishes_at_its_end(trained: Any, project: Path) -> None:
    script = textwrap.dedent("""
        import retrodict as rd
        print(rd.load("credit@v1").predict([{"a": 1.0, "b": -0.0, "c": 0.5}]).tolist())
    """)
    (project / "ask.py").write_text(script)
    done = subprocess.run([sys.executable, "ask.py"], cwd=project, capture_output=True, text=True, check=True)
    expected = rd.load("credit@v1").predict(pd.DataFrame([{"a": 1.0, "b": -0.0, "c": 0.5}]))
    assert json.loads(done.stdout) == expected.tolist()
    workspace = world.current()
    event = next(s.event for s in workspace.ledger.read() if s.event.kind == "prediction.made")
    tree = event.body["serving_code"]
    names = [name for name, _ in workspace.objects.walk(str(tree))]  # type: ignore[arg-type]
    assert names == [b"__main__.py"]


def test_a_model_whose_writing_fails_half_way_leaves_the_file_that_was_there(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "models").mkdir()
    old = {name: project / "models" / f"m.{name}" for name in ("pkl", "example.parquet")}
    for path in old.values():
        path.write_bytes(b"old")
    write = RealDisk.write

    def half(disk: RealDisk, fd: int, data: bytes | memoryview) -> None:
        write(disk, fd, memoryview(data)[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with rd.run("full") as run, monkeypatch.context() as patched:
        patched.setattr(RealDisk, "write", half)
        with pytest.raises(OSError, match="No space"):
            run.log_model({"a": 1}, "m", example=FRAME.head(1))
    assert {path.read_bytes() for path in old.values()} == {b"old"}
    assert sorted(os.listdir(project / "models")) == ["m.example.parquet", "m.pkl"]
