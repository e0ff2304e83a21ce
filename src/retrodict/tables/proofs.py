"""That a record is in a version, shown without the others: a Merkle tree (RFC 9162) over the records of the version."""

from __future__ import annotations

from typing import Any

from retrodict.kernel import merkle
from retrodict.streams import formats
from retrodict.streams.segment import grow, leaf_prefix, leaves, root_of
from retrodict.tables import lines
from retrodict.tables.lines import OFFSET, ChangeLog


def record_leaves(log: ChangeLog, stop: int) -> tuple[list[int], list[bytes]]:
    """Return the offsets of the last changes of the records after `stop` changes, and their leaf hashes.

    In the order of the records. A leaf is the change's in the stream's tree. Memory: some 100 bytes for each record.
    """
    found = lines.alive(log, stop, ())
    offsets: list[int] = found[OFFSET].to_pylist()
    wanted = set(offsets)
    hashes: dict[int, bytes] = {}
    at = 0
    for block in log.line.kept(0, stop):
        size = len(block.found)
        places = [offset for offset in range(at, at + size) if offset in wanted]
        if places:
            texts = formats.split("changes", block.data, log.line.schema_bytes(block.schema))[block.found.start :]
            made = leaves([texts[offset - at] for offset in places], leaf_prefix(block.schema))
            hashes.update((offset, made[32 * i : 32 * i + 32]) for i, offset in enumerate(places))
        at += size
    return offsets, [hashes[offset] for offset in offsets]


def root(hashes: list[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    _, edge = grow((), 0, b"".join(hashes))
    return root_of(edge)


def inclusion(hashes: list[bytes], place: int) -> list[bytes]:
    """Return the inclusion proof of one leaf."""
    levels = [hashes]

    def node(level: int, index: int) -> bytes:
        while len(levels) <= level:
            below = levels[-1]
            levels.append([merkle.node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
        return levels[level][index]

    return merkle.inclusion_proof(place, len(hashes), node)


def schema_text(log: ChangeLog, offset: int) -> tuple[Any, str]:
    """Return the digest (hex) of the schema of a change, and its text: which column is which, of which type."""
    (place,) = log.line.places(offset, offset + 1)
    schema = log.line.schema_of(place)
    data = log.line.schema_bytes(schema) or b""
    return log.line.leaf_prefix(offset).hex(), data.decode()
