"""The audit extract of a table: it folds to the table, and a spreadsheet finds no formula in it."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import pytest
from tests.tables.conftest import open_at

from retrodict.actions import table_alter, table_audit, table_change, table_read
from retrodict.actions.tabling import how_of, version_of
from retrodict.render import audit as render
from retrodict.workspace import Workspace

TYPES = {"id": "int64", "a": "text", "b": "decimal(6,2)"}


def extract(workspace: Workspace, name: str, **options: Any) -> list[dict[str, str]]:
    data = b"".join(render.to_csv(table_audit.audit(workspace, name, **options)))
    assert data.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_the_extract_folds_to_the_table(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_audit, "_CELLS", 20)  # of many pieces
    monkeypatch.setattr(render, "_LINES", 7)
    chance = random.Random(3)
    for who in ("Ada", "Grace"):
        with open_at(root, who) as workspace:
            if who == "Ada":
                table_change.create(workspace, "t", ["id"], types=TYPES)
            for step in range(15):
                keys = chance.sample(range(8), 3)
                rows = [
                    {"id": k, "a": chance.choice(["x", "", None, "=1"]), "b": chance.choice([None, -1, 2])}
                    for k in keys
                ]
                table_change.put(workspace, "t", rows, how=how_of(workspace, "put", reason=f"{who} {step}"))
                if step % 4 == 3:
                    table_change.delete(workspace, "t", [[keys[0]]], how=how_of(workspace, "delete"))
    with open_at(root) as workspace:
        table_alter.alter(workspace, "t", rename={"a": "letter"}, add={"c": "text"}, reason="the new form")
        found = extract(workspace, "t")
        state: dict[str, dict[str, str]] = {}
        for line in found:
            record = state.setdefault(line["record"], {})
            match line["operation"]:
                case "alter":
                    continue
                case "delete":
                    assert record.pop(line["column"]) == line["before"]
                case _:
                    assert record.get(line["column"], "") == line["before"]
                    record[line["column"]] = line["after"]
        assert state.pop("") == {}
        rows = table_read.table_of(version_of(workspace, "t")).rename_columns(["id", "a", "b", "c"]).to_pylist()
        told = {str(row["id"]): {name: str(render.cell(row[name])) for name in TYPES} for row in rows}
        empty = dict.fromkeys(TYPES, "")
        assert {key: empty | record for key, record in state.items() if record} == told
        alters = [(x["column"], x["before"], x["after"], x["why"]) for x in found if x["operation"] == "alter"]
        assert alters == [("letter", "a text", "letter text", "the new form"), ("c", "", "c text", "the new form")]
        entry = workspace.logs.event(int(found[0]["entry"]))
        assert found[0]["leaf hash"] == entry.leaf_hash.hex()
        assert {x["claimed or authenticated"] for x in found} == {"claimed"}
        assert {x["who"] for x in found} == {"Ada", "Grace", "Ada Lovelace <ada@example.com>"}
        last = extract(workspace, "t", limit=2)
        assert last == found[-len(last) :]
        assert len({x["version"] for x in last}) == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        (-1, -1),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1+1", "'＝1+1"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "\\x0d=1"),
        ("paid;=1+1", "paid;'=1+1"),
        ("one\n-two", "one\n'-two"),
        ("'quoted", "''quoted"),
        ('""', '\'""'),
        ("", '""'),
        (None, ""),
        ("a-b=c", "a-b=c"),
        (b"\x00", "00"),
        ("nul\x00", "nul\\x00"),
    ],
)
def test_no_cell_is_a_formula(value: object, shown: object) -> None:
    assert render.cell(value) == shown


def test_a_cell_that_no_spreadsheet_holds_is_cut_and_says_so() -> None:
    shown = str(render.cell("a" * 40_000))
    assert len(shown) < 32_767
    assert "(40,000 characters, SHA-256 " in shown
