"""The example in docs/formats/stream.md is what the code writes, and digests stay what they are for ever."""

from __future__ import annotations

import io
import json
import re
import struct
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.streams.conftest import append

from retrodict.actions import stream_append, streams
from retrodict.kernel import canonical
from retrodict.streams import Format, queries
from retrodict.streams.formats import cells, rows
from retrodict.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs" / "formats" / "stream.md").read_text()


def test_the_example_is_what_is_written(workspace: Workspace) -> None:
    segment, lines = re.findall(r"^```(?:json)?\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[:2]
    streams.create(workspace, "clicks")
    append(workspace, "clicks", lines.encode())
    (stream,) = queries.streams(workspace.views.database())
    found = queries.last(workspace.views.database(), stream.event, "")
    assert found is not None
    assert workspace.objects.get(found.segment) == canonical.encode(json.loads(segment))


@pytest.mark.parametrize(
    ("form", "digest"),
    [
        ("jsonl", "6021942836ea690e7e55ff91d2999cc4b2fa93f248bb90b7e2a7e6a3cb57cc97"),
        ("csv", "f4ad8358fc0ffad2c27176285ed3f777bcf7257df31412744b91974c83de62cb"),
        ("arrow", "62cf474d8a19df5b70aa76e57f9882e07af9169b15b31e5011b9abbf1c487d00"),
    ],
)
def test_a_digest_stays_what_it_is(workspace: Workspace, form: Format, digest: str) -> None:
    """These were printed by the first release with streams; another figure would break what two parties compare."""
    streams.create(workspace, "s", format=form)
    match form:
        case "jsonl":
            append(workspace, "s", b"".join(b'{"i":%d}\n' % i for i in range(3000)))
        case "csv":
            append(workspace, "s", b"i,t\n" + b"".join(b'%d,"a, ""b"""\n' % i for i in range(3000)))
        case "arrow":
            pa = pytest.importorskip("pyarrow")
            values = {
                "f": pa.array([i / 3 for i in range(3000)]),
                "t": pa.array([f"é{i}" for i in range(3000)]),
                "l": pa.array([[i, None] for i in range(3000)], pa.list_(pa.int16())),
                "d": pa.array(range(3000), pa.date32()),
            }
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, pa.table(values).schema) as writer:
                writer.write_table(pa.table(values))
            append(workspace, "s", sink.getvalue())
    assert streams.check(workspace, "s").digest == f"sha256:{digest}"
    stream_append.compact(workspace, "s")
    assert streams.digest(workspace, "s").digest == f"sha256:{digest}"


_WIDE = Context(prec=40)
_TEXT = st.text(max_size=6) | st.sampled_from(["", '"', "\\", "\x1f", "\x7f", "ä", "\U0001f40d", "0012", "null"])
_CELLS: dict[str, tuple[object, st.SearchStrategy[object]]] = {
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "bool": (pa.bool_(), st.booleans()),
    "float32": (pa.float32(), st.floats(width=32)),
    "float64": (pa.float64(), st.floats() | st.sampled_from([0.0, -0.0, 5e-324])),
    "text": (pa.string(), _TEXT),
    "binary": (pa.binary(), st.binary(max_size=4)),
    "date": (pa.date32(), st.dates()),
    "timestamp": (pa.timestamp("us", "UTC"), st.integers(-(2**62), 2**62)),
    "decimal(38,6)": (pa.decimal128(38, 6), st.integers(-(10**31), 10**31).map(lambda n: Decimal(n).scaleb(-6, _WIDE))),
    "decimal(20,9)": (pa.decimal128(20, 9), st.integers(-(10**19), 10**19).map(lambda n: Decimal(n).scaleb(-9))),
    "list": (pa.list_(pa.int32()), st.lists(st.integers(0, 9), max_size=3)),
    "struct": (pa.struct([("a", pa.string()), ("b", pa.float64())]), st.fixed_dictionaries({"a": _TEXT})),
}


def _plainly(array: Any) -> list[str]:
    """What `cells` is to return, one cell at a time."""
    kind, found = array.type, []
    for cell in array:
        value: Any = None if pa.types.is_temporal(kind) else cell.as_py()
        if not cell.is_valid:
            found.append("null")
        elif pa.types.is_struct(kind):
            found.append(f"[{','.join(_plainly(pa.array([cell[name].as_py()], cell[name].type))[0] for name in cell)}]")
        elif pa.types.is_list(kind):
            found.append(f"[{','.join(_plainly(cell.values))}]")
        elif pa.types.is_floating(kind):
            form = {32: ">f", 64: ">d"}[kind.bit_width]
            found.append(f'"{int.from_bytes(struct.pack(form, value)):x}"')
        elif pa.types.is_temporal(kind):
            found.append(str(cell.value))
        elif pa.types.is_decimal(kind):
            found.append(f'"{value:f}"')
        elif pa.types.is_binary(kind):
            found.append(f'"{value.hex()}"')
        else:
            found.append(json.dumps(value, ensure_ascii=False))
    return found


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_what_arrow_writes_is_what_the_standard_library_writes(data: st.DataObject) -> None:
    """The leaves of all streams of Arrow rest on these bytes."""
    size, cut = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 2))
    names = data.draw(st.lists(st.sampled_from(sorted(_CELLS)), min_size=1, max_size=4))
    columns = []
    for name in names:
        kind, values = _CELLS[name]
        drawn = data.draw(st.lists(values | st.none(), min_size=size + cut, max_size=size + cut))
        columns.append(pa.array(drawn, kind).slice(cut))
    expected = [_plainly(column) for column in columns]
    assert [cells(column) for column in columns] == expected
    batch = pa.RecordBatch.from_arrays(columns, names=[str(i) for i in range(len(columns))])
    assert rows(batch) == [f"[{','.join(row)}]".encode() for row in zip(*expected, strict=True)]
