"""Planted values in streams and tensors, driven from outside, and every byte that is left: none stands in the clear."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.people.test_nothing_in_the_clear import AGE, CITY, NEEDLES, PERSON, World

import retrodict as rd
from retrodict import streams as rooms
from retrodict.actions import export, forget, forget_files, looks, stream_append, stream_read, streams, tensors
from retrodict.actions.personal_files import PersonalFileError
from retrodict.actions.verify import verify
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.predictions.errors import ErasedError, SealedValuesError
from retrodict.render.json import to_json
from retrodict.streams.formats import batch_of, rows
from retrodict.testing.commands import Commands
from retrodict.workspace import Workspace, sealed_objects

OTHERS = '{"customer":"bob","age":40,"city":"Oslo","page":"/"}\n'
TRAIN = """\
import retrodict as rd
rows = rd.read_stream("visits")
open("model.txt", "w").write(str([row for row in rows if row["age"] > 10**8]))
print(rows)
"""
ARRAY = f"""\
import numpy as np
import retrodict as rd

with rd.new_version("scans", reason="one more") as array:
    array[3, 0] = 1
rd.write_array("more", np.full((2, 4), {AGE - 1} + 1), ids=["a", "{PERSON[:7]}" "{PERSON[7:]}"], personal=True)
assert rd.open_array("scans")[0, 0] == {AGE - 1} + 1
"""


@pytest.fixture
def world(tmp_path: Path, commands: Commands) -> World:
    made = World(tmp_path, commands)
    made.command("init")
    return made


def test_planted_values_in_streams_are_nowhere_in_the_clear_before_and_after_forgetting(world: World) -> None:
    (world.project / "train.py").write_text(TRAIN)
    line = json.dumps({"customer": PERSON, "age": AGE, "city": CITY, "page": "/"}) + "\n"
    day = world.outside / "day.jsonl"
    day.write_text(line + OTHERS + line)
    table = world.outside / "day.csv"
    table.write_text(f"customer,age,city\n{PERSON},{AGE},{CITY}\nbob,40,Oslo\n")
    world.command("stream", "create", "visits", "--subject", "customer", "--personal", "age", "--personal", "city")
    world.command("stream", "create", "asked", "--subject", "customer", "--format", "csv")
    world.command("stream", "append", "visits", str(day))
    world.command("stream", "append", "visits", "-", given=line.encode())
    world.command("stream", "append", "asked", str(table))
    wrong = table.read_text().removeprefix("customer,age,city\n").encode()
    for name, given_ in (("visits", line[:-5].encode()), ("visits", f'{{"age":{AGE}}}\n'.encode()), ("asked", wrong)):
        refused = world.command("stream", "append", name, "-", given=given_, expect=2)
        assert [needle for needle in NEEDLES if needle in refused.stderr] == []
    digest = world.command("stream", "digest", "visits").stdout.split()[1].decode()
    (world.outside / "proof.json").write_bytes(world.command("stream", "proof", "visits", "0", "--json").stdout)
    assert world.command("stream", "read", "visits").stdout.decode() == line + OTHERS + line * 2
    world.command("stream", "read", "visits", "--out", "visits.jsonl")
    world.command("run", "--", sys.executable, "train.py")
    for words in (["stream", "compact", "visits"], ["stream", "show", "visits"], ["log"], ["status"], ["verify"]):
        world.command(*words)
    assert world.planted() == []
    out = world.outside / "export.json"
    told = world.command("export", "--subject", PERSON, "--out", str(out)).stdout.decode()
    assert "4 records of streams" in " ".join(told.split())  # a long path breaks the line
    assert [item["reference"] for item in json.loads(out.read_text())["records"]] == [
        "visits@0:1", "visits@2:3", "visits@3:4", "asked@0:1",
    ]  # fmt: skip
    reach = world.command("forget", "--subject", PERSON, expect=1).stdout.decode()
    assert "asked: 1 record, visits: 3 records" in reach
    world.command("forget", "--subject", PERSON, "--yes")
    assert world.planted() == []
    left = world.command("stream", "read", "visits").stdout + world.command("stream", "read", "asked").stdout
    assert [needle for needle in NEEDLES if needle in left] == []
    assert left.count(b"erased by entry") == 3 * 3 + 3
    assert OTHERS.encode() in left
    assert left.count(b'"page": "/"') == 3
    assert b"bob,40,Oslo" in left
    assert world.command("stream", "digest", "visits").stdout.split()[1].decode() == digest
    world.command("stream", "check", "visits", digest)
    world.command("stream", "check-proof", str(world.outside / "proof.json"), "--digest", digest)
    world.command("verify")
    assert b"nobody" in world.command("forget", "--subject", PERSON, "--yes", expect=2).stderr
    world.command("stream", "append", "visits", str(day))  # who comes back is another person
    assert world.command("stream", "read", "visits@4:").stdout.decode() == line + OTHERS + line


def test_planted_values_in_tensors_are_nowhere_in_the_clear_before_and_after_forgetting(world: World) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("zarr")
    scans, names = world.outside / "scans.npy", world.outside / "names.txt"
    np.save(scans, np.arange(AGE, AGE + 4000).reshape(40, 100))
    names.write_text("\n".join([PERSON, *(f"p{i}" for i in range(39))]))
    world.command("tensor", "import", "scans", str(scans), "--ids", str(names), "--personal")
    (world.project / "train.py").write_text(ARRAY)
    world.command("run", "--", sys.executable, "train.py")
    for words in (["tensor"], ["tensor", "show", "scans"], ["log"], ["status"], ["verify"], ["ls"]):
        done = world.command(*words)
        assert [needle for needle in NEEDLES if needle in done.stdout] == []
    assert str(AGE + 1).encode() in world.command("tensor", "read", "scans@v1", "0,1").stdout
    assert b"p2" in world.command("tensor", "diff", "scans@v1", "scans@v2").stdout
    world.command("checkout", "dataset:scans@v1", str(world.outside / "zarr"))
    assert (world.outside / "zarr" / "zarr.json").exists()
    assert world.planted() == []
    world.command("forget", "dataset:scans", "--all-versions", "--reason", "a court's order", "--yes")
    refused = world.command("tensor", "read", "scans@v1", "0,1", expect=2)
    assert b"erased by entry" in refused.stderr
    assert b"a court's order" in world.command("show", "dataset:scans").stdout
    assert str(AGE).encode() in world.command("tensor", "read", "more", "0,1").stdout
    assert world.planted() == []
    world.command("verify")


def people_of(workspace: Workspace, text: str, form: rooms.Format = "jsonl") -> None:
    streams.create(workspace, "s", format=form, subject="who")
    stream_append.append(workspace, "s", io.BytesIO(text.encode()))


def test_reading_a_stream_about_people_is_a_look_or_impossible(workspace: Workspace) -> None:
    people_of(workspace, '{"who":"ann","x":1}\n{"who":7}\n{"who":7.0}\n')
    before = workspace.ledger.size()
    assert stream_read.values(stream_read.read(workspace, "s@1")) == [{"who": "ann", "x": 1}]
    viewed = workspace.ledger.event(before).event
    assert (viewed.kind, viewed.body["by"], len(viewed.body["subjects"])) == ("personal.viewed", "stream", 1)  # type: ignore[arg-type]
    stream_read.values(stream_read.read(workspace, "s"))
    assert len(workspace.ledger.event(before + 1).event.body["subjects"]) == 2  # type: ignore[arg-type]
    closed = dataclasses.replace(workspace, agent="")
    assert stream_read.values(stream_read.read(closed, "s@1")) == [{"who": f"({looks.NOT_POSSIBLE})"}]
    assert workspace.ledger.size() == before + 2


@pytest.mark.parametrize("text", ['{"x":1}\n', '{"who":""}\n', '{"who":null}\n', '["who"]\n', '{"who":true}\n', "3\n"])
def test_a_record_that_says_not_about_whom_it_is_refused(workspace: Workspace, text: str) -> None:
    people_of(workspace, '{"who":"ann"}\n')
    with pytest.raises(rooms.RecordError, match="record 1 does not say whom"):
        stream_append.append(workspace, "s", io.BytesIO(text.encode()))
    assert streams.list_streams(workspace).rows[0].records == 1


def test_columns_that_a_stream_was_created_to_seal_are_there(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="comma"):
        streams.create(workspace, "t", subject="who", personal=["a,b"])
    with pytest.raises(UsageError, match="sealed for the person"):
        streams.create(workspace, "t", personal=["a"])
    streams.create(workspace, "t", format="csv", subject="who", personal=["age"])
    for header in ("who,aeg", "whom,age"):
        with pytest.raises(rooms.RecordError, match="created to seal"):
            stream_append.append(workspace, "t", io.BytesIO(f"{header}\nann,3\n".encode()))


def test_a_personal_file_is_not_appended_in_the_clear(workspace: Workspace) -> None:
    path = workspace.root / "people.jsonl"
    path.write_text('{"who":"ann"}\n')
    rd.add(path, personal=True, workspace=workspace)
    streams.create(workspace, "open")
    with path.open("rb") as file, pytest.raises(PersonalFileError):
        stream_append.append(workspace, "open", file, path=path)
    streams.create(workspace, "sealed", subject="who")
    with path.open("rb") as file:
        stream_append.append(workspace, "sealed", file, path=path)


def test_arrow_comes_back_bit_for_bit_and_is_forgotten(workspace: Workspace) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {"who": ["ann", "bob", "ann"], "f": [float("nan"), -0.0, None], "t": pa.array([1, None, 3], pa.timestamp("us"))}
    )
    streams.create(workspace, "a", format="arrow", subject="who", personal=["f"])
    rd.append_stream("a", table, workspace=workspace)
    found = rd.read_stream("a", form="arrow", workspace=workspace)
    assert rows(found.combine_chunks().to_batches()[0]) == rows(table.to_batches()[0])
    with pytest.raises(rooms.RecordError) as caught:
        rd.append_stream("a", [{"who": "PLANTED", "f": "PLANTED", "t": None}], workspace=workspace)
    assert "PLANTED" not in str(caught.value)
    forget.forget(workspace, "ann")
    left = rd.read_stream("a", workspace=workspace)
    assert [row["f"] == 0 for row in left] == [False, True, False]
    assert str(left[0]["who"]).startswith("(erased by entry")
    assert left[2]["t"] is not None
    assert rd.read_stream("a", form="arrow", workspace=workspace)["f"].null_count == 2
    assert verify(workspace).answer == "yes"


cells = {
    "int64": st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
    "float64": st.none() | st.floats(),
    "float32": st.none() | st.floats(width=32),
    "bool_": st.none() | st.booleans(),
    "string": st.none() | st.text(max_size=4),
    "binary": st.none() | st.binary(max_size=4),
}


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_rows_of_arrow_are_made_of_their_canonical_bytes_again(data: st.DataObject) -> None:
    pa = pytest.importorskip("pyarrow")
    size = data.draw(st.integers(1, 5))

    def column(depth: int) -> object:
        kind = data.draw(st.sampled_from([*cells, "decimal", "date32", "list", "struct"][: None if depth else -2]))
        if kind == "list":
            inner = column(0)
            ends = sorted(data.draw(st.lists(st.integers(0, size), min_size=size - 1, max_size=size - 1)))
            gaps = pa.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
            return pa.ListArray.from_arrays(pa.array([0, *ends, size], pa.int32()), inner, mask=gaps)
        if kind == "struct":
            gaps = pa.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
            return pa.StructArray.from_arrays([column(0), column(0)], names=["a", "b"], mask=gaps)
        if kind == "decimal":
            values = data.draw(st.lists(st.none() | st.decimals(-99, 99, places=2), min_size=size, max_size=size))
            return pa.array(values, pa.decimal128(9, 2))
        if kind == "date32":
            values = data.draw(st.lists(st.one_of(st.none(), st.dates()), min_size=size, max_size=size))
            return pa.array(values, pa.date32())
        return pa.array(data.draw(st.lists(cells[kind], min_size=size, max_size=size)), getattr(pa, kind)())

    table = pa.table({"x": column(1), "y": column(1)})
    parsed = rooms.parse_table(table, None)
    for block in parsed.blocks:
        assert rows(batch_of(block.records, parsed.schema)) == list(block.records)


def test_forgetting_reaches_what_was_written_to_a_file_and_names_streams(workspace: Workspace) -> None:
    people_of(workspace, '{"who":"ann"}\n{"who":"bob"}\n{"who":"cyd"}\n')
    out = workspace.root / "out.jsonl"
    made = stream_read.write(workspace, stream_read.read(workspace, "s@2"), out)
    other = stream_read.write(workspace, stream_read.read(workspace, "s@2:"), workspace.root / "other.jsonl")
    reach = forget.reach(workspace, "ann")
    assert (reach.streams, reach.files) == (("s: 1 record",), (made.index,))
    done = forget.forget(workspace, "ann", reason="asked")
    assert done.destroyed == 2
    event = workspace.logs.event(done.index).event
    assert event.body["records"] == 1
    with pytest.raises(RetrodictError):
        forget_files.reach(workspace, str(made.content))
    assert forget_files.reach(workspace, str(other.content)).files == 1
    exported = export.export(workspace, "bob")
    assert [item.record for item in exported.records] == ['{"who":"bob"}']
    assert "ann" not in to_json(exported)


def test_a_tensor_about_people_stays_so_until_it_is_declared_clean(workspace: Workspace) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("zarr")
    first = rd.write_array("t", np.arange(200_000).reshape(100, 2000), personal=True, workspace=workspace)
    with rd.new_version("t", workspace=workspace) as array:
        array[0, 0] = -1
    second = tensors.show(workspace, "t")
    assert (first.is_personal, second.is_personal, second.version) == (True, True, 2)
    sealed = [
        set(sealed_objects(workspace.logs.event(t.index).event.body, workspace.objects.get)) for t in (first, second)
    ]
    assert len(sealed[1] - sealed[0]) == 2  # one chunk, and the listing
    before = workspace.ledger.size()
    assert rd.open_array("t@v1", workspace=workspace)[0, 0] == 0
    assert workspace.ledger.event(before).event.body["by"] == "tensor"
    with pytest.raises(SealedValuesError):
        tensors.read(dataclasses.replace(workspace, agent=""), "t", "0")
    with pytest.raises(UsageError, match="reason"):
        rd.write_array("t", np.zeros((2, 2)), personal=False, workspace=workspace)
    clean = rd.write_array("t", np.zeros((2, 2)), personal=False, reason="zeros are nobody", workspace=workspace)
    assert not clean.is_personal
    forget_files.forget(workspace, "dataset:t", all_versions=True, reason="asked")
    with pytest.raises(ErasedError):
        rd.open_array("t@v2", workspace=workspace)
    assert rd.open_array("t", workspace=workspace).shape == (2, 2)
