"""Rows and cells: against a plain dict, in every format, and what must not be taken for the same."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrodict.diffs.tables import RepeatedKeyError, compare, read
from retrodict.kernel.errors import UsageError

CELLS = st.one_of(st.none(), st.text(alphabet="ab\x1d\x1e\x1f", max_size=3))
ROWS = st.dictionaries(st.integers(0, 9).map(str), st.tuples(CELLS, CELLS), max_size=8)


def _table(rows: dict[str, tuple[str | None, str | None]]) -> pa.Table:
    columns = {"id": list(rows), "x": [r[0] for r in rows.values()], "y": [r[1] for r in rows.values()]}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


@settings(deadline=None)
@given(ROWS, ROWS)
def test_by_key_it_finds_what_a_dict_finds(
    old: dict[str, tuple[str | None, str | None]], new: dict[str, tuple[str | None, str | None]]
) -> None:
    found = compare(_table(old), _table(new), key=["id"], limit=None)
    both = old.keys() & new.keys()
    assert (found.rows_added, found.rows_removed) == (len(new.keys() - old), len(old.keys() - new))
    assert found.rows_changed == sum(old[k] != new[k] for k in both)
    assert found.cells_changed == sum(a != b for k in both for a, b in zip(old[k], new[k], strict=True))
    for row in found.shown:
        if row.change == "changed":
            before, after = old[row.key[0] or ""], new[row.key[0] or ""]
            assert row.cells == {
                n: (a, b) for n, a, b in zip(("x", "y"), before, after, strict=True) if a != b
            }  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), max_size=12), st.lists(st.tuples(CELLS, CELLS), max_size=12))
def test_by_order_the_counts_add_up(a: list[Any], b: list[Any]) -> None:
    tables = [pa.table({"x": pa.array([r[0] for r in rows], pa.string()),
                        "y": pa.array([r[1] for r in rows], pa.string())}) for rows in (a, b)]  # fmt: skip
    found = compare(*tables, limit=None)
    assert found.rows_before + found.rows_added - found.rows_removed == found.rows_after
    assert (found.rows_added + found.rows_removed + found.rows_changed == 0) == (a == b)


def _written(rows: list[dict[str, Any]], suffix: str) -> bytes:
    table = pa.Table.from_pylist(rows)
    file = io.BytesIO()
    match suffix:
        case ".parquet":
            pa.parquet.write_table(table, file)
        case ".feather":
            pa.feather.write_feather(table, file)
        case ".jsonl":
            return "".join(json.dumps(row) + "\n" for row in rows).encode()
        case _:
            mark = "\t" if suffix == ".tsv" else ","
            lines: list[list[Any]] = [list(rows[0]), *(list(row.values()) for row in rows)]
            return "".join(mark.join(map(str, line)) + "\n" for line in lines).encode()
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".feather"])
def test_every_format_gives_rows_and_cells(suffix: str) -> None:
    old = [{"id": n, "x": n / 3} for n in range(50)]
    new = [{"id": -1, "x": 0.5}, *({**row, "x": 9.0} if row["id"] == 7 else row for row in old)]
    tables = [read(f"t{suffix}", _written(rows, suffix)) for rows in (old, new)]
    assert None not in tables
    for key in ((), ("id",)):
        found = compare(*tables, key=key, limit=None)
        assert (found.rows_added, found.rows_removed, found.rows_changed, found.cells_changed) == (1, 0, 1, 1)
        changed = next(row for row in found.shown if row.change == "changed")
        assert changed.cells["x"][1] in ("9.0",)


def test_what_is_written_otherwise_is_not_the_same() -> None:
    found = compare(read("a.csv", b"x\n01\n1.0\n"), read("b.csv", b"x\n1\n1.00\n"), limit=None)
    assert found.cells_changed == 2
    found = compare(
        read("a.jsonl", b'{"x": 1}\n{"y": 2}\n'), read("b.jsonl", b'{"x": 1.0}\n{"x": null, "y": 2}\n'), limit=None
    )
    assert found.cells_changed == 2
    floats = [pa.table({"x": pa.array([value], pa.float64())}) for value in (0.0, -0.0)]
    assert compare(*floats, limit=None).cells_changed == 1
    nan = pa.table({"x": pa.array([float("nan")])})
    assert compare(nan, nan, limit=None).cells_changed == 0


def test_columns_that_come_go_and_move_are_told_apart_from_cells() -> None:
    found = compare(read("a.csv", b"a,b,c\n1,2,3\n"), read("b.csv", b"c,a,d\n3,1,4\n"), limit=None)
    assert (found.columns_added, found.columns_removed, found.columns_reordered) == (("d",), ("b",), True)
    assert found.rows_changed == 0


@given(
    rows=st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 3) | st.sampled_from(["x", "\u2028", None]))),
    at_once=st.integers(1, 4),
)
def test_json_lines_are_the_same_table_however_many_are_packed_at_once(rows: list[Any], at_once: int) -> None:
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    whole = read("a.jsonl", data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retrodict.diffs.tables._AT_ONCE", at_once)
        packed = read("a.jsonl", data)
    assert whole is not None
    assert packed == whole
    assert whole.num_rows == (len(rows) if whole.num_columns else 0)
    assert [{k: json.loads(v) for k, v in row.items() if v is not None} for row in whole.to_pylist()] == (
        rows if whole.num_columns else []
    )


def test_many_json_lines_are_read_in_the_time_that_their_number_takes() -> None:
    def seconds(rows: int) -> float:
        data = b"".join(b'{"id": %d, "x": 1}\n' % row for row in range(rows))
        start = time.process_time()
        assert read("a.jsonl", data) is not None
        return time.process_time() - start

    few = min(seconds(3_000) for _ in range(3))
    assert seconds(60_000) < 80 * few  # twenty times as many


def test_a_line_that_would_fill_the_memory_is_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrodict.diffs.tables.LINE_BYTES", 1000)
    line = b'{"v": [' + b"1, " * 500 + b"1]}\n"
    assert read("a.jsonl", b'{"v": 1}\n' + line) is None
    assert read("a.jsonl", b'{"v": 1}\n') is not None
    assert read("a.csv", b"a," * 600 + b"b\n") is None
    monkeypatch.setattr("retrodict.diffs.tables._WIDE_BYTES", 6_000)
    names = ",".join(f"c{n}" for n in range(1001)).encode()
    monkeypatch.setattr("retrodict.diffs.tables.LINE_BYTES", 6_000)
    assert read("a.csv", names + b"\n") is not None
    assert read("a.csv", names + b"\n" + names + b"\n") is None


def test_a_key_that_cannot_tell_rows_apart_is_refused_by_name() -> None:
    table = read("a.csv", b"id,x\n1,a\n2,b\n2,c\n")
    with pytest.raises(RepeatedKeyError, match="id=2"):
        compare(table, table, key=["id"], limit=None)
    with pytest.raises(UsageError, match="'nope'"):
        compare(table, table, key=["nope"], limit=None)


@pytest.mark.parametrize("data", [b"", b"a,a\n1,2\n", b"a,b\n1\n", b"\xff\xfe\n"])
def test_what_is_no_table_is_none(data: bytes) -> None:
    assert read("a.csv", data) is None


def test_a_table_of_a_hundred_thousand_columns_is_compared() -> None:
    header = ",".join(f"c{n}" for n in range(100_000))
    row = ",".join("1" for _ in range(100_000))
    old, new = (read("a.csv", f"{header}\n{row}{end}\n".encode()) for end in ("", "7"))
    assert compare(old, new, limit=None).by_column == {"c99999": 1}


def test_a_long_cell_is_no_trouble() -> None:
    cell = "x" * (3 << 20)
    found = compare(read("a.csv", f"x\n{cell}\n".encode()), read("b.csv", f"x\n{cell}y\n".encode()), limit=1)
    assert found.cells_changed == 1
