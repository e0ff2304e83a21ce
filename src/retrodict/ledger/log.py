"""The log: events become entries with an index, and the entries a Merkle tree.

States of an entry: *sequenced* once `append` returns (durable, has an index, and its leaf is in the tree), *published*
once a signed checkpoint covers it.

Group commit is natural: whatever queued while the previous commit ran is committed together, with no timer. The
caller who finds the log idle commits by itself, so that a lone writer pays for no change of thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import apsw

from retrodict.kernel import entry, merkle, note
from retrodict.kernel.canonical import MAX_INTEGER
from retrodict.kernel.clock import next_tick
from retrodict.kernel.entry import Split
from retrodict.kernel.errors import (
    AlteredObjectError,
    FormatError,
    IntegrityError,
    ReadOnlyStoreError,
    RetrodictError,
    UsageError,
)
from retrodict.kernel.note import Checkpoint
from retrodict.kernel.protocols import Clock, Progress, Signer, Verifier
from retrodict.kernel.types import Digest, Event, EventId, Finding, is_event_id
from retrodict.ledger import tiles
from retrodict.ledger.copy import Extent, Payload, Piece, extent, restore
from retrodict.ledger.database import Database, create_schema, digest_key, digest_text, event_key, event_text, fetch
from retrodict.ledger.errors import (
    AlteredEntryError,
    DuplicateEventError,
    ForkError,
    LedgerStoppedError,
    OldStoreError,
    ReplacedKeyError,
)
from retrodict.ledger.verify import key_chain, verify

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_BLOB_BYTES = 64 * 1024 * 1024
_ROWS_AT_ONCE = 512  # a reader's snapshot must be short, or the WAL cannot be folded back

# Leaves out what has an id that is there already: cheaper than to ask for each.
_INSERT = "INSERT INTO entries (idx, tick, id, leaf, data) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"


class CheckpointKeeper(Protocol):
    """Keeps the last signed checkpoint apart from the store, so that an old store is never signed over."""

    def checkpoint(self) -> bytes | None:
        """Return the note that was saved last."""
        ...

    def save_checkpoint(self, note: bytes) -> None:
        """Save a note; durable when it returns."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequenced:
    """An entry of the log.

    Attributes:
        index: Its number in the log, from 0.
        tick: Where it stands in the order of folding.
        draft: What it says; appended, with the tick that it was handed over with.
        leaf_hash: RFC 9162 leaf hash of `data`, 32 bytes.
        data: The exact bytes in the log.
    """

    index: int
    tick: int
    draft: Event = field(compare=False)  # `data` says the same
    leaf_hash: bytes
    data: bytes

    @property
    def event(self) -> Event:
        """What it says, with its tick."""
        return self.draft if self.draft.tick == self.tick else replace(self.draft, tick=self.tick)


class _Request:
    """One call of `append`: its events are written together or not at all."""

    __slots__ = ("blobs", "events", "future", "splits")

    def __init__(self, events: Sequence[Event], blobs: Mapping[Digest, bytes]) -> None:
        from concurrent.futures import Future  # 4 ms, for logging, which commands that only read spare

        self.events = events
        self.splits: list[Split] = [entry.encode_around_tick(event) for event in events]
        self.blobs = [(digest_key(digest), _checked_blob(digest, data)) for digest, data in blobs.items()]
        self.future: Future[list[Sequenced]] = Future()


class Ledger:
    """The log of one workspace, in one SQLite file. Threads and processes share it; see the module's text."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """For `create` and `open`."""
        self._database = database
        self._clock = clock
        self._queue: deque[_Request] = deque()
        self._commit_lock = threading.Lock()  # held by the one thread that commits
        self._thread_lock = threading.Lock()
        self._wanted = threading.Event()
        self._committer: threading.Thread | None = None
        self._closing = False
        self.tick_floor = 0  # what is appended comes after this tick: the last one of the other logs that are held
        with database.reading() as db:
            row = fetch(db, "SELECT origin FROM meta")
        if len(row) != 1:
            raise FormatError(f"{database.path} names {len(row)} origins; a log has one")
        if type(row[0][0]) is not str:
            raise FormatError(f"{database.path} names an origin that is no text")
        self.origin: str = row[0][0]

    @classmethod
    def create(cls, path: Path, origin: str, clock: Clock) -> Ledger:
        """Make a new log.

        Raises:
            UsageError: There is a file already, or `origin` cannot name a log.
        """
        if path.exists():
            raise UsageError(f"{path} exists already")
        note.check_name(origin)
        database = Database(path, read_only=False, create=True)
        with database.writing() as db:
            create_schema(db, origin)
        return cls(database, clock)

    @classmethod
    def open(cls, path: Path, clock: Clock, *, read_only: bool = False) -> Ledger:
        """Open a log.

        Raises:
            UnavailableError: There is no file.
            IntegrityError: The file is not a log, or is damaged.
        """
        return cls(Database(path, read_only=read_only), clock)

    @classmethod
    def restore(cls, path: Path, origin: str, pieces: Iterable[Piece], checkpoint: bytes | None) -> None:
        """Make a log of pieces that hold all of it. See `copy.restore`."""
        restore(path, origin, pieces, checkpoint)

    # Writing

    def append(self, events: Sequence[Event], blobs: Mapping[Digest, bytes] | None = None) -> list[Sequenced]:
        """Append events and the payloads they name, all or nothing; durable when it returns.

        Args:
            events: Drafts: their tick is assigned here. Their order is kept.
            blobs: Small payloads by digest; a digest that is held already is kept as it is.

        Raises:
            DuplicateEventError: An id is in the log already; nothing of this call was written.
            UsageError: An event or a digest breaks the format; nothing was written.
            ReadOnlyStoreError: The log was opened to be read, or cannot be written.
            LedgerBusyError: Another process held the lock for too long; nothing was written.
            LedgerStoppedError: This write, or one before it, failed.
        """
        request = self._enqueue(events, blobs)
        if self._commit_lock.acquire(blocking=False):
            try:
                self._commit_queue()
            finally:
                self._commit_lock.release()
            if self._queue:
                self._wake_committer()
        else:
            self._wake_committer()
        return request.future.result()

    def submit(self, events: Sequence[Event], blobs: Mapping[Digest, bytes] | None = None) -> Future[list[Sequenced]]:
        """Append as `append` does, in another thread; the future is done when the events are durable.

        Raises:
            UsageError: An event or a digest breaks the format. Other errors come through the future.
        """
        request = self._enqueue(events, blobs)
        self._wake_committer()
        return request.future

    def _enqueue(self, events: Sequence[Event], blobs: Mapping[Digest, bytes] | None) -> _Request:
        if self._database.read_only:
            raise ReadOnlyStoreError(str(self._database.path))
        request = _Request(tuple(events), blobs or {})
        with self._thread_lock:  # or a request could come after the last look at the queue, and wait for ever
            if self._closing:
                raise UsageError(f"the log {self._database.path} is closed")
            self._queue.append(request)
        return request

    def _wake_committer(self) -> None:
        if self._wanted.is_set():
            return  # the committer has yet to look at the queue
        with self._thread_lock:
            if self._committer is None:
                self._committer = threading.Thread(target=self._run_committer, name="ledger-committer", daemon=True)
                self._committer.start()
        self._wanted.set()

    def _run_committer(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            with self._commit_lock:
                self._commit_queue()
            if self._closing and not self._queue:
                return

    def _commit_queue(self) -> None:
        """Commit whatever is queued now; every request taken gets its answer. The commit lock is held."""
        group = []
        while self._queue:
            request = self._queue.popleft()
            if request.future.set_running_or_notify_cancel():
                group.append(request)
        if not group:
            return
        answers: list[list[Sequenced] | DuplicateEventError] = []
        try:
            with self._database.writing() as db:
                index, tick = _head(db)
                tick = max(tick, self.tick_floor)
                for request in group:
                    answer = self._sequence(db, request, index, tick)
                    answers.append(answer)
                    if isinstance(answer, list) and answer:
                        index, tick = answer[-1].index + 1, answer[-1].tick
        except RetrodictError as error:
            for request in group:
                request.future.set_exception(error)
            return
        except BaseException as error:  # e.g. Ctrl-C: the others of the group must not wait for ever
            for request in group:
                request.future.set_exception(LedgerStoppedError(str(self._database.path), error))
            raise
        for request, answer in zip(group, answers, strict=True):
            if isinstance(answer, DuplicateEventError):
                request.future.set_exception(answer)
            else:
                request.future.set_result(answer)

    def _sequence(
        self, db: apsw.Connection, request: _Request, index: int, tick: int
    ) -> list[Sequenced] | DuplicateEventError:
        rows, result = [], []
        for number, (event, split) in enumerate(zip(request.events, request.splits, strict=True), index):
            tick = next_tick(tick, self._clock.now_ns())
            data = split.at(tick)
            leaf = merkle.leaf_hash(data)
            rows.append((number, tick, event_key(event.id), leaf, data))
            result.append(Sequenced(index=number, tick=tick, draft=event, leaf_hash=leaf, data=data))
        before = db.total_changes()
        db.executemany(_INSERT, rows)
        if db.total_changes() - before != len(rows):
            db.execute("DELETE FROM entries WHERE idx >= ?", (index,))
            return _duplicate(db, request.events)
        db.executemany("INSERT OR IGNORE INTO blobs (digest, data) VALUES (?, ?)", request.blobs)
        tiles.integrate(db, index, index + len(rows))
        return result

    # Reading

    def size(self) -> int:
        """Return how many entries are sequenced."""
        with self._database.reading() as db:
            return _size(db)

    def last_tick(self) -> int:
        """Return the tick of the last entry; 0 where there is none."""
        with self._database.reading() as db:
            return _head(db)[1]

    def look(self, start: int, parts: Sequence[bytes]) -> tuple[int, bool]:
        """Return how many entries there are, and whether one from `start` on has one of `parts` in its bytes.

        One query, since every prediction asks it. The bytes are not held against their leaf hashes.
        """
        found = " OR ".join(["instr(data, ?)"] * len(parts))
        query = f"SELECT max(idx) + 1, max({found}) FROM entries WHERE idx >= ?"  # noqa: S608 - no values in it
        with self._database.reading() as db:
            size, has = fetch(db, query, (*parts, start))[0]
        return (start, False) if size is None else (size, bool(has))

    def entry(self, index: int) -> bytes:
        """Return the bytes of an entry.

        Raises:
            UsageError: There is no such entry.
            AlteredEntryError: Its bytes are not those that were logged.
        """
        return self._row(index)[1]

    def event(self, index: int) -> Sequenced:
        """Return an entry with its event.

        Raises:
            UsageError: There is no such entry.
            IntegrityError: Its bytes are not those that were logged.
        """
        return _sequenced(index, *self._row(index))

    def _row(self, index: int) -> tuple[bytes, bytes]:
        with self._database.reading() as db:
            size = _size(db)
            if not 0 <= index < size:
                raise UsageError(f"there is no entry {index}: the log has {size} entries, numbered from 0")
            rows = fetch(db, "SELECT leaf, data FROM entries WHERE idx = ?", (index,))
            if not rows:
                raise IntegrityError(f"entry {index} is missing: the log has {size} entries")
        leaf, data = rows[0]
        _check_leaf(index, leaf, data)
        return leaf, data

    def find(self, event_id: EventId) -> Sequenced | None:
        """Return the entry of an event, or None."""
        if not is_event_id(event_id):
            return None
        with self._database.reading() as db:
            rows = fetch(db, "SELECT idx FROM entries WHERE id = ?", (event_key(event_id),))
        return self.event(rows[0][0]) if rows else None

    def find_leaf(self, leaf: bytes) -> int | None:
        """Return the number of the first entry whose leaf hash begins so, or None. Every tile of leaves is looked at.

        Args:
            leaf: 32 bytes, or so many of the first that they can be nobody else's: 8.
        """
        query = "SELECT idx, hashes FROM tiles WHERE level = 0 AND instr(hashes, ?) ORDER BY idx"
        with self._database.snapshot() as db:
            for tile, hashes in fetch(db, query, (leaf,)):
                for place, found in enumerate(tiles.split(hashes)):  # the bytes may also stand elsewhere in hashes
                    if found.startswith(leaf):
                        return int(tile) * tiles.WIDTH + place
            start = _size(db) // tiles.WIDTH * tiles.WIDTH
            query = "SELECT idx FROM entries WHERE idx >= ? AND substr(leaf, 1, ?) = ? ORDER BY idx"
            rows = fetch(db, query, (start, len(leaf), leaf))
        return int(rows[0][0]) if rows else None

    def find_prefix(self, prefix: str, limit: int = 20) -> list[EventId]:
        """Return the ids that begin with `prefix` (dashes may be left out), in order, `limit` at most."""
        digits = prefix.replace("-", "").lower()
        if not digits or len(digits) > 32 or not set(digits) <= set("0123456789abcdef"):
            return []
        low, high = bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))
        with self._database.reading() as db:
            query = "SELECT id FROM entries WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
            return [event_text(row[0]) for row in fetch(db, query, (low, high, limit))]

    def entries_of(self, kind: str) -> Iterator[Sequenced]:
        """Yield the entries of one kind of event that are as they were logged, newest first.

        Every entry's bytes are looked through; those that are altered are for `verify` to name.
        """
        query = "SELECT idx, leaf, data FROM entries WHERE instr(data, ?) ORDER BY idx DESC"
        try:
            with self._database.reading() as db:
                rows = fetch(db, query, (f'"kind":"{kind}"'.encode(),))
        except IntegrityError:
            return
        for index, leaf, data in rows:
            with contextlib.suppress(IntegrityError):
                _check_leaf(index, leaf, data)
                sequenced = _sequenced(index, leaf, data)
                if sequenced.event.kind == kind:
                    yield sequenced

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[Sequenced]:
        """Yield the entries from `start` up to `stop` (None: to the end as it is when reading gets there).

        Raises:
            IntegrityError: An entry is altered or missing.
        """
        for index, leaf, data in self._stored(start, stop):
            yield _sequenced(index, leaf, data)

    def stored(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the bytes of the entries from `start` on, with their indexes. Raises as `read` does."""
        for index, _, data in self._stored(start, None):
            yield index, data

    def _stored(self, start: int, stop: int | None) -> Iterator[tuple[int, bytes, bytes]]:
        query = "SELECT idx, leaf, data FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx LIMIT ?"
        start, end = max(start, 0), MAX_INTEGER if stop is None else min(stop, MAX_INTEGER)
        while start < end:
            with self._database.reading() as db:
                rows = fetch(db, query, (start, end, _ROWS_AT_ONCE))
            for index, leaf, data in rows:
                if index != start:
                    raise IntegrityError(f"entry {start} is missing: the next one is {index}")
                _check_leaf(index, leaf, data)
                yield index, leaf, data
                start += 1
            if len(rows) < _ROWS_AT_ONCE:
                return

    def sound(self) -> Iterator[Sequenced]:
        """Yield the entries that are as they were logged, and pass over the others: they are for `verify` to name."""
        query = "SELECT idx, leaf, data FROM entries WHERE idx > ? ORDER BY idx LIMIT ?"
        last = -1
        while True:
            try:
                with self._database.reading() as db:
                    rows = fetch(db, query, (last, _ROWS_AT_ONCE))
            except IntegrityError:
                return
            for index, leaf, data in rows:
                with contextlib.suppress(IntegrityError):
                    _check_leaf(index, leaf, data)
                    yield _sequenced(index, leaf, data)
            if len(rows) < _ROWS_AT_ONCE:
                return
            last = rows[-1][0]

    def blob(self, digest: Digest) -> bytes | None:
        """Return the payload kept under `digest`, unverified, or None. See `BlobSource`."""
        key = digest_key(digest)
        with self._database.reading() as db:
            rows = fetch(db, "SELECT data FROM blobs WHERE digest = ?", (key,))
        if rows and type(rows[0][0]) is not bytes:
            raise AlteredObjectError(digest, str(self._database.path))
        return rows[0][0] if rows else None

    def blobs(self) -> Iterator[tuple[Digest, bytes]]:
        """Yield every payload with its digest, in the order of their arrival, unverified."""
        last = 0
        while True:
            with self._database.reading() as db:
                query = "SELECT rowid, digest, data FROM blobs WHERE rowid > ? ORDER BY rowid LIMIT 64"
                rows = fetch(db, query, (last,))
            if not rows:
                return
            for _, key, data in rows:
                yield digest_text(key), data
            last = rows[-1][0]

    def extent(self) -> Extent:
        """Return how far the log has come."""
        with self._database.snapshot() as db:
            return extent(db, _size(db))

    def payload(self, number: int) -> Digest | None:
        """Return the digest of the payload of that number, or None."""
        with self._database.reading() as db:
            rows = fetch(db, "SELECT digest FROM blobs WHERE rowid = ?", (number,))
        return digest_text(rows[0][0]) if rows else None

    def payloads(self, after: int, upto: int) -> Iterator[Payload]:
        """Yield the payloads with numbers above `after`, up to `upto` included, in their order.

        Their bytes are unverified, as with `blob`.
        """
        query = "SELECT rowid, digest, data FROM blobs WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT 64"
        while True:
            with self._database.reading() as db:
                rows = fetch(db, query, (after, upto))
            if not rows:
                return
            for number, key, data in rows:
                yield Payload(number=number, digest=digest_text(key), data=data)
            after = rows[-1][0]

    # Proving

    def root(self, size: int | None = None) -> bytes:
        """Return the RFC 9162 root over the first `size` entries (None: all): 32 bytes.

        Raises:
            UsageError: There are fewer entries.
        """
        with self._database.snapshot() as db:
            size = _checked_size(db, size)
            return merkle.range_hash(0, size, tiles.Nodes(db))

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """Return the proof that entry `index` is among the first `size`.

        Raises:
            UsageError: There is no such entry, or there are fewer entries.
        """
        with self._database.snapshot() as db:
            if not 0 <= index < _checked_size(db, size):
                raise UsageError(f"entry {index} is not among the first {size}")
            return merkle.inclusion_proof(index, size, tiles.Nodes(db))

    def consistency_proof(self, first: int, second: int) -> list[bytes]:
        """Return the proof that the first `first` entries are a prefix of the first `second`.

        Raises:
            UsageError: `first` is larger than `second`, or there are fewer entries.
        """
        with self._database.snapshot() as db:
            if not 0 <= first <= _checked_size(db, second):
                raise UsageError(f"a log of {second} entries has no prefix of {first}")
            return merkle.consistency_proof(first, second, tiles.Nodes(db))

    def tile(self, level: int, index: int, width: int = tiles.WIDTH) -> bytes:
        """Return a tile as C2SP tlog-tiles lays it out: `width` hashes of 32 bytes.

        Raises:
            UsageError: The log does not have so many hashes at this level.
        """
        with self._database.snapshot() as db:
            size = _size(db)
            if not (0 < width <= tiles.WIDTH and 0 <= level < 8 and index >= 0):
                raise UsageError(f"there is no tile {level}/{index} of width {width}")
            if (index * tiles.WIDTH + width) << (tiles.HEIGHT * level) > size:
                raise UsageError(f"a log of {size} entries has no tile {level}/{index} of width {width}")
            return b"".join(tiles.Nodes(db).tile(level, index)[:width])

    def entry_bundle(self, index: int, width: int = tiles.WIDTH) -> bytes:
        """Return a bundle of entries as C2SP tlog-tiles lays it out: each with its length in 2 bytes, big-endian.

        Raises:
            UsageError: The log does not have so many entries.
        """
        start = index * tiles.WIDTH
        rows = list(self.read(start, start + width)) if index >= 0 and 0 < width <= tiles.WIDTH else []
        if len(rows) != width or not rows:
            raise UsageError(f"the log has no bundle {index} of {width} entries")
        return b"".join([len(row.data).to_bytes(2, "big") + row.data for row in rows])

    # Publishing

    def publish(
        self,
        signer: Signer,
        keeper: CheckpointKeeper,
        *,
        follow: Callable[[str], Verifier],
        instead_of: Signer | None = None,
    ) -> Checkpoint:
        """Sign a checkpoint over everything that is sequenced, keep it apart, then show it.

        A crash between the two leaves the kept checkpoint ahead of the shown one, never a signature that is forgotten.
        Where nothing was appended since, the checkpoint that stands is returned. Processes may publish at once. A shown
        checkpoint that no key of the log has signed says nothing: it is replaced (`verify` names it until then).

        Args:
            signer: The key. It must be the one that signed last, unless it comes `instead_of` that one.
            keeper: Where the checkpoint is kept apart.
            follow: Reads a verifier key; see `verify`.
            instead_of: The key that is replaced from now on; this last checkpoint bears both signatures.

        Raises:
            UsageError: The signer's name is not the log's origin.
            ReplacedKeyError: Another key has taken the signer's place.
            OldStoreError: The log is shorter than a checkpoint that was signed for it.
            ForkError: The log contradicts a checkpoint that was signed for it.
            ReadOnlyStoreError: The log cannot be written.
        """
        if signer.name != self.origin:
            raise UsageError(f"a key named {signer.name} cannot sign for the log {self.origin}")
        signers = [signer] if instead_of is None else [instead_of, signer]
        kept = keeper.checkpoint()  # before the snapshot: another process may sign more at any time
        with self._database.snapshot() as db:
            last, size, _ = self._last_signed(db, kept, signers[0], follow)
            if instead_of is None and last is not None and last.size == size and _shown(db) == last.encode() == kept:
                return last  # without the write lock, which somebody else may need
        signer.key_id  # noqa: B018 - loads the library of the key, before the lock is held
        with self._commit_lock, self._database.writing() as db:
            # No other process can sign between the check and the signature.
            kept = keeper.checkpoint()
            last, size, nodes = self._last_signed(db, kept, signers[0], follow)
            if last is None or last.size != size or instead_of is not None:
                if last is not None and last.signatures[-1].key_id != signers[0].key_id:
                    raise ReplacedKeyError(self.origin)
                unsigned = Checkpoint(origin=self.origin, size=size, root=merkle.range_hash(0, size, nodes))
                last = replace(unsigned, signatures=tuple(note.sign_note(unsigned.text, s) for s in signers))
            if last.encode() != kept:
                keeper.save_checkpoint(last.encode())
            db.execute("DELETE FROM checkpoint")
            db.execute("INSERT INTO checkpoint VALUES (1, ?)", (last.encode(),))
        return last

    def refuse_another_history(
        self, kept_apart: bytes | None, signer: Signer, follow: Callable[[str], Verifier]
    ) -> None:
        """Do nothing where the log continues what was signed for it.

        Args:
            kept_apart: The checkpoint that is kept apart from the store.
            signer: The key that signs for the log.
            follow: See `publish`.

        Raises:
            OldStoreError, ForkError: It does not; what is appended to it could never be signed.
        """
        with self._database.snapshot() as db, contextlib.suppress(ReplacedKeyError):
            self._last_signed(db, kept_apart, signer, follow)

    def _last_signed(
        self, db: apsw.Connection, kept_apart: bytes | None, signer: Signer, follow: Callable[[str], Verifier]
    ) -> tuple[Checkpoint | None, int, merkle.NodeOf]:
        """Return the last checkpoint, the log's size and its nodes; refuse what contradicts the log.

        It is the one that is kept apart, but for a key of which there are copies, each with a checkpoint beside it: the
        log itself then shows what was signed with the others, or with the key that has taken their place. What the log
        shows can be forged by whoever writes the store, so it counts only with the signature of one of these.

        Raises:
            ReplacedKeyError: A key that took the place of `signer` has signed what the log shows.
        """
        size, nodes = _size(db), tiles.Nodes(db)

        def refuse_contradiction(signed: Checkpoint, where: str) -> None:
            if signed.origin != self.origin:
                raise ForkError(size, signed.size, f"{where} (of another log, {signed.origin})")
            if signed.size > size:
                raise OldStoreError(size, signed.size, where)
            if merkle.range_hash(0, signed.size, nodes) != signed.root:
                raise ForkError(size, signed.size, where)

        last = None if kept_apart is None else note.decode_checkpoint(kept_apart)
        if last is not None:
            refuse_contradiction(last, "the checkpoint kept apart")
        shown = self._vouched_for(db, kept_apart, signer, follow)
        if shown is not None:
            refuse_contradiction(shown, "the log itself")
            if shown.signatures[-1].key_id != signer.key_id:
                raise ReplacedKeyError(self.origin)
            if last is None or shown.size > last.size:
                last = shown
        return last, size, nodes

    def _vouched_for(
        self, db: apsw.Connection, kept_apart: bytes | None, signer: Signer, follow: Callable[[str], Verifier]
    ) -> Checkpoint | None:
        """Return what the log shows, where that is not what is kept apart and `signer` or a successor has signed it.

        Signatures after the last valid one are left out.
        """
        try:
            data = _shown(db)
            if data is None or data == kept_apart:
                return None
            shown = note.decode_checkpoint(data)
        except IntegrityError:
            return None
        valid = _last_signature(shown, [signer.verifier])
        if (
            valid is None or valid != len(shown.signatures) - 1
        ):  # the whole log is looked through, so only where need be
            valid = _last_signature(shown, key_chain(db, self.origin, signer.verifier, follow))
        return None if valid is None else replace(shown, signatures=shown.signatures[: valid + 1])

    def checkpoint(self) -> bytes | None:
        """Return the signed note of the last published checkpoint, or None."""
        with self._database.reading() as db:
            return _shown(db)

    def verify(
        self,
        verifier: Verifier | None,
        *,
        anchor: bytes | None = None,
        others: Sequence[tuple[str, bytes]] = (),
        follow: Callable[[str], Verifier] | None = None,
        digest_of: Callable[[bytes], Digest] | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Finding]:
        """Yield everything that is altered, missing or not yet protected; nothing is signed or written.

        Every claim of the file is derived again: leaf hashes, ids and ticks from the entries' bytes, the tree from the
        leaves, the payloads' digests, and the checkpoint's root. Whether an entry's edges are well formed is checked
        when it is written and when it is read.

        Args:
            verifier: The log's public key. None: who signed could not be told, which a note says.
            anchor: The last checkpoint as it was kept apart.
            others: Further checkpoints, each with what to call it; who signed them is the caller's to know.
            follow: Reads a verifier key: keys that took the verifier's place, signed by it, count as it does.
            digest_of: Names payloads. None: they are not checked.
            progress: Told how many entries are done.
        """
        return verify(self._database, self.origin, verifier, anchor, others, follow, digest_of, progress)

    def key_chain(self, verifier: Verifier, follow: Callable[[str], Verifier]) -> list[Verifier]:
        """Return `verifier` and the keys that took its place, each signed for by one before it, in their order.

        Raises:
            IntegrityError: The log cannot be read.
        """
        with self._database.reading() as db:
            return key_chain(db, self.origin, verifier, follow)

    def close(self) -> None:
        """Write what is queued, and close the file."""
        with self._thread_lock:
            self._closing = True
        if self._committer is not None:
            self._wanted.set()
            self._committer.join()
        with self._commit_lock:
            self._commit_queue()
            self._database.close()


def _duplicate(db: apsw.Connection, events: Sequence[Event]) -> DuplicateEventError:
    """Return the error for the first event whose id is in the log, or stands twice."""
    seen: set[bytes] = set()
    for event in events:
        key = event_key(event.id)
        if key in seen or fetch(db, "SELECT 1 FROM entries WHERE id = ?", (key,)):
            return DuplicateEventError(event.id)
        seen.add(key)
    raise IntegrityError("the log took in fewer entries than it was given, and none of them twice")


def _head(db: apsw.Connection) -> tuple[int, int]:
    """Return the next index and the last tick."""
    rows = fetch(db, "SELECT idx, tick FROM entries ORDER BY idx DESC LIMIT 1")
    return (rows[0][0] + 1, rows[0][1]) if rows else (0, 0)


def _size(db: apsw.Connection) -> int:
    return _head(db)[0]


def _checked_size(db: apsw.Connection, size: int | None) -> int:
    held = _size(db)
    if size is None:
        return held
    if not 0 <= size <= held:
        raise UsageError(f"the log has {held} entries, not {size}")
    return size


def _last_signature(checkpoint: Checkpoint, verifiers: Sequence[Verifier]) -> int | None:
    """Return the place of the last signature that is valid and by one of `verifiers`, or None."""
    for place in reversed(range(len(checkpoint.signatures))):
        alone = replace(checkpoint, signatures=(checkpoint.signatures[place],))
        with contextlib.suppress(note.SignatureError):
            note.verify_note(alone, verifiers)
            return place
    return None


def _shown(db: apsw.Connection) -> bytes | None:
    rows = fetch(db, "SELECT note FROM checkpoint")
    if rows and type(rows[0][0]) is not bytes:
        raise FormatError("the checkpoint in the log is not bytes")
    return rows[0][0] if rows else None


def _check_leaf(index: int, leaf: object, data: object) -> None:
    # A damaged file may hold any type anywhere.
    if type(data) is not bytes or merkle.leaf_hash(data) != leaf:
        raise AlteredEntryError(index)


def _sequenced(index: int, leaf: bytes, data: bytes) -> Sequenced:
    try:
        event = entry.decode(data)
        return Sequenced(index=index, tick=event.tick, draft=event, leaf_hash=leaf, data=data)
    except FormatError as error:
        raise FormatError(f"entry {index}: {error.message}") from error


def _checked_blob(digest: Digest, data: bytes) -> bytes:
    if len(data) > MAX_BLOB_BYTES:
        raise UsageError(
            f"a payload of {len(data):,} bytes ({digest}) is too large for the log; at most {MAX_BLOB_BYTES:,}",
            hint="Put it into the object store first.",
        )
    return data
