"""Runs that read a table record which of its rows they used, and nothing less where that is not known."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

import retrodict as rd
from retrodict.actions import streams
from retrodict.actions.verify import verify
from retrodict.kernel.types import EventId
from retrodict.rows import records
from retrodict.rows.records import Reading
from retrodict.workspace import Workspace

ROWS = [{"id": i, "amount": i * 10, "late": i % 3 == 0} for i in range(60)]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("RETRODICT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("RETRODICT_AGENT", "ada")
    rd.init()
    from retrodict.actions import table_change

    opened: Workspace = rd.open()
    table_change.create(opened, "loans", ["id"], source=ROWS)
    return opened


def readings(workspace: Workspace) -> list[Reading]:
    db = workspace.views.database()
    runs = db.execute("SELECT DISTINCT run FROM rows_readings ORDER BY entry").fetchall()
    return [reading for (run,) in runs for reading in records.of_run(db, EventId(str(run)))]


def test_a_model_that_is_trained_in_a_run_used_the_rows_that_were_left(workspace: Workspace) -> None:
    with rd.run("train"):
        loans = rd.read("loans")
        large = loans[loans["amount"] >= 300]
        LogisticRegression().fit(large[["amount"]], large["late"])
    (reading,) = readings(workspace)
    assert (reading.count, reading.ranges) == (30, ((30, 60),))
    assert verify(workspace).answer != "no"


def test_a_query_in_a_run_used_the_rows_that_it_let_through(workspace: Workspace) -> None:
    with rd.run("query"):
        found = rd.table("loans").query("SELECT late, sum(amount) FROM loans@v1 WHERE id >= 50 GROUP BY late")
        rd.table("loans").query("SELECT count(*) FROM loans")
    assert found.num_rows == 2
    assert [(reading.count, reading.ranges) for reading in readings(workspace)] == [(10, ((50, 60),)), (None, None)]


def test_many_ranges_are_kept_as_a_bitmap(workspace: Workspace) -> None:
    from retrodict.rows import sets

    with rd.run("train"):
        loans = rd.read("loans", form="polars")
        loans.filter(rd_polars_even()).collect()
    (reading,) = readings(workspace)
    assert reading.ranges is None
    assert reading.bitmap is not None
    assert sets.from_bitmap(workspace.objects.get(reading.bitmap)).tolist() == list(range(0, 60, 2))


def rd_polars_even() -> object:
    import polars as pl

    return pl.col("id") % 2 == 0


def test_of_what_is_looked_at_whole_or_not_to_the_end_all_rows_are_used(workspace: Workspace) -> None:
    with rd.run("mean"):
        rd.read("loans")["amount"].mean()
    with rd.run("arrow"):
        rd.read("loans", form="arrow")
    with rd.run("fork"):
        loans = rd.read("loans")
        child = os.fork()
        if child == 0:
            os._exit(0 if loans["amount"].sum() else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert [reading.count for reading in readings(workspace)] == [None, None, None]


@pytest.mark.parametrize(("ending", "count"), [("", 1), ("import os; os._exit(0)", None)])
def test_a_script_under_run_records_its_rows_unless_it_is_cut_off(
    workspace: Workspace, ending: str, count: int | None
) -> None:
    Path("train.py").write_text(
        f"import retrodict as rd\nloans = rd.read('loans')\nprint(loans[loans['id'] == 7].to_csv())\n{ending}\n"
    )
    command = [sys.executable, "-m", "retrodict", "run", "--", sys.executable, "train.py"]
    subprocess.run(command, check=True, capture_output=True)
    (reading,) = readings(workspace)
    assert reading.count == count


def test_from_a_record_to_the_prediction_and_back(workspace: Workspace) -> None:
    from retrodict.actions import row_lineage, table_change
    from retrodict.actions.explain import explain
    from retrodict.actions.tabling import How

    with rd.run("train") as run:
        loans = rd.read("loans")
        large = loans[loans["amount"] >= 300]
        frame = large[["amount"]]
        run.log_model(LogisticRegression().fit(frame, large["late"]), "credit", example=frame.head(2))
    answer = rd.load("credit").ask([{"amount": 400}])
    table_change.update(workspace, "loans", "40", {"amount": 1}, how=How(verb="update", reason="typed wrongly"))

    caused = row_lineage.up(workspace, str(answer.index), limit=2)
    (used,) = caused.tables
    assert (used.reading.reference, used.reading.count, used.reading.total) == ("loans@v1", 30, 60)
    assert (used.columns, used.keys, used.since) == (("id",), ((30,), (31,)), 1)

    told = explain(workspace, str(answer.index))
    assert "loans@v1 (30 of 60 records)" in told.answers[3].says
    (table,) = [fact for fact in told.answers[5].facts if "loans@v1" in fact.says]
    assert "1 record corrected since was among the 30 of 60 records that were used" in table.says
    (since,) = table.facts
    assert "update of 40 by ada in v2: typed wrongly" in since.says
    assert since.lines == ("amount: 400 -> 1",)

    reached = row_lineage.down(workspace, "loans@v1#40")
    assert [reading.count for reading in reached.readings] == [30]
    assert (reached.since, reached.until) == ("loans@v1", "loans@v2")
    kinds = {node.event_kind for lineage in reached.reached for node in lineage.graph.nodes}
    assert {"model.registered", "prediction.made"} <= kinds
    left_out = row_lineage.down(workspace, "loans@v1#3")
    assert (left_out.readings, left_out.passed_over) == ((), 1)
    assert row_lineage.down(workspace, "loans#40").readings == ()


def test_each_reading_of_one_version_is_told(workspace: Workspace) -> None:
    from retrodict.actions.explain import explain

    with rd.run("train") as run:
        rd.read("loans").sort_values("id").to_csv()
        loans = rd.read("loans")
        late = loans[loans["id"] < 20]
        run.log_model(LogisticRegression().fit(late[["amount"]], late["late"]), "credit", example=late[["amount"]])
    told = explain(workspace, str(rd.load("credit").ask([{"amount": 400}]).index))
    assert "loans@v1 (all 60 records)" in told.answers[3].says
    assert "loans@v1 (20 of 60 records)" in told.answers[3].says


def test_a_file_that_a_version_was_written_to_has_all_its_records(workspace: Workspace) -> None:
    from retrodict.actions import row_lineage, table_read
    from retrodict.actions.tabling import version_of

    table_read.write(workspace, version_of(workspace, "loans"), Path("loans.csv"), "csv")
    Path("train.py").write_text("open('model.txt', 'w').write(open('loans.csv').read()[:100])\n")
    command = [sys.executable, "-m", "retrodict", "run", "--", sys.executable, "train.py"]
    subprocess.run(command, check=True, capture_output=True)
    reached = row_lineage.down(workspace, "loans#7")
    assert [(reading.label, reading.total) for reading in reached.readings] == [("written to a file", 60)]
    assert any("model.txt" in (link.path or "") for lineage in reached.reached for link in lineage.graph.links)


def test_records_of_a_stream_are_followed_by_their_offsets(workspace: Workspace) -> None:
    from retrodict.actions import row_lineage, stream_read
    from retrodict.actions.explain import explain
    from retrodict.actions.streaming import read_range

    streams.create(workspace, "clicks", format="jsonl")
    rd.append_stream("clicks", ROWS)
    with rd.run("train") as run:
        clicks = rd.read("clicks@10:50")
        large = clicks[clicks["amount"] >= 300]
        frame = large[["amount"]]
        run.log_model(LogisticRegression().fit(frame, large["late"]), "credit", example=frame.head(2))
    with rd.run("look"):
        rd.read("stream:clicks", form="polars").filter(pl.col("id") < 20).collect()
    with rd.run("plain"):
        rd.read_stream("clicks@5")
        rd.read_stream("loans@3")  # the changes of a table: the first three records as they were created
    answer = rd.load("credit").ask([{"amount": 400}])

    (used,) = row_lineage.up(workspace, str(answer.index), limit=2).tables
    assert (used.reading.reference, used.reading.count, used.reading.total) == ("clicks@10:50", 20, 40)
    assert (used.columns, used.keys, used.since) == (("offset",), ((30,), (31,)), 0)
    told = explain(workspace, str(answer.index))
    assert "clicks@10:50 (20 of 40 records)" in told.answers[3].says
    reached = row_lineage.down(workspace, "clicks#40")
    assert [(reading.label, reading.count) for reading in reached.readings] == [("run train", 20)]
    assert (reached.since, reached.until, reached.passed_over) == ("clicks@41", None, 1)
    kinds = {node.event_kind for lineage in reached.reached for node in lineage.graph.nodes}
    assert "prediction.made" in kinds
    assert [reading.label for reading in row_lineage.down(workspace, "clicks@20#12").readings] == ["run look"]
    assert [reading.label for reading in row_lineage.down(workspace, "clicks#3").readings] == ["run look", "run plain"]
    stream_read.write(workspace, read_range(workspace, "clicks@55:60"), Path("last.jsonl"))
    assert [reading.label for reading in row_lineage.down(workspace, "clicks#57").readings] == ["written to a file"]
    assert [reading.reference for reading in row_lineage.down(workspace, "loans#2").readings] == ["loans@0:3"]
    assert row_lineage.down(workspace, "loans#3").readings == ()
    assert verify(workspace).answer != "no"


def test_bad_references_are_one_line(workspace: Workspace) -> None:
    streams.create(workspace, "clicks", format="jsonl")
    Path("rows.csv").write_text("a\n1\n")
    rd.add("rows.csv")
    for reference, words in (
        ("loans#99", "has no record 99"),
        ("loans@v9#1", "no version v9"),
        ("nothing#1", "nothing"),
        ("clicks#7", "has no record 7"),
        ("rows.csv#1", "rows have no identities"),
    ):
        command = [sys.executable, "-m", "retrodict", "lineage", reference, "--down"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_what_the_page_shows_works(workspace: Workspace, tmp_path: Path) -> None:
    from retrodict.actions import table_change
    from retrodict.actions.tabling import How

    page = (Path(__file__).parents[2] / "docs" / "row-lineage.md").read_text()
    rows = [
        {"id": i, "Amount": i % 30 * 100, "Age": 20 + i % 50, "Purpose": "car" if i % 3 else "tv", "Late": i % 5 == 0}
        for i in range(990, 1090)
    ]
    table_change.create(workspace, "credits", ["id"], source=rows)
    for age in range(11):
        table_change.update(workspace, "credits", "1003", {"Age": 30 + age}, how=How(verb="update"))
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code = code.replace("loans@v12", "credits@v12")
    exec(f"from sklearn.linear_model import LogisticRegression\n{code}", {})
    answer = rd.load("credit").ask([{"Amount": 400, "Age": 33}])
    for command in re.findall(r"^\$ retrodict (.*)$", page, re.MULTILINE):
        words = command.replace("57", str(answer.index)).replace("loans@", "credits@").split()
        done = subprocess.run([sys.executable, "-m", "retrodict", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "run train" in done.stdout
