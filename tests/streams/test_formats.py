"""The example in docs/formats/stream.md is what the code writes, and digests stay what they are for ever."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from tests.streams.conftest import append

from retrodict.actions import stream_append, streams
from retrodict.kernel import canonical
from retrodict.streams import Format, records
from retrodict.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs" / "formats" / "stream.md").read_text()


def test_the_example_is_what_is_written(workspace: Workspace) -> None:
    segment, lines = re.findall(r"^```(?:json)?\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[:2]
    streams.create(workspace, "clicks")
    append(workspace, "clicks", lines.encode())
    (stream,) = records.streams(workspace.views.database())
    found = records.last(workspace.views.database(), stream.event, "")
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
