"""Trees: canonical listings of folders (`docs/formats/tree.md`).

A listing of up to `LEAF` entries is one node. A longer one is split by the hash of the names, sixteen ways at each
level, so that the nodes depend on the set of entries alone and a changed entry rewrites one leaf and the few nodes
above it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from blake3 import blake3

from retrodict.kernel.errors import FormatError, UsageError
from retrodict.kernel.types import Digest
from retrodict.objects.names import Keep, as_digest, as_name

LEAF = 1024  # entries in one node
FAN_OUT = 16

EntryKind = Literal["file", "executable", "symlink", "tree"]

_MAGIC = b"RTT1"
_HEAD = struct.Struct("<4sB3xQQ")  # magic, 0 leaf or 1 branch, entries below, bytes below
_ENTRY = struct.Struct("<cHQ32s")  # kind, length of the name, bytes, digest; the name follows
_SLOT = struct.Struct("<QQ32s")  # entries below, bytes below, node
_NOTHING = bytes(_SLOT.size)
_CODES: dict[EntryKind, bytes] = {"file": b"f", "executable": b"x", "symlink": b"l", "tree": b"t"}
_KINDS: dict[bytes, EntryKind] = {code: kind for kind, code in _CODES.items()}
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


def is_name(name: bytes) -> bool:
    """Say whether `name` can stand in a folder."""
    return 0 < len(name) <= 0xFFFF and name not in (b".", b"..") and b"/" not in name and b"\0" not in name


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
        parts = [_HEAD.pack(_MAGIC, 0, len(listing), total)]
        for e in listing:
            parts += (_ENTRY.pack(_CODES[e.kind], len(e.name), e.size, as_name(e.digest)), e.name)
        return keep(b"".join(parts)), total
    slots: list[list[TreeEntry]] = [[] for _ in range(FAN_OUT)]
    for entry in listing:
        slots[_nibble(entry.name, depth)].append(entry)
    parts = [_HEAD.pack(_MAGIC, 1, len(listing), total)]
    for part in slots:
        if part:
            name, below = _build(part, depth + 1, keep)
            parts.append(_SLOT.pack(len(part), below, name))
        else:
            parts.append(_NOTHING)
    return keep(b"".join(parts)), total


def _nibble(name: bytes, depth: int) -> int:
    byte: int = blake3(name).digest()[depth // 2]
    return byte & 15 if depth % 2 else byte >> 4


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
    if count > LEAF:
        raise FormatError(f"a tree leaf has {count} entries: more than {LEAF}")
    entries: list[TreeEntry] = []
    offset = _HEAD.size
    last = b""
    for _ in range(count):
        if offset + _ENTRY.size > len(payload):
            raise FormatError("a tree node is cut short")
        code, length, below, name_of_content = _ENTRY.unpack_from(payload, offset)
        offset += _ENTRY.size
        name = payload[offset : offset + length]
        offset += length
        if code not in _KINDS or len(name) != length or not is_name(name) or name <= last:
            raise FormatError(f"a tree node has an entry that must not be: {name!r}")
        entries.append(TreeEntry(name=name, kind=_KINDS[code], digest=as_digest(name_of_content), size=below))
        last = name
    if offset != len(payload):
        raise FormatError("a tree node has bytes behind its last entry")
    return Node(count=count, size=size, entries=tuple(entries))


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


def listing(root: bytes, load: Callable[[bytes], bytes]) -> list[TreeEntry]:
    """Return the entries of one folder, sorted by name; `load` gives verified nodes.

    Raises:
        FormatError: A node contradicts the one above it.
    """
    node = decode(load(root))
    if not node.slots:
        return list(node.entries)
    return sorted(_below(node, 0, b"", load), key=lambda entry: entry.name)


def _below(node: Node, depth: int, prefix: bytes, load: Callable[[bytes], bytes]) -> Iterator[TreeEntry]:
    for slot, count, size, name in node.slots:
        child = decode(load(name))
        path = prefix + bytes([slot])
        if (child.count, child.size) != (count, size):
            raise FormatError("a tree node does not have the entries that its branch claims")
        if child.slots:
            yield from _below(child, depth + 1, path, load)
        for entry in child.entries:
            if any(_nibble(entry.name, i) != part for i, part in enumerate(path)):
                raise FormatError(f"an entry stands in the wrong part of a tree: {entry.name!r}")
            yield entry
