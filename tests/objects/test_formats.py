"""The examples in docs/formats are what the code writes, to the byte, and files of this release stay readable."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

import apsw
import pytest
from backports import zstd

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore, TreeEntry, digest_of
from retrodict.objects.names import Kind, as_digest, name_of
from retrodict.objects.pack import DELTA, RECORD, decode, difference
from retrodict.testing.stores import Room

DOCS = Path(__file__).parents[2] / "docs" / "formats"


def dump(data: bytes) -> str:
    lines = []
    for i in range(0, len(data), 16):
        row = data[i : i + 16]
        text = "".join(chr(c) if 32 <= c < 127 else "." for c in row)
        lines.append(f"{i:04x}  {row.hex(' '):<47}  {text}\n")
    return "".join(lines)


def example(page: str, title: str) -> str:
    """Return the block that follows a line with `title` on a page."""
    match = re.search(re.escape(title) + r".*?```text\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert match, f"{page} has no example {title!r}"
    return match[1]


def undump(text: str) -> bytes:
    return b"".join(bytes.fromhex(line[6:53]) for line in text.splitlines())


def the_pack(store: ObjectStore) -> Path:
    [path] = (store.folder / "packs").iterdir()
    return path


def test_the_example_pack_is_what_is_written(store: ObjectStore) -> None:
    store.put(b"hello\n")
    assert dump(the_pack(store).read_bytes()) == example("pack.md", "A pack with one object")
    assert the_pack(store).name in (DOCS / "pack.md").read_text()


def test_the_example_recipe_is_what_is_written(store: ObjectStore) -> None:
    blob = store.put(bytes(300_000))
    payload = undump(example("pack.md", "A recipe"))
    assert store.get(as_digest(name_of(Kind.RECIPE, payload))) == payload
    assert blob in (DOCS / "pack.md").read_text()


def test_the_example_difference_is_read_and_what_is_written_is_one() -> None:
    base = b"".join(b"line %d of a text\n" % i for i in range(40))
    changed = base.replace(b"line 20", b"LINE 20")
    record = undump(example("pack.md", "a record of codec 2"))
    stored = record[RECORD.size :]
    assert RECORD.unpack_from(record)[1:] == (1, DELTA, 0, len(stored), len(changed), name_of(Kind.BLOB, changed))
    asked = []

    def load(name: bytes, depth: int) -> bytes:
        asked.append((name, depth))
        return base

    assert decode(DELTA, stored, len(changed), load) == changed
    assert decode(DELTA, difference(changed, base, [name_of(Kind.BLOB, base)], 1), len(changed), load) == changed
    assert asked == [(name_of(Kind.BLOB, base), 1)] * 2


def test_the_example_listing_is_what_is_written(store: ObjectStore) -> None:
    a, b = store.put_many([b"hello\n", b"ab" * 100])
    root = store.put_tree(
        [
            TreeEntry(name=b"run\xff", kind="executable", digest=b, size=200),
            TreeEntry(name=b"greeting", kind="file", digest=a, size=6),
        ]
    )
    assert dump(store.get(root)) == example("tree.md", "A folder with two files")
    assert root in (DOCS / "tree.md").read_text()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_pack_of_the_first_release_is_read(tmp_path: Path, read_only: bool) -> None:
    """With a compressed record, whose bytes another zstd might choose otherwise, and no index."""
    ObjectStore.create(tmp_path / "objects", SystemClock()).close()
    (tmp_path / "objects" / "index.db").unlink()
    data = undump(example("pack.md", "A pack with a compressed object"))
    (tmp_path / "objects" / "packs" / f"{digest_of(data)[3:]}.pack").write_bytes(data)
    with ObjectStore.open(tmp_path / "objects", SystemClock(), read_only=read_only) as store:
        assert store.get(digest_of(b"hello\n")) == b"hello\n"
        assert store.get(digest_of(b"ab" * 100)) == b"ab" * 100
        assert list(store.verify()) == []


def test_the_compressed_part_of_a_record_is_a_plain_zstd_frame() -> None:
    data = undump(example("pack.md", "A pack with a compressed object"))
    assert zstd.decompress(data[0x76:0x88]) == b"ab" * 100


def test_the_format_file_is_as_documented(store: ObjectStore) -> None:
    assert (store.folder / "format.json").read_text() in (DOCS / "object.md").read_text()


def test_the_names_on_the_page_are_right(store: ObjectStore) -> None:
    page = (DOCS / "object.md").read_text()
    assert digest_of(b"hello\n") in page
    assert store.put(b"hello\n") == Digest("b3-8e4c7c1b99dbfd50e7a95185fead5ee1448fa904a2fdd778eaf5f2dbfd629a99")


@functools.cache
def _numbers() -> bytes:
    return ("\n".join(map(str, range(1, 9_000_001))) + "\n").encode()


@pytest.mark.parametrize("room", ["copying", "xfs"], indirect=True)
def test_the_example_raw_file_is_what_is_written_and_one_byte_less_is_packed(room: Room) -> None:
    page = (DOCS / "object.md").read_text()
    source = room.file("numbers", _numbers())
    with room.make() as store:
        digest = store.put_file(source)
        raw = room.store / "raw" / digest[3:]
        assert f"{raw.name}  .retrodict/objects/raw/{raw.name}\n" in page
        assert f"{raw.stat().st_size:,} bytes" in page
        assert digest_of(raw.read_bytes()) == digest
        db = apsw.Connection(str(room.store / "index.db"))
        query = "SELECT offset, size, lower(hex(name)) FROM objects WHERE pack = 1 ORDER BY offset"
        rows = db.execute(query).fetchall()
        assert "".join(f"| {offset} | {size} | {name} |\n" for offset, size, name in rows[:3]) in page
        assert f"It has {len(rows)} rows" in page
        [(key,)] = db.execute("SELECT name FROM packs WHERE id = 1").fetchall()
        assert key == b"raw/" + bytes.fromhex(raw.name)
        db.close()
        assert store.checkout(digest, room.folder / "out") == raw.stat().st_size
    source.write_bytes(raw.read_bytes()[: (64 << 20) - 1])
    (room.folder / "other").mkdir()
    with ObjectStore.create(room.folder / "other" / "objects", SystemClock(), disk=room.disk) as store:
        store.put_file(source)
        assert not (room.folder / "other" / "objects" / "raw").exists()
        os.truncate(source, 64 << 20)
        with room.open() as known:
            known.put_file(source)  # nearly all of it is held
        assert [path.name for path in (room.store / "raw").iterdir()] == [raw.name]
