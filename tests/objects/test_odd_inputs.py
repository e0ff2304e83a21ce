"""What folders may hold that is out of the ordinary: the rules of docs/files.md."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import AlteredObjectError, UsageError
from retrodict.objects import ObjectStore, digest_of
from retrodict.objects.errors import CheckoutConflictError
from retrodict.objects.names import as_name
from retrodict.objects.pack import RECORD, ZSTD, Place, path_of, scan
from retrodict.testing.stores import CACHE_KEY, bad


def test_a_flipped_bit_is_never_checked_out_whatever_the_times_say(store: ObjectStore, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for i in range(50):
        (home / f"{i}").write_bytes(b"file %d " % i * 100)
    digest = store.add(home).digest
    [spoilt] = [e for e in store.list_tree(digest) if e.name == b"17"]
    [path] = [path_of(store.folder, bytes.fromhex(key)) for key in store.packs()]
    data, times = bytearray(path.read_bytes()), path.stat()
    for place in scan(bytes(data)):
        if isinstance(place, Place) and place.name == as_name(spoilt.digest):
            data[place.offset + RECORD.size + 9] ^= 4
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(AlteredObjectError):
        store.checkout(digest, tmp_path / "out")
    assert not (tmp_path / "out" / "17").exists()
    for file in (tmp_path / "out").iterdir():
        assert file.read_bytes() == (home / file.name).read_bytes()


def test_a_frame_that_claims_more_than_its_record_fills_no_memory(store: ObjectStore, tmp_path: Path) -> None:
    content, claims = b"compressible " * 100, (1 << 40).to_bytes(8, "little")
    home = tmp_path / "home"
    home.mkdir()
    (home / "a").write_bytes(content)
    digest = store.add(home).digest
    packs = [path_of(store.folder, bytes.fromhex(key)) for key in store.packs()]
    [(path, place)] = [
        (path, place)
        for path in packs
        for place in scan(path.read_bytes())
        if isinstance(place, Place) and place.name == as_name(digest_of(content))
    ]
    data = bytearray(path.read_bytes())
    assert place.codec == ZSTD
    begin = place.offset + RECORD.size
    frame = b"\x28\xb5\x2f\xfd\xe0" + claims  # RFC 8878: one segment, and 8 bytes that say how long its content is
    data[begin : begin + place.stored] = frame + data[begin + len(frame) : begin + place.stored]
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(AlteredObjectError):
        store.checkout(digest, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


PEAK = """
import resource, sys
from pathlib import Path
from retrodict.kernel.clock import SystemClock
from retrodict.objects import ObjectStore, digest_of
with ObjectStore.create(Path(sys.argv[1]), SystemClock(), cache_key=bytes(32)) as store:
    digest = store.add(Path(sys.argv[2])).digest
    if len(sys.argv) > 3:
        store.checkout(digest, Path(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak(*arguments: Path) -> int:
    """Return the peak memory in bytes of adding, and checking out, in a process of its own."""
    return int(subprocess.run([sys.executable, "-c", PEAK, *arguments], check=True, capture_output=True).stdout)


def test_many_files_in_one_folder_take_little_memory(tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    for folder, count in ((few, 10), (many, 30_000)):
        folder.mkdir()
        for i in range(count):
            os.link(few / "0", folder / f"{i}") if i else (folder / "0").write_bytes(b"same")
    taken = peak(tmp_path / "two", many, tmp_path / "out") - peak(tmp_path / "one", few)
    assert taken < 30_000 * 300  # so that a million take less than 300 MB
    assert len(os.listdir(tmp_path / "out")) == 30_000


def test_a_folder_is_listed_once_however_many_files_are_written_to_it(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for i in range(5_000):
        (home / f"{i}").write_bytes(b"%d" % i)
    digest = store.add(home).digest
    true, listed = os.listdir, 0

    def count(folder: int) -> list[str]:
        nonlocal listed
        listed += 1
        return true(folder)

    monkeypatch.setattr(os, "listdir", count)
    store.checkout(digest, tmp_path / "out")
    assert listed == 1  # after each of its leaves it would take a time that grows by the square


def test_one_long_line_is_never_held_as_a_whole(tmp_path: Path) -> None:
    line = tmp_path / "line.jsonl"
    made = random.Random(1)
    with line.open("wb") as file:
        file.write(b'{"values":[')
        for _ in range(40):
            file.write(b",".join(b"%d" % made.randrange(10**9) for _ in range(200_000)))
        file.write(b"]}\n")
    small = tmp_path / "small"
    small.write_bytes(b"{}\n")
    assert line.stat().st_size > 75_000_000
    taken = peak(tmp_path / "two", line, tmp_path / "back.jsonl") - peak(tmp_path / "one", small)
    assert taken < 60_000_000
    assert (tmp_path / "back.jsonl").read_bytes() == line.read_bytes()


def test_a_table_of_a_hundred_thousand_columns_comes_back(store: ObjectStore, tmp_path: Path) -> None:
    table = tmp_path / "wide.csv"
    rows = [",".join(f"{word}{i}" for i in range(100_000)) for word in ("column", "value", "other")]
    table.write_text("\n".join(rows) + "\n")
    assert store.get(store.add(table).digest) == table.read_bytes()


def test_names_that_differ_in_case_or_unicode_form_are_different_names(store: ObjectStore, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    names = ["readme", "README", "caf\u00e9", "cafe\u0301"]
    for name in names:
        (home / name).write_text(name)
    store.checkout(store.add(home).digest, tmp_path / "out")
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == dict(
        zip(names, names, strict=True)
    )


def test_a_file_system_that_takes_two_names_for_one_is_told(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "readme").write_bytes(b"one")
    (home / "README").write_bytes(b"other")
    digest = store.add(home).digest
    true = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: sorted({name.lower() for name in true(folder)}))
    with pytest.raises(CheckoutConflictError, match="README"):
        store.checkout(digest, tmp_path / "out")


def test_holes_come_back_as_holes(store: ObjectStore, tmp_path: Path) -> None:
    sparse, back = tmp_path / "sparse", tmp_path / "back"
    with sparse.open("wb") as file:
        file.seek(40_000_000)
        file.write(b"in the middle")
        file.truncate(80_000_000)
    added = store.add(sparse)
    assert added.new_bytes < 500_000
    store.checkout(added.digest, back)
    assert back.read_bytes() == sparse.read_bytes()
    assert back.stat().st_blocks * 512 < 4_000_000


def test_a_pipe_that_takes_the_place_of_a_file_stops_nobody(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "a").write_bytes(b"a")
    true = os.open

    def meddle(path: bytes | Path, flags: int, *rest: int) -> int:
        if path == os.fsencode(home / "a"):
            os.unlink(path)
            os.mkfifo(path)
        return true(path, flags, *rest)

    monkeypatch.setattr(os, "open", meddle)
    with pytest.raises(UsageError, match="pipe"):
        store.add(home)


ADDER = """
import sys
from pathlib import Path
from retrodict.kernel.clock import SystemClock
from retrodict.objects import ObjectStore, digest_of
with ObjectStore.open(Path(sys.argv[1]), SystemClock(), cache_key=bytes(range(32))) as store:
    for _ in range(int(sys.argv[2])):
        for folder in sys.argv[3:]:
            print(store.add(Path(folder)).digest, flush=True)
"""


# Reads the version that it is given over and over, each time to a new place, until its standard input ends.
READER = """
import select, shutil, sys
from pathlib import Path
from retrodict.kernel.clock import SystemClock
from retrodict.objects import ObjectStore
times = 0
while not times or not select.select([sys.stdin], [], [], 0)[0]:
    with ObjectStore.open(Path(sys.argv[1]), SystemClock(), cache_key=bytes(range(32))) as store:
        store.checkout(sys.argv[2], Path(sys.argv[3]))
    found = sorted((path.name, path.read_bytes()) for path in Path(sys.argv[3]).iterdir())
    wanted = sorted((path.name, path.read_bytes()) for path in Path(sys.argv[4]).iterdir())
    if found != wanted:
        sys.exit("other bytes")
    shutil.rmtree(sys.argv[3])
    times += 1
print(times)
"""


def test_four_processes_add_the_same_folders_one_is_killed_and_one_reads(tmp_path: Path) -> None:
    made = random.Random(1)
    folders = [tmp_path / f"data{i}" for i in range(3)]
    for folder in [*folders, tmp_path / "held"]:
        folder.mkdir()
        for i in range(1500 if folder in folders else 100):
            (folder / f"{i}").write_bytes(made.randbytes(1000))
    with ObjectStore.create(tmp_path / "objects", SystemClock(), cache_key=CACHE_KEY) as store:
        held = store.add(tmp_path / "held").digest
    reading = [
        sys.executable,
        "-c",
        READER,
        *map(str, (tmp_path / "objects", held, tmp_path / "out", tmp_path / "held")),
    ]
    reader = subprocess.Popen(reading, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    adders = []
    for rounds in ("1000000", "3", "3", "3"):
        command = [sys.executable, "-c", ADDER, str(tmp_path / "objects"), rounds, *map(str, folders)]
        adders.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    time.sleep(0.7)
    adders[0].send_signal(signal.SIGKILL)
    said = [adder.communicate(timeout=120)[0].split() for adder in adders]
    assert [adder.returncode for adder in adders] == [-signal.SIGKILL, 0, 0, 0]
    times, _ = reader.communicate(timeout=60)
    assert (reader.returncode, int(times) > 1) == (0, True)
    assert said[1] == said[2] == said[3]
    assert said[0][:9] == said[1][: len(said[0])]
    assert bad(tmp_path / "objects") == []
    with ObjectStore.open(tmp_path / "objects", SystemClock(), cache_key=CACHE_KEY) as store:
        assert [store.state(digest) for digest in said[1][:3]] == ["held"] * 3  # type: ignore[arg-type]
        assert [store.add(folder).digest for folder in folders] == said[1][:3]
