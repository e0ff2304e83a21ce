"""Tensors: slices of any version, chunks kept once, sample ids, what differs, lineage."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import retrodict as rd
from retrodict import provenance
from retrodict.actions import tensors
from retrodict.actions.add import add
from retrodict.actions.checkout import checkout
from retrodict.actions.lineage import lineage
from retrodict.actions.run import run
from retrodict.actions.verify import verify
from retrodict.kernel.errors import AlteredObjectError, UnknownReferenceError, UsageError
from retrodict.objects.errors import ChangedFileError
from retrodict.tensors import NoTensorError, TensorConflictError
from retrodict.testing.stores import patch
from retrodict.workspace import Workspace

np = pytest.importorskip("numpy")
zarr = pytest.importorskip("zarr")


def saved(workspace: Workspace, values: object, name: str = "a.npy") -> Path:
    path = workspace.root / name
    np.save(path, values)
    return path


def put(workspace: Workspace, values: object, **more: Any) -> tensors.TensorShown:
    return tensors.import_array(workspace, "a", saved(workspace, values), **more)


def packed(workspace: Workspace) -> int:
    return sum(path.stat().st_size for path in (workspace.folder / "objects" / "packs").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "values",
    [
        np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        np.array(3.5),
        np.zeros((0, 5), np.float32),
        np.array([-0.0, np.nan, np.inf]),
        np.array([[True, False]]),
        np.arange(100_000, dtype=np.uint64),
        (np.arange(60) * (1 + 2j)).reshape(5, 12),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    ],
    ids=lambda v: f"{v.dtype}{list(v.shape)}",
)
def test_an_array_comes_back_bit_for_bit(workspace: Workspace, values: Any) -> None:
    put(workspace, values)
    array = rd.open_array("a", workspace=workspace)
    assert array.shape == values.shape
    assert array.dtype == values.dtype
    assert np.asarray(array[...]).tobytes() == np.ascontiguousarray(values).tobytes()
    assert not put(workspace, values).is_new


@pytest.mark.parametrize(
    "values",
    [
        np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        np.array(3.5),
        np.zeros((0, 5), np.float32),
        np.arange(3, dtype=">f8"),
        np.array(["2026-11-26"], "datetime64[s]"),
    ],
    ids=lambda v: f"{v.dtype}{list(v.shape)}",
)
def test_a_slice_that_is_written_is_what_numpy_would_save(workspace: Workspace, values: Any) -> None:
    put(workspace, values)
    tensors.read(workspace, "a", out=workspace.root / "out.npy")
    np.save(workspace.root / "numpy.npy", np.asarray(rd.open_array("a", workspace=workspace)[...]))
    assert (workspace.root / "out.npy").read_bytes() == (workspace.root / "numpy.npy").read_bytes()


def test_a_slice_whose_writing_fails_half_way_leaves_the_file_that_was_there(workspace: Workspace) -> None:
    put(workspace, np.arange(1_000_000))
    out = workspace.root / "out" / "out.npy"
    out.parent.mkdir()
    out.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(UsageError, match="File too large"):
            tensors.read(workspace, "a", out=out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert out.read_bytes() == b"old"
    assert os.listdir(out.parent) == ["out.npy"]


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_what_no_npy_file_can_hold_is_refused_and_the_file_that_was_there_stays(workspace: Workspace) -> None:
    path, out = workspace.root / "a.zarr", workspace.root / "out.npy"
    zarr.create_array(str(path), shape=(2,), dtype=str, zarr_format=3)[...] = np.array(
        ["a", "b"], np.dtypes.StringDType()
    )
    tensors.import_array(workspace, "a", path)
    out.write_bytes(b"old")
    with pytest.raises(UsageError, match="cannot hold StringDType"):
        tensors.read(workspace, "a", out=out)
    assert out.read_bytes() == b"old"


def test_a_slice_goes_into_a_pipe(workspace: Workspace) -> None:
    put(workspace, np.arange(100_000))
    pipe = workspace.root / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_bytes)
        tensors.read(workspace, "a", "5:90000", out=pipe)
        assert np.array_equal(np.load(io.BytesIO(read.result())), np.arange(5, 90_000))
    assert pipe.is_fifo()


def test_a_small_change_of_a_large_tensor_costs_little(workspace: Workspace) -> None:
    """256 MB, one cube of 16 x 16 x 16 changed: under 1 MB stored, and the old version is read as it was."""
    values = np.random.default_rng(7).integers(0, 1 << 32, (256, 512, 512), np.uint32)
    put(workspace, values)
    before = packed(workspace)
    assert before > 250 << 20
    with rd.new_version("a", reason="one lesion", workspace=workspace) as array:
        array[100:116, 200:216, 300:316] = 7
    assert packed(workspace) - before < 1 << 20
    cube = np.s_[100:116, 200:216, 300:316]
    assert (rd.open_array("a", workspace=workspace)[cube] == 7).all()
    assert (rd.open_array("a@v1", workspace=workspace)[cube] == values[cube]).all()
    found = tensors.diff(workspace, "a@v1", "a@v2").difference
    assert [item.sample for item in found.changed] == list(range(100, 116))
    assert {item.values for item in found.changed} == {256}


def test_a_slice_reads_its_chunks_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    put(workspace, np.arange(1 << 20, dtype=np.float64).reshape(1 << 10, 1 << 10))
    array = rd.open_array("a@v1", workspace=workspace)
    asked = []
    getting = type(workspace.objects).get

    def counted(store: Any, digest: Any) -> bytes:
        asked.append(digest)
        return getting(store, digest)

    monkeypatch.setattr(type(workspace.objects), "get", counted)
    assert array[3, 5] == 3 * 1024 + 5
    assert len(asked) == 1


def test_a_version_is_never_changed(workspace: Workspace) -> None:
    put(workspace, np.zeros(10))
    array = rd.open_array("a@v1", workspace=workspace)
    with pytest.raises(ValueError, match="read-only"):
        array[3] = 1
    assert not rd.open_array("a@v1", workspace=workspace)[...].any()


def test_what_fails_records_nothing(workspace: Workspace) -> None:
    put(workspace, np.zeros(10))
    with pytest.raises(IndexError), rd.new_version("a", workspace=workspace) as array:
        array[[3, 99]] = 1
    assert tensors.show(workspace, "a").version == 1


def test_a_flipped_bit_is_never_read(workspace: Workspace) -> None:
    put(workspace, np.random.default_rng(1).random((100, 1000)))
    pack = max((workspace.folder / "objects" / "packs").rglob("*.pack"), key=lambda path: path.stat().st_size)
    patch(pack, pack.stat().st_size // 2, 4)
    with pytest.raises(AlteredObjectError):
        rd.open_array("a", workspace=workspace)[...]


def test_identical_chunks_are_kept_once(workspace: Workspace) -> None:
    values = np.tile(np.random.default_rng(2).integers(0, 255, 65536, np.uint8), 64)
    put(workspace, values, chunks=(65536,))
    assert packed(workspace) < 3 * 65536


def test_writers_of_different_chunks_both_count_and_of_the_same_do_not(workspace: Workspace) -> None:
    put(workspace, np.zeros((100, 10)), chunks=(10, 10))
    one, two, three = (rd.new_version("a", workspace=workspace) for _ in range(3))
    with one as array:
        array[5] = 1
    with two as array:
        array[95] = 2
    found = rd.open_array("a@v3", workspace=workspace)[...]
    assert (found[5] == 1).all()
    assert (found[95] == 2).all()
    with pytest.raises(TensorConflictError), three as array:
        array[3] = 3
    assert tensors.show(workspace, "a").version == 3
    event = workspace.ledger.find(tensors.find(workspace, "a@v3").event)
    assert event is not None
    assert [edge.role for edge in provenance.edges(event.event.uses, workspace.objects.get)] == ["version", "version"]


def test_samples_are_appended_with_their_ids(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("p1\np2\np3\n")
    put(workspace, np.arange(6.0).reshape(3, 2), ids=tmp_path / "ids.txt")
    with pytest.raises(UsageError, match="4 samples"), rd.new_version("a", workspace=workspace) as array:
        array.resize((4, 2))
    new = rd.new_version("a", ids=["p1", "p2", "p3", "p4"], workspace=workspace)
    with new as array:
        array.resize((4, 2))
        array[3] = 9
        array[0, 1] = 100
    assert new.added is not None
    assert new.added.reference == "dataset:a@v2"
    found = tensors.diff(workspace, "a@v1", "a@v2").difference
    assert (found.added, found.removed) == (("p4",), ())
    assert [(item.sample, item.values, item.largest) for item in found.changed] == [("p1", 1, 99.0)]
    samples = rd.samples("a@v2", workspace=workspace)
    assert samples.ids == ["p1", "p2", "p3", "p4"]
    assert samples.by_id("p4").tolist() == [9, 9]
    with pytest.raises(UsageError):
        samples.by_id("p5")


def test_samples_that_moved_are_told_from_those_that_changed(workspace: Workspace, tmp_path: Path) -> None:
    values = np.arange(40.0).reshape(20, 2)
    (tmp_path / "one.jsonl").write_text("".join(f"{i}\n" for i in range(20)))
    put(workspace, values, ids=tmp_path / "one.jsonl", chunks=(3, 2))
    order = [19, *range(1, 19)]
    changed = values[order]
    changed[5, 0] = -1
    (tmp_path / "two.jsonl").write_text("".join(f"{i}\n" for i in order))
    put(workspace, changed, ids=tmp_path / "two.jsonl", chunks=(3, 2))
    found = tensors.diff(workspace, "a@v1", "a@v2").difference
    assert (found.added, found.removed, found.moved) == ((), (0,), 1)
    assert [(item.sample, item.positions) for item in found.changed] == [(5, (5, 5))]
    assert tensors.diff(workspace, "a@v1", "a@v1").is_same


@pytest.mark.parametrize(
    "other", [np.zeros((4, 3)), np.zeros((4, 2), np.float32), np.zeros(4), np.float64(1.0)], ids=lambda v: str(v.shape)
)
def test_arrays_of_another_layout_are_not_compared(workspace: Workspace, other: object) -> None:
    put(workspace, np.zeros((4, 2)))
    put(workspace, other)
    assert tensors.diff(workspace, "a@v1", "a@v2").difference.layout is not None


def test_a_bit_of_a_nan_is_a_difference(workspace: Workspace) -> None:
    bits = np.full((3, 2), 0x7FF8000000000000, np.uint64)
    put(workspace, bits.view(np.float64))
    bits[1, 1] += np.uint64(1)
    put(workspace, bits.view(np.float64))
    (item,) = tensors.diff(workspace, "a@v1", "a@v2").difference.changed
    assert (item.sample, item.values) == (1, 1)


def test_chunks_of_another_shape_hide_no_change_and_make_none(workspace: Workspace) -> None:
    values = np.arange(200.0).reshape(20, 10)
    put(workspace, values, chunks=(7, 3))
    values[13, 2] = -5
    put(workspace, values, chunks=(4, 10))
    assert [item.sample for item in tensors.diff(workspace, "a@v1", "a@v2").difference.changed] == [13]


@pytest.mark.parametrize("sharded", [False, True])
def test_a_zarr_folder_is_versioned_as_it_is(workspace: Workspace, tmp_path: Path, sharded: bool) -> None:
    values = np.random.default_rng(3).random((30, 8))
    more: dict[str, Any] = {"shards": (10, 8)} if sharded else {}
    array = zarr.create_array(tmp_path / "z", data=values, chunks=(5, 4), **more)
    tensors.import_array(workspace, "a", tmp_path / "z")
    assert (rd.open_array("a", workspace=workspace)[3:17] == values[3:17]).all()
    array[12, 3] = 0.5
    tensors.import_array(workspace, "a", tmp_path / "z")
    assert [item.sample for item in tensors.diff(workspace, "a@v1", "a@v2").difference.changed] == [12]
    with rd.new_version("a", workspace=workspace) as opened:
        opened[0] = 0
    checkout(workspace, "a@v3", tmp_path / "out")
    assert not zarr.open_array(tmp_path / "out", mode="r")[0].any()
    zarr.save_array(tmp_path / "b", values)
    add(workspace, [tmp_path / "b"], name="b")
    assert (rd.open_array("b", workspace=workspace)[...] == values).all()


def test_an_array_in_a_group_is_opened_by_its_path(workspace: Workspace, tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "g", mode="w")
    group.create_array("x/y", data=np.arange(5))
    add(workspace, [tmp_path / "g"], name="g")
    assert rd.open_array("g", path="x/y", workspace=workspace)[2] == 2
    with pytest.raises(NoTensorError):
        rd.open_array("g", workspace=workspace)
    assert tensors.list_tensors(workspace).rows == ()


@pytest.mark.parametrize("kind", ["text", "pickle", "npz", "folder", "zarr2", "nothing"])
def test_what_is_no_array_is_refused(workspace: Workspace, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.npy"
    match kind:
        case "text":
            path.write_text("1,2,3")
        case "pickle":
            np.save(path, np.array([{}], object), allow_pickle=True)
        case "npz":
            with path.open("wb") as file:
                np.savez(file, a=np.zeros(3), b=np.zeros(3))
        case "folder":
            path.mkdir()
            (path / "a.txt").write_text("1")
        case "zarr2":
            zarr.create_array(path, data=np.zeros(3), zarr_format=2)
    with pytest.raises(UsageError):
        tensors.import_array(workspace, "a", path)
    assert tensors.list_tensors(workspace).rows == ()


@pytest.mark.parametrize("ids", ["p1\np1\n", "p1\n", ""])
def test_ids_that_do_not_fit_are_refused(workspace: Workspace, tmp_path: Path, ids: str) -> None:
    (tmp_path / "ids.txt").write_text(ids)
    with pytest.raises(UsageError):
        put(workspace, np.zeros((2, 2)), ids=tmp_path / "ids.txt")


@pytest.mark.parametrize("text", ["1", "0:2", ":,1", "-1", "1:,::2", "", ":-1, 0"])
def test_a_slice_is_numpys(workspace: Workspace, text: str) -> None:
    values = np.arange(20).reshape(4, 5)
    put(workspace, values)
    expected = eval(f"values[{text}]") if text else values
    assert tensors.read(workspace, "a", text).values == expected.tolist()


@pytest.mark.parametrize("text", ["x", "1,2,3", "9", "1;2", "...", "0:4:-1"])
def test_what_is_no_slice_is_refused(workspace: Workspace, text: str) -> None:
    put(workspace, np.arange(20).reshape(4, 5))
    with pytest.raises(UsageError):
        tensors.read(workspace, "a", text)


def test_a_tensor_that_is_not_there_is_refused(workspace: Workspace) -> None:
    put(workspace, np.zeros(3))
    with pytest.raises(UnknownReferenceError):
        rd.open_array("b", workspace=workspace)
    with pytest.raises(UnknownReferenceError):
        rd.new_version("aa", workspace=workspace)
    (workspace.root / "t.txt").write_text("x")
    add(workspace, [workspace.root / "t.txt"])
    with pytest.raises(NoTensorError):
        rd.open_array("t.txt", workspace=workspace)
    for name, dtype in (("a", "float32"), ("o", "object"), ("o", "no such type")):
        with pytest.raises(UsageError):
            tensors.create(workspace, name, [3], dtype)


SCRIPT = """\
import retrodict as rd
open("model.txt", "w").write(str(float(rd.open_array("a@v1")[1:3].sum())))
"""


def test_a_run_that_reads_a_tensor_has_it_as_an_input(workspace: Workspace) -> None:
    source = saved(workspace, np.arange(10.0), "source.npy")
    (added,) = add(workspace, [source])
    tensors.import_array(workspace, "a", source)
    with rd.new_version("a", workspace=workspace) as array:
        array[0] = 5
    (workspace.root / "train.py").write_text(SCRIPT)
    environment = {**os.environ, "RETRODICT_STATE": str(workspace.root.parent / "state"), "RETRODICT_AGENT": "Ada"}
    found = run(workspace, [sys.executable, "train.py"], cwd=workspace.root, environment=environment)
    assert found.exit_code == 0
    assert (workspace.root / "model.txt").read_text() == "3.0"
    uses = provenance.edges(workspace.ledger.event(found.entry).event.uses, workspace.objects.get)
    (edge,) = (edge for edge in uses if edge.role == "tensor")
    version = tensors.find(workspace, "a@v1")
    assert (str(edge.ref), edge.made_by) == (version.content, version.event)
    labels = " ".join(lineage(workspace, str(found.entry)).labels.values())
    assert "dataset:a@v1" in labels
    assert added.reference in labels
    assert [f for f in verify(workspace).findings if f.level in ("altered", "missing")] == []


def test_samples_go_to_other_processes(workspace: Workspace) -> None:
    put(workspace, np.arange(6.0).reshape(3, 2))
    samples = rd.samples("a", workspace=workspace)
    assert [sample.tolist() for sample in samples] == [[0, 1], [2, 3], [4, 5]]
    assert samples[-1].tolist() == [4, 5]
    assert samples[1:].shape == (2, 2)
    with pytest.raises(IndexError):
        samples[3]
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer)[1].tolist())"
    environment = {**os.environ, "RETRODICT_STATE": str(workspace.root.parent / "state"), "RETRODICT_AGENT": "Ada"}
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(samples), env=environment, capture_output=True, check=True
    )
    assert done.stdout == b"[2.0, 3.0]\n"


def test_the_command_line_goes_through_a_case(newcomer: dict[str, str], tmp_path: Path) -> None:
    def told(*words: str, code: int = 0) -> str:
        command = ["retrodict", *words]
        done = subprocess.run(command, cwd=tmp_path, env=newcomer, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    told("init")
    np.save(tmp_path / "a.npy", np.arange(12).reshape(4, 3))
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\n")
    assert "dataset:a@v1" in told("tensor", "import", "a", "a.npy", "--ids", "ids.txt")
    np.save(tmp_path / "a.npy", np.arange(12).reshape(4, 3) * [[1], [1], [2], [1]])
    assert "dataset:a@v2" in told("tensor", "import", "a", "a.npy")
    assert "unchanged" in told("tensor", "import", "a", "a.npy")
    assert told("tensor", "read", "a@v1", "2") == "6 7 8\n"
    assert json.loads(told("tensor", "read", "a@v2", "2,1:", "--json"))["values"] == [14, 16]
    told("tensor", "read", "a@v2", "2:", "--out", "b.npy")
    assert np.load(tmp_path / "b.npy").shape == (2, 3)
    assert "c  3 values, by 8 at most" in told("tensor", "diff", "a@v1", "a@v2")
    told("tensor", "diff", "a@v1", "a@v2", "--exit-code", code=1)
    assert "4x3" in told("tensor")
    assert "sample ids: a, b, c, d" in told("tensor", "show", "a")
    told("tensor", "create", "z", "--shape", "5,5", "--dtype", "uint8")
    assert told("tensor", "read", "z", "0") == "0 0 0 0 0\n"
    assert "no part" in told("tensor", "read", "z", "9", code=2)
    np.save(tmp_path / "narrow.npy", np.array([0.1, 1 / 3], "f4"))
    told("tensor", "import", "narrow", "narrow.npy")
    assert told("tensor", "read", "narrow") == "0.1 0.33333334\n"
    assert "Everything is as the record says" in told("verify")


def test_diff_of_two_versions_says_which_samples_changed(workspace: Workspace) -> None:
    rd.write_array("t", np.zeros((4, 3)), ids=["a", "b", "c", "d"], workspace=workspace)
    with rd.new_version("t", workspace=workspace) as array:
        array[2, 1] = 5
    found = tensors.compared(workspace, "t@v1", "t@v2")
    assert found is not None
    assert [(item.sample, item.values, item.largest) for item in found.changed] == [("c", 1, 5.0)]
    assert tensors.compared(workspace, "t@v1", "nothing") is None


def test_what_is_no_array_is_refused_without_advice_to_unpickle(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="several shapes"):
        rd.write_array("t", [[1, 2], [3]], workspace=workspace)
    table = tmp_path / "table.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(NoTensorError) as caught:
        tensors.import_array(workspace, "t", table)
    assert "pickle" not in caught.value.message


class _Edited(type(Path())):  # type: ignore[misc]  # PosixPath
    """A file that becomes `after` when it has been read: before its edge is asked for."""

    after: Path
    looks = 0

    def is_dir(self, **more: Any) -> bool:
        self.looks += 1
        if self.looks == 2:
            self.write_bytes(self.after.read_bytes())
        return Path(self).is_dir(**more)


def test_a_tensor_is_from_no_file_that_was_another_when_it_was_read(workspace: Workspace) -> None:
    path, held = _Edited(saved(workspace, np.zeros(3))), saved(workspace, np.ones(3), "held.npy")
    add(workspace, [held])
    path.after = held
    with pytest.raises(ChangedFileError, match=r"a\.npy"):
        tensors.import_array(workspace, "a", path)
    assert path.looks == 2
