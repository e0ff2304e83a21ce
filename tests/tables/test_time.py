"""Other columns, two times, snapshots and proofs: what older versions said stays true."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tests.tables.conftest import open_at

from retrodict.actions import streams, table_alter, table_change, table_prove, table_read, tables
from retrodict.actions.tabling import How, table_named, version_of
from retrodict.actions.verify import verify
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.merkle import leaf_hash
from retrodict.render.json import to_json
from retrodict.tables import folding, lines, upkeep
from retrodict.tables.changes import Change, Source
from retrodict.tables.errors import BadCellError, NoSuchRecordError
from retrodict.workspace import Workspace

PUT = How(verb="put")


def rows(workspace: Workspace, reference: str = "t", true_at: str | None = None) -> list[dict[str, object]]:
    found: list[dict[str, object]] = table_read.table_of(version_of(workspace, reference), true_at=true_at).to_pylist()
    return found


def test_columns_change_and_older_versions_keep_theirs(workspace: Workspace) -> None:
    table_change.create(workspace, "t", ["id"], source=[{"id": 1, "a": "7", "b": "x"}, {"id": 2, "a": "8", "b": None}])
    table_alter.alter(
        workspace, "t", add={"c": "date"}, drop=["b"], rename={"a": "amount"}, types={"a": "int64"}, reason="new form"
    )
    assert rows(workspace) == [{"id": 1, "amount": 7, "c": None}, {"id": 2, "amount": 8, "c": None}]
    table_change.put(workspace, "t", {"id": 1, "amount": 9, "c": "2020-01-01"}, how=PUT)
    table_alter.alter(workspace, "t", add={"b": "text"})
    assert [row["b"] for row in rows(workspace)] == [None, None], "another column of an old name has none of its values"
    with pytest.raises(BadCellError):
        table_alter.alter(workspace, "t", types={"c": "bool"})
    with pytest.raises(UsageError):
        table_alter.alter(workspace, "t", drop=["id"])
    for refused in ({"drop": ["z"]}, {"add": {"amount": "text"}}, {}):
        with pytest.raises(RetrodictError):
            table_alter.alter(workspace, "t", **refused)
    assert [column.id for column in tables.show(workspace, "t").columns] == [1, 2, 4, 5]
    history = table_read.history(workspace, "t", "1").changes
    assert [(c.column, c.before) for c in history[1].cells] == [("amount", 7), ("c", None)]


def test_what_was_true_and_what_was_known_are_two_questions(workspace: Workspace) -> None:
    table_change.create(workspace, "t", ["id"], types={"id": "text", "v": "text"})

    def put(value: str, since: str | None) -> None:
        table_change.put(workspace, "t", {"id": "x", "v": value}, how=How(verb="put", valid_from=since))

    put("low", "2020-09-01")
    put("high", "2020-11-01")
    put("middle", "2020-10-01")  # learned late
    table_change.delete(workspace, "t", ["x"], how=How(verb="delete", valid_from="2021-01-01"))

    def true(reference: str, instant: str) -> list[object]:
        return [row["v"] for row in rows(workspace, reference, true_at=instant)]

    assert true("t", "2020-08-31") == []
    assert [true("t", f"2020-{month}-15") for month in ("09", "10", "11")] == [["low"], ["middle"], ["high"]]
    assert [true("t@v2", f"2020-{month}-15") for month in ("09", "10", "11")] == [["low"], ["low"], ["high"]]
    assert true("t", "2021-01-01T00:00:00Z") == []
    assert rows(workspace, "t@v3")[0]["v"] == "middle"
    table_change.create(workspace, "u", ["id"], types={"id": "text", "since": "date"}, valid_from="since")
    table_change.put(workspace, "u", [{"id": "a", "since": "2020-05-01"}, {"id": "b", "since": None}], how=PUT)
    assert [row["id"] for row in rows(workspace, "u", true_at="2020-06-01")] == ["a"]
    assert table_read.history(workspace, "u", "a").changes[0].valid_from == "2020-05-01T00:00:00Z"


def test_a_snapshot_says_what_the_changes_say(
    workspace: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SNAPSHOT_CHANGES", 10)
    table_change.create(workspace, "t", ["id"], source=[{"id": i, "v": i} for i in range(4)])
    told = []
    for i in range(40):
        op = [Change(op="update", key={"id": i % 4}, values={"v": 100 + i})] if i % 7 else [Change(op="truncate")]
        if i % 7 == 1:
            op = [Change(op="put", values={"id": n, "v": n - i}) for n in range(4)]
        source = Source(name="s", after=i or None, position=i + 1)
        folding.append(workspace, table_named(workspace, "t"), op, How(verb="capture"), source=source)
        told.append((lines.own_log(workspace, table_named(workspace, "t")).size, rows(workspace)))
    table_alter.alter(workspace, "t", rename={"v": "w"}, add={"z": "text"})
    kinds = [entry.event.kind for entry in workspace.ledger.entries_of("table.snapshotted")]
    assert len(kinds) > 2
    for size, said in told:
        assert rows(workspace, f"t@{size}") == said
    assert list(rows(workspace)[0]) == ["id", "w", "z"]
    log = lines.own_log(workspace, table_named(workspace, "t"))
    assert lines.snapshot_before(log, log.size)[0] > 0
    assert verify(workspace).answer != "no"
    with open_at(root, "Grace") as other:
        assert len(rows(other)) == len(told[-1][1])


def test_a_record_is_proved_without_the_others(workspace: Workspace, loans: Path) -> None:
    table_change.create(workspace, "loans", ["InquiryID"], source=loans)
    table_change.update(workspace, "loans", "1003", {"Amount": "900"}, how=PUT)
    table_change.delete(workspace, "loans", ["1001"], how=PUT)
    for reference, key, count in (("loans@v1", "1001", 3), ("loans", "1003", 2), ("loans", "1002", 2)):
        proof = table_prove.prove(workspace, reference, key)
        text = to_json(proof)
        checked = table_prove.check_proof(text, proof.root)
        assert (checked.answer, checked.records) == ("yes", count)
        assert checked.values["InquiryID"] == int(key)
        assert str(checked.values["Since"]).startswith("2020-10-")
        assert leaf_hash(bytes.fromhex(proof.prefix) + proof.record.encode())
        altered = json.loads(text)
        altered["record"] = altered["record"].replace("0", "1")
        assert table_prove.check_proof(json.dumps(altered), proof.root).answer == "no"
        assert table_prove.check_proof(text, "sha256:" + "0" * 64).answer == "no"
        assert table_prove.prove(workspace, reference, key) == proof, "the log commits to a version once"
    assert len(list(workspace.ledger.entries_of("table.committed"))) == 2
    with pytest.raises(NoSuchRecordError):
        table_prove.prove(workspace, "loans", "1001")
    assert dataclasses.is_dataclass(proof)


def test_small_segments_are_put_together_by_themselves(workspace: Workspace) -> None:
    table_change.create(workspace, "t", ["id"], types={"id": "int64", "v": "int64"})
    for i in range(66):
        table_change.put(workspace, "t", {"id": i % 5, "v": i}, how=PUT)
    log = lines.own_log(workspace, table_named(workspace, "t"))
    assert len(log.line.places(0, log.size)) == 3
    assert [row["v"] for row in rows(workspace, "t@v30")] == [25, 26, 27, 28, 29]
    streams.check(workspace, "t")
