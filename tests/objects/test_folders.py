"""Folders: what is kept of them, what is refused, and what comes back."""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import blake3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import FormatError, MissingObjectError, UsageError
from retrodict.kernel.protocols import Clock
from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore, TreeEntry, digest_of, tree
from retrodict.objects.errors import ChangedFileError, CheckoutConflictError, UnreadableFileError
from retrodict.objects.names import Kind, as_digest
from retrodict.testing.stores import CACHE_KEY


class LaterClock(SystemClock):
    """Ten seconds ahead, so that files that were just written are past the racy rule."""

    def now_ns(self) -> int:
        return super().now_ns() + 10**10


@pytest.fixture
def later(tmp_path: Path) -> ObjectStore:
    return ObjectStore.create(tmp_path / "later", LaterClock(), cache_key=CACHE_KEY)


Picture = dict[bytes, tuple[str, bytes]]


def picture(root: Path) -> Picture:
    """Return {path: (what, content)} of everything below a folder, from the file system alone."""
    seen: Picture = {}
    for base, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(base, name)
            mode = os.lstat(path).st_mode
            key = os.path.relpath(path, os.fsencode(root))
            if stat.S_ISLNK(mode):
                seen[key] = ("symlink", os.readlink(path))
            elif stat.S_ISDIR(mode):
                seen[key] = ("tree", b"")
            else:
                with open(path, "rb") as file:
                    seen[key] = ("executable" if mode & 0o100 else "file", file.read())
    return seen


names = st.binary(min_size=1, max_size=12).filter(lambda n: n not in (b".", b"..") and b"/" not in n and b"\0" not in n)
contents = st.one_of(
    st.binary(max_size=200), st.builds(lambda n: random.Random(n).randbytes(n), st.integers(0, 400_000))
)
leaves = st.one_of(
    st.tuples(st.just("file"), contents),
    st.tuples(st.just("executable"), contents),
    st.tuples(st.just("symlink"), st.binary(min_size=1, max_size=20).filter(lambda t: b"\0" not in t)),
)
folders = st.recursive(leaves, lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=12)


def make(path: bytes, what: object) -> None:
    if isinstance(what, dict):
        os.mkdir(path)
        for name, inner in what.items():
            make(os.path.join(path, name), inner)
        return
    assert isinstance(what, tuple)
    kind, content = what
    if kind == "symlink":
        os.symlink(content, path)
    else:
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o755 if kind == "executable" else 0o640)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(what=st.dictionaries(names, folders, max_size=5))
def test_a_folder_comes_back_as_it_was(store: ObjectStore, tmp_path: Path, what: dict[bytes, object]) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for path in (source, out):
        shutil.rmtree(os.fsencode(path), ignore_errors=True)
    make(os.fsencode(source), what)
    added = store.add(source)
    truth = picture(source)
    assert added.kind == "tree"
    assert added.files == sum(kind != "tree" for kind, _ in truth.values())
    assert added.size_bytes == sum(len(content) for _, content in truth.values())
    assert {path: entry.kind for path, entry in store.walk(added.digest)} == {p: kind for p, (kind, _) in truth.items()}
    assert all(store.get(e.digest) == truth[path][1] for path, e in store.walk(added.digest) if e.kind != "tree")
    assert store.checkout(added.digest, out) == added.size_bytes
    assert picture(out) == truth
    assert store.checkout(added.digest, out) == 0
    assert store.add(out).digest == added.digest
    assert store.state(added.digest) == "held"


def test_the_name_of_a_tree_is_a_keyed_blake3_of_its_listing(store: ObjectStore) -> None:
    content = store.put(b"content")
    root = store.put_tree([TreeEntry(name=b"n\xff", kind="executable", digest=content, size=7)])
    listing = (
        b"RTT1" + bytes(4) + (1).to_bytes(8, "little") + (7).to_bytes(8, "little")
        + b"x" + (2).to_bytes(2, "little") + (7).to_bytes(8, "little") + bytes.fromhex(content[3:]) + b"n\xff"
    )  # fmt: skip
    assert root == "b3-" + blake3.blake3(listing, derive_key_context="retrodict tree v1").hexdigest()
    assert store.get(root) == listing
    assert root != store.put(listing), "a file that looks like a listing is not a listing"


entries = st.lists(
    st.builds(
        TreeEntry,
        name=names,
        kind=st.sampled_from(["file", "executable", "symlink"]),
        digest=st.just(digest_of(b"")),
        size=st.integers(0, 1 << 50),
    ),
    max_size=40,
    unique_by=lambda e: e.name,
)


@settings(max_examples=25, deadline=None)
@given(listing=entries, leaf=st.integers(1, 6), seed=st.integers())
def test_a_listing_has_one_name_whatever_its_order_and_comes_back_sorted(
    listing: list[TreeEntry], leaf: int, seed: int
) -> None:
    kept: dict[bytes, bytes] = {}

    def keep(node: bytes) -> bytes:
        name = blake3.blake3(node).digest()
        kept[name] = node
        return name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "LEAF", leaf)
        root, size = tree.build(listing, keep)
        random.Random(seed).shuffle(listing)
        assert tree.build(listing, keep) == (root, size)
        assert tree.listing(root, kept.__getitem__) == sorted(listing, key=lambda e: e.name)
    assert size == sum(e.size for e in listing)


@settings(max_examples=50, deadline=None)
def nodes() -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes], dict[bytes, bytes], list[bytes]]:
    """Return what keeps nodes, what loads them, those that were kept, and the names of those that were loaded."""
    kept: dict[bytes, bytes] = {}
    read: list[bytes] = []

    def keep(node: bytes) -> bytes:
        name = blake3.blake3(node).digest()
        kept[name] = node
        return name

    def load(name: bytes) -> bytes:
        read.append(name)
        return kept[name]

    return keep, load, kept, read


@given(
    one=entries,
    other=entries,
    shared=entries,
    leaf=st.integers(1, 6),
)
def test_looking_one_entry_up_and_comparing_two_folders_are_as_with_the_whole_listings(
    one: list[TreeEntry], other: list[TreeEntry], shared: list[TreeEntry], leaf: int
) -> None:
    keep, load, _, read = nodes()
    a = {entry.name: entry for entry in (*one, *shared)}
    b = {entry.name: entry for entry in (*other, *shared)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "LEAF", leaf)
        (root, _), (beside, _) = (tree.build(list(side.values()), keep) for side in (a, b))
        only = [{n: e for n, e in x.items() if y.get(n) != e} for x, y in ((a, b), (b, a))]
        assert list(tree.differences(root, beside, load)) == only
        assert tree.differences(root, root, load) == ({}, {})
        for name in {*a, *b}:
            assert list(tree.find(root, [name], load)) == ([a[name]] if name in a else [])
        assert {entry.name: entry for entry in tree.find(root, {*b}, load)} == {n: e for n, e in a.items() if n in b}
    assert root in read or root == beside


def test_of_a_large_folder_only_what_differs_is_read() -> None:
    keep, load, kept, read = nodes()
    listing = [TreeEntry(name=b"%d" % n, kind="file", digest=Digest(f"b3-{n:064x}"), size=n) for n in range(40_000)]
    root, _ = tree.build(listing, keep)
    other, _ = tree.build(listing[1:], keep)
    assert tree.differences(root, other, load) == ({b"0": listing[0]}, {})
    assert list(tree.find(root, [b"0"], load)) == [listing[0]]
    assert len(read) < 12 < len(kept)


def test_changing_one_of_many_files_rewrites_one_leaf_and_the_nodes_above(store: ObjectStore) -> None:
    empty = store.put(b"")
    many = [TreeEntry(name=b"%d" % i, kind="file", digest=empty, size=0) for i in range(20_000)]
    first = store.put_tree(many)
    assert [e.name for e in store.list_tree(first)] == sorted(e.name for e in many)
    before = sum(path.stat().st_size for path in (store.folder / "packs").iterdir())
    many[777] = TreeEntry(name=b"777", kind="file", digest=store.put(b"x"), size=1)
    second = store.put_tree(many)
    grown = sum(path.stat().st_size for path in (store.folder / "packs").iterdir()) - before
    assert grown < 12_000
    assert [e.size for e in store.list_tree(second) if e.name == b"777"] == [1]
    assert list(store.verify()) == []


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0b", b"x" * 70_000])
def test_a_name_that_cannot_stand_in_a_folder_is_refused(store: ObjectStore, name: bytes) -> None:
    with pytest.raises(UsageError, match="cannot be a name"):
        store.put_tree([TreeEntry(name=name, kind="file", digest=digest_of(b""), size=0)])


def test_a_name_that_stands_twice_is_refused(store: ObjectStore) -> None:
    with pytest.raises(UsageError, match="twice"):
        store.put_tree([TreeEntry(name=b"a", kind=kind, digest=digest_of(b""), size=0) for kind in ("file", "symlink")])


def forged(store: ObjectStore, node: bytes) -> Digest:
    """Store bytes as a tree node, whatever they are."""
    with store._writer("a forgery") as writer:
        return as_digest(writer.keep(Kind.TREE, node))


def leaf(*items: tuple[bytes, bytes], size: int = 0) -> bytes:
    return tree._HEAD.pack(b"RTT1", 0, len(items), size) + b"".join(
        tree._ENTRY.pack(kind, len(name), 0, bytes.fromhex(digest_of(b"")[3:])) + name for kind, name in items
    )


BAD_NODES = {
    "a way up": leaf((b"f", b"..")),
    "the folder itself": leaf((b"t", b".")),
    "a path": leaf((b"f", b"a/b")),
    "an absolute path": leaf((b"f", b"/etc/passwd")),
    "no name": leaf((b"f", b"")),
    "a NUL": leaf((b"f", b"a\0")),
    "an unknown kind": leaf((b"z", b"a")),
    "twice the same": leaf((b"f", b"a"), (b"l", b"a")),
    "not sorted": leaf((b"f", b"b"), (b"f", b"a")),
    "another size": leaf((b"f", b"a"), size=9),
    "cut short": leaf((b"f", b"abc"))[:-1],
    "too long": leaf((b"f", b"abc")) + b"x",
    "too few": tree._HEAD.pack(b"RTT1", 0, 3, 0),
    "no head": b"RTT1",
    "another magic": b"RTT2" + leaf()[4:],
    "another type": b"RTT1\x02" + leaf()[5:],
    "a branch that is a leaf": tree._HEAD.pack(b"RTT1", 1, 0, 0) + bytes(16 * 48),
    "a leaf that should be split": leaf(*((b"f", b"%06d" % i) for i in range(1025))),
}


@pytest.mark.parametrize("why", BAD_NODES)
def test_a_listing_that_must_not_be_is_refused_and_named(store: ObjectStore, tmp_path: Path, why: str) -> None:
    store.put(b"")
    digest = forged(store, BAD_NODES[why])
    for use in (
        lambda: list(store.list_tree(digest)),
        lambda: list(store.walk(digest)),
        lambda: store.checkout(digest, tmp_path / "out"),
    ):
        with pytest.raises(FormatError):
            use()
    assert not (tmp_path / "out").exists()
    assert store.state(digest) == "altered"
    assert digest in {finding.what for finding in store.verify() if finding.level == "altered"}


def test_a_branch_whose_leaves_stand_in_the_wrong_place_is_refused(store: ObjectStore) -> None:
    empty = store.put(b"")
    root = store.put_tree(TreeEntry(name=b"%d" % i, kind="file", digest=empty, size=0) for i in range(1100))
    node = bytearray(store.get(root))
    slots = [bytes(node[24 + 48 * i : 72 + 48 * i]) for i in range(16)]
    with pytest.raises(FormatError, match="wrong part"):
        list(store.list_tree(forged(store, bytes(node[:24]) + b"".join([slots[1], slots[0], *slots[2:]]))))
    more = (int.from_bytes(slots[0][:8], "little") + 1).to_bytes(8, "little") + slots[0][8:]
    less = (int.from_bytes(slots[1][:8], "little") - 1).to_bytes(8, "little") + slots[1][8:]
    with pytest.raises(FormatError, match="claims"):
        list(store.list_tree(forged(store, bytes(node[:24]) + b"".join([more, less, *slots[2:]]))))


# Adding


@pytest.mark.parametrize("special", ["socket", "pipe"])
def test_special_files_are_refused_by_name(store: ObjectStore, tmp_path: Path, special: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    path = home / "special"
    if special == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    for target in (home, path):
        with pytest.raises(UsageError, match=f"special is a {special}"):
            store.add(target)
    with pytest.raises(UsageError, match=f"special is a {special}"):
        store.hash_file(path)


def test_a_missing_path_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    for call in (store.add, store.put_file, store.hash_file):
        with pytest.raises(UsageError, match="does not exist"):
            call(tmp_path / "nowhere")
        with pytest.raises(UsageError, match="not a path"):
            call(tmp_path / "a\0b")
    for call in (store.put_file, store.hash_file):
        with pytest.raises(UsageError, match="is a folder"):
            call(tmp_path)


def test_links_are_stored_as_links_wherever_they_point(store: ObjectStore, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    for name, target in {"in": "file", "out": "../secret", "gone": "nowhere", "loop": "loop", "up": ".."}.items():
        (home / name).symlink_to(target)
    added = store.add(home)
    assert {(e.name, e.kind, store.get(e.digest)) for e in store.list_tree(added.digest)} == {
        (b"in", "symlink", b"file"),
        (b"out", "symlink", b"../secret"),
        (b"gone", "symlink", b"nowhere"),
        (b"loop", "symlink", b"loop"),
        (b"up", "symlink", b".."),
    }
    assert not store.has(digest_of(b"secret"))
    store.checkout(added.digest, tmp_path / "out")
    assert picture(tmp_path / "out") == picture(home)
    (tmp_path / "named").symlink_to(home)
    assert store.add(tmp_path / "named").digest == added.digest, "a link that a person names is followed"


def test_a_path_that_the_system_does_not_open_is_named(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UnreadableFileError, match="loop"):
        store.add(tmp_path / "loop")


def test_hard_links_are_separate_files(store: ObjectStore, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "a").write_bytes(b"same")
    os.link(home / "a", home / "b")
    store.checkout(store.add(home).digest, tmp_path / "out")
    assert os.stat(tmp_path / "out" / "a").st_ino != os.stat(tmp_path / "out" / "b").st_ino


def test_ignored_paths_and_the_store_itself_are_left_out(store: ObjectStore, tmp_path: Path) -> None:
    for name in ("keep/a", "drop/b", "keep/c.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    asked: list[bytes] = []

    def ignore(folder: bytes) -> Callable[[bytes, bool], bool]:
        asked.append(folder)
        return lambda name, is_folder: (name == b"drop" and is_folder) or name.endswith(b".tmp")

    added = store.add(tmp_path, ignore=ignore)
    assert [path for path, _ in store.walk(added.digest)] == [b"keep", b"keep/a"]
    assert asked == [b"", b"keep"]


@pytest.mark.parametrize("size", [1000, 300_000, 20_000_000])
def test_a_file_that_grows_while_it_is_added_is_noticed(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "home" / "growing"
    path.parent.mkdir()
    path.write_bytes(b"x" * size)

    def growing(real: Callable[..., object]) -> Callable[..., object]:
        def read(fd: int, what: object) -> object:
            if os.readlink(f"/proc/self/fd/{fd}") == str(path):
                with path.open("ab") as file:
                    file.write(b"more")
            return real(fd, what)

        return read

    monkeypatch.setattr(os, "read", growing(os.read))
    monkeypatch.setattr(os, "readv", growing(os.readv))
    for target in (path, path.parent):
        with pytest.raises(ChangedFileError, match="growing"):
            store.add(target)
    with pytest.raises(ChangedFileError, match="growing"):
        store.hash_file(path)


def test_a_file_that_comes_to_rest_is_read_again(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    real, rounds = os.read, [b"second, longer"]

    def read(fd: int, n: int) -> bytes:
        if rounds and os.readlink(f"/proc/self/fd/{fd}") == str(path):
            path.write_bytes(rounds.pop())
        return real(fd, n)

    monkeypatch.setattr(os, "read", read)
    assert store.add(path).digest == digest_of(b"second, longer")


# The stat cache


def test_what_has_not_changed_is_not_read_again(later: ObjectStore, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for i in range(5):
        (home / f"{i}").write_bytes(b"%d" % i)
    (home / "large").write_bytes(random.Random(0).randbytes(300_000))
    first = later.add(home)
    assert (first.files, first.unchanged) == (6, 0)
    again = later.add(home)
    assert (again.files, again.unchanged, again.new_bytes) == (6, 6, 0)
    assert (again.digest, again.recipes) == (first.digest, first.recipes)
    (home / "3").write_bytes(b"other")
    assert later.add(home).unchanged == 5


_NAMES = st.sampled_from([b"a", b"b", b"ba", b"c", b"d", b"e", b"f" * 40])
_STATES = st.dictionaries(_NAMES, st.sampled_from([b"", b"one", b"two", b"run", b"link", b"folder", b"big"]))


def bring_to(folder: Path, state: dict[bytes, bytes]) -> None:
    """Make a folder hold exactly what `state` says, touching only what differs."""
    for path in folder.iterdir():
        kept = picture(folder).get(os.fsencode(path.name))
        if kept != _STOOD.get(state.get(os.fsencode(path.name), b"gone")):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, what in state.items():
        path = folder / os.fsdecode(name)
        if os.path.lexists(path):
            continue
        match what:
            case b"link":
                path.symlink_to("nowhere")
            case b"folder":
                path.mkdir()
            case b"big":
                path.write_bytes(_BIG)
            case _:
                path.write_bytes(what)
                path.chmod(0o755 if what == b"run" else 0o644)


_BIG = bytes(300_000)
_STOOD = {what: ("file", what) for what in (b"", b"one", b"two")} | {
    b"run": ("executable", b"run"),
    b"link": ("symlink", b"nowhere"),
    b"folder": ("tree", b""),
    b"big": ("file", _BIG),
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.lists(_STATES, min_size=2, max_size=4),
    edited=_STATES,
    looks=st.booleans(),
    clock=st.sampled_from([SystemClock(), LaterClock()]),  # by the first everything was changed just now
    leaf=st.sampled_from([2, tree.LEAF]),
)
def test_a_version_beside_the_one_before_is_the_same_as_one_taken_anew(
    tmp_path: Path, states: list[dict[bytes, bytes]], edited: dict[bytes, bytes], looks: bool, clock: Clock, leaf: int
) -> None:
    top = tmp_path / os.urandom(6).hex()
    home = top / "home"
    home.mkdir(parents=True)
    with (
        pytest.MonkeyPatch.context() as patch,
        ObjectStore.create(top / "store", clock, cache_key=CACHE_KEY) as store,
        ObjectStore.create(top / "anew", clock) as anew,
    ):
        patch.setattr(tree, "LEAF", leaf)
        versions = []
        for state in states:
            bring_to(home, state)
            if looks:
                store.hash_folder(home)
            added = store.add(home)
            whole = anew.add(home)
            assert (added.digest, added.files, added.size_bytes) == (whole.digest, whole.files, whole.size_bytes)
            assert store.hash_folder(home) == added.digest
            versions.append((added.digest, picture(home)))
        for digest, seen in versions:
            stood, told = picture(home), list[bytes]()
            store.checkout(digest, home, others=told.append)
            assert sorted(told) == sorted(stood.keys() - seen.keys())
            assert picture(home) == stood | seen
            bring_to(home, edited)
            if looks:
                store.hash_folder(home)
    shutil.rmtree(top)


def leaf_of(rows: dict[bytes, tuple[bytes, int, bytes]]) -> bytes:
    listed = [(code, name, size, content) for name, (code, size, content) in sorted(rows.items())]
    return tree.encode_leaf(listed, sum(size for _, _, size, _ in listed))


_ROWS = st.dictionaries(
    st.binary(min_size=1, max_size=3).filter(tree.is_name),
    st.tuples(st.sampled_from([b"f", b"x", b"t"]), st.integers(0, 2), st.sampled_from([bytes(32), bytes([1] * 32)])),
    max_size=12,
)


@given(old=_ROWS, new=_ROWS, same=_ROWS)
def test_changes_of_a_leaf_are_those_of_its_entries(
    old: dict[bytes, tuple[bytes, int, bytes]],
    new: dict[bytes, tuple[bytes, int, bytes]],
    same: dict[bytes, tuple[bytes, int, bytes]],
) -> None:
    old, new = same | old, same | new
    found, gone = tree.changes(leaf_of(old), leaf_of(new))
    rows = [row for row in tree.rows(leaf_of(new)) if old.get(row[3]) != (row[0], row[1], row[2])]
    assert found == rows
    assert gone == {name: row[2] for name, row in old.items() if new.get(name) != row}


@given(rows=_ROWS, at=st.integers(0, 10**6), byte=st.integers(1, 255))
def test_a_leaf_that_must_not_be_is_refused_beside_another_too(
    rows: dict[bytes, tuple[bytes, int, bytes]], at: int, byte: int
) -> None:
    good = leaf_of(rows)
    odd = bytearray(good)
    odd[at % len(odd)] ^= byte
    try:
        expected: object = tree.rows(bytes(odd))
    except FormatError:
        expected = None
    try:
        found, gone = tree.changes(good, bytes(odd))
    except FormatError:
        assert expected is None
    else:
        kept = [row for row in tree.rows(good) if row[3] not in gone]
        assert sorted(kept + found, key=lambda row: row[3]) == expected


def change_and_put_back(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"CHANGED")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def exchange(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"CHANGED")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("change", [change_and_put_back, exchange])
def test_an_edit_of_the_same_size_with_its_time_put_back_is_noticed(
    later: ObjectStore, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "home" / "file"
    path.parent.mkdir()
    path.write_bytes(b"content")
    later.add(path.parent)
    assert later.add(path.parent).unchanged == 1
    time.sleep(0.02)  # longer than a tick of the file system's clock
    change(path)
    assert later.hash_file(path) == digest_of(b"CHANGED")
    added = later.add(path.parent)
    assert added.unchanged == 0
    assert later.get(next(later.list_tree(added.digest)).digest) == b"CHANGED"


def test_a_file_that_was_changed_just_now_is_read_again(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    store.add(path)
    assert store.add(path).unchanged == 0


@pytest.mark.parametrize("key", [None, bytes(32)])
@pytest.mark.parametrize("is_folder", [False, True])
def test_what_another_key_has_marked_is_read_again(tmp_path: Path, key: bytes | None, is_folder: bool) -> None:
    folder, path = tmp_path / "objects", tmp_path / "home"
    if is_folder:
        path.mkdir()
    (path / "file" if is_folder else path).write_bytes(b"content")
    with ObjectStore.create(folder, LaterClock(), cache_key=CACHE_KEY) as mine:
        mine.add(path)
        assert mine.add(path).unchanged == 1
    with ObjectStore.open(folder, LaterClock(), read_only=True, cache_key=key) as others:
        notes = [] if key is None else ["objects/folders.db" if is_folder else "objects/stat.db"]
        assert [(f.level, f.what) for f in others.verify()] == [("note", name) for name in notes]
    with ObjectStore.open(folder, LaterClock(), cache_key=key) as others:
        assert others.add(path).unchanged == 0
        assert others.add(path).unchanged == (0 if key is None else 1)
        assert list(others.verify()) == []
    with ObjectStore.open(folder, LaterClock(), cache_key=CACHE_KEY) as mine:
        assert mine.add(path).unchanged == (1 if key is None else 0)


def test_the_cache_of_an_earlier_release_is_not_believed_and_no_damage(tmp_path: Path) -> None:
    """Its rows bore a check that anybody could make."""
    folder, path = tmp_path / "objects", tmp_path / "file"
    path.write_bytes(b"CHANGED")
    ObjectStore.create(folder, LaterClock()).close()
    db = apsw.Connection(str(folder / "stat.db"))
    db.execute("""CREATE TABLE files (
  device INTEGER, inode INTEGER, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
  name BLOB NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (device, inode)) WITHOUT ROWID""")
    row = [(s := path.stat()).st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns]
    name = blake3.blake3(b"content").digest()
    mark = blake3.blake3(struct.pack("<5q", *row) + name).digest(8)
    db.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, name, mark))
    db.close()
    (tmp_path / "home").mkdir()
    with ObjectStore.open(folder, LaterClock(), cache_key=CACHE_KEY) as store:
        store.add(tmp_path / "home")
    db = apsw.Connection(str(folder / "folders.db"))  # the earlier one did not say whose its rows are
    db.execute("DROP TABLE marked_by; DROP TABLE marked_epochs")
    db.execute("CREATE TABLE packs (name BLOB PRIMARY KEY) WITHOUT ROWID")
    db.execute("CREATE TABLE epochs (number INTEGER NOT NULL)")
    db.close()
    with ObjectStore.open(folder, LaterClock(), read_only=True, cache_key=CACHE_KEY) as store:
        assert list(store.verify()) == []
        assert store.hash_file(path) == digest_of(b"CHANGED")
    with ObjectStore.open(folder, LaterClock(), cache_key=CACHE_KEY) as store:
        assert store.hash_file(path) == digest_of(b"CHANGED")
        assert list(store.verify()) == []


def test_what_was_only_hashed_is_still_stored(later: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    digest = later.hash_file(path)
    assert not later.has(digest)
    assert later.add(path).unchanged == 0
    assert later.get(digest) == b"content"


def test_recipes_of_a_folder_name_every_large_blob(store: ObjectStore, tmp_path: Path) -> None:
    large = random.Random(5).randbytes(500_000)
    (tmp_path / "home").mkdir()
    for name in ("a", "b"):
        (tmp_path / "home" / name).write_bytes(large)
    (tmp_path / "home" / "small").write_bytes(b"small")
    added = store.add(tmp_path / "home")
    assert added.recipes is not None
    [line] = store.get(added.recipes).decode().splitlines()
    blob, recipe = line.split(" ")
    assert blob == digest_of(large)
    payload = store.get(Digest(recipe))
    assert recipe == "b3-" + blake3.blake3(payload, derive_key_context="retrodict recipe v1").hexdigest()
    pieces = [payload[48 + 36 * i :][:36] for i in range((len(payload) - 48) // 36)]
    assert b"".join(store.get(as_digest(p[4:])) for p in pieces) == large
    assert store.add(tmp_path / "home" / "small").recipes is None
    assert store.add(tmp_path / "home" / "a").recipes == added.recipes


# Checking out


def test_checkout_leaves_foreign_and_right_files_alone_and_replaces_what_differs(
    store: ObjectStore, tmp_path: Path
) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    make(os.fsencode(home), {b"same": ("file", b"same"), b"differs": ("file", b"right"), b"d": {b"x": ("file", b"x")}})
    make(os.fsencode(out), {b"same": ("file", b"same"), b"differs": ("file", b"wrong"), b"foreign": ("file", b"mine")})
    os.utime(out / "same", ns=(1, 1))
    inode = (out / "same").stat().st_ino
    assert store.checkout(store.add(home).digest, out) == 6
    assert (out / "same").stat().st_ino == inode
    assert (out / "same").stat().st_mtime_ns == 1
    assert {path: content for path, (_, content) in picture(out).items()} == {
        b"same": b"same", b"differs": b"right", b"d": b"", b"d/x": b"x", b"foreign": b"mine"
    }  # fmt: skip


def test_checkout_puts_the_executable_bit_right(store: ObjectStore, tmp_path: Path) -> None:
    make(os.fsencode(tmp_path / "home"), {b"run": ("executable", b"#!"), b"read": ("file", b"text")})
    digest = store.add(tmp_path / "home").digest
    store.checkout(digest, tmp_path / "out")
    (tmp_path / "out" / "run").chmod(0o644)
    (tmp_path / "out" / "read").chmod(0o755)
    assert store.checkout(digest, tmp_path / "out") == 0
    assert picture(tmp_path / "out") == picture(tmp_path / "home")


@pytest.mark.parametrize("inside", ["file", "executable", "symlink", "tree"])
def test_no_link_leads_a_checkout_out_of_its_destination(store: ObjectStore, tmp_path: Path, inside: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"untouched")
    before = picture(outside)
    content: object = {b"x": ("file", b"written")} if inside == "tree" else (inside, b"written")
    make(os.fsencode(tmp_path / "home"), {b"name": content})
    digest = store.add(tmp_path / "home").digest
    for target in (outside, outside / "x", outside / "new"):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / "name").symlink_to(target)
        store.checkout(digest, out)
        assert picture(outside) == before
        assert picture(out) == picture(tmp_path / "home")


def test_a_link_in_the_tree_is_not_followed_by_a_later_entry(store: ObjectStore, tmp_path: Path) -> None:
    """A link `d` -> outside, then in a second version a folder `d`: the second checkout writes into neither."""
    outside = tmp_path / "outside"
    outside.mkdir()
    make(os.fsencode(tmp_path / "one"), {b"d": ("symlink", os.fsencode(outside))})
    make(os.fsencode(tmp_path / "two"), {b"d": {b"evil": ("file", b"evil")}})
    one, two = store.add(tmp_path / "one").digest, store.add(tmp_path / "two").digest
    store.checkout(one, tmp_path / "out")
    store.checkout(two, tmp_path / "out")
    assert picture(outside) == {}
    assert picture(tmp_path / "out") == picture(tmp_path / "two")


def test_a_folder_with_files_in_the_way_is_not_removed(store: ObjectStore, tmp_path: Path) -> None:
    make(os.fsencode(tmp_path / "home"), {b"name": ("file", b"written")})
    digest = store.add(tmp_path / "home").digest
    make(os.fsencode(tmp_path / "out"), {b"name": {b"mine": ("file", b"mine")}})
    before = picture(tmp_path / "out")
    with pytest.raises(CheckoutConflictError, match="name"):
        store.checkout(digest, tmp_path / "out")
    assert picture(tmp_path / "out") == before
    (tmp_path / "out" / "name" / "mine").unlink()
    store.checkout(digest, tmp_path / "out")
    assert picture(tmp_path / "out") == picture(tmp_path / "home")


def test_nothing_is_written_when_something_is_missing(store: ObjectStore, tmp_path: Path) -> None:
    held = store.put(b"held")
    gone = digest_of(b"gone")
    inner = store.put_tree([TreeEntry(name=b"z", kind="file", digest=gone, size=4)])
    root = store.put_tree(
        [
            TreeEntry(name=b"a", kind="file", digest=held, size=4),
            TreeEntry(name=b"t", kind="tree", digest=inner, size=4),
        ]
    )
    with pytest.raises(MissingObjectError) as caught:
        store.checkout(root, tmp_path / "out")
    assert caught.value.digest == gone
    assert not (tmp_path / "out").exists()


def test_one_file_is_checked_out_to_a_path(store: ObjectStore, tmp_path: Path) -> None:
    digest = store.put(b"content")
    out = tmp_path / "new" / "name"
    assert store.checkout(digest, out) == 7
    assert out.read_bytes() == b"content"
    assert store.checkout(digest, out) == 0
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(CheckoutConflictError):
        store.checkout(digest, tmp_path / "folder")


def test_a_file_where_the_destination_must_be_is_not_removed(store: ObjectStore, tmp_path: Path) -> None:
    digest = store.put_tree([])
    (tmp_path / "out").write_bytes(b"mine")
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(CheckoutConflictError, match="is a file"):
            store.checkout(digest, out)
    assert (tmp_path / "out").read_bytes() == b"mine"


def test_progress_ends_at_its_total(store: ObjectStore, tmp_path: Path) -> None:
    make(
        os.fsencode(tmp_path / "home"), {b"a": ("file", b"1"), b"b": ("file", b"x" * 300_000), b"l": ("symlink", b"a")}
    )
    told: list[tuple[int, int | None, str]] = []

    def progress(done: int, total: int | None, what: str) -> None:
        told.append((done, total, what))

    digest = store.add(tmp_path / "home", progress=progress).digest
    assert told[-1] == (3, 3, "files")
    store.checkout(digest, tmp_path / "out", progress=progress)
    assert told[-1] == (3, 3, "files")
    store.put_file(tmp_path / "home" / "b", progress=progress)
    assert told[-1] == (300_000, 300_000, "bytes")
    assert list(store.verify(progress=progress)) == []
    assert told[-1][0] == told[-1][1]


def test_threads_share_a_store(store: ObjectStore) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for i in range(30):
                data = random.Random(seed * 1000 + i).randbytes(3000)
                assert store.get(store.put(data)) == data
            large = random.Random(seed).randbytes(600_000)
            assert store.get(store.put(large)) == large
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(store.verify()) == []
