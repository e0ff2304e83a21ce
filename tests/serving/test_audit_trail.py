"""The audit trail: found by any value, taken over from old logs, recorded for other systems, disputed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from retrodict.actions import payloads
from retrodict.actions.alias import alias
from retrodict.actions.dispute import dispute, disputes, resolve
from retrodict.actions.import_log import import_log
from retrodict.actions.predict import predict, read_input
from retrodict.actions.predictions import search, to_csv
from retrodict.actions.record import record_prediction
from retrodict.kernel.errors import AmbiguousReferenceError, UnknownReferenceError, UsageError
from retrodict.predictions import Payload
from retrodict.predictions import payloads as kept_payloads
from retrodict.serving import ModelFailedError, Service
from retrodict.testing.workbench import make_workspace, register_source
from retrodict.workspace import Workspace, open_text

DECIDE = """
import pandas as pd

def predict(frame):
    limit = frame["amount"] * 2.5
    return pd.DataFrame({"limit": limit, "decision": ["approve" if a < 3 else "decline" for a in frame["amount"]]})
"""
LECTURE = """date,model,model version,feature inputs,output
2019-11-07T20:34:00Z,credit,7,"{""income"": 1200.5, ""sex"": ""f""}",0.25
2019-11-07T20:34:00Z,credit,7,"{""income"": 1300, ""sex"": null}",0.5
2019-11-08,credit,8,"{""income"": -0.0, ""sex"": ""m""}","{""limit"": 20}"
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path) as made:
        yield made


@pytest.fixture
def asked(workspace: Workspace) -> Workspace:
    register_source(workspace, "decide", DECIDE)
    register_source(workspace, "broken", "def predict(frame):\n    return 1 / 0\n")
    service = Service(workspace)
    frame = pd.DataFrame({"amount": [1.0, 2.0, 4.0, math.nan], "limit": [7, 8, 9, 10], "who": ["a", "b", "c", None]})
    service.predict("decide", frame, caller="Bob")
    service.predict("decide", frame.head(1), caller="Eve")
    with pytest.raises(ModelFailedError):
        service.predict("broken", [{"other": 1}])
    return workspace


def references(workspace: Workspace, **options: object) -> list[str]:
    return [row.reference for row in search(workspace, **options).rows]  # type: ignore[arg-type]


def test_rows_are_found_by_input_output_and_facts(asked: Workspace) -> None:
    first, *_, eve, failed = search(asked, oldest_first=True).rows
    n = first.index
    assert references(asked, where="amount > 1.5 AND decision = 'approve'") == [f"{n}.1"]
    assert references(asked, where='"output.limit" = 10') == [f"{n}.2"]
    assert references(asked, where="amount IS NULL AND who IS NULL AND model = 'decide'") == [f"{n}.3"]
    assert references(asked, where="caller = 'Eve'") == references(asked, caller="Eve") == [eve.reference]
    assert references(asked, where="status = 'error'") == references(asked, model="broken") == [failed.reference]
    assert references(asked, where="other = 1") == [failed.reference]
    assert references(asked, where=f"reference = '{n}.2' -- a comment") == [f"{n}.2"]
    assert references(asked, model="decide@v1", limit=2) == [eve.reference, f"{n}.0"]
    assert search(asked, limit=2).is_cut
    assert references(asked, caller="nobody") == []
    assert references(asked, since="2100-01-01") == []
    assert first.inputs == {"amount": 1.0, "limit": 7, "who": "a"}
    assert first.outputs == {"limit": 2.5, "decision": "approve"}


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("amuont > 1", "no column amuont"),
        ('"amuont" > 1', "no column amuont"),
        ("amount >", "not an SQL condition"),
        ("1); DROP TABLE predictions; --", "SQL"),
        ("(SELECT load_extension('x'))", "SQL"),
        ("1 IN (SELECT 1 FROM pragma_database_list)", "^`where` is not"),
    ],
)
def test_a_bad_condition_is_refused_with_the_columns_there_are(asked: Workspace, where: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        search(asked, where=where)
    assert "decision" in raised.value.hint


def test_parts_of_a_composed_answer_are_listed_when_asked_for(asked: Workspace) -> None:
    register_source(
        asked, "outer", "import retrodict\ndef predict(f):\n    return retrodict.load('decide').predict(f)\n"
    )
    Service(asked).predict("outer", pd.DataFrame({"amount": [1.0]}))
    assert len(references(asked, parts=True)) == len(references(asked)) + 1


def test_the_lectures_csv_holds_every_digit(asked: Workspace) -> None:
    rows = list(csv.reader(io.StringIO(to_csv(search(asked, model="decide", oldest_first=True)))))
    assert rows[0] == ["date", "model", "model version", "feature inputs", "output"]
    assert rows[1][1:3] == ["decide", "v1"]
    assert json.loads(rows[1][3]) == {"amount": 1.0, "limit": 7, "who": "a"}
    assert json.loads(rows[1][4]) == {"limit": 2.5, "decision": "approve"}


def test_values_that_are_gone_are_shown_as_a_gap(asked: Workspace) -> None:
    row = search(asked, caller="Eve").rows[0]
    inputs, _, _ = kept_payloads(asked.ledger.event(row.index).event)
    assert isinstance(inputs, Payload)
    with pytest.MonkeyPatch.context() as patch:
        real = asked.ledger.blob
        patch.setattr(asked.ledger, "blob", lambda digest: None if digest == inputs.batch else real(digest))
        (shown,) = search(asked, caller="Eve").rows
    assert shown.inputs is None
    assert shown.gap is not None
    assert inputs.batch in shown.gap


def test_an_old_log_is_taken_over_as_declared(workspace: Workspace, tmp_path: Path) -> None:
    log = tmp_path / "old.csv"
    log.write_text(LECTURE)
    imported = import_log(workspace, log, system="mainframe")
    assert (imported.rows, imported.events) == (3, 2)
    assert workspace.objects.get(imported.log) == LECTURE.encode()
    rows = search(workspace, oldest_first=True).rows
    assert [(r.kind, r.model, r.version, r.date[:10]) for r in rows] == [
        ("declared", "credit", "7", "2019-11-07"),
        ("declared", "credit", "7", "2019-11-07"),
        ("declared", "credit", "8", "2019-11-08"),
    ]
    assert [r.outputs for r in rows] == [{"value": 0.25}, {"value": 0.5}, {"limit": 20}]
    assert math.copysign(1, rows[2].inputs["income"]) == -1  # type: ignore[index, arg-type]
    event = workspace.ledger.event(imported.first).event
    assert event.body["lines"] == [2, 3]
    assert [(edge.role, edge.evidence, edge.ref) for edge in event.uses] == [("log", "declared", imported.log)]  # type: ignore[union-attr]
    written = list(csv.reader(io.StringIO(to_csv(search(workspace, oldest_first=True)))))
    assert [row[4] for row in written[1:]] == ["0.25", "0.5", '{"limit": 20}']


def test_a_log_is_taken_over_once(workspace: Workspace, tmp_path: Path) -> None:
    log = tmp_path / "old.csv"
    log.write_text(LECTURE.partition("\n")[2])  # without its header
    assert import_log(workspace, log).rows == 3
    with pytest.raises(UsageError, match="taken over already"):
        import_log(workspace, log)


def test_any_csv_is_taken_over_with_a_mapping(workspace: Workspace, tmp_path: Path) -> None:
    log = tmp_path / "scores.csv"
    log.write_text("ts,clerk,age,amount,score,note\n2020-01-02,Ann,30,007,0.5,\n2020-01-03,,41,1e3,0.25,x\n")
    mapping = {
        "date": "ts",
        "model": "=scorecard",
        "version": "=2",
        "inputs": "*",
        "outputs": "score",
        "caller": "clerk",
    }
    import_log(workspace, log, columns=mapping)
    rows = search(workspace, oldest_first=True).rows
    assert rows[0].inputs == {"age": 30, "amount": "007", "note": None}
    assert rows[1].inputs == {"age": 41, "amount": "1e3", "note": "x"}
    assert [(r.caller, r.outputs) for r in rows] == [("Ann", {"value": 0.5}), (None, {"value": 0.25})]


@pytest.mark.parametrize(
    ("text", "columns", "says"),
    [
        ("", None, "empty"),
        ("a,b\n1,2\n", None, "does not begin with"),
        (LECTURE + "soon,credit,7,{},1\n", None, "line 5: 'soon' is not a time"),
        (LECTURE + "2020-01-01,credit,,{},1\n", None, "line 5: the model or its version"),
        (LECTURE + "2020-01-01,credit\n", None, "line 5: 2 fields"),
        (LECTURE + '2020-01-01,credit,7,"{', None, "line 5: not CSV"),
        ("a\n1\n", {"date": "b", "model": "a", "version": "a", "inputs": "a", "outputs": "a"}, "no column 'b'"),
        ("a\n1\n", {"date": "a"}, "does not say where model is"),
        ("a\n1\n", {"when": "a"}, "knows no 'when'"),
    ],
)
def test_a_bad_log_is_refused_whole(
    workspace: Workspace, tmp_path: Path, text: str, columns: dict[str, str] | None, says: str
) -> None:
    log = tmp_path / "old.csv"
    log.write_text(text)
    size = workspace.ledger.size()
    with pytest.raises(UsageError, match=says):
        import_log(workspace, log, columns=columns)
    assert workspace.ledger.size() == size


def test_an_answer_given_elsewhere_is_declared(workspace: Workspace) -> None:
    recorded = record_prediction(
        workspace,
        system="mainframe",
        model="credit",
        model_version="7",
        inputs=[{"income": 1.5}],
        outputs=[0.25],
        caller="Ann",
        at="2019-11-07T20:34:00Z",
    )
    (row,) = search(workspace).rows
    assert (row.reference, row.kind, row.model, row.version, row.caller) == (
        recorded.reference,
        "declared",
        "credit",
        "7",
        "Ann",
    )
    assert (row.inputs, row.outputs, row.date) == ({"income": 1.5}, {"value": 0.25}, "2019-11-07T20:34:00.000000000Z")


def test_a_declared_answer_may_name_a_version_on_record(asked: Workspace) -> None:
    recorded = record_prediction(asked, system="batch", model="decide", inputs=[1], outputs=[2])
    edge = asked.ledger.event(recorded.index).event.uses[0]
    assert (edge.role, edge.evidence) == ("model", "declared")  # type: ignore[union-attr]
    with pytest.raises(UnknownReferenceError):
        record_prediction(asked, system="batch", model="decide@v9", inputs=[1], outputs=[2])
    with pytest.raises(UsageError, match="rows of inputs: 2"):
        record_prediction(asked, system="batch", model="decide", inputs=[1, 2], outputs=[2])


def test_a_complaint_has_an_outcome_and_what_fixed_it(asked: Workspace) -> None:
    reference = references(asked, where="decision = 'decline' AND amount = 4")[0]
    said = dispute(asked, reference, "a twentieth of my wife's limit")
    assert said.prediction == reference
    (row,) = disputes(asked, open_only=True).rows
    assert (row.reason, row.is_open, row.prediction) == ("a twentieth of my wife's limit", True, reference)
    ended = resolve(asked, reference, "approved", fixed_by=["decide@v1"])
    assert ended.dispute == said.reference
    (row,) = disputes(asked).rows
    assert (row.is_open, row.resolution, row.fixed_by) == (False, "approved", ("decide@v1",))
    assert not disputes(asked, open_only=True).rows
    assert open_text(asked, asked.ledger.event(said.index).event.reason) == "a twentieth of my wife's limit"
    with pytest.raises(UsageError, match="ended already"):
        resolve(asked, said.reference, "again")


def test_what_cannot_be_disputed_is_said(asked: Workspace) -> None:
    reference = references(asked)[-1]
    for bad, reason, says in (
        ("decide@v1", "x", "is no prediction"),
        (reference.partition(".")[0] + ".9", "x", "has rows 0 to 3"),
        (reference, " ", "needs a reason"),
    ):
        with pytest.raises(UsageError, match=says):
            dispute(asked, bad, reason)
    with pytest.raises(UsageError, match="nobody has disputed"):
        resolve(asked, reference, "done")
    dispute(asked, reference, "one")
    dispute(asked, reference, "two")
    with pytest.raises(AmbiguousReferenceError):
        resolve(asked, reference, "done")


def test_predict_reads_files_and_pipes(asked: Workspace, tmp_path: Path) -> None:
    frame = pd.DataFrame({"amount": [1.5, 4.0]})
    frame.to_csv(tmp_path / "in.csv", index=False)
    frame.to_parquet(tmp_path / "in.parquet")
    sources: list[Path | bytes] = [
        tmp_path / "in.csv",
        tmp_path / "in.parquet",
        (tmp_path / "in.csv").read_bytes(),
        (tmp_path / "in.parquet").read_bytes(),
        b' [{"amount": 1.5}, {"amount": 4.0}]',
    ]
    for source in sources:
        answer = predict(asked, "decide", read_input(source), caller="cli")
        assert [row["decision"] for row in answer.outputs] == ["approve", "decline"]
        assert (answer.reference, answer.model) == (str(answer.index), "decide@v1")
    assert predict(asked, "decide", read_input(b'{"amount": 1.5}')).reference.endswith(".0")
    with pytest.raises(UsageError, match="empty"):
        read_input(b" \n")
    with pytest.raises(UsageError):
        read_input(tmp_path / "none.csv")


def test_search_knows_aliases(asked: Workspace) -> None:
    alias(asked, "decide@champion", "1", reason="x")
    assert references(asked, model="decide@champion") == references(asked, model="decide", version="v1")
    with pytest.raises(UsageError, match="names a version already"):
        search(asked, model="decide@champion", version="1")


def test_a_large_payload_is_kept_beside_the_log(asked: Workspace) -> None:
    values = list(range(300_000))
    recorded = record_prediction(asked, system="x", model="y", model_version="1", inputs=[values], outputs=[1])
    inputs, _, _ = kept_payloads(asked.ledger.event(recorded.index).event)
    assert isinstance(inputs, Payload)
    assert asked.ledger.blob(inputs.batch) is None
    assert payloads.load(asked, inputs) == [values]
