"""Version files and folders beside DVC, git, restic and borg, and beside plain hashing and copying.

    python benchmarks/data.py [--files 100000] [--big-mb 2000] [--rows 2000000] [--tensor-mb 256] [--repetitions 3]
                              [--no-peers]

Four cases (0 leaves one out), the tools in turn, each on its own copy of the same bytes: many small files (added; again
with nothing changed; with 100 changed; the old version checked out over the new; restored whole), one big file (added;
again with 1 KB inserted in its middle), one CSV table (added; again with 0.1 % of the rows changed anywhere and 1 %
appended), one array (added; again with a small cube changed; a slice of its first version read). CPU is that of the
whole process tree; stored is by how much the tool's own folder grew, caches and indexes counted. Each figure is told
as it comes, on stderr; medians at the end of a case.

git (small files only: it compresses large ones at some 20 MB/s), restic and borg are measured where they are installed
(`apt-get install git restic borgbackup b3sum zstd`), DVC where `bash tests/environments/make.sh dvc` can make its
environment. The files of 2 GB take some 10 GB of disk while they are measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import measure

ROOT = Path(__file__).resolve().parent.parent
PER_FOLDER = 1000


def small_files(folder: Path, count: int) -> None:
    """Write `count` files of 0.5 to 9.5 KB of text that compresses to about half, 1,000 to a folder."""
    made = random.Random(1)
    words = [f"{made.getrandbits(made.randrange(8, 40)):x}" for _ in range(5000)]
    pool = " ".join(made.choices(words, k=1_000_000)).encode()
    for i in range(count):
        if i % PER_FOLDER == 0:
            (folder / f"{i // PER_FOLDER:04d}").mkdir(parents=True)
        length = made.randrange(500, 9500)
        start = made.randrange(len(pool) - length)
        small_file(folder, i).write_bytes(b"%d\n" % i + pool[start : start + length])


def small_file(folder: Path, i: int) -> Path:
    """Return where the file number `i` lies."""
    return folder / f"{i // PER_FOLDER:04d}" / f"{i:07d}.txt"


def change_some(folder: Path, count: int, seed: int) -> None:
    """Put a line into the middle of 100 of the files, all over the folders."""
    for i in range(0, count, max(1, count // 100)):
        path = small_file(folder, i)
        data = path.read_bytes()
        path.unlink()  # where a tool has linked it to its store, the store's bytes stay as they are
        path.write_bytes(data[: len(data) // 2] + b" line %d of change %d " % (i, seed) + data[len(data) // 2 :])


def big_file(path: Path, size_mb: int) -> None:
    """Write bytes that do not compress."""
    made = random.Random(2)
    with path.open("wb") as file:
        for _ in range(size_mb):
            file.write(made.randbytes(1_000_000))


def insert(path: Path, seed: int) -> None:
    """Put 1 KB into the middle of a file."""
    half = path.stat().st_size // 2
    changed = path.with_name("changed")
    with path.open("rb") as read, changed.open("wb") as written:
        for at in range(0, half, 1 << 20):
            written.write(read.read(min(1 << 20, half - at)))
        written.write(random.Random(seed).randbytes(1000))
        shutil.copyfileobj(read, written, 1 << 20)
    changed.rename(path)


def row(i: int, made: random.Random) -> bytes:
    """Return a line of some 90 bytes, as tables have them: names, categories, dates and amounts."""
    return b"%d,2024-%02d-%02dT%02d:%02d:%02dZ,%s,%s,customer-%06d,%.2f,%.4f,%d,%s\n" % (
        i,
        made.randrange(1, 13),
        made.randrange(1, 29),
        made.randrange(24),
        made.randrange(60),
        made.randrange(60),
        made.choice((b"Amsterdam", b"Berlin", b"Copenhagen", b"Dublin", b"Edinburgh", b"Florence", b"Geneva")),
        made.choice((b"open", b"closed", b"pending", b"returned to sender")),
        made.randrange(200_000),
        made.lognormvariate(4, 1),
        made.random(),
        made.randrange(100),
        made.choice((b"standard delivery", b"express", b"pick-up")),
    )


def table(path: Path, rows: int) -> None:
    """Write a CSV table."""
    made = random.Random(3)
    with path.open("wb") as file:
        file.writelines(row(i, made) for i in range(rows))


def change_table(path: Path, rows: int, seed: int) -> None:
    """Change 0.1 % of the rows anywhere, and append 1 %."""
    made = random.Random(seed)
    lines = path.read_bytes().splitlines(keepends=True)
    for i in made.sample(range(len(lines)), max(1, rows // 1000)):
        lines[i] = row(i, made)
    path.write_bytes(b"".join(lines) + b"".join(row(len(lines) + i, made) for i in range(rows // 100)))


def array(path: Path, size_mb: int) -> None:
    """Write an array of floats that do not compress: samples of 1 MB each."""
    import numpy as np

    made = np.lib.format.open_memmap(path, "w+", "float32", (size_mb, 500, 500))
    for i in range(size_mb):
        made[i] = np.random.default_rng(i).random((500, 500), "float32")
    made.flush()


def change_cube(path: Path) -> None:
    """Change a cube of 16 values each way."""
    import numpy as np

    changed = np.lib.format.open_memmap(path, "r+")
    at = changed.shape[0] // 2
    changed[at : at + 16, 100:116, 200:216] += 1
    changed.flush()


CHANGE_CUBE = """
import retrodict as rd
with rd.new_version("data", reason="a cube") as array:
    at = array.shape[0] // 2
    array[at : at + 16, 100:116, 200:216] += 1
"""


def apart(function: Callable[[Path], None], path: Path) -> None:
    """Run a function in a process of its own, so that the memory it takes is not inherited by what is measured."""
    process = multiprocessing.get_context("fork").Process(target=function, args=(path,))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{function} ended with {process.exitcode}")


@dataclass(kw_only=True)
class Tool:
    """One way to keep versions of `data` in a folder of its own."""

    name: str
    place: Path
    store: str  # the tool's own folder in there
    init: Sequence[Sequence[str]]
    add: Callable[[int], Sequence[Sequence[str]]]  # of the n-th version
    look: Sequence[str] | None = None  # says whether something has changed
    old: Sequence[Sequence[str]] | None = None  # puts version 1 in the place of the newest
    restore: Sequence[Sequence[str]] | None = None  # writes version 1 where nothing is
    restored: str = "data"  # what must go before that
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def run(self, commands: Sequence[Sequence[str]]) -> measure.Spent:
        """Run commands one after the other."""
        spent = [measure.command(argv, cwd=self.place, env=self.env) for argv in commands]
        return measure.Spent(
            wall_s=sum(one.wall_s for one in spent),
            cpu_s=sum(one.cpu_s for one in spent),
            peak_rss_bytes=max(one.peak_rss_bytes for one in spent),
        )

    def stored(self) -> int:
        """Return how many bytes the tool's own folder has."""
        files = [path for path in (self.place / self.store).rglob("*") if path.is_file()]
        # What SQLite's processes share lies in memory, though it has a name.
        return sum(path.stat().st_size for path in files if not path.name.endswith("-shm"))


def put_aside(folder: Path) -> None:
    """Take a folder of many files out of the way, without its bytes.

    HAZARD: ext4 looks at every inode that was freed in the last six minutes before it gives out a new one: until then
    making as many files as were removed takes many times the CPU, whichever tool makes them.
    """
    if not folder.exists():
        return
    aside = folder.parent / f".aside-{time.time_ns()}"
    folder.rename(aside)
    for at, _, names in os.walk(aside):
        for path in (Path(at, name) for name in names):
            if path.is_file() and not path.is_symlink():
                path.chmod(0o600)
                os.truncate(path, 0)


def tools(folder: Path, *, peers: bool, large: bool = False) -> list[Tool]:
    """Return those that are installed, and that are for large files where there are any."""
    found = [
        Tool(
            name="retrodict",
            place=folder / "retrodict",
            store=".retrodict",
            init=[measure.retrodict("init")],
            add=lambda _: [measure.retrodict("add", "data")],
            look=measure.retrodict("status"),
            old=[measure.retrodict("checkout", "dataset:data@v1")],
            restore=[measure.retrodict("checkout", "dataset:data@v1", "out")],
            restored="out",
            env=measure.settings(folder),
        )
    ]
    if not peers:
        return found
    if shutil.which("git") and not large:
        found.append(
            Tool(
                name="git",
                place=folder / "git",
                store=".git",
                init=[
                    ["git", "init", "-q"],
                    ["git", "config", "user.email", "a@b"],
                    ["git", "config", "user.name", "a"],
                    ["git", "config", "gc.auto", "0"],  # it would go on in the background, beside the next tool
                ],
                add=lambda n: [
                    ["git", "add", "data"],
                    ["git", "commit", "-q", "--allow-empty", "-m", "a"],
                    ["git", "tag", f"v{n}"],
                ],
                look=["git", "status", "--short"],
                old=[["git", "checkout", "-q", "v1"]],
                restore=[["git", "checkout", "-q", "v1", "--", "data"]],
            )
        )
    if dvc := dvc_command():
        env = os.environ | {"PATH": f"{dvc.parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
        keep = ["sh", "-c", "test -e v1.dvc.kept || cp data.dvc v1.dvc.kept"]
        back = ["cp", "v1.dvc.kept", "data.dvc"]
        found.append(
            Tool(
                name="DVC",
                place=folder / "dvc",
                store=".dvc",
                init=[["git", "init", "-q"], ["dvc", "init", "-q"]],
                add=lambda _: [["dvc", "add", "-q", "data"], keep],
                look=["dvc", "status"],
                old=[back, ["dvc", "checkout", "-q", "data.dvc"]],
                restore=[back, ["dvc", "checkout", "-q", "data.dvc"]],
                env=env,
            )
        )
    if shutil.which("restic"):
        env = os.environ | {"RESTIC_PASSWORD": "a", "RESTIC_REPOSITORY": "repository", "RESTIC_CACHE_DIR": "cache"}
        found.append(
            Tool(
                name="restic",
                place=folder / "restic",
                store="repository",
                init=[["restic", "init", "-q"]],
                add=lambda n: [["restic", "backup", "-q", "--tag", f"v{n}", "data"]],
                restore=[["restic", "restore", "-q", "--tag", "v1", "latest", "--target", "out"]],
                restored="out",
                env=env,
            )
        )
    if shutil.which("borg"):
        first = "mkdir out && cd out && borg extract ../repository::$(borg list --short --first 1 ../repository)"
        env = os.environ | {
            "BORG_BASE_DIR": str(folder / "borg" / "base"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        found.append(
            Tool(
                name="borg",
                place=folder / "borg",
                store="repository",
                init=[["borg", "init", "-e", "none", "repository"]],
                add=lambda n: [["borg", "create", f"repository::v{n}-{time.time_ns()}", "data"]],
                restore=[["sh", "-c", first]],
                restored="out",
                env=env,
            )
        )
    return found


def dvc_command() -> Path | None:
    """Return DVC in an environment of its own, or None."""
    made = subprocess.run(
        ["bash", ROOT / "tests/environments/make.sh", "dvc"], capture_output=True, text=True, check=False
    )
    path = Path(made.stdout.strip() or "/").with_name("dvc")
    return path if made.returncode == 0 and path.exists() else None


Found = dict[str, dict[str, list[measure.Spent]]]  # by what is done, by tool


class Bench:
    """Figures of one case, gathered and printed."""

    def __init__(self) -> None:
        self.spent: Found = {}
        self.stored: dict[str, dict[str, list[int]]] = {}

    def note(self, what: str, who: str, spent: measure.Spent, stored: int | None = None) -> None:
        """Keep one figure, and tell it."""
        grown = "" if stored is None else f", {stored / 1e6:.3f} MB stored"
        rss = f", {spent.peak_rss_bytes / 1e6:.0f} MB of memory" if spent.peak_rss_bytes else ""
        line = f"{what}: {who}: {spent.cpu_s:.2f} s of CPU, {spent.wall_s:.2f} s{rss}{grown}"
        print(line, file=sys.stderr, flush=True)
        self.spent.setdefault(what, {}).setdefault(who, []).append(spent)
        if stored is not None:
            self.stored.setdefault(what, {}).setdefault(who, []).append(stored)

    def add(self, what: str, tool: Tool, version: int) -> None:
        """Let a tool keep a version, and note what it took."""
        before = tool.stored()
        spent = tool.run(tool.add(version))
        self.note(what, tool.name, spent, tool.stored() - before)

    def show(self) -> None:
        """Print medians."""
        for what, by_tool in self.spent.items():
            print(f"\n{what}")
            for who, runs in by_tool.items():
                spent = measure.median(runs)
                stored = sorted(self.stored.get(what, {}).get(who, []))
                grown = f"   stored {stored[len(stored) // 2] / 1e6:10.3f} MB" if stored else ""
                rss = f"   {spent.peak_rss_bytes / 1e6:6.0f} MB" if spent.peak_rss_bytes else ""
                ours = by_tool.get("retrodict")
                ratio = f"   x{spent.cpu_s / max(measure.median(ours).cpu_s, 1e-9):7.2f}" if ours else ""
                print(
                    f"  {who:<24} cpu {spent.cpu_s:8.2f} s   wall {spent.wall_s:8.2f} s{rss}{ratio}{grown}", flush=True
                )


def begin(tool: Tool, data: Path) -> None:
    """Make an empty store beside a copy of the data, whose times are past every tool's racy rule."""
    shutil.rmtree(tool.place, ignore_errors=True)
    tool.place.mkdir(parents=True)
    if data.is_dir():
        shutil.copytree(data, tool.place / "data")
    else:
        shutil.copyfile(data, tool.place / "data")
    tool.run(tool.init)
    os.sync()
    time.sleep(3)


def many_files(folder: Path, count: int, repetitions: int, *, peers: bool) -> None:
    """Measure many small files."""
    measure.title(f"Data: {count:,} small files")
    data = folder / "made"
    small_files(data, count)
    bench = Bench()
    for _ in range(repetitions):
        hashed = ["sh", "-c", "find made -type f -print0 | xargs -0 b3sum --num-threads 1 > /dev/null"]
        if shutil.which("b3sum"):
            bench.note("add", "b3sum of every file", measure.command(hashed, cwd=folder))
        bench.note("restore", "cp -r", measure.command(["cp", "-r", "made", "copy"], cwd=folder))
        put_aside(folder / "copy")
        for tool in tools(folder, peers=peers):
            begin(tool, data)
            bench.add("add", tool, 1)
            bench.add("add again, nothing changed", tool, 2)
            if tool.look is not None:
                bench.note("status", tool.name, tool.run([tool.look]))
            change_some(tool.place / "data", count, 1)
            os.sync()
            time.sleep(3)
            bench.add("add after 100 changes", tool, 3)
            if tool.old is not None:
                bench.note("the old version over the new", tool.name, tool.run(tool.old))
            if tool.restore is not None:
                put_aside(tool.place / tool.restored)
                bench.note("restore", tool.name, tool.run(tool.restore))
            put_aside(tool.place)
    bench.show()


def one_file(
    folder: Path,
    data: Path,
    change: Callable[[Path], None],
    names: tuple[str, str],
    repetitions: int,
    *,
    peers: bool,
) -> Bench:
    """Measure one large file, and its next version."""
    bench = Bench()
    for _ in range(repetitions):
        if shutil.which("b3sum"):
            bench.note(names[0], "b3sum", measure.command(["b3sum", data.name], cwd=folder))
        copied = ["dd", f"if={data.name}", "of=copy", "bs=1M", "conv=fsync", "status=none"]
        bench.note(names[0], "plain copy with fsync", measure.command(copied, cwd=folder))
        (folder / "copy").unlink()
        for tool in tools(folder, peers=peers, large=True):
            begin(tool, data)
            bench.add(names[0], tool, 1)
            apart(change, tool.place / "data")
            os.sync()
            time.sleep(3)
            bench.add(names[1], tool, 2)
            if shutil.which("zstd") and tool.name == "retrodict" and data.stat().st_size < 1 << 29:
                delta = ["zstd", "-q", "-1", "--long=31", "--patch-from", str(data), "data", "-o", "../delta"]
                bench.note(
                    names[1],
                    "zstd --patch-from alone",
                    measure.command(delta, cwd=tool.place),
                    (folder / "delta").stat().st_size,
                )
                (folder / "delta").unlink()
            shutil.rmtree(tool.place)
    return bench


def tensor(folder: Path, data: Path, names: tuple[str, str], bench: Bench, repetitions: int) -> None:
    """Measure an array that is kept as one, and a slice of its first version."""
    add = [measure.retrodict("tensor", "import", "data", str(data))]
    slice_ = measure.retrodict("tensor", "read", "data@v1", "3:5,10:20,:", "--out", "slice.npy")
    for _ in range(repetitions):
        [tool] = tools(folder, peers=False)
        tool.name, tool.add = "retrodict tensor", lambda n: add if n == 1 else [[sys.executable, "-c", CHANGE_CUBE]]
        begin(tool, data)
        bench.add(names[0], tool, 1)
        bench.add(names[1], tool, 2)
        bench.note("a slice of the first version", tool.name, tool.run([slice_]))
        shutil.rmtree(tool.place)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--big-mb", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--tensor-mb", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true")
    asked = parser.parse_args()
    peers = not asked.no_peers
    with tempfile.TemporaryDirectory(dir=".") as name:
        if asked.files:
            many_files(Path(name).absolute(), asked.files, asked.repetitions, peers=peers)
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).absolute()
        if asked.big_mb:
            measure.title(f"Data: one file of {asked.big_mb:,} MB that does not compress")
            big_file(folder / "big", asked.big_mb)
            names = ("add", "add again with 1 KB inserted in the middle")
            bench = one_file(
                folder, folder / "big", lambda path: insert(path, 1), names, asked.repetitions, peers=peers
            )
            bench.show()
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).absolute()
        if asked.rows:
            measure.title(f"Data: a CSV of {asked.rows:,} rows")
            table(folder / "table.csv", asked.rows)
            measure.figure("size", (folder / "table.csv").stat().st_size / 1e6, "MB")
            names = ("add", "add again with 0.1 % of the rows changed and 1 % appended")
            change = lambda path: change_table(path, asked.rows, 4)  # noqa: E731
            one_file(folder, folder / "table.csv", change, names, asked.repetitions, peers=peers).show()
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).absolute()
        if asked.tensor_mb:
            measure.title(f"Data: an array of {asked.tensor_mb:,} MB that does not compress")
            apart(lambda path: array(path, asked.tensor_mb), folder / "array.npy")
            names = ("add", "add again with a cube of 16 x 16 x 16 changed")
            bench = one_file(folder, folder / "array.npy", change_cube, names, asked.repetitions, peers=peers)
            tensor(folder, folder / "array.npy", names, bench, asked.repetitions)
            bench.show()


if __name__ == "__main__":
    main()
