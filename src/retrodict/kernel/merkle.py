"""Merkle trees of logs: RFC 9162 section 2.1, with SHA-256.

Leaves and inner nodes are hashed with different prefixes, so that no entry can pose as a node. Whoever holds a tree
gives its nodes through a function `node(level, index)`: the hash of the perfect subtree over the leaves
[index * 2^level, (index + 1) * 2^level). Proofs and roots at any size need only such nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()

NodeOf = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of an entry: 32 bytes.

    >>> leaf_hash(b"").hex()[:8]
    '6e340b9c'
    """
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over its two children."""
    return sha256(b"\1" + left + right).digest()


def tree_hash(hashes: Sequence[bytes]) -> bytes:
    """Return the root over n leaf hashes (or hashes of equal perfect subtrees): 32 bytes. Source: RFC 9162 2.1.1.

    >>> tree_hash([]).hex()[:8]
    'e3b0c442'
    """
    if not hashes:
        return EMPTY_ROOT
    row = list(hashes)
    while len(row) > 1:
        # Pairing from the left and carrying an odd last node up gives the tree of RFC 9162.
        paired = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        row = paired + row[len(paired) * 2 :]
    return row[0]


class CompactRange:
    """The right edge of a growing tree: enough to know its root, in O(log n) memory."""

    __slots__ = ("_edge", "size")

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[bytes] = []  # perfect subtrees, largest first

    def append(self, leaf: bytes) -> None:
        """Take in the hash of the next leaf."""
        n, edge = self.size, self._edge
        while n & 1:
            leaf = node_hash(edge.pop(), leaf)
            n >>= 1
        edge.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root over the leaves so far: 32 bytes.

        >>> CompactRange().root() == EMPTY_ROOT
        True
        """
        if not self._edge:
            return EMPTY_ROOT
        root = self._edge[-1]
        for left in reversed(self._edge[:-1]):
            root = node_hash(left, root)
        return root


def perfect_subtrees(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the perfect subtrees (level, index) that make up the leaves [start, stop), left to right.

    `start` must be a multiple of the largest power of two that fits into the range, as it is in every proof.

    >>> list(perfect_subtrees(0, 7))
    [(2, 0), (1, 2), (0, 6)]
    """
    while start < stop:
        level = (stop - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def range_hash(start: int, stop: int, node: NodeOf) -> bytes:
    """Return the hash over the leaves [start, stop) of a tree whose perfect subtrees `node` gives."""
    if start == stop:
        return EMPTY_ROOT
    parts = [node(level, index) for level, index in perfect_subtrees(start, stop)]
    result = parts.pop()
    while parts:
        result = node_hash(parts.pop(), result)
    return result


def _split(size: int) -> int:
    """Return the largest power of two below `size` (size > 1)."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(index: int, size: int, node: NodeOf) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree of `size` leaves. Source: RFC 9162 2.1.3.1.

    Args:
        index: 0 <= index < size.
        size: Of the tree.
        node: Gives the tree's nodes.
    """
    start, stop, ranges = 0, size, []
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    return [range_hash(*part, node) for part in reversed(ranges)]


def consistency_proof(first: int, second: int, node: NodeOf) -> list[bytes]:
    """Return the proof that the tree of `first` leaves is a prefix of that of `second`. Source: RFC 9162 2.1.4.1.

    Args:
        first: 0 <= first <= second. An empty tree is a prefix of every tree and needs no proof.
        second: The larger size.
        node: Gives the nodes of the larger tree.
    """
    if first in (0, second):
        return []
    start, stop, ranges = 0, second, []
    while stop != first:
        middle = start + _split(stop - start)
        if first <= middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start:
        ranges.append((start, stop))
    return [range_hash(*part, node) for part in reversed(ranges)]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Say whether `proof` shows that `leaf` is number `index` of the tree with `root`. Source: RFC 9162 2.1.3.2."""
    if not (0 <= index < size and _are_hashes(leaf, root, *proof)):
        return False
    fn, sn, result = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            result = node_hash(sibling, result)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            result = node_hash(result, sibling)
        fn >>= 1
        sn >>= 1
    return sn == 0 and result == root


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether `proof` shows that the first tree is a prefix of the second. Source: RFC 9162 2.1.4.2.

    The empty tree is a prefix of every tree, by an empty proof (C2SP tlog-witness).
    """
    if not (0 <= first <= second and _are_hashes(first_root, second_root, *proof)):
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    if not proof:
        return False
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    first_result = second_result = path[0]
    for sibling in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first_result = node_hash(sibling, first_result)
            second_result = node_hash(sibling, second_result)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            second_result = node_hash(second_result, sibling)
        fn >>= 1
        sn >>= 1
    return sn == 0 and first_result == first_root and second_result == second_root


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
