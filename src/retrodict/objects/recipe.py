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
_LENGTH = struct.Struct("<I32x")
_LENGTH_BYTES = 4
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
        lengths = [length for (length,) in _LENGTH.iter_unpack(memoryview(payload)[_HEAD.size :])]
        ends = tuple(accumulate(lengths))
        if not lengths or ends[-1] != size or 0 in lengths:
            raise FormatError("the chunks of a recipe do not add up to its blob")
        names = range(_HEAD.size + _LENGTH_BYTES, len(payload), _CHUNK.size)
        chunks = tuple([payload[at : at + _CHUNK.size - _LENGTH_BYTES] for at in names])
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
    read_into: Callable[[memoryview], int], pool: Executor, whole: blake3, like: Recipe | None = None
) -> Iterator[list[tuple[bytes, memoryview]]]:
    """Cut, and yield the chunks of each segment as (name, bytes); at the end `whole` has hashed all bytes.

    The bytes are good until the next segment has been asked for. While one segment is hashed, the next is read and cut.

    Args:
        like: Of an earlier version: where that has the same chunks, nothing is cut again.
    """
    pending: tuple[memoryview, _Cuts, Future[object], Future[list[bytes]]] | None = None

    def settled() -> Iterator[list[tuple[bytes, memoryview]]]:
        if pending is not None:
            segment, (cuts, known), hashed, names = pending
            hashed.result()
            parts = [segment[at : at + length] for at, length in cuts]
            yield list(zip([*known, *names.result()], parts, strict=True))

    for segment, cuts, known in cut(read_into, like):
        yield from settled()
        hashed: Future[object] = pool.submit(whole.update, segment)
        pending = (segment, (cuts, known), hashed, pool.submit(_names, segment, cuts[len(known) :]))
    yield from settled()


_Cuts = tuple[list[tuple[int, int]], list[bytes]]  # (start, length) of each chunk, and the names of the first ones


def _names(segment: memoryview, cuts: list[tuple[int, int]]) -> list[bytes]:
    return [blake3(segment[at : at + length]).digest() for at, length in cuts]


class _Expected:
    """Where the chunks of an earlier version are expected to come again.

    A cut depends on nothing but the bytes since the last one, so where the same bytes come again, so does the cut. Only
    the last chunk of a blob may end where nothing was cut.
    """

    def __init__(self, like: Recipe | None) -> None:
        self._like = like
        self._next: int | None = 0 if like is not None else None
        self._at = {} if like is None else {name: i for i, name in enumerate(like.chunks)}

    def found(self, segment: memoryview, settled: int) -> _Cuts:
        """Return the chunks at the beginning of a segment that are the next ones of the earlier version, too."""
        cuts: list[tuple[int, int]] = []
        names: list[bytes] = []
        end = 0
        while self._like is not None and self._next is not None and end < settled:
            i = self._next
            length = self._like.ends[i] - self._like.start(i) if i < len(self._like.chunks) - 1 else 0
            fits = 0 < length <= min(MAX_CHUNK, len(segment) - end)
            if fits and blake3(segment[end : end + length]).digest() == self._like.chunks[i]:
                cuts.append((end, length))
                names.append(self._like.chunks[i])
                end += length
                self._next = i + 1
            else:
                self._next = None
        return cuts, names

    def look_for(self, chunk: memoryview) -> None:
        """Go on behind a chunk that was cut, if the earlier version has it."""
        if self._at:
            i = self._at.get(blake3(chunk).digest())
            self._next = None if i is None else i + 1


def cut(
    read_into: Callable[[memoryview], int], like: Recipe | None = None
) -> Iterator[tuple[memoryview, list[tuple[int, int]], list[bytes]]]:
    """Yield segments until `read_into` fills nothing; they leave no gap.

    Each comes with (start, length) of each chunk in it, and with the names of the first chunks, where they are known. A
    segment is good until two more have been asked for: the memory is used again.

    The cuts are those of FastCDC over the whole input: a cut depends only on the up to `MAX_CHUNK` bytes after the
    previous one, so only a chunk that begins nearer to the end of what was read waits for more.
    """
    from pyfastcdc import FastCDC  # 45 ms

    cutter = FastCDC(AVERAGE_CHUNK, min_size=MIN_CHUNK, max_size=MAX_CHUNK)
    expected = _Expected(like)
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
        chunks, names = expected.found(segment, settled)
        end = sum(chunks[-1]) if chunks else 0
        if end < settled:
            for chunk in cutter.cut_buf(segment[end:]):
                if end >= settled:
                    break
                chunks.append((end, chunk.length))
                end += chunk.length
            expected.look_for(segment[end - chunks[-1][1] : end])
        if chunks:
            yield segment[:end], chunks, names
        if at_end:
            return
        carry = segment[end:]
