"""Streams: offsets, digests, formats, branches, positions, lineage."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.streams.conftest import append

import retrodict as rd
from retrodict import provenance
from retrodict import streams as rooms
from retrodict.actions import stream_append, stream_read, streams
from retrodict.actions.add import add
from retrodict.actions.lineage import lineage
from retrodict.actions.run import run
from retrodict.actions.show import show
from retrodict.actions.verify import verify
from retrodict.kernel import merkle
from retrodict.kernel.errors import AlteredObjectError, FormatError, UnknownReferenceError, UsageError
from retrodict.kernel.types import Digest
from retrodict.objects.errors import ChangedFileError
from retrodict.render.json import to_json
from retrodict.streams import queries, records
from retrodict.streams.formats import BLOCK, cells
from retrodict.streams.segment import Segment, grow, leaves, root_of
from retrodict.testing.stores import patch
from retrodict.workspace import Batch, Workspace


def lines(count: int, start: int = 0) -> bytes:
    return b"".join(b'{"id":%d}\n' % i for i in range(start, start + count))


def read(workspace: Workspace, reference: str, branch: str | None = None) -> list[object]:
    values: list[object] = stream_read.values(stream_read.read(workspace, reference, branch=branch))
    return values


def expected_root(texts: list[bytes], prefix: bytes = b"") -> str:
    return merkle.tree_hash([merkle.leaf_hash(prefix + text) for text in texts]).hex()


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_a_tree_that_grows_by_any_steps_is_that_of_rfc_9162(steps: list[int]) -> None:
    texts = [b"%d" % i for i in range(sum(steps))]
    hashes = leaves(texts, b"\0")
    edge: list[bytes] = []
    nodes: dict[int, bytes] = {}
    at = 0
    for step in steps:
        kept, edge = grow(edge, at, hashes[at * 32 : (at + step) * 32])
        at += step
        assert root_of(edge) == merkle.tree_hash([merkle.leaf_hash(text) for text in texts[:at]])
        for level, found in kept.items():
            assert level == 10
            nodes |= {found.first + i: found.hashes[i * 32 : i * 32 + 32] for i in range(len(found.hashes) // 32)}
    perfect = [merkle.tree_hash([merkle.leaf_hash(t) for t in texts[i : i + 1024]]) for i in range(0, at, 1024)]
    assert [nodes[i] for i in range(at // 1024)] == perfect[: at // 1024]


def test_nodes_far_up_are_kept_too() -> None:
    hashes = leaves([b"%d" % i for i in range(1 << 20)], b"\0")
    nodes, edge = grow([], 0, hashes)
    assert nodes[20].hashes == edge[0] == root_of(edge)
    assert nodes[20].first == 0
    assert len(nodes[10].hashes) == 1024 * 32


def test_a_range_is_what_was_appended_there(workspace: Workspace) -> None:
    streams.create(workspace, "s")
    texts: list[bytes] = []
    for size in (1, 1023, 1, 5000, 3):
        done = append(workspace, "s", lines(size, len(texts)))
        texts += lines(size, len(texts)).splitlines()
        assert (done.start, done.stop) == (len(texts) - size, len(texts))
        assert done.digest == f"sha256:{expected_root(texts)}"
    values = [json.loads(text) for text in texts]
    for start, stop in [(0, 6028), (1, 2), (1023, 1026), (2047, 3073), (6027, 6028), (5, 5), (0, 0)]:
        assert read(workspace, f"s@{start}:{stop}") == values[start:stop]
    assert read(workspace, "s@-3:") == values[-3:]
    assert read(workspace, "s@:-6000") == values[:-6000]
    assert read(workspace, "stream:s@7") == values[:7]
    for size in (0, 1, 2, 1024, 1025, 2048, 4097, 6028):
        assert streams.digest(workspace, f"s@{size}").digest == f"sha256:{expected_root(texts[:size])}"
        assert streams.check(workspace, f"s@{size}").digest == f"sha256:{expected_root(texts[:size])}"


def test_a_range_is_read_without_its_prefix(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    streams.create(workspace, "s")
    append(workspace, "s", lines(200_000))
    asked = []
    reading = type(workspace.objects).read

    def counted(store: object, digest: Digest, offset: int, length: int) -> bytes:
        asked.append(length)
        return reading(workspace.objects, digest, offset, length)

    monkeypatch.setattr(type(workspace.objects), "read", counted)
    assert read(workspace, "s@150000:150002") == [{"id": 150000}, {"id": 150001}]
    assert sum(asked) < 2 * BLOCK * 20


def test_two_parties_can_tell_whether_they_mean_the_same_history(workspace: Workspace) -> None:
    streams.create(workspace, "here")
    streams.create(workspace, "there")
    append(workspace, "here", lines(10))
    append(workspace, "here", lines(2000, 10))
    append(workspace, "there", lines(3000))
    theirs = streams.digest(workspace, "there@2010").digest
    assert streams.check(workspace, "here@2010", theirs).answer == "yes"
    assert streams.check(workspace, "here@2009", theirs).answer == "no"
    with pytest.raises(UsageError):
        streams.check(workspace, "here@2009", "sha256:12")


@pytest.mark.parametrize("offset", [0, 1, 1023, 1024, 2999])
def test_a_proof_shows_a_record_to_a_stranger(workspace: Workspace, offset: int) -> None:
    streams.create(workspace, "s", format="csv")
    append(workspace, "s", b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(3000)))
    digest = streams.digest(workspace, "s@3000").digest
    proof = streams.proof(workspace, "s@3000", offset)
    assert proof.record == f"{offset},{offset * offset}"
    assert streams.check_proof(to_json(proof), digest).answer == "yes"
    lie = dataclasses.replace(proof, record=f"{offset},1000000")
    assert streams.check_proof(to_json(lie), digest).answer == "no"
    assert streams.check_proof(to_json(proof), streams.digest(workspace, "s@2999").digest).answer == "no"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"digest": "sha256:00"}', "\x00"])
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        streams.check_proof(text)


@pytest.mark.parametrize(
    ("form", "text", "says"),
    [
        ("jsonl", b'{"a":1}\n{"a":\n{"a":3}\n', "line 2, column 6, is not JSON: Expecting value"),
        ("jsonl", b'{"a":NaN}\n', "line 1"),
        ("jsonl", b'{"a":1} {"b":2}\n', "line 1"),
        ("jsonl", b'"\xff"\n', "line 1"),
        ("jsonl", b"[" * 200_000 + b"\n", "line 1"),
        ("csv", b"a,b\n1,2\n3\n", "line 3"),
        ("csv", b'a,b\n1,2\n"3,4\n5,6\n', "line 3"),
        ("csv", b'a,b\n1,x"y"\n"3"z,4\n', "line 3"),
        ("csv", b"a,b\n1,\xff\n", "line 2"),
        ("arrow", b"no arrow at all", "no Arrow"),
        ("arrow", b"ARROW1", "no Arrow"),
    ],
)
def test_what_is_no_record_is_named_and_nothing_is_appended(
    workspace: Workspace, form: rooms.Format, text: bytes, says: str
) -> None:
    streams.create(workspace, "s", format=form)
    with pytest.raises(rooms.RecordError, match=says):
        append(workspace, "s", text)
    assert streams.list_streams(workspace).rows[0].records == 0


def test_an_endless_line_is_refused_before_it_fills_the_memory(workspace: Workspace) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return b"x" * size

    streams.create(workspace, "s")
    source = Endless()
    with pytest.raises(rooms.RecordError, match="longer than 64 MiB"):
        stream_append.append(workspace, "s", source)  # type: ignore[arg-type]
    assert source.given < 100 << 20


def test_csv_keeps_every_byte_of_a_record(workspace: Workspace) -> None:
    streams.create(workspace, "s", format="csv")
    rows = [b"1,plain", b'2,"two\nlines"', b'3,"a ""quote"" and, a comma"', b'4,"carriage\r\nreturn"', b"5,", b'"",""']
    append(workspace, "s", b"\xef\xbb\xbfid,text\r\n" + b"\r\n".join(rows[:3]) + b"\r\n\r\n")
    append(workspace, "s", b"id,text\n" + b"\n".join(rows[3:]))
    found = stream_read.read(workspace, "s")
    assert b"".join(stream_read.lines(found)) == b"id,text\n" + b"\n".join(rows) + b"\n"
    assert read(workspace, "s@1:4")[0] == {"id": "2", "text": "two\nlines"}
    prefix = bytes.fromhex(streams.proof(workspace, "s", 0).prefix)
    assert streams.digest(workspace, "s").digest == f"sha256:{expected_root(rows, prefix)}"
    assert streams.check(workspace, "s").answer == "yes"
    with pytest.raises(rooms.RecordError, match="header"):
        append(workspace, "s", b"id,other\n1,2\n")


def arrow_file(table: object) -> bytes:
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:  # type: ignore[attr-defined]
        writer.write_table(table)
    return sink.getvalue()


def test_arrow_keeps_every_bit(workspace: Workspace) -> None:
    pa = pytest.importorskip("pyarrow")
    random.seed(7)
    count = 2500
    table = pa.table(
        {
            "f": pa.array([random.choice([-0.0, 0.1, float("nan"), float("inf"), None]) for _ in range(count)]),
            "i": pa.array(range(count), pa.uint64()),
            "t": pa.array([None if i % 3 else i for i in range(count)], pa.timestamp("ns", tz="UTC")),
            "s": pa.array([f"ä{i}" for i in range(count)]).dictionary_encode(),
            "b": pa.array([b"\xff\0" * (i % 3) for i in range(count)]),
            "l": pa.array([[1.5] * (i % 4) if i % 5 else None for i in range(count)]),
            "r": pa.array(
                [{"x": i, "y": None} if i % 7 else None for i in range(count)],
                pa.struct([("x", pa.int32()), ("y", pa.string())]),
            ),
        }
    )
    streams.create(workspace, "s", format="arrow")
    append(workspace, "s", arrow_file(table.slice(0, 700)))
    append(workspace, "s", arrow_file(table.slice(700)))
    found = stream_read.values(stream_read.read(workspace, "s@3:2400"), "arrow")
    plain = table.slice(3, 2397).cast(found.schema)
    for name in plain.column_names:
        assert cells(found[name].combine_chunks()) == cells(plain[name].combine_chunks())
    assert streams.check(workspace, "s").answer == "yes"
    with pytest.raises(rooms.RecordError, match="columns"):
        append(workspace, "s", arrow_file(pa.table({"x": [1]})))
    before = streams.digest(workspace, "s").digest
    stream_append.compact(workspace, "s")
    assert streams.digest(workspace, "s").digest == streams.check(workspace, "s").digest == before


def test_nan_of_other_bits_is_another_record() -> None:
    np = pytest.importorskip("numpy")
    pa = pytest.importorskip("pyarrow")
    bits = np.array([0x7FF8000000000000, 0x7FF8000000000001, 1 << 63, 0], np.uint64)
    assert len(set(cells(pa.array(bits.view(np.float64))))) == 4


def test_a_column_without_a_canonical_form_is_refused(workspace: Workspace) -> None:
    pa = pytest.importorskip("pyarrow")
    streams.create(workspace, "s", format="arrow")
    table = pa.table({"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})
    with pytest.raises(UsageError, match="map"):
        append(workspace, "s", arrow_file(table))


def test_compaction_changes_no_offset_and_no_digest(workspace: Workspace) -> None:
    streams.create(workspace, "s")
    at = 0
    for i in range(40):
        size = 700 if i % 9 == 0 else 1 + i % 5
        append(workspace, "s", lines(size, at))
        at += size
    before = [streams.digest(workspace, f"s@{size}").digest for size in range(0, at + 1, 97)]
    values = read(workspace, "s")
    done = stream_append.compact(workspace, "s", at_least=600)
    assert sum(segments for _, _, segments in done.segments) > 30
    assert read(workspace, "s") == values
    assert [streams.digest(workspace, f"s@{size}").digest for size in range(0, at + 1, 97)] == before
    assert streams.check(workspace, "s").answer == "yes"
    append(workspace, "s", lines(3, at))
    assert streams.check(workspace, "s").answer == "yes"
    stream_append.compact(workspace, "s", at_least=100_000)
    assert len(rooms.Line(workspace, queries.streams(workspace.views.database(), "s")[0]).places(0, at + 3)) == 1
    assert read(workspace, "s") == [*values, *(json.loads(line) for line in lines(3, at).splitlines())]
    assert stream_append.compact(workspace, "s").segments == ()
    assert verify(workspace).findings == () or all(f.level == "unprotected" for f in verify(workspace).findings)


@pytest.mark.parametrize(
    "reference", ["s@11", "s@5:12", "s@11:", "s@-3:-5", "s@7:3", "s@x", "s@1:2:3", "@4", "t@3", "s@"]
)
def test_what_is_not_there_is_refused(workspace: Workspace, reference: str) -> None:
    streams.create(workspace, "s")
    append(workspace, "s", lines(10))
    with pytest.raises((UsageError, UnknownReferenceError)):
        read(workspace, reference)


@pytest.mark.parametrize("name", ["", "a b", "a@1", "a:b", "-x", "a\n", "\x1b[31m"])
def test_a_name_that_cannot_stand_in_a_reference_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(UsageError):
        streams.create(workspace, name)


def test_a_flipped_bit_is_never_read(workspace: Workspace) -> None:
    streams.create(workspace, "s")
    append(workspace, "s", lines(50_000))
    pack = max((workspace.folder / "objects" / "packs").rglob("*.pack"), key=lambda path: path.stat().st_size)
    patch(pack, pack.stat().st_size // 3, 1)
    with pytest.raises(AlteredObjectError):
        read(workspace, "s")
    with pytest.raises(AlteredObjectError):
        streams.check(workspace, "s")
    assert verify(workspace).answer == "no"


def test_a_log_that_says_another_digest_is_found(workspace: Workspace) -> None:
    created = streams.create(workspace, "s")
    first = append(workspace, "s", lines(5))
    batch = Batch(workspace)
    line = rooms.Line(workspace, queries.streams(workspace.views.database(), "s")[0])
    (place,) = line.places(0, 5)
    segment = Segment.decode(workspace.objects.get(place.segment))
    claimed = dataclasses.replace(segment, start=5, stop=10)
    body = records.appended_body(
        stream=created.event,
        log=workspace.ledger.origin,
        branch="",
        start=5,
        stop=10,
        root=first.digest[7:],
        segment=batch.blob(claimed.encode()),
        schema=None,
        size_bytes=1,
        kafka=None,
        merged=None,
    )
    batch.event("stream.appended", uses=(), makes=(), body=body)
    batch.append()
    with pytest.raises(rooms.StreamMismatchError):
        streams.check(workspace, "s")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format":"retrodict stream segment","version":2}'])
def test_what_is_no_segment_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        Segment.decode(data)


def test_a_consumer_stands_where_it_was_set_and_reads_from_there(workspace: Workspace) -> None:
    streams.create(workspace, "s")
    append(workspace, "s", lines(10))
    assert streams.position(workspace, "s", "trainer").behind == 10
    found = stream_read.read(workspace, "s", consumer="trainer", limit=4)
    assert stream_read.values(found) == [{"id": i} for i in range(4)]
    assert streams.position(workspace, "s", "trainer").offset == 0  # nobody said that it has done with them
    streams.position(workspace, "s", "trainer", offset=4)
    assert stream_read.values(stream_read.read(workspace, "s", consumer="trainer"))[0] == {"id": 4}
    assert streams.position(workspace, "s", "other").offset == 0
    with pytest.raises(rooms.OffsetError):
        streams.position(workspace, "s", "trainer", offset=11)
    with pytest.raises(UsageError):
        stream_read.read(workspace, "s@3:5", consumer="trainer")


def foreign(workspace: Workspace, name: str, owner: str = "elsewhere.example/log") -> None:
    """Make a stream that the log of another clone owns."""
    batch = Batch(workspace)
    batch.event("stream.created", uses=(), makes=(), body=records.created_body(name=name, format="jsonl", owner=owner))
    batch.append()


def test_an_append_by_another_log_begins_a_branch_that_its_owner_merges(workspace: Workspace) -> None:
    streams.create(workspace, "s")
    append(workspace, "s", lines(1500))
    batch = Batch(workspace)
    stream = queries.streams(workspace.views.database(), "s")[0]
    batch.event("stream.moved", uses=(), makes=(), body=records.moved_body(stream=stream.event, owner="other.log/1"))
    batch.append()
    done = append(workspace, "s", lines(5, 9000))
    assert (done.branch, done.start, done.stop) == (workspace.ledger.origin, 1500, 1505)
    append(workspace, "s", lines(2000, 9005))
    stream_append.compact(workspace, "s")
    shown = streams.show(workspace, "s")
    assert (shown.stream.records, shown.stream.is_own, shown.stream.branches) == (1500, False, 1)
    assert [(b.base, b.stop, b.merged) for b in shown.branches] == [(1500, 3505, 1500)]
    branch = workspace.ledger.origin[:12]
    assert read(workspace, "s@1498:1502", branch) == [{"id": 1498}, {"id": 1499}, {"id": 9000}, {"id": 9001}]
    assert streams.check(workspace, "s@3505", branch=branch).answer == "yes"
    assert read(workspace, "s@-1:") == [{"id": 1499}]
    with pytest.raises(UsageError, match=r"other\.log/1"):
        stream_append.merge(workspace, "s")
    assert streams.own(workspace, "s").is_new
    assert not streams.own(workspace, "s").is_new
    append(workspace, "s", lines(1, 5000))
    (merged,) = stream_append.merge(workspace, "s", reason="the laptop was offline").merged
    assert (merged.start, merged.stop, merged.branch) == (1501, 3506, None)
    assert read(workspace, "s@1499:1503") == [{"id": 1499}, {"id": 5000}, {"id": 9000}, {"id": 9001}]
    assert streams.show(workspace, "s").stream.branches == 0
    assert streams.check(workspace, "s").answer == "yes"
    with pytest.raises(UsageError, match="no branch"):
        stream_append.merge(workspace, "s")


def test_a_branch_of_an_empty_stream(workspace: Workspace) -> None:
    foreign(workspace, "s")
    append(workspace, "s", lines(3))
    assert read(workspace, "s") == []
    assert read(workspace, "s@1:", "") == [{"id": 1}, {"id": 2}]
    streams.own(workspace, "s")
    stream_append.merge(workspace, "s")
    assert read(workspace, "s") == [{"id": 0}, {"id": 1}, {"id": 2}]


def test_no_pipe_takes_the_place_of_a_file_that_is_on_record(workspace: Workspace) -> None:
    streams.create(workspace, "s")
    append(workspace, "s", lines(3))
    pipe = workspace.root / "pipe"
    os.mkfifo(pipe)
    for out in (pipe, Path(os.devnull)):
        with pytest.raises(UsageError, match="is no file"):
            stream_read.write(workspace, stream_read.read(workspace, "s"), out)
        assert not out.is_file()


def test_a_file_that_was_read_from_a_stream_leads_to_its_records(workspace: Workspace) -> None:
    streams.create(workspace, "s")
    source = workspace.root / "day.jsonl"
    source.write_bytes(lines(2000))
    from retrodict.actions.add import add

    (added,) = add(workspace, [source])
    with source.open("rb") as file:
        stream_append.append(workspace, "s", file, path=source)
    out = workspace.root / "range.jsonl"
    done = stream_read.write(workspace, stream_read.read(workspace, "s@10:20"), out)
    assert out.read_bytes() == lines(10, 10)
    found = run(
        workspace,
        [sys.executable, "-c", "open('model.txt', 'w').write(open('range.jsonl').read())"],
        cwd=workspace.root,
        environment=dict(os.environ),
    )
    assert [file.maker for file in found.inputs if file.path == "range.jsonl"] == [done.index]
    labels = " ".join(lineage(workspace, str(found.entry)).labels.values())
    assert "stream.materialized" in labels
    assert "stream.appended (stream:s@2000)" in labels
    assert added.reference in labels
    assert show(workspace, "s@5").entry == show(workspace, "stream:s").entry
    answer = verify(workspace)
    assert [finding for finding in answer.findings if finding.level in ("altered", "missing")] == []


SCRIPT = """\
import retrodict as rd
rows = rd.read_stream("s@10:1500")
open("model.txt", "w").write(str(sum(row["id"] for row in rows)))
"""


def test_a_run_that_reads_a_stream_has_it_as_an_input(root: Path, workspace: Workspace) -> None:
    streams.create(workspace, "s")
    append(workspace, "s", lines(1000))
    append(workspace, "s", lines(1000, 1000))
    (root / "train.py").write_text(SCRIPT)
    environment = {**os.environ, "RETRODICT_STATE": str(root.parent / "state"), "RETRODICT_AGENT": "Ada"}
    found = run(workspace, [sys.executable, "train.py"], cwd=root, environment=environment)
    assert found.exit_code == 0
    assert (root / "model.txt").read_text() == str(sum(range(10, 1500)))
    uses = provenance.edges(workspace.ledger.event(found.entry).event.uses, workspace.objects.get)
    parts = [edge for edge in uses if edge.role == "stream"]
    assert [edge.extra["records"] for edge in parts] == [[10, 1000], [1000, 1500]]
    labels = " ".join(lineage(workspace, str(found.entry)).labels.values())
    assert "stream.appended (stream:s@1000)" in labels
    assert "stream.appended (stream:s@2000)" in labels
    assert lineage(workspace, "s@1000", direction="down").graph.nodes


def test_a_run_of_this_process_too(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    streams.create(workspace, "s")
    monkeypatch.chdir(workspace.root)
    assert rd.append_stream("s", [{"id": 1}, {"id": 2}], workspace=workspace).stop == 2
    with rd.run("training", workspace=workspace) as under_way:
        assert rd.read_stream("s@1", workspace=workspace) == [{"id": 1}]
    assert under_way.record is not None
    uses = provenance.edges(workspace.ledger.event(under_way.record.entry).event.uses, workspace.objects.get)
    assert [edge.extra["records"] for edge in uses if edge.role == "stream"] == [[0, 1]]
    assert rd.read_stream("s", workspace=workspace) == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize("form", ["jsonl", "csv", "arrow"])
def test_values_come_back_in_every_form(workspace: Workspace, form: rooms.Format) -> None:
    pytest.importorskip("pandas")
    streams.create(workspace, "s", format=form)
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "y,\n"}]
    rd.append_stream("s", rows, workspace=workspace)
    rd.append_stream("s", rows[:1], workspace=workspace)
    frame = rd.read_stream("s", form="pandas", workspace=workspace)
    assert frame.to_dict("records") == [*rows, rows[0]]
    rd.append_stream("s", frame if form == "arrow" else frame.to_dict("records"), workspace=workspace)
    assert rd.read_stream("s@3:", form="arrow", workspace=workspace).num_rows == 3
    found = rd.read_stream("s@-1:", workspace=workspace)
    assert found == ([{"a": "1", "b": "x"}] if form == "csv" else rows[:1])
    with pytest.raises(rooms.RecordError):
        rd.append_stream("s", [{"a": object(), "c": 2}], workspace=workspace)


def test_the_command_line_goes_through_a_case(newcomer: dict[str, str], tmp_path: Path) -> None:
    def told(*words: str, given: str | None = None, code: int = 0) -> str:
        done = subprocess.run(
            ["retrodict", *words], cwd=tmp_path, env=newcomer, input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    told("init")
    told("stream", "create", "s", "--format", "csv")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n")
    assert "s@2" in told("stream", "append", "s", "a.csv")
    assert "s@3" in told("stream", "append", "s", "-", given="a,b\n5,6\n")
    assert told("stream", "read", "s@1:") == "a,b\n3,4\n5,6\n"
    assert told("stream", "read", "s@-1:") == "a,b\n5,6\n"
    digest = told("stream", "digest", "s@2").split()[1]
    assert "the same history" in told("stream", "check", "s@2", digest)
    assert "another history" in told("stream", "check", "s@3", digest, code=1)
    assert told("stream", "read", "s", "--consumer", "c", "--limit", "2") == "a,b\n1,2\n3,4\n"
    assert "c is at s@2, 1 record behind" in told("stream", "position", "s", "c")
    assert told("stream", "read", "s", "--consumer", "c") == "a,b\n5,6\n"
    assert "s@3" in told("stream")
    assert "c is at 3, 0 behind" in told("stream", "show", "s")
    (tmp_path / "proof.json").write_text(told("stream", "proof", "s", "1", "--json"))
    assert "is in" in told("stream", "check-proof", "proof.json")
    assert json.loads(told("stream", "read", "s@1", "--json"))["records"] == [{"a": "1", "b": "2"}]
    told("stream", "read", "s@2", "--out", "out.csv")
    assert (tmp_path / "out.csv").read_text() == "a,b\n1,2\n3,4\n"
    assert "no-such-file" in told("stream", "append", "s", "no-such-file", code=2)
    assert "Did you mean" in told("stream", "read", "ss", code=2)
    assert "Everything is as the record says" in told("verify")


class _Edited(io.FileIO):
    """A file that grows to `after` when it has been read."""

    after = b""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        Path(os.fsdecode(self.name)).write_bytes(self.after)
        return data


def test_records_are_from_no_file_that_was_another_when_they_were_read(workspace: Workspace) -> None:
    streams.create(workspace, "s")
    path, held = workspace.root / "a.jsonl", workspace.root / "held.jsonl"
    path.write_bytes(lines(2))
    held.write_bytes(b'{"id":7}\n')
    add(workspace, [held])
    source = _Edited(path)
    source.after = held.read_bytes()
    with source, pytest.raises(ChangedFileError, match=r"a\.jsonl"):
        stream_append.append(workspace, "s", source, path=path)
    assert read(workspace, "s") == []
