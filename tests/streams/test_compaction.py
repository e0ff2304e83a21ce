"""Compaction gives room back, and changes no offset, no digest and no proof."""

from __future__ import annotations

import io
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.streams.conftest import append, open_at

import retrodict as rd
from retrodict import streams as rooms
from retrodict.actions import forget, stream_append, stream_read, streams
from retrodict.actions.add import add
from retrodict.actions.checkout import checkout
from retrodict.actions.export import export
from retrodict.actions.gc import gc
from retrodict.actions.init import init
from retrodict.actions.verify import verify
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import FormatError, UsageError
from retrodict.render.json import to_json
from retrodict.streams.segment import Segment
from retrodict.workspace import Workspace


def lines(start: int, stop: int, keys: int = 7, wide: int = 0) -> bytes:
    dice = random.Random(start)
    return b"".join(
        b'{"id":%d,"key":%d,"text":"%s"}\n' % (i, i % keys, dice.randbytes(wide).hex().encode())
        for i in range(start, stop)
    )


def values(workspace: Workspace, reference: str) -> list[int]:
    return [row["id"] for row in stream_read.values(stream_read.read(workspace, reference))]


def held_bytes(workspace: Workspace) -> int:
    """Return what packs and raw files take: the index beside them grows and shrinks by pages."""
    found = (workspace.folder / "objects").rglob("*")
    return sum(path.stat().st_size for path in found if path.is_file() and ".db" not in path.name)


def digests(workspace: Workspace, size: int) -> list[str]:
    return [streams.digest(workspace, f"s@{at}").digest for at in range(0, size + 1, 501)]


def swept(workspace: Workspace) -> int:
    """Collect what nothing needs, and return how many bytes the store became smaller by."""
    before = held_bytes(workspace)
    gc(workspace, apply=True, grace_s=0)
    return before - held_bytes(workspace)


def test_segments_that_were_put_together_give_their_room_back(workspace: Workspace) -> None:
    streams.create(workspace, "s")
    for start in range(0, 20_000, 2_000):
        append(workspace, "s", lines(start, start + 2_000, wide=40))
    kept = workspace.root / "kept.jsonl"  # the same bytes as one append, versioned: they must stay
    kept.write_bytes(lines(0, 2_000, wide=40))
    add(workspace, [kept])
    before, told, alone = held_bytes(workspace), digests(workspace, 20_000), swept(workspace)
    assert stream_append.compact(workspace, "s").segments == ((0, 20_000, 10),)
    grown = held_bytes(workspace)
    freed = swept(workspace)
    assert grown > before - alone
    assert freed > 0.7 * before
    assert held_bytes(workspace) < 1.35 * before
    assert values(workspace, "s") == list(range(20_000))
    assert digests(workspace, 20_000) == told
    assert streams.check(workspace, "s").answer == "yes"
    kept.unlink()
    checkout(workspace, "dataset:kept.jsonl")
    assert kept.read_bytes() == lines(0, 2_000, wide=40)
    answer = verify(workspace)
    assert [finding for finding in answer.findings if finding.level in ("altered", "missing")] == []


def test_only_the_newest_of_each_key_is_held_and_offsets_stay(workspace: Workspace) -> None:
    streams.create(workspace, "s")
    for start, stop in ((0, 9_000), (9_000, 9_001), (9_001, 12_000)):
        append(workspace, "s", lines(start, stop, wide=100))
    append(workspace, "s", b'{"id":12000}\n["no key"]\n')
    told = digests(workspace, 12_002)
    proof = streams.proof(workspace, "s@12000", 11_999)
    early = streams.proof(workspace, "s@12000", 4)
    plan = stream_append.drop(workspace, "s", key="key")
    assert (plan.dropped, plan.left, plan.is_plan) == (12_000 - 7, 9, True)
    assert swept(workspace) == 0
    with pytest.raises(UsageError, match="reason"):
        stream_append.drop(workspace, "s", key="key", apply=True)
    before = held_bytes(workspace)
    done = stream_append.drop(workspace, "s", key="key", apply=True, reason="only the newest counts")
    entry = workspace.ledger.size() - 2
    assert workspace.ledger.event(entry).event.kind == "stream.compacted"
    swept(workspace)
    assert (done.dropped, done.left) == (plan.dropped, plan.left)
    assert 12_000 * 32 < held_bytes(workspace) < 0.6 * before  # the hashes of what is gone stay
    assert values(workspace, "s@:12001") == [*range(11_993, 12_001)]
    assert stream_read.gaps(stream_read.read(workspace, "s")) == (stream_read.Dropped(entry=entry, records=11_993),)
    for gone in ("s@4:5", "s@5", "s@100:11993"):
        with pytest.raises(rooms.CompactedError, match=f"compacted by entry {entry}"):
            stream_read.read(workspace, gone)
    assert digests(workspace, 12_002) == told
    assert streams.check(workspace, "s").answer == "yes"
    for old in (proof, early):
        assert streams.check_proof(to_json(old), streams.digest(workspace, "s@12000").digest).answer == "yes"
    again = streams.proof(workspace, "s@12000", 11_999)
    assert again == proof
    with pytest.raises(rooms.CompactedError):
        streams.proof(workspace, "s@12000", 4)
    append(workspace, "s", lines(12_002, 12_004))
    assert stream_append.drop(workspace, "s", key="key", apply=True, reason="again").dropped == 2
    assert values(workspace, "s@11990:12000") == [11_993, 11_994, 11_997, 11_998, 11_999]
    assert streams.check(workspace, "s").answer == "yes"
    assert stream_append.drop(workspace, "s", key="key").dropped == 0
    stream_append.drop(workspace, "s", before=12_002, apply=True, reason="too old")
    assert values(workspace, "s@-2:") == [12_002, 12_003]
    assert digests(workspace, 12_002) == told
    found = stream_read.read(workspace, "s", consumer="late", limit=12_003)
    assert [row["id"] for row in stream_read.values(found)] == [12_002]
    answer = verify(workspace)
    assert [finding for finding in answer.findings if finding.level in ("altered", "missing")] == []


@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_other_formats_drop_too(workspace: Workspace, form: rooms.Format) -> None:
    pa = pytest.importorskip("pyarrow")
    streams.create(workspace, "s", format=form)
    for start in (0, 1500):
        rows = [{"id": i, "key": f"k{i % 3}"} for i in range(start, start + 1500)]
        rd.append_stream("s", pa.Table.from_pylist(rows) if form == "arrow" else rows, workspace=workspace)
    told = digests(workspace, 3000)
    stream_append.drop(workspace, "s", key="key", apply=True, reason="newest")
    assert [int(i) for i in values(workspace, "s")] == [2997, 2998, 2999]
    assert digests(workspace, 3000) == told
    assert streams.check(workspace, "s").answer == "yes"
    with pytest.raises(UsageError, match="no column"):
        stream_append.drop(workspace, "s", key="kye")


def test_a_stream_about_people_is_compacted_by_person(workspace: Workspace) -> None:
    streams.create(workspace, "s", subject="who", personal=["x"])
    rows = b"".join(b'{"who":"p%d","x":%d,"shown":%d}\n' % (i % 2, i, i % 3) for i in range(10))
    stream_append.append(workspace, "s", io.BytesIO(rows))
    with pytest.raises(UsageError, match="sealed"):
        stream_append.drop(workspace, "s", key="x")
    assert stream_append.drop(workspace, "s", key="shown").dropped == 7
    stream_append.drop(workspace, "s", key="who", apply=True, reason="newest")
    assert [row["x"] for row in stream_read.values(stream_read.read(workspace, "s"))] == [8, 9]
    assert [item.reference for item in export(workspace, "p1").records] == ["s@9:10"]
    assert forget.forget(workspace, "p1").reach.streams == ("s: 1 record",)
    assert streams.check(workspace, "s").answer == "yes"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("compaction") / "project"
    init(folder, folder.parent / "state", SystemClock(), agent="Ada")
    with open_at(folder) as opened:
        yield opened


@given(st.data())
@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_appends_and_compactions_read_like_a_list_with_holes(shared: Workspace, data: st.DataObject) -> None:
    name = f"s{shared.ledger.size()}"
    streams.create(shared, name)
    model: list[int | None] = []
    roots = {0: streams.digest(shared, f"{name}@0").digest}
    for _ in range(data.draw(st.integers(1, 6))):
        step = data.draw(st.sampled_from(["append", "append", "together", "before", "key"]))
        if step == "append" or not model:
            size = data.draw(st.sampled_from([1, 3, 1023, 1025, 2500]))
            append(shared, name, lines(len(model), len(model) + size, keys=5))
            model += range(len(model), len(model) + size)
            roots[len(model)] = streams.digest(shared, f"{name}@{len(model)}").digest
        elif step == "together":
            stream_append.compact(shared, name)
        elif step == "before":
            at = data.draw(st.integers(0, len(model)))
            stream_append.drop(shared, name, before=at, apply=True, reason="old")
            model[:at] = [None] * at
        else:
            stream_append.drop(shared, name, key="key", apply=True, reason="newest")
            last = {value % 5: value for value in model if value is not None}
            model = [value if value in last.values() else None for value in model]
    low = data.draw(st.integers(0, len(model)))
    high = data.draw(st.integers(low, len(model)))
    expected = [value for value in model[low:high] if value is not None]
    if low < high and not expected:
        with pytest.raises(rooms.CompactedError):
            stream_read.read(shared, f"{name}@{low}:{high}")
    else:
        assert values(shared, f"{name}@{low}:{high}") == expected
    for size, root in roots.items():
        assert streams.digest(shared, f"{name}@{size}").digest == root
    assert streams.check(shared, name).answer == "yes"


@pytest.mark.parametrize("gaps", [[[5, 2], [6, 1]], [[0, 0]], [[9, 2]], [[-1, 1]], "x"])
def test_gaps_that_are_none_are_refused(gaps: object) -> None:
    held = {"edge": [], "format": "retrodict stream segment", "gaps": gaps, "leaves": "b3-" + "0" * 64, "nodes": {}}
    held |= {"parts": [], "schema": None, "start": 0, "stop": 10, "version": 2}
    with pytest.raises(FormatError):
        Segment.decode(json.dumps(held).encode())


def test_the_command_line_says_what_would_go_first(newcomer: dict[str, str], tmp_path: Path) -> None:
    def told(*words: str, given: str | None = None, code: int = 0) -> str:
        done = subprocess.run(
            ["retrodict", *words], cwd=tmp_path, env=newcomer, input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    told("init")
    told("stream", "create", "s")
    told("stream", "append", "s", "-", given=lines(0, 10, keys=2).decode())
    assert "8 records of s would go, 2 would be left" in told("stream", "compact", "s", "--key", "key")
    assert "nothing was changed" in told("stream", "compact", "s", "--before", "3")
    assert "8 records of s are held no more" in told(
        "stream", "compact", "s", "--key", "key", "--apply", "--reason", "newest"
    )
    assert "8 of these records were compacted by entry" in told("stream", "read", "s")
    assert "s@0:2 was compacted by entry" in told("stream", "read", "s@2", code=2)
    assert "one rule" in told("stream", "compact", "s", "--key", "a", "--before", "3", code=2)
    assert "as the log says" in told("stream", "check", "s")
    assert "Everything is as the record says" in told("verify")
