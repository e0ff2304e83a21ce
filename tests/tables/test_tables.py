"""What a table says of its records: now, then, and how they came to be so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.tables.conftest import LOANS, open_at

from retrodict import streams
from retrodict.actions import (
    stream_append,
    table_alter,
    table_approve,
    table_change,
    table_compare,
    table_read,
    table_settle,
    tables,
)
from retrodict.actions.add import add
from retrodict.actions.show import show
from retrodict.actions.tabling import How, Policy, table_named, version_of
from retrodict.actions.verify import verify
from retrodict.kernel.errors import RetrodictError, UnknownReferenceError, UsageError
from retrodict.kernel.types import Edge, Ref
from retrodict.objects.errors import ChangedFileError
from retrodict.tables import appending, conflicts, creating, files, folding, lines, proposals
from retrodict.tables import queries as table_queries
from retrodict.tables import records as table_records
from retrodict.tables.changes import Change, ChangeSet, Source
from retrodict.tables.errors import (
    BadCellError,
    BadKeyError,
    NoSuchRecordError,
    RecordConflictError,
    TableFoldError,
    TablePolicyError,
)
from retrodict.tables.records import Table
from retrodict.workspace import Batch, Workspace

PUT = How(verb="put")


def records(workspace: Workspace, reference: str = "loans") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table_read.read(workspace, reference).drop(["_row"]).to_pylist()
    return found


def test_every_version_stays_readable_and_a_record_tells_its_history(workspace: Workspace, loans: Path) -> None:
    made = table_change.create(workspace, "loans", ["InquiryID"], source=loans, how=How(verb="create", reason="start"))
    assert dict(made.columns) == {
        "InquiryID": "int64",
        "CustomerID": "text",
        "Purpose": "text",
        "Amount": "decimal(38,2)",
        "Since": "date",
        "Approved": "bool",
        "Note": "text",
    }
    why = How(verb="update", reason="collateral was found", statement="UPDATE loans ...")
    done = table_change.update(workspace, "loans", "1003", {"Approved": "true", "Amount": "900"}, how=why)
    assert (done.reference, done.updates) == ("loans@v2", 1)
    table_change.put(workspace, "loans", {"InquiryID": 1004, "CustomerID": "C77"}, how=PUT)
    table_change.delete(workspace, "loans", ["1001", "1003"], how=How(verb="delete", reason="entered twice"))
    table_change.put(workspace, "loans", {"InquiryID": "1003", "CustomerID": "C43"}, how=PUT)
    assert [row["InquiryID"] for row in records(workspace)] == [1002, 1004, 1003]
    assert [row["InquiryID"] for row in records(workspace, "loans@v3")] == [1001, 1002, 1003, 1004]
    assert records(workspace, "loans@v2")[2]["Amount"] == Decimal("900.00")
    assert records(workspace, "loans@v1") == records(workspace, "loans@3")
    assert records(workspace, "loans@v0") == records(workspace, "loans@2000-01-01") == []
    assert records(workspace, "loans@2999-01-01") == records(workspace)
    first = table_read.table_of(version_of(workspace, "loans@v1"))
    assert table_read.csv_of(first).decode() == LOANS.replace("800.00", "800.00")
    found = table_read.history(workspace, "loans", "1003")
    assert [(c.op, c.version, c.row) for c in found.changes] == [
        ("create", 1, 2),
        ("update", 2, 2),
        ("delete", 4, 2),
        ("create", 5, 7),
    ]
    second = found.changes[1]
    assert (second.why, second.how) == ("collateral was found", "update: UPDATE loans ...")
    assert [(c.column, c.before, c.after) for c in second.cells] == [
        ("Amount", Decimal("800.00"), Decimal("900.00")),
        ("Approved", False, True),
    ]
    assert [row.why for row in tables.log(workspace, "loans").versions][:2] == ["start", "collateral was found"]
    assert tables.list_tables(workspace).rows[0].records == 3
    assert verify(workspace).answer != "no"


def test_a_table_whose_first_records_were_cut_off_is_created_again(workspace: Workspace) -> None:
    rows = [{"id": 1, "n": 0}]
    creating.create(workspace, "t", ["id"], [("id", "int64"), ("n", "int64")])
    assert show(workspace, "table:t").reference == "table:t"
    for other in ([{"id": 1}], [{"id": 1, "n": "x"}]):
        with pytest.raises(UsageError, match="already"):
            table_change.create(workspace, "t", ["id"], source=other)
    with pytest.raises(UsageError, match="already"):
        table_change.create(
            workspace, "t", ["id"], source=rows, policy=Policy(reason=True), how=How(verb="create", reason="r")
        )
    assert table_change.create(workspace, "t", ["id"], source=rows).first is not None
    assert records(workspace, "t") == rows
    assert {show(workspace, name).reference for name in ("t", "table:t", "t@v1", "stream:t@1")} == {"table:t@v1"}
    with pytest.raises(UsageError, match="already"):
        table_change.create(workspace, "t", ["id"], source=rows)


def test_an_import_works_out_what_is_new_changed_and_gone(workspace: Workspace, loans: Path) -> None:
    table_change.create(workspace, "loans", ["InquiryID"], source=loans)
    loans.write_text(
        LOANS.replace("12000.50", "12000.51")
        .replace("1001,C07", "1005,C99")
        .replace('2020-10-02,false,""', "2020-10-02,false,")
    )
    done = table_change.import_(workspace, "loans", loans, how=How(verb="import"))
    assert (done.creates, done.updates, done.deletes) == (1, 1, 1)
    (update,) = [c for c in table_read.history(workspace, "loans", "1002").changes if c.op == "update"]
    assert [(c.column, c.before, c.after) for c in update.cells] == [
        ("Amount", Decimal("12000.50"), Decimal("12000.51")),
        ("Note", "", None),
    ]
    assert table_change.import_(workspace, "loans", loans, how=How(verb="import")).index is None
    loans.write_text("InquiryID,CustomerID\n1002,C11\n7,C1\n")
    done = table_change.import_(workspace, "loans", loans, how=How(verb="import"), keep_missing=True)
    assert (done.creates, done.updates, done.deletes) == (1, 1, 0)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (["1", "-20", None], "int64"),
        (["007", "8"], "text"),
        (["+49 351", "1"], "text"),
        (["1.50", "2.25"], "decimal(38,2)"),
        (["1.5", "2.25"], "float64"),
        (["1.0", "1"], "text"),
        (["nan", "1.5"], "float64"),
        (["1e5", "2"], "text"),
        (["2020-02-29", None], "date"),
        (["2020-02-30"], "text"),
        (["true", "false"], "bool"),
        (["True"], "text"),
        (["9223372036854775808"], "text"),
        (["-0.00"], "text"),
        (["", "1"], "text"),
        ([None, None], "text"),
        (["2016-12-31T23:59:60Z"], "text"),
    ],
)
def test_a_column_of_text_gets_a_type_only_where_nothing_is_lost(column: list[str | None], kind: str) -> None:
    made = files.typed(pa.table({"c": pa.array(column, pa.string())}))["c"]
    from retrodict.streams import type_name

    assert files.type_text(type_name(made.type)) == kind
    assert made.cast(pa.string()).to_pylist() == column


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("k,a\n1,x\n2,y\n1,z\n", BadKeyError, "1 in rows 1 and 3"),
        ("k,a\n1,x\n,y\n", BadKeyError, "empty in row 2"),
        ("k,a\n1.5,x\nnan,y\n", BadKeyError, "NaN"),
        ("k,k\n1,x\n", BadCellError, "twice"),
        ("k,_row\n1,x\n", BadCellError, "_row"),
        ("k,a\n1,x,y\n", BadCellError, "CSV"),
        ("b,a\n1,x\n", BadKeyError, "no column .k."),
        ('k,a\n1,"x\n', BadCellError, "CSV"),
    ],
)
def test_what_cannot_be_a_table_is_refused_in_one_line_and_nothing_is_made(
    workspace: Workspace, root: Path, text: str, error: type[RetrodictError], says: str
) -> None:
    path = root / "t.csv"
    path.write_text(text)
    with pytest.raises(error, match=says):
        table_change.create(workspace, "t", ["k"], source=path)
    assert tables.list_tables(workspace).rows == ()


def test_bad_cells_and_keys_change_nothing(workspace: Workspace, loans: Path) -> None:
    table_change.create(workspace, "loans", ["InquiryID"], source=loans)
    for change, error in (
        (Change(op="put", values={"InquiryID": 1, "Amount": "a lot"}), BadCellError),
        (Change(op="put", values={"InquiryID": 1, "Amount": 1.005}), BadCellError),
        (Change(op="put", values={"InquiryID": 1, "Colour": "red"}), BadCellError),
        (Change(op="put", values={"CustomerID": "C1"}), BadKeyError),
        (Change(op="update", key={"InquiryID": 9}, values={"CustomerID": "C1"}), NoSuchRecordError),
        (Change(op="delete", key={"InquiryID": 9}), NoSuchRecordError),
        (Change(op="create", values={"InquiryID": 1001}), NoSuchRecordError),
    ):
        good = Change(op="put", values={"InquiryID": 77})
        with pytest.raises(error):
            folding.append(workspace, table_named(workspace, "loans"), [good, change], PUT)
    assert len(records(workspace)) == 3
    with pytest.raises(RetrodictError, match="table"):
        stream_append.append(workspace, "loans", loans.open("rb"))
    with pytest.raises(UsageError):
        table_change.create(workspace, "loans", ["InquiryID"], source=loans)


def test_what_is_too_wide_too_long_or_mixed_is_refused_by_name(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = tmp_path / "wide.csv"
    names = ",".join(f"c{number}" for number in range(1_000_000))
    wide.write_text(f"{names}\n{names}\n")
    with pytest.raises(BadCellError, match=r"wide.csv has 1,000,000 columns, and a table at most 10,000"):
        table_change.create(workspace, "wide", ["c0"], source=wide, how=PUT)
    monkeypatch.setattr(files, "MAX_CELL_BYTES", 1 << 20)
    with pytest.raises(BadCellError, match=r"row 2: a cell has at most 1 MiB, and this one has 1,048,578 bytes"):
        table_change.create(
            workspace, "long", ["k"], source=[{"k": 1, "v": "x"}, {"k": 2, "v": "é" * (1 << 19) + "é"}], how=PUT
        )
    table_change.create(workspace, "long", ["k"], source=[{"k": 1, "v": "é" * (1 << 19)}], how=PUT)
    with pytest.raises(BadCellError, match="this one has 1,048,577 bytes"):
        table_change.put(workspace, "long", {"k": 1, "v": "x" * (1 << 20) + "x"}, how=PUT)
    with pytest.raises(BadCellError, match="this one has 1,048,577 bytes"):
        table_change.update(workspace, "long", "1", {"v": "x" * (1 << 20) + "x"}, how=PUT)
    for values, said in (
        (["x", 5], "the column v has values of several types: str, int"),
        ([2**64, 1], "the column v has a value that no column can hold: "),
        (["\ud800", "x"], "the column v has a value that no column can hold: "),
    ):
        with pytest.raises(BadCellError, match=said):
            table_change.put(workspace, "long", [{"k": k, "v": v} for k, v in enumerate(values)], how=PUT)
    assert records(workspace, "long")[0]["v"] == "é" * (1 << 19)


def test_keys_of_several_columns_and_of_floats(workspace: Workspace) -> None:
    rows = [{"a": "x", "b": 1.5, "v": 1}, {"a": "x", "b": 0.0, "v": 2}, {"a": "x,y", "b": 0.0, "v": float("nan")}]
    table_change.create(workspace, "t", ["a", "b"], source=rows)
    done = table_change.put(workspace, "t", {"a": "x", "b": -0.0, "v": 3}, how=PUT)
    assert done.updates == 1
    assert table_change.put(workspace, "t", {"a": "x,y", "b": 0.0, "v": float("nan")}, how=PUT).index is None
    assert table_change.import_(workspace, "t", rows[:1], how=PUT).deletes == 2
    assert len(table_read.history(workspace, "t", '"x,y",0').changes) == 2
    with pytest.raises(BadKeyError, match="2 values"):
        table_read.history(workspace, "t", "x")


def test_a_change_to_what_another_changed_since_is_refused_and_names_who(root: Path, loans: Path) -> None:
    with open_at(root) as ada, open_at(root, "Grace <grace@example.com>") as grace:
        table_change.create(ada, "loans", ["InquiryID"], source=loans)
        table_change.update(grace, "loans", "1001", {"CustomerID": "C8"}, how=PUT)
        with pytest.raises(RecordConflictError, match=r"1001 of loans was changed by Grace .* in v2"):
            table_change.update(ada, "loans", "1001", {"CustomerID": "C9"}, how=PUT, if_version="v1")
        with pytest.raises(RecordConflictError, match="1001"):
            table_change.import_(ada, "loans", loans, how=PUT, if_version="loans@v1")
        assert table_change.update(ada, "loans", "1002", {"CustomerID": "C9"}, how=PUT, if_version="v1").updates == 1
        assert records(grace)[1]["CustomerID"] == "C9"


def test_a_change_that_comes_too_late_stands_beside_until_it_is_settled(root: Path) -> None:
    with open_at(root) as ada, open_at(root, "Grace") as grace:
        rows = [{"id": i, "n": i, "m": "x"} for i in range(4)]
        table_change.create(ada, "t", ["id"], source=rows, policy=Policy(on_conflict="keep"))
        table_change.import_(grace, "t", [{**row, "n": 7} for row in rows[:3]], how=PUT, keep_missing=True)
        # A file that was made of v1: records it leaves as they were then, or changes alike, are no conflicts.
        mine = [{**rows[0], "m": "y"}, rows[1], {**rows[2], "n": 7}, {**rows[3], "n": 9}, {"id": 5, "n": 5, "m": "x"}]
        late = table_change.import_(
            ada, "t", mine, how=How(verb="import", reason="Monday"), keep_missing=True, if_version="v1"
        )
        assert (late.creates, late.updates, late.conflicts) == (1, 1, 1)
        assert [(row["id"], row["n"], row["m"]) for row in records(ada, "t")] == [
            (0, 7, "x"),
            (1, 7, "x"),
            (2, 7, "x"),
            (3, 9, "x"),
            (5, 5, "x"),
        ]
        renamed = Change(op="update", key={"id": 1}, values={"id": 8})
        with pytest.raises(RecordConflictError):
            folding.append(ada, table_named(ada, "t"), [renamed], How(verb="update", since=4))
        (standing,) = table_read.history(grace, "t", "0").conflicts
        assert (standing.index, standing.why, standing.theirs) == (late.conflict, "Monday", {"id": 0, "n": 7, "m": "y"})
        assert [(c.column, c.before, c.after) for c in standing.cells] == [("m", "x", "y")]
        assert table_compare.blame(grace, "t", keys=["0"]).conflicts == (standing,)
        assert (tables.show(grace, "t").conflicts, table_settle.settle(grace, "t").answer) == (1, "no")
        done = table_settle.settle(grace, "t", take="theirs", reason="agreed").done
        assert done is not None
        assert (done.updates, done.conflict) == (1, None)
        last = table_read.history(ada, "t", "0")
        assert (last.changes[-1].who, last.changes[-1].why) == ("Grace", "agreed")
        assert [c.settled for c in last.conflicts] == ["theirs"]
        with pytest.raises(UnknownReferenceError):
            table_settle.settle(ada, "t", late.conflict, take="ours")
        # From now on refused; and what was settled twice at once is settled once.
        table_change.update(ada, "t", "0", {"n": 1}, how=PUT, if_version="v1")
        (standing,) = table_settle.settle(ada, "t").conflicts
        found = conflicts.standing(ada, lines.own_log(ada, table_named(ada, "t")))
        size = lines.own_log(ada, table_named(ada, "t")).size
        table_settle.settle(grace, "t", take="ours")
        with pytest.raises(UsageError, match="has been settled"):
            conflicts.settle(ada, table_named(ada, "t"), standing.index, found, "theirs", since=size, reason=None)
        assert table_alter.alter(ada, "t", on_conflict="refuse").on_conflict == "refuse"
        with pytest.raises(RecordConflictError):
            table_change.update(ada, "t", "0", {"n": 1}, how=PUT, if_version="v1")
        with pytest.raises(UsageError, match="wait for approval"):
            table_change.create(ada, "u", ["id"], policy=Policy(approval=True, on_conflict="keep"))
        assert verify(ada).answer != "no"


def test_captured_changes_come_once_and_keep_who_when_why_and_how(workspace: Workspace) -> None:
    table_change.create(workspace, "t", ["id"], types={"id": "int64", "v": "text"})
    table = table_named(workspace, "t")
    there = dt.datetime(2020, 11, 7, 12, tzinfo=dt.UTC)
    captured = [
        Change(op="create", values={"id": 1, "v": "a"}, at=there, who="app", how="INSERT", tx="7"),
        Change(op="update", key={"id": 1}, values={"v": "b"}, at=there, who="app", why="typo", tx="7"),
        Change(op="update", key={"id": 1}, values={"id": 2}, at=there, who="eve", tx="8"),
        Change(op="delete", key={"id": 5}),
    ]
    source = Source(name="shop", after=None, position={"seq": 13})
    done = folding.append(workspace, table, captured, How(verb="capture"), source=source)
    assert (done.creates, done.updates, done.deletes, done.amiss) == (2, 1, 1, 1)
    assert records(workspace, "t") == [{"id": 2, "v": "b"}]
    # Whoever was stopped does not know what was recorded, and gives it again.
    assert folding.append(workspace, table, captured, How(verb="capture"), source=source).index is None
    more = [Change(op="create", values={"id": 3, "v": "c"})]
    source = Source(name="shop", after={"seq": 13}, position={"seq": 14})
    again = folding.append(workspace, table, more, How(verb="capture"), source=source)
    assert (again.creates, again.updates, again.deletes) == (1, 0, 0)
    source = Source(name="shop", after={"seq": 14}, position={"seq": 15})
    assert folding.append(workspace, table, [], How(verb="capture"), source=source).index is None
    history = table_read.history(workspace, "t", "1").changes
    assert [(c.op, c.at[:19], c.who, c.why, c.how, c.tx) for c in history] == [
        ("create", "2020-11-07T12:00:00", "app", None, "capture: INSERT", "7"),
        ("update", "2020-11-07T12:00:00", "app", "typo", "capture", "7"),
        ("delete", "2020-11-07T12:00:00", "eve", None, "capture", "8"),
    ]
    source = Source(name="shop", after={"seq": 15}, position={"seq": 20})
    folding.append(workspace, table, [Change(op="truncate")], How(verb="capture"), source=source)
    assert records(workspace, "t") == []
    assert verify(workspace).answer != "no"


def test_a_table_that_asks_for_reasons_gets_them(workspace: Workspace) -> None:
    table_change.create(workspace, "t", ["id"], types={"v": "text"}, policy=Policy(reason=True))
    with pytest.raises(TablePolicyError):
        table_change.put(workspace, "t", {"id": "1"}, how=PUT)
    table_change.put(workspace, "t", {"id": "1"}, how=How(verb="put", reason="asked by telephone"))


def test_a_row_keeps_its_identity_through_updates(workspace: Workspace) -> None:
    table_change.create(workspace, "t", ["id"], source=[{"id": i, "v": i} for i in range(5)])
    table_change.import_(workspace, "t", [{"id": i, "v": -i} for i in (4, 2, 0, 9)], how=PUT)
    found = table_read.read(workspace, "t").to_pylist()
    assert [(row["_row"], row["id"], row["v"]) for row in found] == [(0, 0, 0), (2, 2, -2), (4, 4, -4), (9, 9, -9)]


def test_two_living_records_under_one_key_are_an_error_that_names_them(workspace: Workspace) -> None:
    """This release writes none; another program may have written the log."""
    table_change.create(workspace, "t", ["a", "b"], source=[{"a": i, "b": "x"} for i in range(3)])
    table = table_named(workspace, "t")
    log = lines.own_log(workspace, table)
    columns = lines.columns_at(workspace.views.database(), log)
    rows = appending.Rows(columns)
    rows.add(lines.CREATE, None, None, None, {"1": 2, "2": "x"}, None)
    with streams.locked(workspace):
        appending.append_table(workspace, log, rows.to_arrow(), How(verb="put"))
    assert table_read.read(workspace, "t@v1").num_rows == 3
    with pytest.raises(TableFoldError, match="2/x in the changes 2 and 3"):
        table_read.read(workspace, "t")


def test_four_eyes(root: Path) -> None:
    ada, grace = (open_at(root, name) for name in ("Ada", "Grace"))
    with ada, grace:
        rows = [{"id": i, "n": 0} for i in range(3)]
        made = table_change.create(ada, "t", ["id"], source=rows, policy=Policy(approval=True))
        assert made.first is not None
        first = made.first.proposal
        assert first is not None
        assert (made.first.index, table_read.read(ada, "t").num_rows) == (None, 0)
        with pytest.raises(TablePolicyError, match="Ada has proposed this"):
            table_approve.approve(ada, "t", first)
        assert table_approve.approve(grace, "t", str(first)).creates == 3
        with pytest.raises(UsageError, match="has been approved"):
            table_approve.approve(grace, "t", first)

        def propose(changed: list[Change], why: str) -> int:
            done = folding.append(ada, table_named(ada, "t"), changed, How(verb="put", reason=why))
            assert done.proposal is not None
            return done.proposal

        new = Change(op="create", values={"id": 9})
        mine = propose([new, Change(op="update", key={"id": 9}, values={"n": 9})], "a")
        other = propose([Change(op="update", key={"id": 1}, values={"n": 1})], "b")
        late = propose([Change(op="delete", key={"id": 1})], "c")
        again = propose([new], "d")
        table_approve.approve(grace, "t", other, reason="right")
        table_approve.approve(grace, "t", mine)  # its changes come after others than when it was proposed
        for meanwhile in (late, again):
            with pytest.raises(RecordConflictError):
                table_approve.approve(grace, "t", meanwhile)
        assert table_approve.reject(ada, "t", late, reason="no more").decided == "rejected"
        with pytest.raises(UsageError, match="has been rejected"):
            table_approve.approve(grace, "t", late)
        assert [(c.op, c.who, c.why, c.row) for c in table_read.history(grace, "t", "9").changes] == [
            ("create", "Ada", "a", 4),
            ("update", "Ada", "a", 4),
        ]
        assert [(row["id"], row["n"]) for row in table_read.read(grace, "t").to_pylist()] == [
            (0, 0),
            (1, 1),
            (2, 0),
            (9, 9),
        ]
        found = table_approve.listed(ada, "t").proposals
        assert [p.decided for p in found] == ["approved", "approved", "approved", "rejected", None]
        assert verify(grace).answer != "no"


def test_a_change_that_nobody_else_has_approved_is_named(workspace: Workspace) -> None:
    table_change.create(workspace, "t", ["id"], types={"n": "int64"}, policy=Policy(approval=True))
    table = table_named(workspace, "t")
    careless = replace(table, policy=Policy())  # an older program, or an altered one

    def change(asked: Table, n: int) -> ChangeSet:
        return folding.append(workspace, asked, [Change(op="put", values={"id": 1, "n": n})], How(verb="put"))

    def approve(proposed: ChangeSet, agent: str, n: int) -> None:
        """Make a change by the steps of `table approve`, without what it looks at."""
        (proposal,) = [
            p for p in table_queries.proposals(workspace.views.database(), table.stream) if p.decided is None
        ]
        assert proposal.index == proposed.proposal
        log = lines.own_log(workspace, table)
        made = proposals.placed(workspace, proposal, log.size)
        made = made.set_column(made.schema.get_field_index("2"), "2", pa.array([n]))
        batch = Batch(replace(workspace, agent=agent))
        body = table_records.decided_body(stream=table.stream, proposal=proposal.event)
        batch.event("table.approved", uses=(), makes=(), body=body)
        uses = [Edge(ref=Ref(proposal.payload), role="proposal", evidence="observed")]
        with streams.locked(workspace):
            appending.record(workspace, log, batch, made, (0, 1, 0), How(verb="put", uses=uses), statement=None)

    approve(change(table, 1), "Grace", 1)
    assert verify(workspace).answer != "no"
    batch = Batch(workspace)
    log = lines.own_log(workspace, table)
    columns = table_records.columns_value(lines.columns_at(workspace.views.database(), log))
    body = {"stream": table.stream, "log": workspace.ledger.origin, "branch": "", "version": 2, "start": 1}
    eased = {**body, "columns": columns, "policy": {"reason": False, "approval": False}}
    batch.event("table.altered", uses=(), makes=(), body=eased)
    batch.append()
    assert table_named(workspace, "t").policy.approval  # it was asked for for good
    change(careless, 2)
    approve(change(table, 3), workspace.agent, 3)
    approve(change(table, 4), "Grace", 40)
    said = [finding.message.partition("person: ")[2] for finding in verify(workspace).findings]
    assert [text for text in said if text] == [
        "nobody has approved it",
        "who proposed it has approved it",
        "other changes were approved",
    ]
    assert verify(workspace).answer == "no"


class _Edited(type(Path())):  # type: ignore[misc]  # PosixPath
    """A file that becomes another just before it is read, or just after."""

    is_early = False

    def read_bytes(self) -> bytes:
        before = Path(self).read_bytes()
        self.write_bytes(Path(self.with_name("other.csv")).read_bytes())
        return Path(self).read_bytes() if self.is_early else before


@pytest.mark.parametrize(("verb", "is_early"), [("create", False), ("put", True), ("import", True)])
def test_records_are_from_no_file_that_was_another_when_they_were_read(
    workspace: Workspace, loans: Path, verb: str, is_early: bool
) -> None:
    other = loans.with_name("other.csv")
    other.write_text(LOANS.replace("4500.00", "4600.00"))
    add(workspace, [loans, other])
    path = _Edited(loans)
    path.is_early = is_early
    if verb != "create":
        table_change.create(workspace, "loans", ["InquiryID"], source=[{"InquiryID": 1, "Note": ""}])
    takes: dict[str, Callable[[], object]] = {
        "create": lambda: table_change.create(workspace, "loans", ["InquiryID"], source=path),
        "put": lambda: table_change.put(workspace, "loans", path, how=PUT),
        "import": lambda: table_change.import_(workspace, "loans", path, how=PUT),
    }
    with pytest.raises(ChangedFileError, match=r"loans\.csv"):
        takes[verb]()


def test_what_was_read_of_an_arrow_file_stays_when_the_file_is_edited(tmp_path: Path) -> None:
    path, table = tmp_path / "t.arrow", pa.table({"a": [1, 2, 3]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    found = files.read_file(path)
    at = path.read_bytes().index(table["a"].chunk(0).buffers()[1].to_pybytes()[:24])
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\7")
    assert files.read_file(path)["a"].to_pylist() == [7, 2, 3]
    assert found["a"].to_pylist() == [1, 2, 3]
