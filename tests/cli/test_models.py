"""run, register, alias, predict, predictions, dispute, lineage: a small model's life on the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from retrodict.testing.commandline import parse

TRAIN = """
import csv, json
rows = list(csv.DictReader(open("data.csv")))
strictness = json.load(open("params.json"))["strictness"]
limit = strictness * sum(int(row["debt"]) for row in rows if row["repaid"] == "1") / len(rows)
right = sum((int(row["debt"]) <= limit) == (row["repaid"] == "1") for row in rows)
json.dump({"accuracy": right / len(rows)}, open("metrics.json", "w"))
with open("model.py", "w") as file:
    file.write(f"def predict(frame):\\n    return (frame['debt'] <= {limit} + 0 * frame['income']).astype(int)\\n")
"""


@pytest.fixture
def trained(retrodict: Command, project: Path) -> Path:
    """A project in which one run has trained one model."""
    rows = "\n".join(f"{10 + i},{i % 7},{int(i % 7 < 3)}" for i in range(60))
    Path("data.csv").write_text(f"income,debt,repaid\n{rows}\n")
    Path("params.json").write_text('{"strictness": 2}')
    Path("train.py").write_text(TRAIN)
    retrodict("init")
    retrodict("add", "data.csv", "--reason", "first data")
    assert retrodict("run", "--", sys.executable, "train.py").code == 0
    return project


def test_a_version_names_the_run_that_made_it(retrodict: Command, trained: Path) -> None:
    run = retrodict("runs", "--json").record["rows"][0]
    registered = retrodict("register", "model.py", "credit", "--metrics", "metrics.json", "--json").record
    assert registered["reference"] == "credit@v1"
    assert registered["run"] == run["event"]
    listed = retrodict("models", "credit", "--json").record["versions"][0]
    assert listed["run"] == run["entry"]
    assert listed["metrics"]["accuracy"] == json.loads((trained / "metrics.json").read_text())["accuracy"]


def test_what_a_run_read_and_wrote_is_found(retrodict: Command, trained: Path) -> None:
    shown = retrodict("show", "train", "--json").record
    used = {(edge["path"], edge["role"]) for edge in shown["uses"]}
    assert {("data.csv", "input"), ("params.json", "params"), ("train.py", "code-input")} <= used
    assert {edge["path"] for edge in shown["makes"]} >= {"model.py", "metrics.json"}
    by_path = {edge["path"]: edge for edge in shown["uses"]}
    added = retrodict("show", "dataset:data.csv", "--json").record
    assert by_path["data.csv"]["maker"] == added["entry"]


def test_a_run_passes_on_its_commands_exit_code(retrodict: Command, trained: Path) -> None:
    assert retrodict("run", "--", "sh", "-c", "exit 7").code == 7
    assert retrodict("runs", "--json").record["rows"][0]["exit_code"] == 7
    assert retrodict("run", "--", "sh", "-c", "kill -9 $$").code == 137
    assert retrodict("run", "--", "no-such-program-anywhere").code in (125, 127)


def test_a_parameter_is_recorded_and_reaches_the_command(retrodict: Command, trained: Path) -> None:
    outcome = retrodict("run", "--param", "n=3", "--json", "--", "echo", "n is {n}")
    assert outcome.record["command"] == "echo 'n is 3'"
    assert retrodict("runs", "--json").record["rows"][0]["params"] == {"n": "3"}
    assert "n is 3" in outcome.err


def test_answers_are_on_record_with_their_values(retrodict: Command, trained: Path) -> None:
    retrodict("register", "model.py", "credit")
    retrodict("alias", "credit@champion", "v1", "--reason", "the first")
    Path("asked.csv").write_text("income,debt\n12,1\n50,6\n")
    answered = retrodict("predict", "credit@champion", "--input", "asked.csv", "--caller", "branch 7", "--json").record
    found = retrodict("predictions", "--where", "debt > 5", "--csv").out
    (row,) = csv.DictReader(io.StringIO(found))
    assert list(row) == ["date", "model", "model version", "feature inputs", "output"]
    assert json.loads(row["feature inputs"]) == {"income": 50, "debt": 6}
    assert (row["model"], row["model version"]) == ("credit", "v1")
    lines = retrodict("predictions", "--caller", "branch 7", "--json").out.splitlines()
    assert [json.loads(line)["reference"] for line in lines] == [f"{answered['index']}.{i}" for i in (0, 1)]
    assert retrodict("predictions", "--where", "no_such_column = 1").code == 2


def test_an_old_log_is_taken_over_as_declared(retrodict: Command, trained: Path) -> None:
    Path("old.csv").write_text(
        '2019-11-07,limits,3.1,"{""income"": 12}",20\n2019-11-08,limits,3.1,"{""income"": 9}",1\n'
    )
    assert retrodict("predictions", "import", "old.csv", "--system", "mainframe").code == 0
    lines = retrodict("predictions", "--model", "limits", "--json").out.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["declared", "declared"]
    assert retrodict("predictions", "import", "old.csv").code == 2
    assert retrodict("predictions", "import", "train.py").code == 2


def test_a_complaint_has_an_outcome_and_what_fixed_it(retrodict: Command, trained: Path) -> None:
    retrodict("register", "model.py", "credit")
    Path("asked.csv").write_text("income,debt\n12,1\n")
    reference = retrodict("predict", "credit", "--input", "asked.csv", "--json").record["reference"]
    dispute = retrodict("dispute", reference, "--reason", "why?", "--json").record
    assert retrodict("disputes", "--open", "--json").record["rows"][0]["reason"] == "why?"
    assert retrodict("dispute", reference, "--resolve", "explained", "--fixed-by", "credit@v1").code == 0
    (row,) = retrodict("disputes", "--json").record["rows"]
    assert (row["is_open"], row["resolution"], row["fixed_by"]) == (False, "explained", ["credit@v1"])
    assert retrodict("disputes", "--open", "--json").record["rows"] == []
    assert retrodict("dispute", dispute["reference"], "--resolve", "again").code == 2


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("income\n12\n", "debt"),
        ("income,debt,age\n12,1,30\n", "age"),
        ("income,debt\nmuch,1\n", "income"),
        ("", "asked.csv"),
    ],
)
def test_a_wrong_input_names_the_field_and_is_no_prediction(
    retrodict: Command, trained: Path, rows: str, says: str
) -> None:
    Path("example.csv").write_text("income,debt\n12,1\n")
    assert retrodict("register", "model.py", "credit", "--example", "example.csv").code == 0
    Path("asked.csv").write_text(rows)
    outcome = retrodict("predict", "credit", "--input", "asked.csv")
    assert outcome.code == 2
    assert says in outcome.err
    assert retrodict("predictions", "--json").out == ""


def test_lineage_leads_from_data_to_answers_and_back(retrodict: Command, trained: Path) -> None:
    retrodict("register", "model.py", "credit")
    Path("asked.csv").write_text("income,debt\n12,1\n")
    reference = retrodict("predict", "credit", "--input", "asked.csv", "--json").record["reference"]
    down = retrodict("lineage", "dataset:data.csv", "--down")
    assert "prediction.made" in down.out
    assert "model.registered" in down.out
    up = retrodict("lineage", reference, "--up")
    assert "dataset:data.csv@v1" in up.out
    for form in ("dot", "mermaid"):
        assert retrodict("lineage", reference, "--format", form).out.strip()
    assert json.loads(retrodict("lineage", reference, "--json").out)


def test_a_file_of_a_versioned_folder_leads_to_the_folder(retrodict: Command, trained: Path) -> None:
    Path("images/deep").mkdir(parents=True)
    Path("images/deep/a.txt").write_text("a")
    added = retrodict("add", "images", "--json").record[0]
    outcome = retrodict("run", "--json", "--", "sh", "-c", "cat images/deep/a.txt > a.out")
    inputs = {file["path"]: file for file in outcome.record["inputs"]}
    assert inputs["images/deep/a.txt"]["maker"] == added["index"]
    assert "a.out" in retrodict("lineage", "dataset:images", "--down").out


def test_show_prints_what_a_prediction_was_asked_and_answered(retrodict: Command, trained: Path) -> None:
    retrodict("register", "model.py", "credit")
    Path("asked.csv").write_text("income,debt\n12.125000000000002,1\n50,6\n")
    call = retrodict("predict", "credit", "--input", "asked.csv", "--json").record["reference"]
    values = retrodict("show", call, "--json").record["values"]
    assert values["as the model saw it"]["0"] == {"income": 12.125000000000002, "debt": 1}
    assert list(values["answer"]) == ["0", "1"]
    one = retrodict("show", f"{call}.1", "--json").record["values"]
    assert one["as the model saw it"] == {"1": {"income": 50.0, "debt": 6}}
    printed = retrodict("show", f"{call}.0").out
    assert f"{call}.0  income=12.125000000000002, debt=1" in printed
    assert not re.search(rf"(?<!\d){call}\.1(?!\d)", printed)  # nor in a time


@pytest.mark.parametrize("verb", [["show"], ["lineage"], ["explain"], ["replay"], ["dispute", "--reason", "r"]])
def test_a_row_that_is_not_there_is_named(retrodict: Command, trained: Path, verb: list[str]) -> None:
    retrodict("register", "model.py", "credit")
    Path("asked.csv").write_text("income,debt\n12,1\n")
    reference = retrodict("predict", "credit", "--input", "asked.csv", "--json").record["reference"]
    outcome = retrodict(*verb, reference.replace(".0", ".1"))
    assert outcome.code == 2
    assert "row 0 only" in outcome.err
    data = retrodict("show", "dataset:data.csv", "--json").record["entry"]
    assert retrodict(*verb, f"{data}.0").code == 2


def test_what_fixed_a_complaint_is_printed_so_that_it_can_be_pasted(retrodict: Command, trained: Path) -> None:
    retrodict("register", "model.py", "credit")
    retrodict("alias", "credit@champion", "v1", "--reason", "r")
    Path("asked.csv").write_text("income,debt\n12,1\n")
    reference = retrodict("predict", "credit", "--input", "asked.csv", "--json").record["reference"]
    retrodict("dispute", reference, "--reason", "why?")
    alias = next(row for row in retrodict("log", "--json").record["rows"] if row["kind"] == "alias.set")
    fixes = ["credit@v1", "dataset:data.csv@v1", "train", str(alias["entry"])]
    options = [word for fix in fixes for word in ("--fixed-by", fix)]
    assert retrodict("dispute", reference, "--resolve", "explained", *options).code == 0
    (row,) = retrodict("disputes", "--json").record["rows"]
    meant = [retrodict("show", printed, "--json").record["event"] for printed in row["fixed_by"]]
    assert meant == [retrodict("show", fix, "--json").record["event"] for fix in fixes]


def test_a_mistyped_name_gets_near_matches_and_a_model_that_was_never_asked_does_not(
    retrodict: Command, trained: Path
) -> None:
    retrodict("register", "model.py", "credit")
    assert retrodict("predictions", "--model", "credit").code == 0
    for arguments, meant in (
        (["predictions", "--model", "credti"], "credit"),
        (["models", "credti"], "credit"),
        (["runs", "--name", "trian"], "train"),
        (["alias", "credti@best", "v1", "--reason", "r"], "credit@v1"),
        (["predict", "credti", "--input", "data.csv"], "credit"),
    ):
        outcome = retrodict(*arguments)
        assert outcome.code == 2
        assert f"Did you mean {meant}?" in outcome.err


@pytest.mark.parametrize("tolerance", ["nan", "-1", "inf", "much"])
def test_a_tolerance_is_a_number_from_0_on(retrodict: Command, trained: Path, tolerance: str) -> None:
    outcome = retrodict("replay", "1", "--tolerance", tolerance)
    assert outcome.code == 2
    assert "--tolerance" in outcome.err


def test_an_alias_that_points_there_already_and_metrics_that_say_nothing_are_not_recorded(
    retrodict: Command, trained: Path
) -> None:
    retrodict("register", "model.py", "credit")
    assert retrodict("alias", "credit@champion", "v1", "--reason", "first").code == 0
    before = retrodict("log", "--json").out
    assert "is already credit@v1" in retrodict("alias", "credit@champion", "1", "--reason", "again").out
    for text in ("name,value\naccuracy,0.9\n", "[0.9]"):
        (trained / "metrics.csv").write_text(text)
        refused = retrodict("register", "model.py", "credit", "--metrics", "metrics.csv")
        assert (refused.code, "metrics.csv says no metrics" in refused.err) == (2, True)
    assert retrodict("log", "--json").out == before


def test_an_alias_does_not_move_without_a_reason(retrodict: Command, trained: Path) -> None:
    retrodict("register", "model.py", "credit")
    assert retrodict("alias", "credit@champion", "v1", "--reason", " ").code == 2
    assert retrodict("models", "--json").record["moves"] == []


def test_tables_call_a_name_a_claim_and_lists_of_nothing_say_so(retrodict: Command, project: Path) -> None:
    retrodict("init")
    assert "by (claimed)" in retrodict("log").out
    lists = "ls derive tensor stream table capture runs models predictions disputes backup signers remote"
    for verb in lists.split():
        (makes_one,) = re.findall(r"`retrodict ([^`]+)`", retrodict(verb).out)
        parse(shlex.split(makes_one))


def test_a_script_whose_name_is_not_utf8_runs(retrodict: Command, project: Path) -> None:
    retrodict("init")
    script = Path(os.fsdecode(b"caf\xe9.sh"))
    script.write_text("echo done > out\n")
    assert retrodict("run", "--", "sh", script).code == 0
    (run,) = retrodict("runs", "--json").record["rows"]
    assert run["name"] == "caf\ufffd"
    outcome = retrodict("show", str(run["entry"]))
    assert outcome.code == 0
    assert "out" in outcome.out


@pytest.mark.parametrize(
    ("bad", "says"), [(b'{"income": 1, ', "standard input"), (b"PAR1 no more", "standard input"), (b"", "empty")]
)
def test_what_is_wrong_with_standard_input_is_said_of_standard_input(
    retrodict: Command, trained: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes, says: str
) -> None:
    retrodict("register", "model.py", "credit")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bad)))
    outcome = retrodict("predict", "credit", "--input", "-")
    assert outcome.code == 2
    assert says in outcome.err
    assert "/tmp" not in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "credit", "--input", "missing"],
        ["register", "missing", "other"],
        ["register", "model.py", "other", "--metrics", "missing"],
        ["register", "model.py", "other", "--example", "missing"],
        ["add", "missing"],
    ],
)
def test_a_missing_file_is_named_and_nothing_is_recorded(
    retrodict: Command, trained: Path, arguments: list[str]
) -> None:
    retrodict("register", "model.py", "credit")
    before = retrodict("log", "--json").out
    outcome = retrodict(*arguments)
    assert outcome.code == 2
    assert "missing" in outcome.err
    assert "Errno" not in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert retrodict("log", "--json").out == before


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("dataset:dat.csv", "dataset:data.csv"),
        ("dataset:data.csv@v9", "dataset:data.csv@v1"),
        ("credit@v9", "credit@v1"),
        ("credti@v1", "credit@v1"),
        ("trian", "train"),
    ],
)
def test_what_is_offered_for_a_mistyped_reference_can_be_pasted(
    retrodict: Command, trained: Path, typed: str, meant: str
) -> None:
    retrodict("register", "model.py", "credit")
    outcome = retrodict("show", typed)
    assert outcome.code == 2
    assert f"Did you mean {meant}?" in outcome.err
    assert retrodict("show", meant).code == 0


def test_a_model_that_cannot_be_loaded_is_called_by_the_name_that_was_given(
    retrodict: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrodict("init")
    Path("evil.py").write_text(
        "import os, sys\nif 'FAIL' in os.environ:\n    sys.exit(3)\ndef predict(x):\n    return x\n"
    )
    Path("folder").mkdir()
    Path("folder/other.py").write_text("raise ValueError(__file__)\n")
    Path("none.py").write_text("x = 1\n")
    monkeypatch.setenv("FAIL", "1")
    for source, says in (
        ("evil.py", "SystemExit: 3"),
        ("none.py", "has no 'predict'"),
        ("folder/other.py", "ValueError"),
    ):
        refused = retrodict("register", source, "evil")
        assert refused.code == 2
        assert refused.err.startswith(f"retrodict: {source} cannot be loaded as a model: ")
        assert says in refused.err
        assert len(refused.err.strip().splitlines()) == 1
        assert ".retrodict" not in refused.err
    monkeypatch.delenv("FAIL")
    assert retrodict("register", "evil.py", "evil").code == 0
    monkeypatch.setenv("FAIL", "1")
    for arguments in (["predict", "evil", "--input", "asked.json"], ["serve", "evil", "--port", "0"]):
        Path("asked.json").write_text('[{"x": 1}]')
        refused = retrodict(*arguments)
        assert refused.code == 2
        assert "evil@v1 cannot be loaded as a model: importing evil raised SystemExit: 3" in refused.err
        assert ".retrodict" not in refused.err


@pytest.mark.parametrize(("text", "says"), [('"x"', "a text"), ("3", "a number"), ("null", "null")])
def test_json_without_rows_is_refused_in_a_sentence(retrodict: Command, trained: Path, text: str, says: str) -> None:
    retrodict("register", "model.py", "credit")
    Path("e.json").write_text(text)
    refused = retrodict("predict", "credit", "--input", "e.json")
    assert refused.code == 2
    assert refused.err.startswith(f"retrodict: e.json cannot be read: it holds {says}, and rows are due")
