"""Versions beside each other: what differs, who made each cell what it is, and the way back."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from retrodict.actions import table_change, table_compare, table_read
from retrodict.actions.tabling import How
from retrodict.kernel.errors import UsageError
from retrodict.tables.errors import NoSuchRecordError
from retrodict.workspace import Workspace

PUT = How(verb="put")


@pytest.fixture
def changed(workspace: Workspace, loans: Path) -> Workspace:
    table_change.create(workspace, "loans", ["InquiryID"], source=loans, how=How(verb="create", reason="export"))
    table_change.update(workspace, "loans", "1003", {"Amount": "900"}, how=How(verb="update", reason="typo"))
    table_change.update(workspace, "loans", "1003", {"Approved": "true"}, how=How(verb="update", reason="checked"))
    table_change.delete(workspace, "loans", ["1001"], how=PUT)
    table_change.put(workspace, "loans", {"InquiryID": 1009, "Amount": "1.00"}, how=PUT)
    table_change.put(workspace, "loans", {"InquiryID": 1001, "CustomerID": "C7"}, how=PUT)
    return workspace


def test_a_diff_says_which_records_and_cells_in_both_directions(changed: Workspace) -> None:
    found = table_compare.diff(changed, "loans@v1")
    assert (found.created, found.changed, found.deleted) == (1, 2, 0)
    by_key = {row.key["InquiryID"]: row for row in found.rows}
    assert [(c.column, c.before, c.after) for c in by_key[1003].cells] == [
        ("Amount", Decimal("800.00"), Decimal("900.00")),
        ("Approved", False, True),
    ]
    assert by_key[1009].op == "created"
    back = table_compare.diff(changed, "loans@v6", "v1")
    assert (back.created, back.changed, back.deleted) == (0, 2, 1)
    assert {row.key["InquiryID"]: row.op for row in back.rows}[1009] == "deleted"
    there = table_compare.diff(changed, "loans@v3", "loans@v4")
    assert [(row.key["InquiryID"], row.op) for row in there.rows] == [(1001, "deleted")]
    assert table_compare.diff(changed, "loans@v6", "6").after == "loans@v4"
    assert table_compare.diff(changed, "loans@v2", "v2").rows == ()


def test_blame_names_the_change_of_every_cell(changed: Workspace) -> None:
    (row,) = table_compare.blame(changed, "loans", keys=["1003"]).rows
    found = {cell.column: (cell.version, cell.why, cell.before) for cell in row.cells}
    assert found["Amount"] == (2, "typo", Decimal("800.00"))
    assert found["Approved"] == (3, "checked", False)
    assert found["CustomerID"] == (1, "export", None)
    (row,) = table_compare.blame(changed, "loans", keys=["1001"]).rows
    assert {cell.version for cell in row.cells} == {6}
    assert len(table_compare.blame(changed, "loans@v1").rows) == 3
    with pytest.raises(NoSuchRecordError):
        table_compare.blame(changed, "loans@v4", keys=["1001"])


def test_reverting_is_a_change_and_erases_nothing(changed: Workspace) -> None:
    done = table_compare.revert(changed, "loans", "v1", how=How(verb="revert"), keys=["1003", "1009"])
    assert (done.creates, done.updates, done.deletes) == (0, 1, 1)
    assert table_read.history(changed, "loans", "1003").changes[-1].cells[0].after == Decimal("800.00")
    done = table_compare.revert(changed, "loans", "v6", how=How(verb="revert"), where="Amount < 5 OR InquiryID = 1003")
    assert (done.creates, done.updates) == (1, 1)
    assert table_compare.diff(changed, "loans@v6", "v8").rows == ()
    table_compare.revert(changed, "loans", "v1", how=How(verb="revert"))
    assert table_compare.diff(changed, "loans@v1").rows == ()
    assert len(table_read.history(changed, "loans", "1009").changes) == 4
    with pytest.raises(UsageError):
        table_compare.revert(changed, "loans", "v1", how=How(verb="revert"), where="no such thing")
    with pytest.raises(NoSuchRecordError):
        table_compare.revert(changed, "loans", "v1", how=How(verb="revert"), keys=["7"])


def test_queries_join_versions_and_reach_nothing_else(changed: Workspace, root: Path) -> None:
    sql = (
        "select a.InquiryID, b.Amount as then, 'loans@v1' as said from loans@v6 a -- not loans@v99\n"
        'join "loans@v1" b using (InquiryID) where a.Amount <> b.Amount'
    )
    found, versions = table_compare.query(changed, sql)
    assert found.to_pylist() == [{"InquiryID": 1003, "then": Decimal("800.00"), "said": "loans@v1"}]
    assert versions == ("loans@v6", "loans@v1")
    found, _ = table_compare.query(changed, "select count(*) as n from loans where loans.Approved")
    assert found.to_pylist() == [{"n": 1}]
    # Two columns of one name are both there.
    found, versions = table_compare.query(changed, "select 1 as a, 2 as a, 3 as a_1 from loans limit 1")
    answer = table_compare.answered(found, versions)
    assert (answer.columns, answer.rows) == (("a", "a_1", "a_1_1"), ((1, 2, 3),))
    for wrong in (f"select * from '{root}/loans.csv'", "select", "copy loans to 'x.csv'", "select * from loans@v99"):
        with pytest.raises(UsageError):
            table_compare.query(changed, wrong)
