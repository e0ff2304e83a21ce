"""One line of a stream (the main line, or a branch): its records by offset, its Merkle tree, and appending to it.

Whoever appends holds the lock of the workspace's streams from looking where the line ends until the event is in the
log: so offsets are assigned in the event, in one order, whatever number of processes append. What takes long (parsing,
hashing, storing the records) is done before the lock is taken. The kernel frees the lock of a process that dies; what
it had stored is bytes that nothing names. HAZARD: the lock is flock's, which does not reach across machines.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from retrodict.kernel import merkle
from retrodict.kernel.errors import UsageError
from retrodict.kernel.merkle import EMPTY_ROOT, HASH_BYTES, node_hash
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.streams import formats, personal, queries, records
from retrodict.streams.errors import CompactedError, OffsetError, StreamMismatchError
from retrodict.streams.formats import BLOCK, Block
from retrodict.streams.projection import MAIN
from retrodict.streams.records import Append, Stream
from retrodict.streams.segment import STEP, Part, Segment, grow, leaf_prefix, leaves, root_of
from retrodict.workspace import Batch, Workspace, edges_or_list

PART_BYTES = 16 << 20
INLINE_BYTES = 64 << 10  # what is smaller rides in the transaction of its event
_READ_BYTES = 4 << 20
_SPAN = 1 << 18  # records of a segment that is written when some of them are dropped
_IN_ENTRY = 200  # pseudonyms; more of them are listed in an object
ARROW = ("arrow", "changes")  # formats whose blocks are record batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Records that are ready to be appended: hashed, and stored unless they are small.

    Attributes:
        hashes: The leaf hashes, one after the other.
        small: What is to ride with the event, by digest.
        size_bytes: Of the records as they are kept.
        subjects: The pseudonyms of whom they are about; None where the stream is about nobody.
    """

    schema: Digest | None
    parts: Sequence[Part]
    hashes: bytearray
    small: Mapping[Digest, bytes]
    size_bytes: int
    subjects: Sequence[str] | None = None

    @property
    def count(self) -> int:
        """How many records there are."""
        return len(self.hashes) // HASH_BYTES


def prepare(
    workspace: Workspace, schema: bytes | None, blocks: Iterable[Block], *, people: Iterable[str] | None = None
) -> Prepared:
    """Hash and store records. Memory: 32 bytes for each record, and 16 MiB.

    Args:
        people: The pseudonyms of whom they are about, which may be complete only once the blocks are read.

    Raises:
        RecordError: One is none; what was stored before it is bytes that nothing names.
    """
    batch = Batch(workspace)
    named = None if schema is None else batch.blob(schema)
    hashes = bytearray()
    laid_out: list[list[tuple[int, int]]] = []
    weights: list[int] = []
    prefix = leaf_prefix(named)

    def parts() -> Iterator[bytes]:
        gathered: list[bytes] = []
        sizes: list[tuple[int, int]] = []
        weight = 0
        for block in blocks:
            hashes.extend(leaves(block.records, prefix))
            gathered.append(block.kept)
            sizes.append((len(block.records), len(block.kept)))
            weight += len(block.kept)
            if weight >= PART_BYTES:
                laid_out.append(sizes)
                weights.append(weight)
                yield b"".join(gathered)
                gathered, sizes, weight = [], [], 0
        if sizes:
            laid_out.append(sizes)
            weights.append(weight)
            yield b"".join(gathered)

    found = parts()
    first = next(found, b"")
    second = next(found, None)
    if second is None and len(first) <= INLINE_BYTES:
        names = [batch.blob(first)] if first else []
    else:
        names = workspace.objects.put_many(itertools.chain([first], () if second is None else [second], found))
    return Prepared(
        schema=named,
        parts=[Part(content=name, blocks=sizes) for name, sizes in zip(names, laid_out, strict=True)],
        hashes=hashes,
        small=batch.blobs,
        size_bytes=sum(weights),
        subjects=None if people is None else sorted(people),
    )


class Kept(NamedTuple):
    """A block of `size` records as it is kept, of which those with the numbers `found` are in a range."""

    data: bytes
    schema: Digest | None
    size: int
    found: range


class Line:
    """The main line of a stream, or a branch, up to where it went when it was opened."""

    def __init__(self, workspace: Workspace, stream: Stream, branch: str = MAIN) -> None:
        self.workspace = workspace
        self.stream = stream
        self.branch = branch
        db = workspace.views.database()
        self._last = queries.last(db, stream.event, branch)
        self.base = 0  # the records before it are the main line's
        if branch != MAIN:
            found = next((b for b in queries.branches(db, stream.event) if b.name == branch), None)
            main = queries.last(db, stream.event, MAIN)
            self.base = (0 if main is None else main.stop) if found is None else found.base
            if self._last is None:
                self._last = main
        self.size = 0 if self._last is None else self._last.stop
        self.segment: Callable[[Digest], Segment] = lru_cache(maxsize=64)(self._load)
        self._block_leaves: Callable[[int], bytes] = lru_cache(maxsize=8)(self._load_leaves)
        self._schemas: dict[Digest, bytes] = {}

    @property
    def schema(self) -> Digest | None:
        """The object with the stream's header or schema; None while there is none."""
        return None if self._last is None else self._last.schema

    def schema_bytes(self, schema: Digest | None) -> bytes | None:
        """Return what an object with a schema holds."""
        if schema is None:
            return None
        if schema not in self._schemas:
            self._schemas[schema] = self.workspace.objects.get(schema)
        return self._schemas[schema]

    # Reading

    def range(self, start: int | None, stop: int | None) -> tuple[int, int]:
        """Return a range as offsets: negative ones count from the end, and open ends are filled in.

        Raises:
            OffsetError: The line does not go so far, or the range ends before it begins.
        """
        first = 0 if start is None else start if start >= 0 else max(self.size + start, 0)
        end = self.size if stop is None else stop if stop >= 0 else self.size + stop
        if end > self.size or first > self.size or end < 0:
            raise OffsetError(f"{self.stream.name} has {self.size:,} records, and {max(first, end):,} were asked for")
        if end < first:
            raise OffsetError(f"the range {first}:{end} ends before it begins")
        return first, end

    def places(self, start: int, stop: int) -> list[records.Place]:
        """Return where the records [start, stop) lie now."""
        db = self.workspace.views.database()
        found: list[records.Place] = []
        if start < self.base:
            found += queries.places(db, self.stream.event, MAIN, start, min(stop, self.base))
        if stop > self.base:
            found += queries.places(db, self.stream.event, self.branch, max(start, self.base), stop)
        return found

    def schema_of(self, place: records.Place) -> Digest | None:
        """Return the object with the header or schema of the records that lie in a place."""
        return self.schema if self.stream.format != "changes" else self.segment(place.segment).schema

    def _load(self, digest: Digest) -> Segment:
        return Segment.decode(self.workspace.objects.get(digest))

    def kept(self, start: int, stop: int) -> Iterator[Kept]:
        """Yield the blocks that hold the records [start, stop), in order.

        Raises:
            MissingObjectError, AlteredObjectError: Bytes are not held as they were appended.
        """
        for segment, _, first, end in self._spans(start, stop):
            yield from self._kept_in(segment, segment.held_before(first), segment.held_before(end))

    def kept_at(self, place: records.Place, offset: int) -> Kept | None:
        """Return the block that holds a record which lies in a place; None: it is not held. Raises as `kept` does."""
        segment = self.segment(place.segment)
        found = self._kept_in(segment, segment.held_before(offset), segment.held_before(offset + 1))
        return next(found, None)

    def _spans(self, start: int, stop: int) -> Iterator[tuple[Segment, records.Place, int, int]]:
        """Yield the segments that the records [start, stop) lie in, each with the range of it that counts."""
        for place in self.places(start, stop):
            # A segment of a branch may hold records of the main line again, and one of the main line go on beyond it.
            low, high = (start, min(stop, self.base)) if place.branch != self.branch else (max(start, self.base), stop)
            yield self.segment(place.segment), place, max(low, place.start), min(high, place.stop)

    def _kept_in(self, segment: Segment, low: int, high: int) -> Iterator[Kept]:
        """Yield the blocks that hold the records [low, high) of those that a segment holds."""
        objects = self.workspace.objects
        if low < high:
            for part, begin, blocks, first in segment.blocks(low, high):
                at, waiting = begin, list(blocks)
                while waiting:
                    size = number = 0
                    while number < len(waiting) and (number == 0 or size + waiting[number][1] <= _READ_BYTES):
                        size += waiting[number][1]
                        number += 1
                    data = memoryview(objects.read(part.content, at, size))
                    for count, length in waiting[:number]:
                        found = range(max(low - first, 0), min(high - first, count))
                        yield Kept(bytes(data[:length]), segment.schema, count, found)
                        first += count
                        data = data[length:]
                    at += size
                    del waiting[:number]

    def records(self, start: int, stop: int) -> Iterator[list[bytes]]:
        """Yield the canonical bytes of the records [start, stop), block by block. Raises as `kept` does."""
        for block in self.kept(start, stop):
            yield self._split(block)

    def _split(self, block: Kept) -> list[bytes]:
        found = formats.split(self.stream.kept_format, block.data, self.schema_bytes(block.schema))
        return found[block.found.start : block.found.stop]

    def record(self, offset: int) -> bytes:
        """Return the canonical bytes of one record.

        Raises:
            OffsetError: There is none.
        """
        if not 0 <= offset < self.size:
            raise OffsetError(f"{self.stream.name} has {self.size:,} records, and no record {offset:,}")
        self.refuse_dropped(offset, offset + 1)
        return next(found[0] for found in self.records(offset, offset + 1) if found)

    def dropped(self, start: int, stop: int) -> list[tuple[EventId, int]]:
        """Return how many of the records [start, stop) were dropped by a compaction, by the event that says so."""
        return [
            (place.event, count)
            for segment, place, low, high in (self._spans(start, stop) if self._has_gaps(start, stop) else ())
            if (count := segment.dropped_before(high) - segment.dropped_before(low))
        ]

    def _has_gaps(self, start: int, stop: int) -> bool:
        return any(place.dropped for place in self.places(start, stop))

    def refuse_dropped(self, start: int, stop: int) -> None:
        """Do nothing where one of the records [start, stop) is held, or there is none.

        Raises:
            CompactedError: A compaction dropped all of them.
        """
        found = self.dropped(start, stop)
        if found and sum(count for _, count in found) == stop - start:
            sequenced = self.workspace.logs.find(found[-1][0])
            assert sequenced is not None
            raise CompactedError(f"{self.stream.name}@{start}:{stop}", sequenced.index)

    def offsets(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield the records [start, stop) that are held, each with its offset. Raises as `kept` does."""
        for segment, _, low, high in self._spans(start, stop):
            held = _held(segment, low, high)
            for block in self._kept_in(segment, segment.held_before(low), segment.held_before(high)):
                for text in self._split(block):
                    yield next(held), text

    def leaf_prefix(self, offset: int) -> bytes:
        """Return what the leaf hash of a record puts between its zero byte and the record."""
        (place,) = self.places(offset, offset + 1)
        return leaf_prefix(self.segment(place.segment).schema)[1:]

    # The tree

    def root(self, size: int) -> bytes:
        """Return the root over the first `size` records: the digest of that prefix."""
        if size == 0:
            return EMPTY_ROOT
        return merkle.range_hash(0, size, self.node)

    def node(self, level: int, index: int) -> bytes:
        """Return a node of the tree: over the records [index * 2^level, (index + 1) * 2^level)."""
        if level < STEP:
            block = self._block_leaves((index << level) >> STEP)
            at = (index << level) % BLOCK * HASH_BYTES
            return merkle.tree_hash([block[i : i + HASH_BYTES] for i in range(at, at + (HASH_BYTES << level), 32)])
        if level % STEP == 0:
            final = ((index + 1) << level) - 1
            (place,) = self.places(final, final + 1)
            return self.segment(place.segment).node(level, index)
        return node_hash(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))

    def _load_leaves(self, block: int) -> bytes:
        start, stop = block * BLOCK, min((block + 1) * BLOCK, self.size)
        return b"".join(self.leaves(start, stop))

    def leaves(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the leaf hashes of [start, stop), many at once; those of dropped records as they were kept."""
        for segment, _, low, high in self._spans(start, stop):
            first, end = segment.held_before(low), segment.held_before(high)
            held = (
                leaves(self._split(block), leaf_prefix(block.schema)) for block in self._kept_in(segment, first, end)
            )
            if segment.leaves is None:
                yield from held
            else:
                a, b = segment.dropped_before(low), segment.dropped_before(high)
                gone = self.workspace.objects.read(segment.leaves, a * HASH_BYTES, (b - a) * HASH_BYTES)
                yield _interleaved(segment, low, high, b"".join(held), gone)

    def again(self, start: int, stop: int) -> Iterator[Block]:
        """Yield the records [start, stop), all of one schema, as blocks to be appended: small ones put together."""
        if self.stream.kept_format in ARROW:
            yield from self._batches_again(start, stop)
            return
        waiting: list[bytes] = []
        for block in self.kept(start, stop):
            if block.size == len(block.found) == BLOCK and not waiting:
                yield Block(records=self._split(block), kept=block.data)
            else:
                waiting += self._split(block)
                while len(waiting) >= BLOCK:
                    yield formats.text_block(waiting[:BLOCK])
                    del waiting[:BLOCK]
        if waiting:
            yield formats.text_block(waiting)

    def _batches_again(self, start: int, stop: int) -> Iterator[Block]:
        waiting: list[Any] = []
        count = weight = 0
        for block in self.kept(start, stop):
            batch = formats.read_batch(block.data, self.schema_bytes(block.schema))
            batch = batch.slice(block.found.start, len(block.found))
            if waiting and (count + batch.num_rows > BLOCK or weight + len(block.data) > PART_BYTES):
                yield formats.batch_block(formats.joined(waiting))
                waiting, count, weight = [], 0, 0
            waiting.append(batch)
            count += batch.num_rows
            weight += len(block.data)
        if waiting:
            yield formats.batch_block(formats.joined(waiting))

    def without(self, start: int, stop: int, dropped: Collection[int]) -> Iterator[Block]:
        """Yield the records [start, stop) that are held and not dropped, as blocks."""
        if self.stream.kept_format not in ARROW:
            yield from formats.blocked(text for offset, text in self.offsets(start, stop) if offset not in dropped)
            return
        for segment, _, low, high in self._spans(start, stop):
            held = _held(segment, low, high)
            for block in self._kept_in(segment, segment.held_before(low), segment.held_before(high)):
                offsets = list(itertools.islice(held, len(block.found)))
                wanted = [i for i, offset in zip(block.found, offsets, strict=True) if offset not in dropped]
                if wanted:
                    yield formats.rows_of_batch(block.data, self.schema_bytes(block.schema), wanted)

    def check(self, size: int) -> bytes:
        """Read the first `size` records, and return the root that they make.

        Raises:
            StreamMismatchError: They do not make what the log says that they made when they were appended.
            MissingObjectError, AlteredObjectError: Bytes are not held as they were appended.
        """
        db = self.workspace.views.database()
        said = {a.stop: a.root for a in queries.appends(db, self.stream.event, MAIN) if a.stop <= self._main_until()}
        if self.branch != MAIN:
            said |= {a.stop: a.root for a in queries.appends(db, self.stream.event, self.branch)}
        stops = sorted(said, reverse=True)
        edge: list[bytes] = []
        at = 0
        for hashes in self.leaves(0, size):
            rest, until = hashes, at + len(hashes) // HASH_BYTES
            while at < until:
                while stops and stops[-1] <= at:
                    stops.pop()
                stop = min(stops[-1], until) if stops else until
                _, edge = grow(edge, at, rest[: (stop - at) * HASH_BYTES])
                rest, at = rest[(stop - at) * HASH_BYTES :], stop
                if stop in said and root_of(edge).hex() != said[stop]:
                    raise StreamMismatchError(self.stream.name, stop, root_of(edge).hex(), said[stop])
        if at != size:
            raise OffsetError(f"{self.stream.name} holds {at} of {size} records")
        return root_of(edge)

    def edge(self) -> Sequence[bytes]:
        """Return the edge of the tree over all records: what an append goes on from."""
        return self.edge_at(self.size)

    def edge_at(self, size: int) -> Sequence[bytes]:
        """Return the edge of the tree over the records before the beginning or the end of a segment."""
        if size == 0:
            return ()
        (place,) = self.places(size - 1, size)
        return self.segment(place.segment).edge

    def _main_until(self) -> int:
        return self.size if self.branch == MAIN else self.base

    def subjects(self, start: int, stop: int) -> list[str]:
        """Return the pseudonyms of whom the records [start, stop) are about.

        Raises as `kept` does, and FormatError where records are not sealed.
        """
        return sorted({subject for block in self.records(start, stop) for subject in personal.subjects(block)})

    def lineage(self, start: int, stop: int) -> list[Edge]:
        """Return the edges of whoever uses the records [start, stop)."""
        return [
            Edge(
                ref=Ref(place.segment),
                role="stream",
                evidence="observed",
                made_by=place.event,
                extra={"records": [max(start, place.start), min(stop, place.stop)]},
            )
            for place in self.places(start, stop)
        ]


@contextlib.contextmanager
def locked(workspace: Workspace) -> Iterator[None]:
    """Be the only one who appends to the streams of a workspace."""
    descriptor = os.open(workspace.folder / "streams.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def own_branch(workspace: Workspace, stream: Stream) -> str:
    """Return the line that this workspace appends to: the main line where its log owns the stream."""
    return MAIN if workspace.ledger.origin == stream.owner else workspace.ledger.origin


def append(
    workspace: Workspace,
    stream: EventId,
    prepared: Prepared,
    *,
    reason: str | None = None,
    uses: Sequence[Edge] = (),
    after: int | None = None,
    kafka: Mapping[str, object] | None = None,
    merged: Mapping[str, object] | None = None,
) -> Append:
    """Append prepared records, all or none of them; they are durable when this returns.

    See `append_locked`, which whoever holds the lock already calls.
    """
    with locked(workspace):
        return append_locked(
            workspace, stream, prepared, reason=reason, uses=uses, after=after, kafka=kafka, merged=merged
        )


def append_locked(
    workspace: Workspace,
    stream: EventId,
    prepared: Prepared,
    *,
    reason: str | None = None,
    uses: Sequence[Edge] = (),
    after: int | None = None,
    kafka: Mapping[str, object] | None = None,
    merged: Mapping[str, object] | None = None,
    table: Mapping[str, object] | None = None,
    batch: Batch | None = None,
    texts: Sequence[Edge] = (),
) -> Append:
    """Append prepared records, all or none of them, while the lock is held; they are durable when this returns.

    Args:
        after: Where they must begin; None: wherever the line ends.
        kafka: Where they come from: "brokers" (sealed here), "topic", "partition", "start", "stop".
        merged: The "branch" that they come from, and their "start" and "stop" there.
        table: Of a table, what the changes amount to.
        batch: What is to be recorded with it; sealed texts among that are named in `texts`.

    Raises:
        UsageError: The line ends elsewhere, or got another schema since the records were prepared.
    """
    (now,) = queries.streams(workspace.views.database(), event=stream)
    line = Line(workspace, now, own_branch(workspace, now))
    if after is not None and after != line.size:
        raise UsageError(f"{now.name} has {line.size} records by now, not {after}", hint="Try again.")
    if line.size and line.schema != prepared.schema and now.format != "changes":
        raise UsageError(f"{now.name} got other columns from another process", hint="Look at them, and try again.")
    if merged is not None:
        found = next(b for b in queries.branches(workspace.views.database(), stream) if b.name == merged["branch"])
        if found.merged != merged["start"]:
            raise UsageError(f"another process has merged {now.name}", hint="Look at it: `retrodict stream show`.")
    start, stop = line.size, line.size + prepared.count
    batch = batch or Batch(workspace)
    batch.blobs.update(prepared.small)
    nodes, edge = grow(line.edge(), start, prepared.hashes)
    segment = Segment(start=start, stop=stop, schema=prepared.schema, parts=prepared.parts, nodes=nodes, edge=edge)
    digest = _keep(workspace, batch, segment)
    event = batch.event(
        "stream.appended",
        uses=edges_or_list(batch, uses),
        makes=edges_or_list(batch, [*_makes(digest, prepared.schema, prepared.parts), *texts]),
        body=records.appended_body(
            stream=stream,
            log=workspace.ledger.origin,
            branch=line.branch,
            start=start,
            stop=stop,
            root=root_of(edge).hex(),
            segment=digest,
            schema=prepared.schema,
            size_bytes=prepared.size_bytes,
            kafka=None if kafka is None else {**kafka, "brokers": batch.seal(str(kafka["brokers"]))},
            merged=merged,
            subjects=_listed(batch, prepared.subjects),
            table=table,
        ),
        reason=reason,
    )
    sequenced = next(s for s in batch.append() if s.event.id == event.id)
    return Append(
        event=event.id,
        index=sequenced.index,
        branch=line.branch,
        start=start,
        stop=stop,
        root=root_of(edge).hex(),
        segment=digest,
        schema=prepared.schema,
        at=event.at,
        agent=event.agent,
    )


Superseded: TypeAlias = Callable[[Sequence[Digest], Sequence[EventId]], Sequence[Digest]]


def compact(workspace: Workspace, stream: EventId, *, at_least: int, may_go: Superseded) -> list[tuple[int, int, int]]:
    """Put runs of small neighbouring segments into one each; return (start, stop, segments) for those that were.

    What an offset means, and every digest, stays as it is: the new segments are checked against the log's before they
    take the place of the old, whose records are let go where nothing else needs them.

    Args:
        at_least: Segments with fewer records than this are put together.
        may_go: Given objects with records that are held anew, and the events that made them, says which of them no
            other event needs.

    Raises:
        StreamMismatchError: What is held does not make the digests that the log says.
    """
    (now,) = queries.streams(workspace.views.database(), event=stream)
    line = Line(workspace, now, own_branch(workspace, now))
    first = 0 if line.branch == MAIN else line.base
    done = []
    for places in _runs(line.places(first, line.size), at_least, line.schema_of):
        start, stop = places[0].start, places[-1].stop
        schema = line.schema_of(places[0])
        prepared = prepare(workspace, line.schema_bytes(schema), line.again(start, stop))
        nodes, edge = grow(line.edge_at(start), start, prepared.hashes)
        segment = Segment(start=start, stop=stop, schema=prepared.schema, parts=prepared.parts, nodes=nodes, edge=edge)
        if _replace(line, places, segment, prepared.small, may_go=may_go):
            done.append((start, stop, len(places)))
    return done


def drop(
    workspace: Workspace,
    stream: EventId,
    dropped: Collection[int],
    *,
    by: Mapping[str, object],
    may_go: Superseded,
    reason: str | None,
    models: Sequence[str],
) -> list[tuple[int, int, int]]:
    """Hold records no more, whose leaf hashes stay; return (start, stop, dropped) for each segment that is new.

    Args:
        dropped: Their offsets, on the main line.
        by: By what rule, for the record.
        may_go: As for `compact`.
        models: The versions that lean on them, for the record.

    Raises:
        StreamMismatchError: What is held does not make the digests that the log says.
    """
    (now,) = queries.streams(workspace.views.database(), event=stream)
    line = Line(workspace, now)
    done = []
    for places in _spanned(line.places(0, line.size), line.schema_of):
        start, stop = places[0].start, places[-1].stop
        schema = line.schema_of(places[0])
        gone = [offset for offset in range(start, stop) if offset in dropped]
        if not gone:
            continue
        hashes = bytearray(b"".join(line.leaves(start, stop)))
        prepared = prepare(workspace, line.schema_bytes(schema), line.without(start, stop, dropped))
        nodes, edge = grow(line.edge_at(start), start, hashes)
        held = {offset for offset, _ in line.offsets(start, stop)}
        gaps = _gaps([offset for offset in range(start, stop) if offset in dropped or offset not in held])
        left = b"".join(
            bytes(hashes[(first - start) * HASH_BYTES : (first - start + count) * HASH_BYTES]) for first, count in gaps
        )
        segment = Segment(
            start=start,
            stop=stop,
            schema=schema,
            parts=prepared.parts,
            nodes=nodes,
            edge=edge,
            gaps=gaps,
            leaves=workspace.objects.put(left),
        )
        if _replace(line, places, segment, prepared.small, may_go=may_go, by=by, reason=reason, models=models):
            done.append((start, stop, len(gone)))
    return done


def _replace(
    line: Line,
    places: Sequence[records.Place],
    segment: Segment,
    small: Mapping[Digest, bytes],
    *,
    may_go: Superseded,
    by: Mapping[str, object] | None = None,
    reason: str | None = None,
    models: Sequence[str] = (),
) -> bool:
    """Record that a segment takes the place of others, and let go what they held; say whether nobody was faster.

    Raises:
        StreamMismatchError: What is held does not make the digests that the log says.
    """
    workspace, stream = line.workspace, line.stream
    start, stop = segment.start, segment.stop
    with locked(workspace):
        if line.places(start, stop) != places:
            return False
        database = workspace.views.database()
        said = queries.appends(database, stream.event, line.branch, start=stop - 1, stop=stop)[0].root
        if root_of(segment.edge).hex() != said:
            raise StreamMismatchError(stream.name, stop, root_of(segment.edge).hex(), said)
        batch = Batch(workspace)
        batch.blobs.update(small)
        digest = _keep(workspace, batch, segment)
        replaced = [
            Edge(ref=Ref(place.segment), role="segment", evidence="observed", made_by=place.event) for place in places
        ]
        makes = _makes(digest, segment.schema, segment.parts)
        if segment.leaves is not None:
            makes.append(Edge(ref=Ref(segment.leaves), role="leaves", evidence="observed"))
        batch.event(
            "stream.compacted",
            uses=edges_or_list(batch, replaced),
            makes=edges_or_list(batch, makes),
            body=records.compacted_body(
                stream=stream.event,
                log=workspace.ledger.origin,
                branch=line.branch,
                start=start,
                stop=stop,
                root=said,
                segment=digest,
                dropped=segment.dropped,
                by=by,
            ),
            reason=reason,
        )
        new = {part.content for part in segment.parts}
        # What is small lies in the log, and stays.
        old = [
            part.content
            for place in places
            for part in line.segment(place.segment).parts
            if part.content not in new and sum(size for _, size in part.blocks) > INLINE_BYTES
        ]
        names = may_go(list(dict.fromkeys(old)), [place.event for place in places])
        for at in range(0, len(names), _IN_ENTRY):
            let_go = list(names[at : at + _IN_ENTRY])
            body = {"content": let_go[0], "contents": let_go, "models": list(models[:100])}
            batch.event("evidence.released", uses=(), makes=(), body=body, reason=reason)
        batch.append()
    return True


def _spanned(
    places: Sequence[records.Place], schema_of: Callable[[records.Place], Digest | None]
) -> Iterator[list[records.Place]]:
    """Yield neighbours of one schema, as many as make a segment of a size that is written at once."""
    run: list[records.Place] = []
    for place in places:
        if run and (place.stop - run[0].start > _SPAN or schema_of(place) != schema_of(run[0])):
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _gaps(offsets: Sequence[int]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for offset in offsets:
        if found and offset == sum(found[-1]):
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((offset, 1))
    return tuple(found)


def _held(segment: Segment, low: int, high: int) -> Iterator[int]:
    """Yield the offsets in [low, high) of the records that a segment holds."""
    at = low
    for first, count in segment.gaps:
        if first + count > at:
            yield from range(at, min(first, high))
            at = max(at, first + count)
    yield from range(at, high)


def _interleaved(segment: Segment, low: int, high: int, held: bytes, gone: bytes) -> bytes:
    """Return the leaf hashes of [low, high) in order, of those that are held and those that are gone."""
    found = bytearray()
    at = a = b = 0
    for number in [*_held(segment, low, high), high]:
        missing = (number - low - at) * HASH_BYTES
        found += gone[b : b + missing]
        b += missing
        if number < high:
            found += held[a : a + HASH_BYTES]
            a += HASH_BYTES
        at = number - low + 1
    return bytes(found)


def _runs(
    places: Sequence[records.Place], at_least: int, schema_of: Callable[[records.Place], Digest | None]
) -> Iterator[list[records.Place]]:
    """Yield neighbours of one schema that are small, two or more; no run grows beyond sixteen times `at_least`."""
    run: list[records.Place] = []
    for place in [*places, None]:
        is_small = place is not None and place.stop - place.start < at_least and not place.dropped
        if run and (
            not is_small
            or run[-1].stop - run[0].start >= 16 * at_least
            or (place is not None and schema_of(place) != schema_of(run[0]))
        ):
            if len(run) > 1:
                yield run
            run = []
        if is_small and place is not None:
            run.append(place)


def _listed(batch: Batch, subjects: Sequence[str] | None) -> Sequence[str] | Digest | None:
    """Return pseudonyms as an entry holds them: in an object of their own where they are many."""
    if subjects is None or len(subjects) <= _IN_ENTRY:
        return subjects
    return batch.blob(json.dumps(list(subjects)).encode())


def _keep(workspace: Workspace, batch: Batch, segment: Segment) -> Digest:
    data = segment.encode()
    return batch.blob(data) if len(data) <= INLINE_BYTES else workspace.objects.put(data)


def _makes(segment: Digest, schema: Digest | None, parts: Sequence[Part]) -> list[Edge]:
    named = [(segment, "segment"), *((part.content, "records") for part in parts)]
    if schema is not None:
        named.append((schema, "schema"))
    return [Edge(ref=Ref(digest), role=role, evidence="observed") for digest, role in named]
