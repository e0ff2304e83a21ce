"""Recipes: which chunks make up a large blob, and how a blob is cut (`docs/formats/pack.md`)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, cycle
from typing import TYPE_CHECKING

from blake3 import blake3

from retrodict.kernel.errors import FormatError
from retrodict.objects.names import Kind, name_of

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

MIN_CHUNK, AVERAGE_CHUNK, MAX_CHUNK = 16 << 10, 64 << 10, 256 << 10  # for the whole life of a store
CUT_FROM = 256 << 10  # a blob of at least this many bytes is kept in chunks

_MAGIC = b"RTR1"
_HEAD = struct.Struct("<4sIQ32s")  # magic, chunks, size of the blob, its name
_CHUNK = struct.Struct("<I32s")  # bytes, name
_SEGMENT = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The chunks of one blob, in order.

    Attributes:
        name: Of the recipe itself.
        blob: Name of the whole blob.
        size: Bytes of the whole blob.
        chunks: Names.
        ends: Where each chunk ends in the blob.
    """

    name: bytes
    blob: bytes
    size: int
    chunks: tuple[bytes, ...]
    ends: tuple[int, ...]

    @classmethod
    def decode(cls, payload: bytes) -> Recipe:
        """Read the payload of a recipe record.

        Raises:
            FormatError: It is not a recipe.
        """
        if len(payload) < _HEAD.size:
            raise FormatError("a recipe is cut short")
        magic, count, size, blob = _HEAD.unpack_from(payload)
        if magic != _MAGIC or len(payload) != _HEAD.size + count * _CHUNK.size:
            raise FormatError("a recipe has a wrong head or length")
        rows = list(_CHUNK.iter_unpack(memoryview(payload)[_HEAD.size :]))
        ends = tuple(accumulate(length for length, _ in rows))
        if not rows or ends[-1] != size or not all(length for length, _ in rows):
            raise FormatError("the chunks of a recipe do not add up to its blob")
        chunks = tuple(name for _, name in rows)
        return cls(name=name_of(Kind.RECIPE, payload), blob=blob, size=size, chunks=chunks, ends=ends)

    def start(self, i: int) -> int:
        """Return where chunk `i` begins in the blob."""
        return self.ends[i - 1] if i else 0

    def within(self, offset: int, length: int) -> Iterator[int]:
        """Yield the numbers of the chunks that hold a range."""
        for i in range(bisect_right(self.ends, offset), len(self.chunks)):
            if self.start(i) >= offset + length:
                return
            yield i


def encode(blob: bytes, size: int, chunks: list[tuple[int, bytes]]) -> bytes:
    """Return the payload of a recipe; `chunks` are (bytes, name)."""
    return _HEAD.pack(_MAGIC, len(chunks), size, blob) + b"".join(_CHUNK.pack(*chunk) for chunk in chunks)


def name_chunks(
    read_into: Callable[[memoryview], int], pool: Executor, whole: blake3
) -> Iterator[list[tuple[bytes, memoryview]]]:
    """Cut, and yield the chunks of each segment as (name, bytes); at the end `whole` has hashed all bytes.

    The bytes are good until the next segment has been asked for. While one segment is hashed, the next is read and cut.
    """
    pending: tuple[memoryview, list[tuple[int, int]], Future[object], Future[list[bytes]]] | None = None

    def settled() -> Iterator[list[tuple[bytes, memoryview]]]:
        if pending is not None:
            segment, cuts, hashed, names = pending
            hashed.result()
            parts = [segment[at : at + length] for at, length in cuts]
            yield list(zip(names.result(), parts, strict=True))

    for segment, cuts in cut(read_into):
        yield from settled()
        hashed: Future[object] = pool.submit(whole.update, segment)
        pending = (segment, cuts, hashed, pool.submit(_names, segment, cuts))
    yield from settled()


def _names(segment: memoryview, cuts: list[tuple[int, int]]) -> list[bytes]:
    return [blake3(segment[at : at + length]).digest() for at, length in cuts]


def cut(read_into: Callable[[memoryview], int]) -> Iterator[tuple[memoryview, list[tuple[int, int]]]]:
    """Yield (segment, [(start, length) of each chunk in it]) until `read_into` fills nothing; segments leave no gap.

    A segment is good until two more have been asked for: the memory is used again.

    The cuts are those of FastCDC over the whole input: a cut depends only on the up to `MAX_CHUNK` bytes after the
    previous one, so only a chunk that begins nearer to the end of what was read waits for more.
    """
    from pyfastcdc import FastCDC  # 45 ms

    cutter = FastCDC(AVERAGE_CHUNK, min_size=MIN_CHUNK, max_size=MAX_CHUNK)
    buffers = [memoryview(bytearray(_SEGMENT + MAX_CHUNK)) for _ in range(3)]
    carry = memoryview(b"")
    for buffer in cycle(buffers):
        full = len(carry)
        buffer[:full] = carry
        while full < len(buffer) and (n := read_into(buffer[full:])):
            full += n
        segment = buffer[:full]
        at_end = full < len(buffer)
        settled = full if at_end else full - MAX_CHUNK
        chunks = []
        end = 0
        for chunk in cutter.cut_buf(segment) if segment else ():
            if end >= settled:
                break
            chunks.append((end, chunk.length))
            end += chunk.length
        if chunks:
            yield segment[:end], chunks
        if at_end:
            return
        carry = segment[end:]
