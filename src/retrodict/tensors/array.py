"""Arrays: opened, created, filled; their sample ids; which samples differ between two of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import zarr
from zarr.errors import BaseZarrError

from retrodict.kernel.errors import FormatError, UsageError
from retrodict.tensors import IDS
from retrodict.tensors.errors import NoTensorError
from retrodict.tensors.store import Files, ObjectsStore

CHUNK_BYTES = 64 << 10
SampleId = str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an array is."""

    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One sample that two versions hold with other values.

    Attributes:
        sample: Its id, or its position where there are none.
        positions: In the one and in the other.
        values: How many of its values differ; `largest` the largest difference; None: there is no number for it.
    """

    sample: SampleId
    positions: tuple[int, int]
    values: int
    largest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between two arrays.

    Attributes:
        layout: Why their samples cannot be compared (another dtype or shape), or None; then nothing else is said.
        added, removed: Samples that only the second, or only the first has, by id or position.
        changed: Those whose values differ.
        moved: How many stand at another position with the same values (by their ids).
    """

    layout: str | None
    added: tuple[SampleId, ...]
    removed: tuple[SampleId, ...]
    changed: tuple[Changed, ...]
    moved: int


def open_array(store: ObjectsStore, path: str = "") -> zarr.Array[Any]:
    """Open the array of a version.

    Args:
        path: Of an array in a group.

    Raises:
        NoTensorError: There is none.
    """
    try:
        return zarr.open_array(store, path=path, mode="r" if store.changes is None else "r+", zarr_format=3)
    except (BaseZarrError, FileNotFoundError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise NoTensorError(f"it holds no array of Zarr version 3 at {path or 'its root'}: {error}") from error


def facts(array: zarr.Array[Any]) -> Facts:
    """Return what an array is."""
    return Facts(shape=array.shape, dtype=str(array.dtype), chunks=array.chunks)


def chunks_for(shape: Sequence[int], item_bytes: int) -> tuple[int, ...]:
    """Return the shape of chunks of at most 64 KiB.

    Whole samples where one fits. Else of arrays with four or more axes a part of one sample (images, clips: whoever
    reads one, reads it whole); up to three axes (volumes, series): cut evenly, so that a cube touches few chunks.
    """
    chunk = [max(size, 1) for size in shape]
    if not chunk:
        return ()
    sample = prod(chunk[1:]) * item_bytes
    if sample <= CHUNK_BYTES:
        chunk[0] = min(chunk[0], max(CHUNK_BYTES // max(sample, 1), 1))
        return tuple(chunk)
    if len(chunk) >= 4:
        chunk[0] = 1
    while prod(chunk) * item_bytes > CHUNK_BYTES and max(chunk) > 1:
        largest = max(range(len(chunk)), key=lambda axis: chunk[axis])
        chunk[largest] = -(-chunk[largest] // 2)
    return tuple(chunk)


def create(
    store: ObjectsStore, shape: Sequence[int], dtype: Any, *, chunks: Sequence[int] | None, fill: Any
) -> zarr.Array[Any]:
    """Make an array in an empty store: chunks flat beside zarr.json, uncompressed (the objects are compressed).

    Raises:
        UsageError: No such array can be.
    """
    try:
        kind = np.dtype(dtype)
        if kind.hasobject:
            raise TypeError(f"{kind} holds objects of Python")
        return zarr.create_array(
            store,
            shape=tuple(shape),
            dtype=kind,
            chunks=tuple(chunks) if chunks is not None else chunks_for(shape, kind.itemsize),
            compressors=None,
            filters=None,
            fill_value=fill,
            chunk_key_encoding={"name": "default", "separator": "."},
            zarr_format=3,
        )
    except (TypeError, ValueError, OverflowError, BaseZarrError) as error:
        raise UsageError(f"no such array can be made: {error}") from error


def fill(array: zarr.Array[Any], source: Any) -> None:
    """Write an array (of numpy, perhaps mapped from a file) into `array`, a row of chunks at a time."""
    if not array.shape:
        array[...] = source[...]
        return
    for start, stop in _slabs(array, len(source)):
        array[start:stop] = source[start:stop]


def _slabs(array: zarr.Array[Any], count: int) -> Iterator[tuple[int, int]]:
    step = max(array.chunks[0], 1)
    for start in range(0, count, step):
        yield start, min(start + step, count)


def ids_of(store: ObjectsStore) -> list[SampleId] | None:
    """Return the sample ids along the first axis; None where there are none.

    Raises:
        FormatError: What is there are no ids.
    """
    data = store.read(IDS)
    if data is None:
        return None
    try:
        found = [json.loads(line) for line in data.decode().splitlines()]
        check_ids(found)
    except (ValueError, UsageError) as error:
        raise FormatError(f"the sample ids of a tensor are malformed: {error}") from error
    return found


def check_ids(ids: Sequence[object]) -> None:
    """Check that samples can be called so.

    Raises:
        UsageError: One is neither text nor a whole number, or stands twice.
    """
    for sample in ids:
        if type(sample) not in (str, int):
            raise UsageError(f"{sample!r} cannot be a sample's id: it is neither text nor a whole number")
    if len(set(ids)) != len(ids):
        seen: set[object] = set()
        twice = next(sample for sample in ids if sample in seen or seen.add(sample))  # type: ignore[func-returns-value]
        raise UsageError(f"the sample id {twice!r} stands twice")


def encode_ids(ids: Sequence[SampleId]) -> bytes:
    """Return the file with the ids: one as JSON on each line."""
    return b"".join(json.dumps(sample, ensure_ascii=False).encode() + b"\n" for sample in ids)


def compare(one: ObjectsStore, other: ObjectsStore, path: str = "") -> Difference:
    """Return which samples differ; chunks that both hold under the same name are not read."""
    a, b = open_array(one, path), open_array(other, path)
    if a.dtype != b.dtype or a.shape[1:] != b.shape[1:] or not a.shape or not b.shape:
        layout = f"{a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}"
        is_same = not a.shape and not b.shape and a.dtype == b.dtype and _bits(a[...]) == _bits(b[...])
        return Difference(layout=None if is_same else layout, added=(), removed=(), changed=(), moved=0)
    ids_a, ids_b = (ids_of(one), ids_of(other)) if not path else (None, None)
    where_a = _positions(ids_a if ids_b is not None else None, a.shape[0])
    where_b = _positions(ids_b if ids_a is not None else None, b.shape[0])
    suspects = _suspects(one.files, other.files, a, b, path)
    rows_a, rows_b = _Rows(a), _Rows(b)
    changed, moved = [], 0
    for sample, i in where_a.items():
        j = where_b.get(sample)
        if j is None or (i == j and suspects is not None and i // a.chunks[0] not in suspects):
            continue
        x, y = rows_a[i], rows_b[j]
        if _bits(x) == _bits(y):
            moved += i != j
            continue
        changed.append(Changed(sample=sample, positions=(i, j), values=_count(x, y), largest=_largest(x, y)))
    return Difference(
        layout=None,
        added=tuple(sample for sample in where_b if sample not in where_a),
        removed=tuple(sample for sample in where_a if sample not in where_b),
        changed=tuple(changed),
        moved=moved,
    )


def _positions(ids: Sequence[SampleId] | None, count: int) -> Mapping[SampleId, int]:
    return {sample: i for i, sample in enumerate(range(count) if ids is None else ids)}


def _suspects(one: Files, other: Files, a: zarr.Array[Any], b: zarr.Array[Any], path: str) -> set[int] | None:
    """Return the rows of chunks in which something differs; None: chunks of the two cannot be compared by name."""

    def layout(array: zarr.Array[Any]) -> dict[str, Any]:
        found: dict[str, Any] = array.metadata.to_dict()
        return {key: value for key, value in found.items() if key not in ("shape", "attributes")}

    if layout(a) != layout(b):
        return None
    start = f"{path}/" if path else ""
    first = {key: entry.digest for key, entry in one.walk(path)}
    second = {key: entry.digest for key, entry in other.walk(path)}
    rows = set()
    for key in first.keys() | second.keys():
        if first.get(key) != second.get(key):
            name = key[len(start) :].removeprefix("c")[1:].replace("/", ".")
            number = name.partition(".")[0]
            if number.isdigit():
                rows.add(int(number))
            elif not key.endswith(("zarr.json", IDS)):
                return None
    if a.shards is not None:  # a shard is one file with several rows of chunks
        each = a.shards[0] // a.chunks[0]
        rows = set(itertools.chain.from_iterable(range(row * each, (row + 1) * each) for row in rows))
    return rows


class _Rows:
    """Samples of an array; a row of chunks is read at once, and the last few are kept."""

    def __init__(self, array: zarr.Array[Any]) -> None:
        self._array = array
        self._step = max(array.chunks[0], 1)
        self._slab = lru_cache(maxsize=2)(self._read)

    def _read(self, number: int) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = np.asarray(self._array[number * self._step : (number + 1) * self._step])
        return found

    def __getitem__(self, i: int) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = self._slab(i // self._step)[i % self._step]
        return found


def _bits(values: Any) -> bytes:
    return np.ascontiguousarray(values).tobytes()


def _count(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> int:
    """Return how many values differ, by their bits."""
    size = x.dtype.itemsize
    one = np.frombuffer(_bits(x), np.uint8).reshape(-1, size)
    other = np.frombuffer(_bits(y), np.uint8).reshape(-1, size)
    return int((one != other).any(axis=1).sum())


def _largest(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float | None:
    if x.dtype.kind not in "biuf":
        return None
    with np.errstate(all="ignore"):
        gap = np.abs(x.astype(np.float64) - y.astype(np.float64))
    return float(np.nanmax(gap)) if gap.size and not np.isnan(gap).all() else None
