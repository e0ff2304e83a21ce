"""Trees: canonical listings of folders (`docs/formats/tree.md`).

A listing of up to `LEAF` entries is one node. A longer one is split by the hash of the names, sixteen ways at each
level, so that the nodes depend on the set of entries alone and a changed entry rewrites one leaf and the few nodes
above it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from blake3 import blake3

from retrodict.kernel.errors import FormatError, UsageError
from retrodict.kernel.types import Digest
from retrodict.objects.names import Keep, as_digest, as_name

LEAF = 1024  # entries in one node
FAN_OUT = 16

EntryKind = Literal["file", "executable", "symlink", "tree"]
Row = tuple[bytes, int, bytes, bytes]  # code of the kind, bytes, name of the content, name: an entry as it is read fast

_MAGIC = b"RTT1"
_HEAD = struct.Struct("<4sB3xQQ")  # magic, 0 leaf or 1 branch, entries below, bytes below
_ENTRY = struct.Struct("<cHQ32s")  # kind, length of the name, bytes, digest; the name follows
_SLOT = struct.Struct("<QQ32s")  # entries below, bytes below, node
_NAME_LENGTH = struct.Struct("<xH")  # of an entry
_NOTHING = bytes(_SLOT.size)
_CODES: dict[EntryKind, bytes] = {"file": b"f", "executable": b"x", "symlink": b"l", "tree": b"t"}
_KINDS: dict[bytes, EntryKind] = {code: kind for kind, code in _CODES.items()}
_NO_NAMES = frozenset({b".", b".."})
MAX_SIZE = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEntry:
    """One name in a folder.

    Attributes:
        name: As the file system has it: bytes.
        kind: What it names; "executable" is a file that its owner may run.
        digest: Of the content, of the link's target (the text, never what it points at), or of the subtree.
        size: Bytes of that; for a subtree, of everything below it.
    """

    name: bytes
    kind: EntryKind
    digest: Digest
    size: int


Folder: TypeAlias = "Mapping[bytes, TreeEntry | Folder]"


def as_folders(files: Mapping[bytes, TreeEntry]) -> Folder:
    """Return entries by path ("a/b/c", none of which is a folder of another) as folders in folders."""
    root: dict[bytes, Any] = {}
    for path, entry in files.items():
        *folders, last = path.split(b"/")
        inside = root
        for name in folders:
            inside = inside.setdefault(name, {})
        inside[last] = entry
    return root


def is_name(name: bytes) -> bool:
    """Say whether `name` can stand in a folder."""
    return 0 < len(name) <= 0xFFFF and name not in _NO_NAMES and b"/" not in name and b"\0" not in name


def build(entries: Iterable[TreeEntry], keep: Keep) -> tuple[bytes, int]:
    """Store the nodes of a listing; return (name of its root node, bytes below).

    Raises:
        UsageError: A name that cannot stand in a folder, or twice the same.
    """
    listing = sorted(entries, key=lambda entry: entry.name)
    for i, entry in enumerate(listing):
        if not is_name(entry.name):
            raise UsageError(f"{entry.name!r} cannot be a name in a folder")
        if entry.kind not in _CODES or not 0 <= entry.size <= MAX_SIZE:
            raise UsageError(f"{entry.name!r} has an unknown kind or an impossible size: {entry.kind}, {entry.size}")
        if i and listing[i - 1].name == entry.name:
            raise UsageError(f"{entry.name!r} stands twice in one folder")
    return _build(listing, 0, keep)


def _build(listing: Sequence[TreeEntry], depth: int, keep: Keep) -> tuple[bytes, int]:
    total = sum(entry.size for entry in listing)
    if len(listing) <= LEAF:
        return keep(encode_leaf([(_CODES[e.kind], e.name, e.size, as_name(e.digest)) for e in listing], total)), total
    slots: list[list[TreeEntry]] = [[] for _ in range(FAN_OUT)]
    for entry in listing:
        slots[nibble(entry.name, depth)].append(entry)
    parts = [_HEAD.pack(_MAGIC, 1, len(listing), total)]
    for part in slots:
        if part:
            name, below = _build(part, depth + 1, keep)
            parts.append(_SLOT.pack(len(part), below, name))
        else:
            parts.append(_NOTHING)
    return keep(b"".join(parts)), total


def encode_leaf(entries: Sequence[tuple[bytes, bytes, int, bytes]], total: int) -> bytes:
    """Return a leaf: of (code of the kind, name, size, content), sorted by names that can stand in a folder."""
    parts = [_HEAD.pack(_MAGIC, 0, len(entries), total)]
    for code, name, size, content in entries:
        parts += (_ENTRY.pack(code, len(name), size, content), name)
    return b"".join(parts)


def encode_entry(code: bytes, name: bytes, size: int, content: bytes) -> bytes:
    """Return one entry as it stands in a leaf."""
    return _ENTRY.pack(code, len(name), size, content) + name


def join_leaf(parts: Iterable[bytes], count: int, total: int) -> bytes:
    """Return a leaf of `count` entries, which are in `parts` as they stand in leaves, sorted by name."""
    return _HEAD.pack(_MAGIC, 0, count, total) + b"".join(parts)


def offset_of(entry: int, names: int) -> int:
    """Return where in a leaf the entry of that number begins, `names` being the bytes of all names before it."""
    return _HEAD.size + entry * _ENTRY.size + names


def assemble(leaves: Mapping[bytes, tuple[int, int, bytes]], keep: Keep) -> tuple[int, int, bytes]:
    """Store the branches above leaves that `build` would make; return (entries, bytes below, name) of the root.

    Args:
        leaves: (entries, bytes below, name) of each, by the hexadecimal digits that lead to it (a byte each).
        keep: Stores a node.
    """
    if b"" in leaves:
        return leaves[b""]
    slots: list[dict[bytes, tuple[int, int, bytes]]] = [{} for _ in range(FAN_OUT)]
    for part, leaf in leaves.items():
        slots[part[0]][part[1:]] = leaf
    below = [assemble(slot, keep) if slot else None for slot in slots]
    count, total = sum(slot[0] for slot in below if slot), sum(slot[1] for slot in below if slot)
    parts = [_HEAD.pack(_MAGIC, 1, count, total), *(_SLOT.pack(*slot) if slot else _NOTHING for slot in below)]
    return count, total, keep(b"".join(parts))


def nibble(name: bytes, depth: int) -> int:
    """Return the slot of an entry called `name` in a branch at `depth`."""
    byte: int = blake3(name).digest()[depth // 2]
    return byte & 15 if depth % 2 else byte >> 4


def digits(name: bytes) -> bytes:
    """Return the slots at all depths that lead to an entry called `name`."""
    return bytes(digit for byte in blake3(name).digest() for digit in (byte >> 4, byte & 15))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One decoded node: a leaf has `entries`, a branch has `slots`."""

    count: int
    size: int
    entries: tuple[TreeEntry, ...] = ()
    slots: tuple[tuple[int, int, int, bytes], ...] = ()  # (slot, entries below, bytes below, node)


def decode(payload: bytes) -> Node:
    """Read a node.

    Raises:
        FormatError: It is not a node, or has a name that must never become a path.
    """
    if len(payload) < _HEAD.size:
        raise FormatError("a tree node is cut short")
    magic, branch, count, size = _HEAD.unpack_from(payload)
    if magic != _MAGIC or branch > 1 or payload[5:8] != bytes(3):
        raise FormatError("a tree node has an unknown head")
    node = _branch(payload, count, size) if branch else _leaf(payload, count, size)
    if sum(e.size for e in node.entries) + sum(slot[2] for slot in node.slots) != size:
        raise FormatError("the sizes in a tree node do not add up")
    return node


def _leaf(payload: bytes, count: int, size: int) -> Node:
    return Node(count=count, size=size, entries=tuple(map(_entry, _rows(payload, count))))


def _entry(row: Row) -> TreeEntry:
    code, size, content, name = row
    return TreeEntry(name=name, kind=_KINDS[code], digest=as_digest(content), size=size)


def _rows(payload: bytes, count: int) -> Iterator[Row]:
    """Yield each entry of a leaf."""
    if count > LEAF:
        raise FormatError(f"a tree leaf has {count} entries: more than {LEAF}")
    unpack, head, end = _ENTRY.unpack_from, _ENTRY.size, len(payload)
    offset = _HEAD.size
    last = b""
    for _ in range(count):
        if offset + head > end:
            raise FormatError("a tree node is cut short")
        code, length, below, content = unpack(payload, offset)
        offset += head
        name = payload[offset : offset + length]
        offset += length
        is_wrong = name <= last or name in _NO_NAMES or b"/" in name or b"\0" in name  # `is_name`, which takes longer
        if code not in _KINDS or len(name) != length or is_wrong:
            raise FormatError(f"a tree node has an entry that must not be: {name!r}")
        yield code, below, content, name
        last = name
    if offset != end:
        raise FormatError("a tree node has bytes behind its last entry")


def rows(payload: bytes) -> list[Row]:
    """Return the entries of a leaf, checked as `decode` does."""
    count, size = _leaf_head(payload)
    found = list(_rows(payload, count))
    if sum([row[1] for row in found]) != size:
        raise FormatError("the sizes in a tree node do not add up")
    return found


def changes(old: bytes, new: bytes) -> tuple[list[Row], dict[bytes, bytes]]:
    """Compare two leaves, the first of which is known to be one; `new` is checked as `rows` does.

    Returns:
        The entries of `new` that are not in `old`; and names -> contents of those of `old` that are not in `new`.
    """
    count, size = _leaf_head(new)
    total: int = _HEAD.unpack_from(old)[3]
    found: list[Row] = []
    gone: dict[bytes, bytes] = {}
    at = offset = _HEAD.size
    last, same = b"", 0  # the last name that `found` ends with, if it stands right before `offset`
    while True:
        first = at
        at, offset, n, begun = _pass_same(old, at, new, offset)
        if n:
            _check_order(last, _name_at(old, first))
            same, last = same + n, _name_at(old, begun)
        row = _row_at(new, offset, last) if offset < len(new) else None
        before = _row_at(old, at, b"") if at < len(old) else None
        if before is not None and (row is None or before[3] <= row[3]):
            gone[before[3]] = before[2]
            total -= before[1]
            at += _ENTRY.size + len(before[3])
            continue
        if row is None:
            break
        found.append(row)
        total += row[1]
        last = row[3]
        offset += _ENTRY.size + len(last)
    if same + len(found) != count:
        raise FormatError("a tree node does not have the entries that it claims")
    if total != size:
        raise FormatError("the sizes in a tree node do not add up")
    return found, gone


def leaf_count(payload: bytes) -> int:
    """Return how many entries a leaf claims to have."""
    return _leaf_head(payload)[0]


def pick(payload: bytes, names: Collection[bytes]) -> list[Row]:
    """Return those entries of a leaf that has been checked whose names are in `names`."""
    found: list[Row] = []
    if not names:
        return found
    length_at, fixed, end = _NAME_LENGTH.unpack_from, _ENTRY.size, len(payload)
    offset = _HEAD.size
    while offset < end:
        start = offset + fixed
        after = start + length_at(payload, offset)[0]
        name = payload[start:after]
        if name in names:
            code, _, below, content = _ENTRY.unpack_from(payload, offset)
            found.append((code, below, content, name))
        offset = after
    return found


def _pass_same(old: bytes, at: int, new: bytes, offset: int) -> tuple[int, int, int, int]:
    """Return where the two differ behind `at` and `offset`, how many entries do not, and where the last begins."""
    fixed, length_at, is_next, end = _ENTRY.size, _NAME_LENGTH.unpack_from, new.startswith, len(old)
    begun, n = at, 0
    while at < end:
        entry = old[at : at + fixed + length_at(old, at)[0]]
        if not is_next(entry, offset):
            break
        begun = at
        at += len(entry)
        offset += len(entry)
        n += 1
    return at, offset, n, begun


def _name_at(payload: bytes, offset: int) -> bytes:
    start = offset + _ENTRY.size
    return payload[start : start + _NAME_LENGTH.unpack_from(payload, offset)[0]]


def _row_at(payload: bytes, offset: int, last: bytes) -> Row:
    """Return the entry at `offset`, which must come behind one called `last`."""
    if offset + _ENTRY.size > len(payload):
        raise FormatError("a tree node is cut short")
    code, length, below, content = _ENTRY.unpack_from(payload, offset)
    name = _name_at(payload, offset)
    if code not in _KINDS or len(name) != length or not is_name(name):
        raise FormatError(f"a tree node has an entry that must not be: {name!r}")
    _check_order(last, name)
    return code, below, content, name


def _check_order(last: bytes, name: bytes) -> None:
    if name <= last:
        raise FormatError(f"a tree node has an entry that must not be: {name!r}")


def _leaf_head(payload: bytes) -> tuple[int, int]:
    """Return the entries and the bytes below that a leaf claims."""
    if len(payload) < _HEAD.size:
        raise FormatError("a tree node is cut short")
    magic, branch, count, size = _HEAD.unpack_from(payload)
    if magic != _MAGIC or branch or payload[5:8] != bytes(3):
        raise FormatError("a tree node has an unknown head")
    if count > LEAF:
        raise FormatError(f"a tree leaf has {count} entries: more than {LEAF}")
    return count, size


def is_branch(payload: bytes) -> bool:
    """Say whether a node claims to be a branch."""
    return payload[4:5] == b"\1"


def _branch(payload: bytes, count: int, size: int) -> Node:
    if len(payload) != _HEAD.size + FAN_OUT * _SLOT.size or count <= LEAF:
        raise FormatError("a tree branch has a wrong length or too few entries")
    slots = []
    for i, (entries, below, name) in enumerate(_SLOT.iter_unpack(payload[_HEAD.size :])):
        if entries:
            slots.append((i, entries, below, name))
        elif below or any(name):
            raise FormatError("an empty slot of a tree branch is not empty")
    if sum(slot[1] for slot in slots) != count:
        raise FormatError("the slots of a tree branch do not add up")
    return Node(count=count, size=size, slots=tuple(slots))


def leaves(root: bytes, load: Callable[[bytes], bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield (part, payload) of each leaf of a listing; `load` gives verified nodes. What is in a leaf is not looked at.

    Raises:
        FormatError: A node contradicts the one above it.
    """
    pending: list[tuple[bytes, bytes, tuple[int, int] | None]] = [(b"", root, None)]
    while pending:
        part, name, claim = pending.pop()
        payload = load(name)
        if is_branch(payload):
            node = decode(payload)
            below = [(part + bytes([i]), child, (count, size)) for i, count, size, child in node.slots]
            pending += reversed(below)
        if claim is not None and (len(payload) < _HEAD.size or _HEAD.unpack_from(payload)[2:] != claim):
            raise FormatError("a tree node does not have the entries that its branch claims")
        if not is_branch(payload):
            yield part, payload


def listing(root: bytes, load: Callable[[bytes], bytes]) -> list[TreeEntry]:
    """Return the entries of one folder, sorted by name; `load` gives verified nodes.

    Raises:
        FormatError: A node contradicts the one above it.
    """
    node = decode(load(root))
    if not node.slots:
        return list(node.entries)
    return sorted(_below(node, 0, b"", load), key=lambda entry: entry.name)


def find(root: bytes, names: Collection[bytes], load: Callable[[bytes], bytes]) -> Iterator[TreeEntry]:
    """Yield those entries of a folder whose names are in `names`; of a large one only the nodes on the way are read.

    Raises:
        FormatError: A node contradicts the one above it.
    """
    pending: list[tuple[bytes, int, frozenset[bytes], tuple[int, int] | None]] = [(root, 0, frozenset(names), None)]
    while pending:
        name, depth, wanted, claim = pending.pop()
        node = decode(load(name))
        if claim is not None and (node.count, node.size) != claim:
            raise FormatError("a tree node does not have the entries that its branch claims")
        yield from (entry for entry in node.entries if entry.name in wanted)
        for slot, count, size, child in node.slots:
            below = frozenset(name for name in wanted if nibble(name, depth) == slot)
            if below:
                pending.append((child, depth + 1, below, (count, size)))


def differences(
    one: bytes, other: bytes, load: Callable[[bytes], bytes]
) -> tuple[dict[bytes, TreeEntry], dict[bytes, TreeEntry]]:
    """Return by name the entries of two folders that are not the same; nodes that both have are not read.

    Raises:
        FormatError: A node contradicts the one above it.
    """
    a: dict[bytes, TreeEntry] = {}
    b: dict[bytes, TreeEntry] = {}
    pending = [(b"", one, other)]
    while pending:
        path, x, y = pending.pop()
        if x == y:
            continue
        payloads = load(x), load(y)
        if not any(map(is_branch, payloads)):
            left_rows, right_rows = (set(rows(payload)) for payload in payloads)
            a.update((row[3], _entry(row)) for row in left_rows - right_rows)
            b.update((row[3], _entry(row)) for row in right_rows - left_rows)
            continue
        nodes = decode(payloads[0]), decode(payloads[1])
        left, right = ({slot[0]: slot for slot in node.slots} for node in nodes)
        shared = left.keys() & right.keys()
        for slot in shared:
            pending.append((path + bytes([slot]), left[slot][3], right[slot][3]))
        for side, node in zip((a, b), nodes, strict=True):
            rest = tuple(slot for slot in node.slots if slot[0] not in shared)
            found = _below(replace(node, slots=rest), len(path), path, load) if rest else node.entries
            side.update((entry.name, entry) for entry in found)
    for name in a.keys() & b.keys():
        if a[name] == b[name]:
            del a[name], b[name]
    return a, b


def _below(node: Node, depth: int, prefix: bytes, load: Callable[[bytes], bytes]) -> Iterator[TreeEntry]:
    for slot, count, size, name in node.slots:
        child = decode(load(name))
        path = prefix + bytes([slot])
        if (child.count, child.size) != (count, size):
            raise FormatError("a tree node does not have the entries that its branch claims")
        if child.slots:
            yield from _below(child, depth + 1, path, load)
        for entry in child.entries:
            if any(nibble(entry.name, i) != part for i, part in enumerate(path)):
                raise FormatError(f"an entry stands in the wrong part of a tree: {entry.name!r}")
            yield entry
