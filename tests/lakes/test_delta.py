"""A Delta table (written by deltalake) is pinned with its history; its files come when they are asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from obstore.store import from_url
from tests.backups.conftest import S3, s3, s3_server
from tests.cli.conftest import Command, project, retrodict

from retrodict.objects import digest_of

__all__ = ["project", "retrodict", "s3", "s3_server"]  # fixtures

FEED = {"delta.enableChangeDataFeed": "true"}


@pytest.fixture(autouse=True)
def _workspace(retrodict: Command) -> None:
    assert retrodict("init").code == 0


def make(place: Path, configuration: dict[str, str] | None = None) -> Path:
    """Write a table of four versions, one of whose partitions has a name that paths encode."""
    path = str(place)
    rows = {"id": [1, 2, 3], "amount": [10.0, 20.0, 30.0], "kind": ["a b", "a b", "c"]}
    write_deltalake(path, pa.table(rows), partition_by=["kind"], configuration=configuration)
    write_deltalake(path, pa.table({"id": [4], "amount": [40.0], "kind": ["c"]}), mode="append")
    DeltaTable(path).update(predicate="id = 2", updates={"amount": "21.0"})
    DeltaTable(path).delete("id = 1")
    return place


def data_files(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*.parquet") if "_delta_log" not in path.parts}


def names(record: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row for row in record["rows"]}


def test_every_version_is_pinned_by_its_files_digests_and_nothing_is_copied(project: Path, retrodict: Command) -> None:
    place = make(project / "warehouse" / "loans", FEED)
    record = retrodict("attach", "warehouse/loans", "--as", "loans", "--json").record
    rows = record["versions"]
    assert [row["number"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["operation"] for row in rows] == ["WRITE", "WRITE", "UPDATE", "DELETE"]
    assert [row["rows"] for row in rows] == [3, 4, 4, 3]
    assert [row["how"] for row in rows] == ["history"] * 3 + ["listed"]
    assert (record["format"], record["has_feed"]) == ("delta", True)
    listed = names(retrodict("ls", "loans", "-R", "--json").record)
    data = {name for name in listed if name.endswith(".parquet") and not name.startswith("_change_data")}
    assert data == {uri.partition("loans/")[2] for uri in _plain(DeltaTable(place).file_uris())}
    for name, row in listed.items():
        assert (row["where"], row["content"]) == ("elsewhere", digest_of((place / name).read_bytes()))
    history = retrodict("history", "loans").out
    assert "DELETE, with delta-rs" in history
    again = retrodict("attach", "loans", "--json")
    assert (again.code, again.record["versions"]) == (0, [])
    write_deltalake(str(place), pa.table({"id": [5], "amount": [50.0], "kind": ["c"]}), mode="append")
    more = retrodict("attach", "warehouse/loans", "--as", "loans", "--json").record
    assert [(row["number"], row["reference"]) for row in more["versions"]] == [("4", "dataset:loans@v5")]


def _plain(uris: list[str]) -> list[str]:
    from urllib.parse import unquote

    return [unquote(uri) if "%25" in uri else uri for uri in uris]


def test_a_version_that_was_checked_out_is_the_table_as_it_was(project: Path, retrodict: Command) -> None:
    make(project / "loans")
    only = retrodict("attach", "loans", "--as", "newest", "--no-history", "--json").record["versions"]
    assert [row["number"] for row in only] == ["3"]
    assert len(retrodict("attach", "loans", "--as", "later", "--since", "2999-01-01", "--json").record["versions"]) == 1
    retrodict("attach", "loans")
    assert retrodict("checkout", "loans@v2", "old").code == 0
    old = DeltaTable(str(project / "old"))
    assert old.version() == 1
    assert sorted(old.to_pyarrow_table()["id"].to_pylist()) == [1, 2, 3, 4]
    listed = retrodict("ls", "loans@v2", "-R", "--json").record["rows"]
    assert {row["where"] for row in listed} == {"held"}


def test_what_rows_changed_is_told_by_the_feed_or_by_the_files(project: Path, retrodict: Command) -> None:
    make(project / "fed", FEED)
    make(project / "plain")
    for name in ("fed", "plain"):
        retrodict("attach", name)
    fed = retrodict("diff", "fed@v1", "fed@v4", "--json").record["rows"]
    assert (fed["by"], fed["added"], fed["removed"], fed["updated"]) == ("feed", 1, 1, 1)
    told = {(row["change"], row["number"], row["values"]["id"], row["values"]["amount"]) for row in fed["rows"]}
    assert told == {
        ("added", "1", "4", "40.0"),
        ("before", "2", "2", "20.0"),
        ("after", "2", "2", "21.0"),
        ("removed", "3", "1", "10.0"),
    }
    plain = retrodict("diff", "plain@v1", "plain@v4", "--json").record["rows"]
    assert (plain["by"], plain["added"], plain["removed"], plain["updated"]) == ("files", 2, 2, None)
    assert {(row["change"], row["values"]["id"]) for row in plain["rows"]} == {
        ("removed", "1"),
        ("removed", "2"),
        ("added", "2"),
        ("added", "4"),
    }
    backward = retrodict("diff", "fed@v4", "fed@v1").out
    assert "rows, in the files that changed: 2 added, 2 removed" in backward


def test_a_file_that_was_vacuumed_or_altered_is_named(project: Path, retrodict: Command) -> None:
    place = make(project / "loans")
    retrodict("attach", "loans")
    kept = retrodict("ls", "loans@v1", "-R", "--json").record["rows"]
    DeltaTable(str(place)).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    (live,) = [name for name in data_files(place) if name.startswith("kind=a")]
    whole = (place / live).read_bytes()
    (place / live).write_bytes(whole[:-9] + b"?" + whole[-8:])
    answer = retrodict("attach", "loans", "--json")
    assert answer.code == 1
    gone = {row["name"] for row in kept if not (place / row["name"]).exists()}
    assert {f"dataset:loans@v1/{name}" for name in gone} <= set(answer.record["gone"])
    assert answer.record["altered"] == [f"dataset:loans@v4/{live}"]
    assert "gives other bytes" in retrodict("cat", f"loans@v4/{live}").err
    assert "no longer has" in retrodict("checkout", "loans@v1", "old").err
    fresh = retrodict("attach", "loans", "--as", "fresh", "--json").record
    assert {lost["number"] for lost in fresh["unreadable"]} <= {"0", "1", "2"}
    assert fresh["versions"][-1]["number"] == "5"  # to vacuum is a version, too


def test_a_log_that_begins_at_a_checkpoint_is_read(project: Path, retrodict: Command) -> None:
    place = make(project / "loans")
    table = DeltaTable(str(place))
    table.create_checkpoint()
    write_deltalake(str(place), pa.table({"id": [5], "amount": [50.0], "kind": ["c"]}), mode="append")
    for number in range(4):
        (place / "_delta_log" / f"{number:020}.json").unlink()
    rows = retrodict("attach", "loans", "--json").record["versions"]
    assert [(row["number"], row["rows"]) for row in rows] == [("3", 3), ("4", 4)]
    retrodict("checkout", "loans", "copy")
    assert sorted(DeltaTable(str(project / "copy")).to_pyarrow_table()["id"].to_pylist()) == [2, 3, 4, 5]


def test_what_is_no_table_or_has_the_name_of_another_is_refused(project: Path, retrodict: Command) -> None:
    make(project / "loans")
    (project / "empty").mkdir()
    assert "neither a _delta_log nor Iceberg's metadata" in retrodict("attach", "empty").err
    retrodict("attach", "loans")
    make(project / "other")
    refused = retrodict("attach", "other", "--as", "loans")
    assert (refused.code, "is the name of loans" in refused.err) == (2, True)
    assert "attached table" in retrodict("add", "loans").err


def test_a_table_in_a_bucket_is_pinned_like_one_here(project: Path, retrodict: Command, s3: S3, tmp_path: Path) -> None:
    place = make(tmp_path / "made")
    store: Any = from_url(s3.url("in/loans"), client_options={"allow_http": True})
    for path in place.rglob("*"):
        if path.is_file():
            obstore.put(store, str(path.relative_to(place)), path.read_bytes())
    record = retrodict("attach", s3.url("in/loans"), "--json").record
    assert [row["number"] for row in record["versions"]] == ["0", "1", "2", "3"]
    retrodict("checkout", "loans@v1", "old")
    assert sorted(DeltaTable(str(project / "old")).to_pyarrow_table()["id"].to_pylist()) == [1, 2, 3]


def test_a_deletion_vector_is_a_part_of_the_version(project: Path, retrodict: Command) -> None:
    place = project / "loans"
    write_deltalake(str(place), pa.table({"id": [1, 2, 3]}))
    (data,) = data_files(place)
    # The address and the file are the protocol's own example.
    vector = {"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 4, "sizeInBytes": 40}
    name = "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
    (place / "ab").mkdir()
    (place / name).write_bytes(b"which rows are deleted")
    gone = {"path": data, "dataChange": True, "deletionTimestamp": 1}
    added = {"path": data, "partitionValues": {}, "size": 1, "modificationTime": 1, "dataChange": True}
    added |= {"stats": '{"numRecords": 3}', "deletionVector": {**vector, "cardinality": 1}}
    said = {"timestamp": 1_700_000_000_000, "operation": "DELETE", "userName": "ann"}
    actions = [{"commitInfo": said}, {"remove": gone}, {"add": added}]
    (place / "_delta_log" / f"{1:020}.json").write_text("\n".join(map(json.dumps, actions)))
    first, second = retrodict("attach", "loans", "--json").record["versions"]
    assert (first["rows"], second["rows"], second["who"], second["added"]) == (3, 2, "ann", 2)
    assert {data, name} < set(names(retrodict("ls", "loans", "-R", "--json").record))
    assert "its rows were not compared" in retrodict("diff", "loans@v1", "loans").out


def test_an_answer_leads_back_to_the_commit_that_made_what_was_read(project: Path, retrodict: Command) -> None:
    place = make(project / "loans")
    retrodict("attach", "loans", "--as", "book")
    (name,) = [name for name in data_files(place) if name in names(retrodict("ls", "book", "-R", "--json").record)][:1]
    (project / "train.py").write_text(
        f"n = len(open('loans/{name}', 'rb').read())\n"
        "open('model.py', 'w').write(f'def predict(rows): return [{n}] * len(rows)')\n"
    )
    assert retrodict("run", "--", sys.executable, "train.py").code == 0
    assert retrodict("register", "model.py", "amounts").code == 0
    (project / "question.csv").write_text("x\n1\n")
    answer = retrodict("predict", "amounts", "--input", "question.csv", "--json")
    told = retrodict("explain", str(answer.record["index"]), "--json").out
    assert "of loans, a table whose own version is 3, by its files' digests" in told
    assert "made, as the table's own log says, by DELETE, with delta-rs" in told
    assert "dataset:book@v4" in retrodict("lineage", str(answer.record["index"]), "--up").out
