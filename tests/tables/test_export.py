"""Exports, read back by the libraries whose formats they are."""

from __future__ import annotations

import errno
import json
import os
from decimal import Decimal
from pathlib import Path

import deltalake
import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from retrodict.actions import lineage, table_change, table_export, table_read
from retrodict.actions.table_export import Form
from retrodict.actions.tabling import how_of, version_of
from retrodict.kernel.errors import UsageError
from retrodict.workspace import Workspace

ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "name": pa.array(["Ada", "", None]),
        "amount": pa.array([Decimal("1.50"), None, Decimal("-2.25")], pa.decimal128(10, 2)),
        "ratio": pa.array([-0.0, float("nan"), 0.1]),
        "big": pa.array([2**64 - 1, 0, None], pa.uint64()),
        "at": pa.array([0, 10**15, None], pa.timestamp("us", "UTC")),
        "raw": pa.array([b"\x00\xff", b"", None]),
        "tags": pa.array([["a"], [], None], pa.list_(pa.string())),
    }
)


def read_back(form: Form, path: Path) -> tuple[pa.Table, dict[str, str]]:
    match form:
        case "delta":
            found = deltalake.DeltaTable(str(path))
            (commit,) = found.history()
            assert found.metadata().name == "it's"
            return found.to_pyarrow_table(), {k: v for k, v in commit.items() if k.startswith("retrodict.")}
        case "duckdb":
            with duckdb.connect(str(path), read_only=True) as database:
                ((said,),) = database.sql("SELECT comment FROM duckdb_tables() WHERE table_name = 'it''s'").fetchall()
                database.sql("SET TimeZone = 'UTC'")
                return database.sql("""SELECT * FROM "it's" """).to_arrow_table(), json.loads(said)
        case "parquet":
            found = parquet.read_table(path)
            return found, {k.decode(): v.decode() for k, v in found.schema.metadata.items()}


def values(found: pa.Table) -> list[str]:
    kind = pa.timestamp("us", "UTC")
    found = found.set_column(found.schema.get_field_index("at"), "at", found["at"].cast(kind))
    return [repr({**row, "big": None if row["big"] is None else int(row["big"])}) for row in found.to_pylist()]


@pytest.mark.parametrize("form", ["delta", "duckdb", "parquet"])
def test_an_export_is_the_version_and_says_so_itself(workspace: Workspace, tmp_path: Path, form: Form) -> None:
    table_change.create(workspace, "it's", ["id"], source=ROWS, how=how_of(workspace, "create"))
    table_change.delete(workspace, "it's", [[2]], how=how_of(workspace, "delete"))
    path = workspace.root / f"out.{form}"
    done = table_export.export(workspace, "it's@v1", form, path, reason="for the lake")
    found, marks = read_back(form, path)
    assert values(found.sort_by("id")) == values(ROWS)
    digest = table_read.describe(workspace, version_of(workspace, "it's@v1"), None).digest
    assert marks == done.marks
    assert marks["retrodict.version"] == "it's@v1"
    assert marks["retrodict.digest"] == digest
    # Where each of its bytes went is on record, and leads back.
    written = {item.relative_to(workspace.root).as_posix() for item in [path, *path.rglob("*")] if item.is_file()}
    event = workspace.ledger.event(done.index).event
    assert {edge.path for edge in event.makes if hasattr(edge, "path")} == written
    for _, content in done.files:
        kinds = [node.event_kind for node in lineage.lineage(workspace, content, direction="up").graph.nodes]
        assert "stream.materialized" in kinds
        assert "stream.appended" in kinds
    # What is there stays, until it is to be replaced; then nothing of it is left.
    with pytest.raises(UsageError, match="is there already"):
        table_export.export(workspace, "it's", form, path)
    table_export.export(workspace, "it's", form, path, overwrite=True)
    found, marks = read_back(form, path)
    assert found["id"].to_pylist() == [1, 3]
    assert marks["retrodict.version"] == "it's@v2"
    assert not [item.name for item in workspace.root.iterdir() if item.name.startswith(".out")]


def test_what_is_not_ours_or_does_not_fit_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    rows = pa.table({"id": [1], "lasts": pa.array([5], pa.duration("us"))})
    table_change.create(workspace, "t", ["id"], source=rows, how=how_of(workspace, "create"))
    with pytest.raises(UsageError, match=r"column lasts is duration\[us\], which Delta has not"):
        table_export.export(workspace, "t", "delta", tmp_path / "lake")
    assert not (tmp_path / "lake").exists()
    table_change.create(workspace, "u", ["id", "ID"], types={"id": "int64"}, how=how_of(workspace, "create"))
    for form in ("delta", "duckdb"):
        with pytest.raises(UsageError, match="capitals"):
            table_export.export(workspace, "u", form, tmp_path / "lake")
    theirs = tmp_path / "theirs"
    deltalake.write_deltalake(str(theirs), pa.table({"a": [1]}))
    table_change.create(workspace, "v", ["id"], how=how_of(workspace, "create"))
    with pytest.raises(UsageError, match="not a Delta table as an export left it"):
        table_export.export(workspace, "v", "delta", theirs, overwrite=True)
    assert deltalake.DeltaTable(str(theirs)).to_pyarrow_table().num_rows == 1
    with pytest.raises(UsageError, match="is no file"):
        table_export.export(workspace, "v", "parquet", theirs, overwrite=True)
    table_export.export(workspace, "v", "parquet", tmp_path / "new" / "v.parquet")
    with pytest.raises(UsageError, match="cannot be written"):
        table_export.export(workspace, "v", "parquet", tmp_path / "new" / "v.parquet" / "v.parquet")
    # Somebody has added to an export: it is theirs now.
    table_export.export(workspace, "v", "delta", tmp_path / "mine")
    deltalake.write_deltalake(str(tmp_path / "mine"), pa.table({"id": ["1"]}), mode="append")
    with pytest.raises(UsageError, match="not a Delta table as an export left it"):
        table_export.export(workspace, "v", "delta", tmp_path / "mine", overwrite=True)


def test_an_export_that_fails_half_way_leaves_the_one_that_was_there(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    table_change.create(workspace, "it's", ["id"], source=ROWS, how=how_of(workspace, "create"))
    path = workspace.root / "out" / "lake"
    table_export.export(workspace, "it's", "delta", path)
    rename = Path.rename

    def failing(source: Path, target: Path) -> Path:
        if target == path and source.suffix == ".tmp":
            raise OSError(errno.EIO, "Input/output error")
        return rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", failing)
        with pytest.raises(UsageError, match="Input/output error"):
            table_export.export(workspace, "it's", "delta", path, overwrite=True)
    assert values(read_back("delta", path)[0].sort_by("id")) == values(ROWS)
    assert os.listdir(path.parent) == ["lake"]


def test_no_pipe_takes_the_place_of_a_file_that_is_on_record(workspace: Workspace) -> None:
    table_change.create(workspace, "it's", ["id"], source=ROWS, how=how_of(workspace, "create"))
    pipe = workspace.root / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="is no file"):
        table_read.write(workspace, version_of(workspace, "it's"), pipe, "csv")
    assert pipe.is_fifo()
