"""`retrodict audit coverage`: what may have been answered beside the record."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command

SCORE = """\
import json, pathlib
slope = json.loads(pathlib.Path("model.json").read_text())
pathlib.Path("answers.csv").write_text(str(slope * 4))
"""
MODEL = """\
import json, pathlib
SLOPE = json.loads((pathlib.Path(__file__).parent / "model.json").read_text())
def predict(rows):
    rows = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
    return [SLOPE * row["x"] for row in rows]
"""
ASKS = """\
import json, pathlib
import retrodict as rd
json.loads(pathlib.Path("model/model.json").read_text())
rd.load("line").predict([{"x": 1.0}])
"""


def make(retrodict: Command, project: Path) -> None:
    (project / "train.py").write_text("import pathlib\npathlib.Path('model/model.json').write_text('2.5')\n")
    (project / "model").mkdir()
    (project / "model" / "score.py").write_text(MODEL)
    (project / "question.json").write_text('[{"x": 1.0}]')
    assert retrodict("init").code == 0
    assert retrodict("run", "--", sys.executable, "train.py").code == 0
    assert retrodict("register", "model", "line").code == 0


def test_nothing_is_found_where_there_is_nothing(retrodict: Command, project: Path) -> None:
    make(retrodict, project)
    done = retrodict("audit", "coverage", "--json")
    assert (done.code, done.record["is_covered"], done.record["opened"]) == (0, True, [])


def test_a_model_that_there_is_not_is_no_model_without_findings(retrodict: Command, project: Path) -> None:
    make(retrodict, project)
    refused = retrodict("audit", "coverage", "--model", "lime")
    assert refused.code == 2
    assert "line" in refused.err
    assert "1 model version, 1 run, 0 calls looked at" in retrodict("audit", "coverage", "--model", "line").out


def test_a_batch_scoring_without_a_record_is_found(retrodict: Command, project: Path) -> None:
    make(retrodict, project)
    (project / "batch.py").write_text(SCORE.replace('"model.json"', '"model/model.json"'))
    assert retrodict("run", "--", sys.executable, "batch.py").code == 0
    done = retrodict("audit", "coverage", "--json")
    assert done.code == 1
    (opened,) = done.record["opened"]
    assert (opened["model"], opened["path"], opened["logged"]) == ("line@v1", "model/model.json", 0)
    (outside,) = done.record["outside"]
    assert (outside["run"], outside["outputs"]) == (opened["run"], ["answers.csv"])
    text = retrodict("audit", "coverage").out
    assert "batch.py" in text
    assert "answers.csv" in text


def test_a_run_that_put_its_predictions_on_record_is_told_apart(retrodict: Command, project: Path) -> None:
    make(retrodict, project)
    (project / "asks.py").write_text(ASKS)
    assert retrodict("run", "--", sys.executable, "asks.py").code == 0
    record = retrodict("audit", "coverage", "--json").record
    (opened,) = record["opened"]
    assert (opened["logged"], opened["evidence"]) == (1, "observed")
    assert record["outside"] == []


def test_callers_without_a_trace_and_declared_answers_are_found(retrodict: Command, project: Path) -> None:
    make(retrodict, project)
    assert retrodict("predict", "line", "--input", "question.json").code == 0
    (project / "old.csv").write_text('2026-01-01,line,7,"{""x"": 1}",2.5\n')
    assert retrodict("predictions", "import", "old.csv", "--system", "mainframe").code == 0
    record = retrodict("audit", "coverage", "--json").record
    (untraced,) = record["untraced"]
    assert (untraced["calls"], untraced["of"]) == (1, 1)
    (outside,) = record["outside"]
    assert (outside["system"], outside["model"], outside["rows"]) == ("mainframe", "line@7", 1)


def test_a_command_names_the_span_that_asks(retrodict: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(retrodict, project)
    trace = "0af7651916cd43dd8448eb211c80319c"
    parent = f"00-{trace}-b7ad6b7169203331-01"
    ask = ("predict", "line", "--input", "question.json", "--json")
    assert retrodict(*ask, "--traceparent", parent).record["trace"] == trace
    monkeypatch.setenv("TRACEPARENT", parent)
    assert retrodict(*ask).record["trace"] == trace
    monkeypatch.setenv("TRACEPARENT", "nonsense")  # to be ignored, as the standard says
    assert retrodict(*ask).code == 0
    assert retrodict(*ask, "--traceparent", "nonsense").code == 2
    record = retrodict("audit", "coverage", "--json").record
    assert [(one["calls"], one["of"]) for one in record["untraced"]] == [(1, 3)]
    assert [(one["trace"], one["calls"]) for one in record["missing"]] == [(trace, 2)]
