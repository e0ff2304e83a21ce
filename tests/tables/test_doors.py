"""Tables from the command line and from Python, as a newcomer uses them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.tables.conftest import AGENT, LOANS, open_at

import retrodict as rd
from retrodict.actions import table_change


def test_the_command_line_creates_changes_and_shows(newcomer: dict[str, str], tmp_path: Path) -> None:
    def run(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            ["retrodict", *words], cwd=tmp_path, env=newcomer, text=True, capture_output=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    (tmp_path / "loans.csv").write_text(LOANS)
    run("init")
    run("table", "create", "loans", "--key", "InquiryID", "--from", "loans.csv", "--why", "the bank's export")
    done = run("table", "update", "loans", "1003", "Approved=true", "--who", "Grace Hopper", "--why", "found")
    assert done.startswith("loans@v2")
    assert run("table", "at", "loans@v1", "--format", "csv") == LOANS
    shown = run("table", "history", "loans", "1003")
    assert "Approved false -> true" in shown
    assert "Grace Hopper" in shown
    history = json.loads(run("table", "history", "loans", "1003", "--json"))
    assert history["changes"][1]["cells"] == [{"column": "Approved", "before": False, "after": True}]
    refused = run("table", "put", "loans", "InquiryID=1003", "--if-version", "v1", code=1)
    assert "1003 of loans was changed by Grace Hopper" in refused
    run("table", "delete", "loans", "7", code=2)
    run("table", "at", "loans@v9", code=2)
    written = json.loads(run("table", "at", "loans@v1", "--out", "then.csv", "--json"))
    assert (tmp_path / "then.csv").read_text() == LOANS
    assert "stream.appended" in run("lineage", written["content"], "--up", "--json")
    assert written["content"] in run("lineage", "loans@v1", "--down", "--json")
    audited = run("table", "log", "loans", "--csv", "--limit", "1").splitlines()
    assert audited[0].startswith("\ufeffwhen (UTC),who,claimed or authenticated,why,how,table,record,operation,column,")
    assert [line.split(",")[1:11] for line in audited[1:]] == [
        ["Grace Hopper", "claimed", "found", "update", "loans", "1003", "update", "Approved", "false", "true"]
    ]
    assert "changes" in run("stream", "list")


def test_python_reads_and_changes_and_a_run_has_what_it_read(root: Path) -> None:
    with open_at(root) as workspace:
        table_change.create(workspace, "loans", ["InquiryID"], types={"Amount": "decimal(10,2)"})
        loans = rd.table("loans", workspace=workspace)
        loans.put([{"InquiryID": "1", "Amount": 5}, {"InquiryID": "2"}], why="two")
        with rd.run("train", workspace=workspace) as run:
            assert len(loans.at("v1").to_pandas()) == 2
            loans.update("2", {"Amount": "1.50"})
        assert run.record is not None
        assert str(loans.to_polars()["Amount"].to_list()[1]) == "1.50"
        assert loans.to_arrow(rows=True).schema.names == ["_row", "InquiryID", "Amount"]
        assert "(run " in loans.history("2").changes[1].how
        found = workspace.ledger.entries_of("run.read")
        assert [entry.event.body["what"] for entry in found] == ["loans@v1"]
        assert loans.history("1").changes[0].who == AGENT
