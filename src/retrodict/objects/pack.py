"""Packs: sealed, self-describing files of records (`docs/formats/pack.md`).

A pack is written under `tmp/`, synced, and renamed to the BLAKE3 of its bytes; after that nobody writes to it.
What an index says about a pack can be read from the pack alone.

Raw files (`raw.py`) stand in the index beside the packs. The key of a pack there is its digest, that of a raw file
`raw/` and its digest: the same bytes may be kept as both, where somebody versions a pack.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from backports import zstd
from blake3 import blake3

from retrodict.kernel.durable import Disk
from retrodict.kernel.errors import FormatError
from retrodict.objects.errors import StoreReadError
from retrodict.objects.names import Kind, name_of
from retrodict.objects.recipe import MAX_CHUNK

HEADER = b"RETRODICT-PACK1\n"
RECORD_MAGIC = b"RTO1"
FOOTER_MAGIC = b"RTOE"
RECORD = struct.Struct("<4sBBHII32s")  # magic, kind, codec, zero, stored bytes, plain bytes, name
FOOTER = struct.Struct("<4sIQ32s")  # magic, records, bytes before the footer, their BLAKE3
PACK_BYTES = 64 << 20  # a pack is sealed once it has reached this
MAX_PAYLOAD = (1 << 32) - 1
_RAW = b"raw/"

PLAIN, ZSTD, DELTA = 0, 1, 2
MAX_DEPTH = 16  # how many differences at most lie between a record and one that stands alone
_KINDS = frozenset(map(int, Kind))
MAX_BASES = 8
_BASES = struct.Struct("<BB")  # depth, number of bases; their names, 32 bytes each, and a zstd frame follow
_SHORTEST = 8  # bytes of a prefix, for zstd
_FAR = 128 << 10  # in a base from here up zstd's tables for short matches do not see everything

Load = Callable[[int, bytes, int], bytes]  # (kind, name of a base, depth above it) -> its payload, or FormatError

Bytes = bytes | mmap.mmap  # of a pack in memory

_BUFFER = 1 << 20
_DIRECT = 32 << 10  # a payload from here up is written without being copied into the buffer
_SAMPLE = 4096
_SAMPLED = 32 << 10  # bytes from which on a sample is taken first: of less, trying it takes hardly longer
_SMALL_UP_TO = 16 << 10
_SMALL: dict[int, int] = {  # of those zstd's level 1 looks for shorter matches: 1 % fewer bytes, 10 % more CPU
    zstd.CompressionParameter.compression_level: 1,
    zstd.CompressionParameter.hash_log: 13,
    zstd.CompressionParameter.min_match: 6,
}
_WORTH = 0.8  # compressed bytes per plain byte below which compression pays


class Place(NamedTuple):
    """Where one copy of an object lies: exactly a row of the index, and exactly a record header."""

    name: bytes
    pack: int
    offset: int  # of the record header in the pack; in a raw file, which has none, of the payload
    kind: int
    codec: int
    stored: int  # bytes of payload in the pack
    size: int  # bytes of payload once decoded


PlaceRow = tuple[bytes, int, int, int, int, int, int]  # the same, where there are too many to name their parts


class Squeezer:
    """Compresses where a sample shows that it pays. Not for use by two threads at once."""

    def __init__(self) -> None:
        self._large = zstd.ZstdCompressor(level=1)
        self._small = zstd.ZstdCompressor(options=_SMALL)

    def encode(self, data: bytes | memoryview) -> tuple[int, bytes | memoryview]:
        """Return (codec, stored bytes)."""
        n = len(data)
        if n < 128:
            return PLAIN, data
        if n >= _SAMPLED:
            middle = n // 2
            if len(self._frame(data[middle : middle + _SAMPLE])) > _WORTH * _SAMPLE:
                return PLAIN, data
        frame = self._frame(data)
        return (ZSTD, frame) if len(frame) <= _WORTH * n else (PLAIN, data)

    def _frame(self, data: bytes | memoryview) -> bytes:
        compressor = self._small if len(data) <= _SMALL_UP_TO else self._large
        return compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)


def difference(data: bytes | memoryview, base: bytes, names: Sequence[bytes], depth: int) -> bytes:
    """Return what to store of `data` as a difference to `base`, the payloads of the objects `names` joined."""
    log = max(10, (len(base) + len(data)).bit_length())
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: 3,
        zstd.CompressionParameter.content_size_flag: 0,
        zstd.CompressionParameter.window_log: log,
        zstd.CompressionParameter.enable_long_distance_matching: int(len(base) >= _FAR),
    }
    prefix = zstd.ZstdDict(base, is_raw=True).as_prefix
    return _BASES.pack(depth, len(names)) + b"".join(names) + zstd.compress(data, options=options, zstd_dict=prefix)


def bases_of(stored: bytes | memoryview) -> tuple[int, list[bytes]]:
    """Return (depth, names of the bases) of the stored bytes of a difference, or of enough of them.

    Raises:
        FormatError: They are none, or claim a depth or a number that must not be.
    """
    depth, count = _BASES.unpack_from(stored) if len(stored) >= _BASES.size else (0, 0)
    names = [bytes(stored[i : i + 32]) for i in range(_BASES.size, _BASES.size + 32 * count, 32)]
    if not (1 <= depth <= MAX_DEPTH and 1 <= count <= MAX_BASES) or len(names[-1]) != 32:
        raise FormatError("a record is not a difference to others")
    return depth, names


def decode(codec: int, stored: bytes | memoryview, size: int, load: Callable[[bytes, int], bytes]) -> bytes:
    """Return the payload of a record: `size` bytes. `load` gives the payload of a base, by name and depth.

    Raises:
        FormatError: Not one zstd frame of that length, or an unknown codec.
    """
    if codec == PLAIN and len(stored) == size:
        return bytes(stored)
    if codec == ZSTD:
        decoder = zstd.ZstdDecompressor()
    elif codec == DELTA:
        depth, names = bases_of(stored)
        base = b"".join([load(name, depth) for name in names])
        if len(base) < _SHORTEST:
            raise FormatError("a record is a difference to less than zstd can take")
        decoder = zstd.ZstdDecompressor(zstd_dict=zstd.ZstdDict(base, is_raw=True).as_prefix)
        stored = stored[_BASES.size + 32 * len(names) :]
    else:
        raise FormatError(f"a record of {len(stored)} bytes cannot hold {size} bytes under codec {codec}")
    try:
        data = decoder.decompress(stored, max_length=size + 1)  # a frame cannot make us fill the memory
    except zstd.ZstdError as error:
        raise FormatError(f"a record is not a zstd frame: {error}") from error
    if len(data) != size or not decoder.eof or decoder.unused_data:
        raise FormatError("a record does not decode to the length that it claims")
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPack:
    """A pack that is whole and synced, but still under its temporary name."""

    temporary: Path
    name: bytes
    size_bytes: int
    places: list[PlaceRow]  # their `pack` is 0 until the index has numbered it


class PackWriter:
    """Writes one pack. Small packs reach the disk in one write."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._disk = disk
        self.temporary = folder / f"pack-{os.getpid()}-{os.urandom(6).hex()}"
        self._fd = disk.create(self.temporary, 0o444)
        with contextlib.suppress(OSError):  # a file system without locks: then only age tells that it was left behind
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._hash = blake3()
        self._buffer = bytearray(HEADER)
        self._flushed = 0
        self._places: list[PlaceRow] = []

    @property
    def size_bytes(self) -> int:
        """Bytes so far, without the footer."""
        return self._flushed + len(self._buffer)

    def add(self, kind: Kind, codec: int, size: int, name: bytes, stored: bytes | memoryview) -> None:
        """Append a record."""
        if max(size, len(stored)) > MAX_PAYLOAD:
            raise FormatError(f"a record holds at most {MAX_PAYLOAD} bytes, not {size}")
        length, buffer = len(stored), self._buffer
        self._places.append((name, 0, self._flushed + len(buffer), kind, codec, length, size))
        buffer += RECORD.pack(RECORD_MAGIC, kind, codec, 0, length, size, name)
        if length >= _DIRECT:
            self._write(buffer)
            self._write(stored)
            self._buffer = bytearray()
            return
        buffer += stored
        if len(buffer) >= _BUFFER:
            self._write(buffer)
            self._buffer = bytearray()

    def _write(self, block: bytes | bytearray | memoryview) -> None:
        self._flushed += len(block)
        self._hash.update(block)
        self._disk.write(self._fd, memoryview(block))

    def seal(self) -> SealedPack:
        """Write the footer, sync and close."""
        self._hash.update(self._buffer)
        end = self.size_bytes
        footer = FOOTER.pack(FOOTER_MAGIC, len(self._places), end, self._hash.digest())
        self._hash.update(footer)
        self._disk.write(self._fd, bytes(self._buffer) + footer)
        self._disk.sync(self._fd)
        os.close(self._fd)
        self._fd = -1
        return SealedPack(
            temporary=self.temporary,
            name=self._hash.digest(),
            size_bytes=end + FOOTER.size,
            places=self._places,
        )

    def abort(self) -> None:
        """Leave nothing behind."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with contextlib.suppress(OSError):
            self._disk.unlink(self.temporary)


def raw_key(blob: bytes) -> bytes:
    """Return the key of the raw file that holds `blob`."""
    return _RAW + blob


def is_raw(key: bytes) -> bool:
    """Say whether this is the key of a raw file."""
    return len(key) == len(_RAW) + 32 and key.startswith(_RAW)


def path_of(store: Path, key: bytes) -> Path:
    """Return where in the folder `store` the pack or raw file of that key lies."""
    return store / "raw" / key[len(_RAW) :].hex() if is_raw(key) else store / "packs" / f"{key.hex()}.pack"


def key_at(path: Path) -> bytes | None:
    """Return the key of the pack or raw file that a path in a store claims to be, or None: it is neither's path."""
    raw = path.parent.name == "raw"
    stem = path.name if raw else path.name.removesuffix(".pack")
    if len(stem) != 64 or stem.strip("0123456789abcdef") or (stem == path.name) != raw:
        return None
    return raw_key(bytes.fromhex(stem)) if raw else bytes.fromhex(stem)


def within(store: Path) -> Iterator[Path]:
    """Yield, sorted, what lies where packs and raw files do.

    Raises:
        StoreReadError: The disk fails.
    """
    for folder in (store / "packs", store / "raw"):
        try:
            yield from sorted(folder.iterdir())
        except OSError as error:
            if folder.name == "packs" or not isinstance(error, FileNotFoundError):  # few stores have raw files
                raise StoreReadError(str(folder), error) from error


def list_keys(store: Path) -> list[bytes]:
    """Return the keys of all packs and raw files. Raises as `within` does."""
    return [key for path in within(store) if (key := key_at(path)) is not None]


def _header_at(data: Bytes, offset: int) -> Place | None:
    """Return the record header at `offset`, if it could be one."""
    if offset + RECORD.size + FOOTER.size > len(data):
        return None
    magic, kind, codec, zero, stored, size, name = RECORD.unpack_from(data, offset)
    fits = offset + RECORD.size + stored + FOOTER.size <= len(data)
    if magic != RECORD_MAGIC or zero or kind not in _KINDS or codec > DELTA or not fits:
        return None
    return Place(name, 0, offset, kind, codec, stored, size)


def stored_in(data: Bytes, place: Place) -> memoryview:
    """Return the stored bytes of a record of a pack in memory."""
    start = place.offset + RECORD.size
    return memoryview(data)[start : start + place.stored]


def payload_in(data: Bytes, place: Place, load: Load) -> bytes | None:
    """Return the payload of a record of a pack in memory, or None: it does not have its name."""
    try:
        payload = decode(place.codec, stored_in(data, place), place.size, lambda *base: load(place.kind, *base))
    except FormatError:
        return None
    return payload if name_of(place.kind, payload) == place.name else None


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[Bytes]:
    """Give the bytes of a pack that nobody else writes, of which only what is looked at is read."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # which cannot be mapped
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def scan(data: Bytes) -> Iterator[Place | str]:
    """Yield what `records` does, and a sentence for each thing that is wrong with the footer."""
    offset, count = yield from records(data)
    end = len(data) - FOOTER.size
    if end < len(HEADER) or offset != end:
        yield "it is cut short"
        return
    magic, stated, length, digest = FOOTER.unpack_from(data, end)
    if (magic, length, digest) != (FOOTER_MAGIC, end, blake3(memoryview(data)[:end]).digest()):
        yield "its footer does not fit its bytes"
    elif stated != count:
        yield f"its footer counts {stated} records, there are {count}"


def records(data: Bytes) -> Generator[Place | str, None, tuple[int, int]]:
    """Yield every record of a pack in memory, and a sentence for each thing that is wrong with their frame.

    Behind a damaged header it goes on at the next record whose payload has its name, so that one bad byte costs one
    record. Returns (where the records end, how many there are).
    """
    if data[: len(HEADER)] != HEADER:
        yield "its header is altered"
    offset, count = len(HEADER), 0
    end = len(data) - FOOTER.size
    unpack, make, head, last = RECORD.unpack_from, Place._make, RECORD.size, end - RECORD.size
    while offset < end:
        # `_header_at`, without a call for each of many small records
        if offset <= last:
            magic, kind, codec, zero, stored, size, name = unpack(data, offset)
            after = offset + head + stored
            if magic == RECORD_MAGIC and not zero and kind in _KINDS and codec <= DELTA and after <= end:
                yield make((name, 0, offset, kind, codec, stored, size))
                count += 1
                offset = after
                continue
        yield f"the record header at byte {offset} is altered"
        place = _resync(data, offset + 1)
        if place is None:
            offset = end
            break
        offset = place.offset
    return offset, count


def _resync(data: Bytes, offset: int) -> Place | None:
    while (offset := data.find(RECORD_MAGIC, offset)) >= 0:
        place = _header_at(data, offset)
        if place is not None and _is_record(data, place):
            return place
        offset += 1
    return None


def _is_record(data: Bytes, place: Place) -> bool:
    if place.codec != DELTA:
        return payload_in(data, place, _no_base) is not None
    # Its base may lie anywhere, so only its frame can tell: that of its own bytes, and what comes behind it.
    after = place.offset + RECORD.size + place.stored
    try:
        bases_of(stored_in(data, place))
    except FormatError:
        return False
    return after == len(data) - FOOTER.size or _header_at(data, after) is not None


def _no_base(kind: int, name: bytes, depth: int) -> bytes:
    raise FormatError(f"a record of kind {kind} at depth {depth} is a difference to {name.hex()}, which is not held")


class OpenedFile:
    """A descriptor that closes when the last reader lets go of it."""

    __slots__ = ("fd", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class PackFiles:
    """Reads packs and raw files by place; keeps a few of them open. Safe for threads."""

    def __init__(self, store: Path, limit: int = 64) -> None:
        self._store = store
        self._limit = limit
        self._lock = Lock()
        self._open: OrderedDict[bytes, OpenedFile] = OrderedDict()

    def _file(self, key: bytes) -> OpenedFile:
        with self._lock:
            file = self._open.pop(key, None) or self.open(key)
            self._open[key] = file
            if len(self._open) > self._limit:
                self._open.popitem(last=False)
            return file

    def open(self, key: bytes) -> OpenedFile:
        """Return the pack or raw file as it now is. Raises as `read` does."""
        path = path_of(self._store, key)
        try:
            return OpenedFile(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreReadError(str(path), error) from error

    def read(self, key: bytes, place: Place, load: Load, depth: int = MAX_DEPTH + 1) -> bytes:
        """Return the payload at `place`, with the name that it should have.

        Args:
            key: Of the pack or raw file.
            place: Where in it.
            load: Gives the payload of what a record is a difference to.
            depth: That of the record must be smaller, so that no chain of differences is without end.

        Raises:
            FileNotFoundError: There is no such file.
            FormatError: The bytes there are not that object.
            StoreReadError: The disk fails.
        """
        try:
            expected = RECORD.pack(RECORD_MAGIC, place.kind, place.codec, 0, place.stored, place.size, place.name)
            if place.offset < 0 or place.kind not in _KINDS or len(place.name) != 32:
                raise ValueError
            if is_raw(key):
                expected = b""
                if (place.kind, place.codec, place.size) != (Kind.CHUNK, PLAIN, place.stored) or place.size > MAX_CHUNK:
                    raise ValueError
        except (struct.error, ValueError, TypeError) as error:
            raise FormatError("the index claims what no record can be") from error
        try:
            file = self._file(key)
            record = os.pread(file.fd, len(expected) + place.stored, place.offset)
        except FileNotFoundError:
            raise
        except (OSError, OverflowError) as error:
            raise StoreReadError(str(path_of(self._store, key)), error) from error
        if record[: len(expected)] != expected:
            raise FormatError("a record header is altered")
        stored = memoryview(record)[len(expected) :]
        if place.codec == DELTA and bases_of(stored)[0] >= depth:
            raise FormatError("a record is a difference to one that is a difference to it")
        payload = decode(place.codec, stored, place.size, lambda *base: load(place.kind, *base))
        if name_of(place.kind, payload) != place.name:
            raise FormatError("a payload is altered")
        return payload

    def stored(self, key: bytes, place: Place, load: Load) -> bytes:
        """Return the bytes of a record as they are kept, not decoded. Raises as `read`, also where they are altered."""
        self.read(key, place, load)
        header = 0 if is_raw(key) else RECORD.size
        return os.pread(self._file(key).fd, place.stored, place.offset + header)

    def drop(self, key: bytes) -> None:
        """Let go of a file that is about to be removed."""
        with self._lock:
            self._open.pop(key, None)

    def read_near(
        self, key: bytes, rows: list[PlaceRow], load: Callable[[bytes], bytes]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (name, payload) of blobs that lie near each other in a pack, sorted by offset; each has its name.

        Args:
            key: Of the pack.
            rows: Where in it.
            load: Gives the payload of one that cannot be had so, by its name, or raises.
        """
        import zstandard  # 5 ms; `backports.zstd` makes a decoder for each frame, which takes longer than decoding

        start = rows[0][2]
        end = rows[-1][2] + RECORD.size + rows[-1][5]
        try:
            data = os.pread(self._file(key).fd, end - start, start)
        except (OSError, OverflowError):
            data = b""
        pack, head, is_there = RECORD.pack, RECORD.size, data.startswith
        decompress, size_in = zstandard.ZstdDecompressor().decompress, zstandard.frame_content_size
        for name, _, offset, kind, codec, size_stored, size in rows:
            at = offset - start
            payload = None
            try:
                if is_there(pack(RECORD_MAGIC, kind, codec, 0, size_stored, size, name), at):
                    at += head
                    stored = data[at : at + size_stored]
                    if codec == PLAIN:
                        payload = stored
                    elif codec == ZSTD and size_in(stored) == size <= MAX_CHUNK:  # it cannot make us fill the memory
                        payload = decompress(stored, allow_extra_data=False)
            except (struct.error, zstandard.ZstdError):
                pass
            if payload is None or blake3(payload).digest() != name:
                payload = load(name)
            yield name, payload

    def bases(self, key: bytes, place: Place) -> tuple[int, list[bytes]]:
        """Return (depth, names of what it is a difference to) of the record at `place`; 0: none. Raises as `read`."""
        if place.codec != DELTA:
            return 0, []
        try:
            length = min(place.stored, _BASES.size + 32 * MAX_BASES)
            return bases_of(os.pread(self._file(key).fd, length, place.offset + RECORD.size))
        except FileNotFoundError:
            raise
        except (OSError, OverflowError) as error:
            raise StoreReadError(str(path_of(self._store, key)), error) from error

    def load(self, pack: bytes) -> bytes:
        """Return all bytes of a pack.

        Raises:
            FileNotFoundError: There is no such pack.
            StoreReadError: The disk fails.
        """
        path = path_of(self._store, pack)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreReadError(str(path), error) from error

    def holds(self, key: bytes) -> bool:
        """Say whether the pack or raw file is there."""
        # HAZARD: of a damaged page SQLite gives NULL also for a column that cannot be NULL.
        return type(key) is bytes and path_of(self._store, key).exists()

    def close(self) -> None:
        """Let go of all files."""
        with self._lock:
            self._open.clear()
