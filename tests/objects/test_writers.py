"""Several writers, killed writers, full disks, disks that cannot be written."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.durable import RealDisk
from retrodict.kernel.errors import (
    FormatError,
    NewerFormatError,
    ReadOnlyStoreError,
    UnavailableError,
    UsageError,
)
from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore, TreeEntry, digest_of
from retrodict.objects.errors import StoreWriteError

# Writes blobs of its own and blobs that every writer writes; tells each digest once it was acknowledged.
WRITER = """
import random, sys
from pathlib import Path
from retrodict.kernel.clock import SystemClock
from retrodict.objects import ObjectStore
folder, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
mine, shared = random.Random(seed), random.Random(0)
with ObjectStore.open(folder, SystemClock()) as store:
    for i in range(count):
        for digest in store.put_many([mine.randbytes(mine.randrange(3000)), shared.randbytes(500), b"same"]):
            print(digest, flush=True)
        if i % 5 == 4:
            print(store.put(mine.randbytes(400_000)), flush=True)
"""


def start(folder: Path, seed: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), str(seed), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check(folder: Path, acknowledged: set[str]) -> None:
    with ObjectStore.open(folder, SystemClock()) as store:
        assert [finding for finding in store.verify() if finding.level != "note"] == []
        for digest in acknowledged:
            assert digest_of(store.get(Digest(digest))) == digest


def test_three_processes_write_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    ObjectStore.create(folder, SystemClock()).close()
    writers = [start(folder, seed, 40) for seed in (1, 2, 3)]
    told = [writer.communicate(timeout=60) for writer in writers]
    assert [(writer.returncode, err) for writer, (_, err) in zip(writers, told, strict=True)] == [(0, "")] * 3
    check(folder, {line for out, _ in told for line in out.split()})


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    ObjectStore.create(folder, SystemClock()).close()
    chance = random.Random(7)
    acknowledged: set[str] = set()
    for turn in range(6):
        victim, survivor = start(folder, 100 + turn, 100_000), start(folder, 200 + turn, 12)
        assert victim.stdout is not None
        acknowledged.add(victim.stdout.readline().strip())
        time.sleep(chance.random() * 0.3)
        victim.kill()
        out, _ = victim.communicate(timeout=60)
        lines = out.split("\n")[:-1]  # the last line may be cut
        acknowledged.update(line for line in lines if line)
        out, err = survivor.communicate(timeout=60)
        assert (survivor.returncode, err) == (0, "")
        acknowledged.update(out.split())
    assert len(acknowledged) > 100
    check(folder, acknowledged)
    before = (folder / "index.db").stat().st_size
    ObjectStore.rebuild_index(folder)
    assert before
    check(folder, acknowledged)


class FlakyDisk(RealDisk):
    """Fails at one call, before it takes effect or after."""

    def __init__(self, step: str, nth: int, landed: bool, code: int) -> None:
        self.step, self.left, self.landed, self.code = step, nth, landed, code

    def _call(self, step: str, act: Callable[[], int | None]) -> int | None:
        if step != self.step:
            return act()
        self.left -= 1
        if self.left != 0:
            return act()
        result = act() if self.landed else None
        if step == "create" and result is not None:
            os.close(result)
        raise OSError(self.code, os.strerror(self.code))

    def create(self, path: Path, mode: int) -> int:
        fd = self._call("create", lambda: RealDisk.create(self, path, mode))
        assert fd is not None
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> None:
        torn = self.step == "write" and self.left == 1
        self._call("write", lambda: RealDisk.write(self, fd, data[: len(data) // 2] if torn else data))

    def sync(self, fd: int) -> None:
        self._call("sync", lambda: RealDisk.sync(self, fd))

    def rename(self, source: Path, target: Path) -> None:
        self._call("rename", lambda: RealDisk.rename(self, source, target))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize(("step", "nth"), [("create", 1), ("write", 1), ("sync", 1), ("rename", 1), ("sync", 2)])
def test_a_disk_that_fails_is_told_and_leaves_nothing_half_written(
    tmp_path: Path, step: str, nth: int, landed: bool, code: int
) -> None:
    folder = tmp_path / "objects"
    with ObjectStore.create(folder, SystemClock()) as store:
        old = store.put(b"old")
    data = random.Random(0).randbytes(300_000)
    with ObjectStore.open(folder, SystemClock(), disk=FlakyDisk(step, nth, landed, code)) as store:
        with pytest.raises(StoreWriteError, match=os.strerror(code)):
            store.put_many([b"new", data])
        assert not store.has(digest_of(b"new"))
        assert list((folder / "tmp").iterdir()) == [] or (step == "create" and landed)
        assert store.get(old) == b"old"
        assert store.put_many([b"new", data]) == [digest_of(b"new"), digest_of(data)]  # the disk works again
        assert list(store.verify()) == []
    with ObjectStore.open(folder, SystemClock()) as store:
        assert store.get(digest_of(data)) == data
        assert list(store.verify()) == []


def test_a_crash_between_renaming_and_rows_is_healed_by_the_next_opening(tmp_path: Path) -> None:
    """As a process leaves it that dies inside the transaction: the pack is there, its rows are not."""
    folder = tmp_path / "objects"
    data = random.Random(0).randbytes(300_000)
    ObjectStore.create(folder, SystemClock()).close()
    shutil.copy(folder / "index.db", tmp_path / "index.db")
    with ObjectStore.open(folder, SystemClock()) as store:
        digests = store.put_many([b"small", data])
    shutil.copy(tmp_path / "index.db", folder / "index.db")
    with ObjectStore.open(folder, SystemClock(), read_only=True) as store:
        assert not store.has(digests[0])
        [finding] = store.verify()
        assert finding.level == "missing"
        assert finding.what.startswith("objects/packs/")
    with ObjectStore.open(folder, SystemClock()) as store:
        assert [store.get(digest) for digest in digests] == [b"small", data]
        assert list(store.verify()) == []


def test_a_store_that_is_open_while_its_index_is_rebuilt_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    with ObjectStore.create(folder, SystemClock()) as store:
        digests = [store.put(b"%d" % i) for i in range(8)]
        assert [store.get(digest) for digest in digests] == [b"%d" % i for i in range(8)]
        ObjectStore.rebuild_index(folder)
        assert [store.get(digest) for digest in digests] == [b"%d" % i for i in range(8)]
        assert store.get(store.put(b"new")) == b"new"
        assert list(store.verify()) == []


class HoursLater(SystemClock):
    def now_ns(self) -> int:
        return super().now_ns() + 2 * 3600 * 10**9


def test_what_a_dead_writer_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    with ObjectStore.create(folder, SystemClock()) as store:
        (folder / "tmp" / "pack-1-dead").write_bytes(b"left behind")
        ObjectStore.open(folder, SystemClock()).close()
        assert (folder / "tmp" / "pack-1-dead").exists(), "too young to judge"
        with store._writer("it") as writer:
            writer.keep_named(1, [(digest_of(b"x").encode()[3:35], b"x")])  # type: ignore[arg-type]
            [mine] = [path for path in (folder / "tmp").iterdir() if "dead" not in path.name]
            ObjectStore.open(folder, HoursLater()).close()
            assert list((folder / "tmp").iterdir()) == [mine]


# Read-only


def read_everything(store: ObjectStore, tree: Digest, file: Digest, data: bytes, out: Path) -> None:
    assert store.get(file) == data
    assert store.read(file, 100_000, 50) == data[100_000:100_050]
    assert store.state(tree) == "held"
    assert [entry.name for entry in store.list_tree(tree)] == [b"file"]
    assert store.resolve_prefix(file[:20]) == [file]
    assert store.checkout(tree, out) == len(data)
    assert store.hash_file(out / "file") == file
    assert list(store.verify()) == []
    for write in (
        lambda: store.put(b"x"),
        lambda: store.put_many([]),
        lambda: store.put_file(out / "file"),
        lambda: store.put_tree([]),
        lambda: store.add(out),
    ):
        with pytest.raises(ReadOnlyStoreError):
            write()


def filled(folder: Path) -> tuple[Digest, Digest, bytes]:
    data = random.Random(0).randbytes(300_000)
    with ObjectStore.create(folder, SystemClock()) as store:
        file = store.put(data)
        tree = store.put_tree([TreeEntry(name=b"file", kind="file", digest=file, size=len(data))])
    return tree, file, data


def test_a_store_opened_read_only_reads_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    tree, file, data = filled(folder)
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    with ObjectStore.open(folder, SystemClock(), read_only=True) as store:
        read_everything(store, tree, file, data, tmp_path / "out")
    after = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert {path.name for path in set(after) - set(before)} <= {
        "index.db-shm",
        "index.db-wal",
        "stat.db-shm",
        "stat.db-wal",
    }


READ_ONLY = """
import sys
from pathlib import Path
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import ReadOnlyStoreError
from retrodict.objects import ObjectStore
sys.path.insert(0, {tests!r})
from test_writers import read_everything
try:
    Path({folder!r}, "probe").touch()
except OSError:
    pass
else:
    sys.exit(77)
try:
    ObjectStore.open(Path({folder!r}), SystemClock())
except ReadOnlyStoreError:
    pass
else:
    sys.exit("opened for writing")
with ObjectStore.open(Path({folder!r}), SystemClock(), read_only=True) as store:
    read_everything(store, {tree!r}, {file!r}, Path({source!r}).read_bytes(), Path({out!r}))
"""


@pytest.mark.parametrize("log", ["folded", "left by a crash", "left, with its shared memory"])
def test_a_read_only_file_system_is_enough_to_read(tmp_path: Path, log: str) -> None:
    folder = tmp_path / "mnt" / "objects"
    folder.parent.mkdir()
    tree, file, data = filled(folder)
    if log != "folded":
        # What a killed process leaves: a database without the rows, and a log that has them.
        with ObjectStore.open(folder, SystemClock()) as store:
            more = store.put(b"in the log only")
            shutil.copytree(folder, tmp_path / "copy")
        shutil.rmtree(folder)
        shutil.move(tmp_path / "copy", folder)
        assert (folder / "index.db-wal").stat().st_size > 0
        if log == "left by a crash":
            (folder / "index.db-shm").unlink()
    source = tmp_path / "source"
    source.write_bytes(data)
    script = READ_ONLY.format(
        tests=str(Path(__file__).parent),
        folder=str(folder),
        tree=tree,
        file=file,
        source=str(source),
        out=str(tmp_path / "out"),
    )
    if log != "folded":
        script += f"    assert store.get({more!r}) == b'in the log only'\n"
    mount = f"mount --bind {folder.parent} {folder.parent} && mount -o remount,bind,ro {folder.parent}"
    command = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$0" "$@"', sys.executable, "-c", script]
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    if os.geteuid():
        command.insert(1, "--map-root-user")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 77 or "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no read-only mount here: {done.stderr}")
    assert done.returncode == 0, done.stderr


# Opening


@pytest.mark.parametrize("name", ["a ? b # c % d", "ä\n", "%41"])
def test_a_store_may_have_any_name_that_is_text(tmp_path: Path, name: str) -> None:
    with ObjectStore.create(tmp_path / name, SystemClock()) as store:
        digest = store.put(b"x")
    with ObjectStore.open(tmp_path / name, SystemClock(), read_only=True) as store:
        assert store.get(digest) == b"x"
    with pytest.raises(UsageError, match="UTF-8"):
        ObjectStore.create(tmp_path / os.fsdecode(b"\xff"), SystemClock())
    assert not (tmp_path / os.fsdecode(b"\xff")).exists()


def test_a_store_is_made_once_and_only_where_there_is_room(tmp_path: Path) -> None:
    ObjectStore.create(tmp_path / "objects", SystemClock()).close()
    with pytest.raises(UsageError, match="there already"):
        ObjectStore.create(tmp_path / "objects", SystemClock())
    with pytest.raises(UsageError, match="not an object store"):
        ObjectStore.open(tmp_path, SystemClock())
    with pytest.raises(UsageError, match="not an object store"):
        ObjectStore.open(tmp_path / "nowhere", SystemClock())
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError):
        ObjectStore.create(tmp_path / "file" / "objects", SystemClock())


@pytest.mark.parametrize("left", [[], ["packs"], ["packs", "tmp"], ["packs", "tmp", ".tmp-1-ab"]])
def test_a_store_that_was_cut_off_while_it_was_made_is_finished(tmp_path: Path, left: list[str]) -> None:
    folder = tmp_path / "objects"
    folder.mkdir()
    for name in left:
        (folder / name).touch() if "-" in name else (folder / name).mkdir()
    with ObjectStore.create(folder, SystemClock()) as store:
        assert store.get(store.put(b"x")) == b"x"
    (folder / "format.json").unlink()
    with pytest.raises(UsageError, match="there already"):  # objects lie there
        ObjectStore.create(folder, SystemClock())


def test_a_format_that_this_release_does_not_know_is_refused(tmp_path: Path) -> None:
    ObjectStore.create(tmp_path / "objects", SystemClock()).close()
    path = tmp_path / "objects" / "format.json"
    good = path.read_bytes()
    for text in (
        b"",
        b"[]",
        b"{}",
        good.replace(b'"version":1', b'"version":0'),
        good.replace(b'"version":1', b'"version":"2"'),
        good.replace(b"blake3", b"md5"),
        b"\xff",
    ):
        path.write_bytes(text)
        with pytest.raises(FormatError) as refused:
            ObjectStore.open(tmp_path / "objects", SystemClock())
        assert not isinstance(refused.value, NewerFormatError)
    newer = good.replace(b'"version":1', b'"version":2').replace(b"blake3", b"sha3")
    path.write_bytes(newer)
    with pytest.raises(NewerFormatError, match="newer release: it has format 2, and this one reads 1"):
        ObjectStore.open(tmp_path / "objects", SystemClock())
    path.write_bytes(good.replace(b'"version"', b'"later":true,"version"'))
    ObjectStore.open(tmp_path / "objects", SystemClock()).close()  # a field that is added is no reason
