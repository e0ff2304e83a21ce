"""Segments: where a range of a stream's records lies, and the nodes of the Merkle tree that it completes.

A segment's index is one object (canonical JSON, `docs/formats/stream.md`). The tree is RFC 9162's, over all records
of the stream from the first: a leaf is SHA-256 over a zero byte, the 32 bytes that name the schema (where the format
has one) and the record's canonical bytes. Nodes of the levels 10, 20, 30, ... are kept, each in the segment that holds
the last record below it; those between are computed from them, and those below level 10 from at most 1,024 records.
So an append costs what it appends, and a root or a proof at any offset reads a few thousand hashes at most.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, cast

from retrodict.kernel import canonical
from retrodict.kernel.errors import FormatError
from retrodict.kernel.merkle import EMPTY_ROOT, HASH_BYTES, node_hash
from retrodict.kernel.types import Digest, is_digest

STEP = 10  # the levels whose nodes are kept are multiples of this
_FORMAT = "retrodict stream segment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One object with consecutive blocks of records; for each block how many records, and how many bytes."""

    content: Digest
    blocks: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Consecutive nodes of one level, from number `first`."""

    first: int
    hashes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The records [start, stop) of a stream, without those that a compaction dropped.

    Attributes:
        gaps: Which were dropped: (first offset, how many), ascending and apart.
        leaves: The object with their leaf hashes, one after the other; None where there are no gaps.
        schema: The object with the header or schema; None: the format has none.
        nodes: By level.
        edge: The perfect subtrees that make up [0, stop), the largest first: what the next append goes on from.
    """

    start: int
    stop: int
    schema: Digest | None
    parts: Sequence[Part]
    nodes: Mapping[int, Nodes]
    edge: Sequence[bytes]
    gaps: Sequence[tuple[int, int]] = ()
    leaves: Digest | None = None
    _before: Sequence[int] = field(init=False, repr=False)  # how many were dropped before each gap

    def __post_init__(self) -> None:
        counts = itertools.accumulate((count for _, count in self.gaps), initial=0)
        object.__setattr__(self, "_before", tuple(counts))

    @property
    def dropped(self) -> int:
        """How many records were dropped."""
        return self._before[-1]

    def dropped_before(self, offset: int) -> int:
        """Return how many records before an offset were dropped."""
        number = bisect.bisect_right(self.gaps, offset, key=lambda gap: gap[0])
        if number == 0:
            return 0
        first, count = self.gaps[number - 1]
        return self._before[number - 1] + min(offset - first, count)

    def held_before(self, offset: int) -> int:
        """Return how many records of this segment before an offset are held."""
        return offset - self.start - self.dropped_before(offset)

    def encode(self) -> bytes:
        """Return the object."""
        dropped = {"gaps": [list(gap) for gap in self.gaps], "leaves": self.leaves} if self.gaps else {}
        return canonical.encode(
            {
                **dropped,
                "edge": [value.hex() for value in self.edge],
                "format": _FORMAT,
                "nodes": {
                    str(level): {"first": nodes.first, "hashes": nodes.hashes.hex()}
                    for level, nodes in self.nodes.items()
                },
                "parts": [
                    {"blocks": [list(block) for block in part.blocks], "content": part.content} for part in self.parts
                ],
                "schema": self.schema,
                "start": self.start,
                "stop": self.stop,
                "version": 2 if self.gaps else 1,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Segment:
        """Read the object.

        Raises:
            FormatError: It is no segment, or counts other records than it says.
        """
        try:
            value = cast("dict[str, object]", canonical.decode(data))
            if value["format"] != _FORMAT or value["version"] not in (1, 2):
                raise ValueError("another format")
            has_gaps = value["version"] == 2
            parts = [
                Part(content=_digest(part["content"]), blocks=part["blocks"])
                for part in cast("list[dict[str, Any]]", value["parts"])
            ]
            nodes = {
                int(level): Nodes(first=int(found["first"]), hashes=bytes.fromhex(found["hashes"]))
                for level, found in cast("dict[str, dict[str, str]]", value["nodes"]).items()
            }
            segment = cls(
                start=int(cast("int", value["start"])),
                stop=int(cast("int", value["stop"])),
                schema=None if value["schema"] is None else _digest(value["schema"]),
                parts=parts,
                nodes=nodes,
                edge=[bytes.fromhex(text) for text in cast("list[str]", value["edge"])],
                gaps=_gaps(value["gaps"]) if has_gaps else (),
                leaves=_digest(value["leaves"]) if has_gaps else None,
            )
            if any(set(map(len, part.blocks)) - {2} for part in parts):
                raise ValueError("a block that is none")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"a segment of a stream is malformed: {error}") from error
        blocks = [number for part in parts for block in part.blocks for number in block]
        if (
            not {int}.issuperset(map(type, blocks))
            or sum(blocks[::2]) != segment.held_before(segment.stop)
            or not all(segment.start <= first and first + count <= segment.stop for first, count in segment.gaps)
            or min(blocks, default=0) < 0
        ):
            raise FormatError("a segment of a stream holds other records than it says")
        return segment

    def node(self, level: int, index: int) -> bytes:
        """Return a node that is kept here.

        Raises:
            FormatError: It is not, though its last record is.
        """
        nodes = self.nodes.get(level)
        at = -1 if nodes is None else (index - nodes.first) * HASH_BYTES
        if nodes is None or not 0 <= at < len(nodes.hashes):
            raise FormatError(f"a segment of a stream lacks the node {index} of level {level}")
        return nodes.hashes[at : at + HASH_BYTES]

    def blocks(self, start: int, stop: int) -> Iterator[tuple[Part, int, Sequence[tuple[int, int]], int]]:
        """Yield (part, first byte, blocks, first record) for the blocks that hold records of [start, stop).

        Args:
            start, stop: Among those that are held, the first of which is 0.
        """
        record = 0
        for part in self.parts:
            position = begin = first = 0
            wanted: list[tuple[int, int]] = []
            for records, size in part.blocks:
                if record + records > start and record < stop:
                    if not wanted:
                        begin, first = position, record
                    wanted.append((records, size))
                position += size
                record += records
            if wanted:
                yield part, begin, wanted, first


def _gaps(value: object) -> tuple[tuple[int, int], ...]:
    gaps = tuple((int(first), int(count)) for first, count in cast("list[tuple[int, int]]", value))
    ends = [0, *(first + count for first, count in gaps)]
    if any(first < end or count < 1 for (first, count), end in zip(gaps, ends, strict=False)):
        raise ValueError("gaps that are none")
    return gaps


def _digest(value: object) -> Digest:
    if not isinstance(value, str) or not is_digest(value):
        raise ValueError(f"{value!r} names no object")
    return Digest(value)


def leaf_prefix(schema: Digest | None) -> bytes:
    """Return what a record's bytes are hashed after."""
    return b"\0" + (b"" if schema is None else bytes.fromhex(schema.removeprefix("b3-")))


def leaves(records: Sequence[bytes], prefix: bytes) -> bytes:
    """Return the leaf hashes of records, one after the other."""
    return b"".join([sha256(prefix + record).digest() for record in records])


def grow(edge: Sequence[bytes], start: int, hashes: bytes | bytearray) -> tuple[dict[int, Nodes], list[bytes]]:
    """Return the nodes that new leaves complete, and the tree's new edge.

    Args:
        edge: Of the tree over the first `start` leaves.
        hashes: The new leaf hashes, one after the other.
    """
    size, stack = start, list(edge)
    kept: dict[int, tuple[int, bytearray]] = {}

    def push(level: int, node: bytes) -> None:
        nonlocal size
        position = size >> level
        size += 1 << level
        while True:
            if level and level % STEP == 0:
                kept.setdefault(level, ((size >> level) - 1, bytearray()))[1].extend(node)
            if not position & 1:
                break
            node = node_hash(stack.pop(), node)
            position >>= 1
            level += 1
        stack.append(node)

    at, width = 0, HASH_BYTES << STEP
    while at < len(hashes):
        if size % (1 << STEP) == 0 and len(hashes) - at >= width:
            push(STEP, _perfect(bytes(hashes[at : at + width])))
            at += width
        else:
            push(0, bytes(hashes[at : at + HASH_BYTES]))
            at += HASH_BYTES
    return {level: Nodes(first=first, hashes=bytes(found)) for level, (first, found) in kept.items()}, stack


def _perfect(row: bytes) -> bytes:
    """Return the node over a power of two of hashes, given one after the other."""
    while len(row) > HASH_BYTES:
        row = b"".join([sha256(b"\1" + row[i : i + 64]).digest() for i in range(0, len(row), 64)])
    return row


def root_of(edge: Sequence[bytes]) -> bytes:
    """Return the root of the tree with this edge."""
    if not edge:
        return EMPTY_ROOT
    root = edge[-1]
    for left in reversed(edge[:-1]):
        root = node_hash(left, root)
    return root
