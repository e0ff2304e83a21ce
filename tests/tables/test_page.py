"""What a table's page says is what `blame` and `history` say, whatever was done; and its bounds are stated."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.tables.conftest import open_at

from retrodict.actions import table_change, table_compare, table_page, table_read, tables
from retrodict.actions.tabling import how_of
from retrodict.render.table_page import to_html


def test_the_page_says_what_blame_and_history_say(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    for who in ("Ada", "Grace", "Ada"):
        with open_at(root, who) as workspace:
            if who == "Ada" and not tables.list_tables(workspace).rows:
                table_change.create(workspace, "t", ["id"], types={"id": "int64", "a": "text", "b": "float64"})
            for step in range(12):
                key = chance.randrange(6)
                how = how_of(workspace, "put", reason=f"step {step}" if step % 2 else None)
                row = {"id": key, "a": chance.choice(["x", "", None]), "b": chance.choice([1.5, float("nan"), None])}
                table_change.put(workspace, "t", row, how=how)
                if step % 5 == 4:
                    table_change.delete(workspace, "t", [[key]], how=how_of(workspace, "delete"))
    with open_at(root) as workspace:
        page = table_page.page(workspace, "t")
        blamed = {record.key["id"]: record for record in table_compare.blame(workspace, "t").rows}
        acts = {act.number: act for act in page.acts}
        assert [act.index for act in page.acts] == sorted((act.index for act in page.acts), reverse=True)
        assert {item.key["id"] for item in page.shown if not item.is_deleted} == set(blamed)
        for item in page.shown:
            history = table_read.history(workspace, "t", [item.key["id"]])
            assert repr([change.change for change in item.changes]) == repr(list(reversed(history.changes)))
            if item.is_deleted:
                continue
            for cell, known in zip(item.cells, blamed[item.key["id"]].cells, strict=True):
                assert cell.act is not None
                act = acts[cell.act]
                said = (cell.column, cell.value, cell.before, act.index, act.at, act.who, act.why, act.how)
                asked = (known.column, known.value, known.before, known.index)
                assert repr(said) == repr((*asked, known.at, known.who, known.why, known.how))
        assert page.listed == page.changes == sum(len(act.changes) for act in page.acts)
        assert "This page has the newest" not in to_html(page)
        # A smaller page says how much it lacks, and what it has is the same.
        monkeypatch.setattr(table_page, "DEPTH", 2)
        small = table_page.page(workspace, "t", limit=3)
        assert small.listed == 3
        assert "This page has the newest 3 changes of" in to_html(small)
        assert {item.changes[0].change.offset for item in small.shown} <= {page.changes - 1 - i for i in range(3)}
        one = table_page.page(workspace, "t", keys=[[3]])
        assert [item.key for item in one.shown] == [{"id": 3}]
        assert all(change.key == {"id": 3} for act in one.acts for change in act.changes)
        to_html(one)
