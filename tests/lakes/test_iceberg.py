"""An Iceberg table (written by pyiceberg) is pinned with its snapshots."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.memory import InMemoryCatalog
from pyiceberg.types import StringType
from tests.cli.conftest import Command, project, retrodict

from retrodict.objects import digest_of

__all__ = ["project", "retrodict"]  # fixtures


@pytest.fixture
def table(project: Path, retrodict: Command) -> Any:
    """A table of two snapshots, in `warehouse/shop/loans`."""
    assert retrodict("init").code == 0
    warnings.simplefilter("ignore")
    catalog = InMemoryCatalog("test", warehouse=str(project / "warehouse"))
    catalog.create_namespace("shop")
    rows = pa.table({"id": [1, 2], "amount": [10.0, 20.0]})
    made = catalog.create_table("shop.loans", rows.schema)
    made.append(rows)
    made.append(pa.table({"id": [3], "amount": [30.0]}))
    return made


def test_each_snapshot_is_pinned_with_its_manifests_and_files(project: Path, retrodict: Command, table: Any) -> None:
    place = next((project / "warehouse").rglob("metadata")).parent
    record = retrodict("attach", place, "--as", "loans", "--json").record
    rows = record["versions"]
    assert [row["number"] for row in rows] == [str(one.snapshot_id) for one in table.metadata.snapshots]
    assert [(row["operation"], row["rows"]) for row in rows] == [("append", 2), ("append", 3)]
    pinned = {row["name"]: row for row in retrodict("ls", "loans", "-R", "--json").record["rows"]}
    data = {name for name in pinned if name.endswith(".parquet")}
    assert data == {
        task.file.file_path.removeprefix(f"file://{place}/").removeprefix(f"{place}/")
        for task in table.scan().plan_files()
    }
    for name, row in pinned.items():
        assert row["content"] == digest_of((place / name).read_bytes())
    retrodict("checkout", "loans@v1/data", "old")
    (old,) = (project / "old").iterdir()
    assert pq.read_table(old)["id"].to_pylist() == [1, 2]
    table.append(pa.table({"id": [4], "amount": [40.0]}))
    (more,) = retrodict("attach", "loans", "--json").record["versions"]
    assert (more["rows"], more["says"]) == (4, [])
    assert "3 -> 4 rows" in retrodict("diff", "loans@v2", "loans@v3").out


def test_a_table_that_was_moved_is_read_where_it_lies_and_what_is_gone_is_named(
    project: Path, retrodict: Command, table: Any
) -> None:
    place = next((project / "warehouse").rglob("metadata")).parent
    shutil.move(place, project / "moved")
    assert len(retrodict("attach", "moved", "--json").record["versions"]) == 2
    lost = next((project / "moved" / "data").iterdir())
    lost.unlink()
    answer = retrodict("attach", "moved", "--json")
    assert (answer.code, [name.rpartition("/")[2] for name in answer.record["gone"]]) == (1, [lost.name])


def test_diff_tells_the_rows_of_two_snapshots(project: Path, retrodict: Command, table: Any) -> None:
    place = next((project / "warehouse").rglob("metadata")).parent
    retrodict("attach", place, "--as", "loans")
    table.delete("id = 1")  # its file is written anew with the other row
    with table.update_schema() as schema:
        schema.add_column("purpose", StringType())
    table.append(pa.table({"id": [4], "amount": [40.0], "purpose": ["car"]}))
    assert len(retrodict("attach", "loans", "--json").record["versions"]) == 2
    rows = retrodict("diff", "loans@v1", "loans@v2", "--json").record["rows"]
    assert (rows["by"], rows["added"], rows["removed"], rows["updated"]) == ("files", 1, 0, None)
    assert rows["rows"] == [{"change": "added", "number": None, "values": {"id": "3", "amount": "30.0"}}]
    rows = retrodict("diff", "loans@v1", "loans", "--json").record["rows"]
    assert [(row["change"], row["values"]) for row in rows["rows"]] == [
        ("removed", {"id": "1", "amount": "10.0", "purpose": None}),
        ("added", {"id": "3", "amount": "30.0", "purpose": None}),
        ("added", {"id": "4", "amount": "40.0", "purpose": "car"}),
    ]
    back = retrodict("diff", "loans", "loans@v2", "--json").record["rows"]
    assert [(row["change"], row["values"]["id"]) for row in back["rows"]] == [("removed", "4"), ("added", "1")]
    assert "1 added, 0 removed" in retrodict("diff", "loans@v1", "loans@v2").out
    shutil.rmtree(place)
    assert "its rows were not compared" in retrodict("diff", "loans@v1", "loans@v2").out
