"""Whose rows stand in which files is known without a name in the clear: `forget` and `export` find them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrodict.actions.add import Added, add
from retrodict.actions.checkout import checkout
from retrodict.actions.export import export
from retrodict.actions.forget import forget, reach
from retrodict.actions.forget_files import forget as forget_files
from retrodict.actions.people import UnknownSubjectError
from retrodict.actions.register import register
from retrodict.actions.run import run
from retrodict.actions.verify import verify
from retrodict.datasets import Declared, NoSubjectsError, subjects
from retrodict.kernel.errors import UsageError
from retrodict.models.subjects import identity_of
from retrodict.render import text
from retrodict.serving import Service
from retrodict.testing.workbench import make_workspace
from retrodict.workspace import Workspace

ROWS = "customer,age,city\nann,71,Rome\nbob,30,Oslo\nann,72,Rome\n"
HALVE = 'rows = open("people.csv").read().splitlines()[1:]\nopen("ages.txt", "w").write(rows[0].split(",")[1])\n'
FIT = 'age = open("ages.txt").read()\nopen("model.py", "w").write(f"def predict(r): return [{age}] * len(r)\\n")\n'


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path) as made:
        (made.root / "people.csv").write_text(ROWS)
        (made.root / "halve.py").write_text(HALVE)
        (made.root / "fit.py").write_text(FIT)
        yield made


def added(workspace: Workspace, name: str, **options: object) -> Added:
    return add(workspace, [workspace.root / name], **options)[-1]  # type: ignore[arg-type]


def ran(workspace: Workspace, script: str) -> int:
    done = run(workspace, [sys.executable, script], cwd=workspace.root, environment=dict(os.environ))
    assert done.entry is not None
    return done.entry


def test_a_persons_rows_lead_to_versions_runs_models_and_answers_and_the_record_keeps_them(
    workspace: Workspace,
) -> None:
    first = added(workspace, "people.csv", subject="customer")
    assert (first.is_personal, first.people, first.unnamed) == (True, 2, 0)
    runs = (ran(workspace, "halve.py"), ran(workspace, "fit.py"))
    added(workspace, "model.py", personal=False, reason="one number")
    register(workspace, f"{workspace.root / 'model.py'}:predict", "mean")
    service = Service(workspace)
    for _ in range(3):
        service.predict("mean", [[1.0]])
    (workspace.root / "people.csv").write_text("customer,age,city\nbob,30,Oslo\n")
    assert added(workspace, "people.csv").people == 1  # declared as the version before
    size = workspace.ledger.size()
    found = reach(workspace, "ann")
    assert workspace.ledger.size() == size
    assert [(held.reference, held.rows, held.shared_rows) for held in found.datasets] == [
        ("dataset:people.csv@v1", 2, 2)
    ]
    assert (found.runs, found.trained, found.answers, found.unknown) == (runs, ("mean@v1",), 3, ())
    assert (found.keys, found.own_files, found.is_whole) == (0, 0, False)
    done = forget(workspace, "ann", reason="asked")
    text.reach(found)
    text.forgotten(done)
    event = workspace.ledger.event(done.index).event
    assert (event.body["rows"], event.body["shared_rows"], event.body["answers"]) == (2, 2, 3)
    assert [edge.role for edge in event.uses] == [  # type: ignore[union-attr]
        "dataset-version",
        "run",
        "run",
        "made-dataset-version",
        "trained-model-version",
    ]
    assert first.event in {edge.ref for edge in event.uses}  # type: ignore[union-attr]
    assert reach(workspace, "ann").to_forget == ("dataset:people.csv@v1",)  # the rows stay, and it says so again
    forget_files(workspace, "dataset:people.csv@v1", reason="asked")
    with pytest.raises(UnknownSubjectError):
        reach(workspace, "ann")
    assert (reach(workspace, "bob").own_files, reach(workspace, "bob").to_forget) == (1, ())  # alone in the second one
    assert verify(workspace).answer == "yes"


def test_a_person_gets_their_rows_and_nobody_elses(workspace: Workspace) -> None:
    added(workspace, "people.csv", subject="customer", columns=["age"])
    (workspace.root / "people.csv").write_text(ROWS + "ann,73,Rome\n")
    added(workspace, "people.csv")
    table = pa.table({"customer": pa.array([7, 8]), "born": pa.array([0, 86_400], pa.timestamp("s"))})
    pq.write_table(table, workspace.root / "born.parquet")
    added(workspace, "born.parquet", subject="customer")
    given = export(workspace, "ann")
    assert [(len(found.datasets), found.row) for found in given.files] == [
        (2, {"customer": "ann", "age": "71"}),
        (2, {"customer": "ann", "age": "72"}),
        (1, {"customer": "ann", "age": "73"}),
    ]
    assert [found.row for found in export(workspace, "8").files] == [{"customer": 8, "born": "1970-01-02 00:00:00"}]
    assert workspace.ledger.event(given.index).event.body["file_rows"] == 3
    assert "export" in {holder.kind for holder in reach(workspace, "ann").holders}


def test_a_file_that_is_about_one_person_goes_with_them(workspace: Workspace) -> None:
    folder = workspace.root / "files"
    folder.mkdir()
    for name in ("ann", "bob"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"customer": name, "age": 71}) + "\n")
    (folder / "both.csv").write_text(ROWS)
    (folder / "notes.txt").write_text("ann was here\n")
    first = added(workspace, "files", subject="customer")
    assert (first.people, len(first.unread)) == (2, 1)
    found = reach(workspace, "ann")
    assert (found.keys, found.own_files, found.unknown) == (1, 1, ("files",))
    assert sorted(found.copies) == ["files/ann.jsonl", "files/both.csv", "people.csv"]  # the last has the same bytes
    assert [(held.rows, held.shared_rows) for held in found.datasets] == [(3, 2)]
    assert forget(workspace, "ann").destroyed == 1
    record = checkout(workspace, "dataset:files", workspace.root / "out")
    assert list(record.left_out) == ["ann.jsonl"]
    assert len(export(workspace, "ann").files) == 2
    assert verify(workspace).answer == "yes"


def test_what_is_declared_is_kept_until_something_else_is_and_what_cannot_be_found_is_said(
    workspace: Workspace,
) -> None:
    for options, said in (
        ({"subject": "nobody"}, "no column 'nobody'"),
        ({"subject": "customer", "columns": ["shoe"]}, "no column 'shoe'"),
        ({"columns": ["age"]}, "--subject"),
        ({"subject": "customer", "personal": False, "reason": "clean"}, "personal"),
    ):
        with pytest.raises(UsageError) as error:
            added(workspace, "people.csv", **options)
        assert said in f"{error.value.message} {error.value.hint}"
    with pytest.raises(NoSubjectsError, match="no table"):
        added(workspace, "fit.py", subject="customer")
    (workspace.root / "torn.csv").write_text("customer,age\nPLANTED,1,2\n")
    with pytest.raises(NoSubjectsError) as torn:
        added(workspace, "torn.csv", subject="customer")
    assert "PLANTED" not in str(torn.value)
    first = added(workspace, "people.csv", personal=True)
    assert first.people is None
    with pytest.raises(UnknownSubjectError):
        reach(workspace, "ann")
    second = added(workspace, "people.csv", subject="customer")  # the same bytes, and more is known of them
    assert (second.version, second.content, second.people) == (2, first.content, 2)
    assert not added(workspace, "people.csv").is_new
    assert reach(workspace, "ann").unknown == ("people.csv",)  # of the first version nobody has said
    assert reach(workspace, "ann").to_forget == ("dataset:people.csv@v2",)
    (workspace.root / "people.csv").write_text("customer,age,city\n,1,Rome\n")
    assert added(workspace, "people.csv").unnamed == 1
    (workspace.root / "people.csv").write_text("client,age,city\nann,1,Rome\n")
    with pytest.raises(NoSubjectsError):
        added(workspace, "people.csv")
    assert added(workspace, "people.csv", subject="").people is None


CELLS = st.one_of(
    st.none(), st.integers(-(2**60), 2**60), st.floats(allow_nan=True), st.text(max_size=4), st.booleans()
)


@settings(deadline=None, max_examples=60)
@given(
    cells=st.one_of(
        *(st.lists(kind, max_size=12) for kind in (CELLS, st.integers(0, 9), st.text("ab,\n\"'", max_size=3)))
    ),
    suffix=st.sampled_from([".jsonl", ".csv", ".parquet"]),
)
def test_an_index_names_everybody_as_a_question_would(
    tmp_path_factory: pytest.TempPathFactory, cells: list[object], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("table") / f"table{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps({"who": cell, "row": row}) + "\n" for row, cell in enumerate(cells)))
    else:
        texts = [identity_of(cell) for cell in cells]
        cells = [None if cell is None or "\0" in cell else cell.encode("utf-8", "replace").decode() for cell in texts]
        table = pa.table({"who": pa.array(cells, pa.string()), "row": pa.array(range(len(cells)), pa.int64())})
        if suffix == ".csv":
            import pyarrow.csv as arrow_csv

            arrow_csv.write_csv(table, path)
        else:
            pq.write_table(table, path)
    index = subjects.index(path, Declared(field="who"), identity_of) if cells else None
    for name in {identity_of(cell) for cell in cells}:
        places = [row for row, cell in enumerate(cells) if identity_of(cell) == name]
        assert index is not None
        if name is None:
            assert subjects.counts([index])[1] == len(places)
            continue
        held = subjects.held(index, name)
        assert held is not None
        assert (held.rows, held.is_alone) == (len(places), len(places) == len(cells))
        rows = subjects.rows_about(path.read_bytes(), index, Declared(field="who"), name, identity_of)
        assert [int(row["row"]) for row in rows] == places
