"""Derive every claim of a log again, and name what does not hold.

Each discrepancy is named once: where an entry, its leaf hash, a tile and the tile above disagree, the one that the
others outvote is named, and the derivation goes on with what they agree on.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import apsw

from retrodict.kernel import entry, merkle, note, schema
from retrodict.kernel.errors import FormatError, IntegrityError
from retrodict.kernel.note import Checkpoint
from retrodict.kernel.protocols import Progress, Verifier
from retrodict.kernel.types import Digest, Finding
from retrodict.ledger import tiles
from retrodict.ledger.database import Database, create_schema, digest_text, event_key, event_text, fetch, translated
from retrodict.ledger.tiles import HEIGHT, WIDTH

_UNKNOWN = bytes(merkle.HASH_BYTES)  # stands for the leaf of a missing entry
_PROGRESS_EVERY = 4096
_GAP = 1 << 24  # a row numbered so far behind the others was never appended; counting up to it would take for ever
_read_json = json.JSONDecoder().decode


def verify(
    database: Database,
    origin: str,
    verifier: Verifier | None,
    anchor: bytes | None,
    others: Sequence[tuple[str, bytes]],
    follow: Callable[[str], Verifier] | None,
    digest_of: Callable[[bytes], Digest] | None,
    progress: Progress | None,
) -> Iterator[Finding]:
    """See `Ledger.verify`."""
    name = database.path.name
    stages: list[Callable[[apsw.Connection], Iterator[Finding]]] = [_verify_file(name)]
    derivation = _Derivation(progress=progress)
    stages.append(derivation.entries)
    if digest_of is not None:
        stages.append(_verify_blobs(digest_of))
    stages.append(_verify_checkpoints(derivation, origin, verifier, anchor, others, follow))
    try:
        with database.snapshot() as db:
            with contextlib.suppress(IntegrityError, apsw.Error):  # the stage about checkpoints says so
                derivation.wanted = {
                    size // WIDTH for size in _sizes([_shown(db), anchor, *(data for _, data in others)])
                }
            for stage in stages:
                try:
                    with translated(database.path):
                        yield from stage(db)
                except IntegrityError as error:  # SQLite refuses to read on: the next stage may still get further
                    yield Finding(level="altered", what=name, message=error.message)
    except IntegrityError as error:
        yield Finding(level="altered", what=name, message=error.message)


def _shown(db: apsw.Connection) -> bytes | None:
    rows = fetch(db, "SELECT note FROM checkpoint")
    if rows and type(rows[0][0]) is not bytes:
        raise FormatError("the checkpoint is not bytes")
    return rows[0][0] if rows else None


def _sizes(notes: list[bytes | None]) -> Iterator[int]:
    for data in notes:
        if data is not None:
            with contextlib.suppress(FormatError):  # named by _verify_checkpoints
                yield note.decode_checkpoint(data).size


def _is_behind(shown: bytes | None, anchor: bytes) -> bool:
    """Say whether a checkpoint was signed that is not shown; the anchor is read first, so a writer seems ahead."""
    return shown is None or any(size < kept for size in _sizes([shown]) for kept in _sizes([anchor]))


def _verify_file(name: str) -> Callable[[apsw.Connection], Iterator[Finding]]:
    def stage(db: apsw.Connection) -> Iterator[Finding]:
        true = apsw.Connection(":memory:")
        create_schema(true, "")
        if odd := schema.differences(schema.describe(db), schema.describe(true)):
            yield Finding(level="altered", what=name, message=f"the schema is not this format's: {', '.join(odd)}")
        for (message,) in fetch(db, "PRAGMA integrity_check(20)"):
            if message != "ok":
                yield Finding(level="altered", what=name, message=f"SQLite says: {message}")

    return stage


def _verify_blobs(digest_of: Callable[[bytes], Digest]) -> Callable[[apsw.Connection], Iterator[Finding]]:
    def stage(db: apsw.Connection) -> Iterator[Finding]:
        for key, data in db.execute("SELECT digest, data FROM blobs"):
            if type(key) is not bytes or type(data) is not bytes or (digest := digest_of(data)) != digest_text(key):
                what = digest_text(key) if type(key) is bytes else f"payload {key!r}"
                held = digest if type(key) is bytes and type(data) is bytes else "no bytes"
                yield Finding(level="altered", what=what, message=f"its bytes in the log are those of {held}")

    return stage


@dataclass(slots=True, kw_only=True)
class _Derivation:
    """The tree as it follows from the entries.

    Attributes:
        progress: Told how many entries are done.
        wanted: Tiles of leaves to keep, so that the roots of the checkpoints can be derived.
        size: Entries found.
        upper: All nodes of level 1 (in tiles of 256 leaves) and above.
        kept: Leaves of the wanted tiles.
    """

    progress: Progress | None
    wanted: set[int] = field(default_factory=set)
    size: int = 0
    upper: list[list[bytes]] = field(default_factory=list)
    kept: dict[int, list[bytes]] = field(default_factory=dict)
    _tiles_seen: int = 0

    def entries(self, db: apsw.Connection) -> Iterator[Finding]:
        """Check all entries and tiles."""
        total = fetch(db, "SELECT count(*) FROM entries")[0][0]
        last_tick = -1
        leaves: list[bytes] = []
        names: list[object] = []  # ids as they stand in the table; None: already found to be altered or missing
        for index, tick, key, leaf, data in db.execute("SELECT idx, tick, id, leaf, data FROM entries ORDER BY idx"):
            if index - self.size > _GAP:
                yield Finding(level="altered", what=_name(index, key), message="no entry before it is in the log")
                continue
            if index > self.size:
                yield Finding(
                    level="missing", what=_range(self.size, index), message=f"not in the log, though entry {index} is"
                )
            while self.size < index:
                self.size += 1
                leaves.append(_UNKNOWN)
                names.append(None)
                if len(leaves) == WIDTH:
                    yield from self._close(db, leaves, names)
                    leaves, names = [], []
            problem = _problem(tick, key, leaf, data)
            if problem is None and tick <= last_tick:
                problem = f"its tick {tick} is not above {last_tick}, the one before"
            if problem is not None:
                yield Finding(level="altered", what=_name(index, key), message=problem)
            else:
                last_tick = tick
            leaves.append(leaf if type(leaf) is bytes else _UNKNOWN)
            names.append(key if problem is None else None)
            self.size += 1
            if len(leaves) == WIDTH:
                yield from self._close(db, leaves, names)
                leaves, names = [], []
            if self.progress is not None and self.size % _PROGRESS_EVERY == 0:
                self.progress(self.size, total, "entries")
        self.kept[self.size // WIDTH] = leaves
        if self.progress is not None:
            self.progress(self.size, total, "entries")
        for level, nodes in enumerate(self.upper, 1):
            if len(nodes) % WIDTH:
                yield from self._compare(db, level, len(nodes) // WIDTH, nodes[-(len(nodes) % WIDTH) :])
        yield from self._surplus(db)

    def _close(self, db: apsw.Connection, leaves: list[bytes], names: list[object]) -> Iterator[Finding]:
        """Check a complete tile of leaves, and put its root into the level above."""
        index = self.size // WIDTH - 1
        stored, above = _tile(db, 0, index), _node_above(db, index)
        if stored is not None and stored != leaves and len(stored) == WIDTH and merkle.tree_hash(stored) == above:
            for slot in range(WIDTH):
                if stored[slot] != leaves[slot] and names[slot] is not None:
                    what = _name(index * WIDTH + slot, names[slot])
                    yield Finding(level="altered", what=what, message="the tree has another leaf hash for it")
            leaves = stored
            self._tiles_seen += 1
        else:
            yield from self._compare(db, 0, index, leaves)
        if index in self.wanted:
            self.kept[index] = leaves
        node = merkle.tree_hash(leaves)
        level = 1
        while True:
            if len(self.upper) < level:
                self.upper.append([])
            nodes = self.upper[level - 1]
            nodes.append(node)
            if len(nodes) % WIDTH:
                return
            yield from self._compare(db, level, len(nodes) // WIDTH - 1, nodes[-WIDTH:])
            node = merkle.tree_hash(nodes[-WIDTH:])
            level += 1

    def _compare(self, db: apsw.Connection, level: int, index: int, hashes: list[bytes]) -> Iterator[Finding]:
        stored = _tile(db, level, index)
        self._tiles_seen += stored is not None
        if stored is None:
            yield Finding(level="missing", what=f"tile {level}/{index}", message="the tree lacks it")
        elif stored != hashes:
            yield Finding(level="altered", what=f"tile {level}/{index}", message="its hashes are not those of the log")

    def _surplus(self, db: apsw.Connection) -> Iterator[Finding]:
        if fetch(db, "SELECT count(*) FROM tiles")[0][0] == self._tiles_seen:
            return
        for (index,) in fetch(db, "SELECT max(idx) FROM tiles WHERE level = 0 AND idx >= ?", (self.size // WIDTH,)):
            if type(index) is int:
                what = _range(self.size, (index + 1) * WIDTH)
                yield Finding(level="missing", what=what, message="the tree has them, but the log has not")
        yield Finding(level="altered", what="tiles", message="the tree has tiles that no entries make")

    def node(self, level: int, index: int) -> bytes:
        """Return a node as it follows from the entries. See `merkle`.

        Raises:
            IntegrityError: The entries could not be read so far.
        """
        tile_level, height = divmod(level, HEIGHT)
        first = index << height
        if tile_level:
            return merkle.tree_hash(self.upper[tile_level - 1][first : first + (1 << height)])
        if first // WIDTH not in self.kept:
            raise IntegrityError("the entries cannot be read to their end, so no root follows from them")
        return merkle.tree_hash(self.kept[first // WIDTH][first % WIDTH : first % WIDTH + (1 << height)])


def _problem(tick: object, key: object, leaf: object, data: object) -> str | None:
    """Return what is wrong with one row."""
    if type(data) is not bytes or merkle.leaf_hash(data) != leaf:
        return "its bytes do not have its leaf hash"
    try:
        # Three times as fast as entry.decode, which says more where something is wrong.
        value = _read_json(data.decode())
        if event_key(value["id"]) == key and value["tick"] == tick:
            return None
        event = entry.decode(data)
    except FormatError as error:
        return error.message
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"its bytes are not an entry: {error}"
    return f"it is filed under another id or tick than its own: {event.id}, {event.tick}"


def _tile(db: apsw.Connection, level: int, index: int) -> list[bytes] | None:
    rows = fetch(db, "SELECT hashes FROM tiles WHERE level = ? AND idx = ?", (level, index))
    return tiles.split(rows[0][0]) if rows and type(rows[0][0]) is bytes else None


def _node_above(db: apsw.Connection, index: int) -> bytes | None:
    hashes = _tile(db, 1, index // WIDTH) or []
    return hashes[index % WIDTH] if len(hashes) > index % WIDTH else None


def _name(index: int, key: object) -> str:
    return f"entry {index} ({event_text(key) if type(key) is bytes else repr(key)})"


def _range(start: int, stop: int) -> str:
    return f"entry {start}" if stop == start + 1 else f"entries {start}-{stop - 1}"


def key_chain(
    db: apsw.Connection, origin: str, verifier: Verifier, follow: Callable[[str], Verifier]
) -> list[Verifier]:
    """See `Ledger.key_chain`."""
    known = [verifier]
    query = "SELECT data FROM entries WHERE instr(data, ?) ORDER BY idx"
    for (data,) in fetch(db, query, (b'"kind":"key.rotated"',)):
        with contextlib.suppress(IntegrityError, ValueError, LookupError, TypeError, AttributeError):
            body = json.loads(data)["body"]
            known.append(follow(note.read_rotation(body["note"].encode(), origin, known)))
    return known


def _verify_checkpoints(
    derivation: _Derivation,
    origin: str,
    verifier: Verifier | None,
    anchor: bytes | None,
    others: Sequence[tuple[str, bytes]],
    follow: Callable[[str], Verifier] | None,
) -> Callable[[apsw.Connection], Iterator[Finding]]:
    def check_signature(db: apsw.Connection, checkpoint: Checkpoint, verifier: Verifier) -> None:
        try:
            note.verify_note(checkpoint, [verifier])
        except note.SignatureError:
            if follow is None:
                raise
            note.verify_note(checkpoint, key_chain(db, origin, verifier, follow))

    def check(
        db: apsw.Connection, what: str, data: bytes, *, trusted: bool, vouched: bool = False
    ) -> Iterator[Finding | int]:
        """Yield findings; in the end the size that the checkpoint protects, if it does."""
        try:
            checkpoint: Checkpoint = note.decode_checkpoint(data)
            if verifier is not None and not vouched:
                check_signature(db, checkpoint, verifier)
        except IntegrityError as error:
            yield Finding(level="altered", what=what, message=error.message)
            return
        if checkpoint.origin != origin:
            message = f"it is for the log {checkpoint.origin}; this one is {origin}"
            yield Finding(level="altered", what=what, message=message)
        elif checkpoint.size > derivation.size:
            message = f"{what} says that {checkpoint.size} entries were signed; the log has {derivation.size}"
            yield Finding(level="missing", what=_range(derivation.size, checkpoint.size), message=message)
        elif merkle.range_hash(0, checkpoint.size, derivation.node) != checkpoint.root:
            message = f"a fork: the first {checkpoint.size} entries of the log are not those that were signed"
            yield Finding(level="altered", what=what, message=message)
        elif trusted or verifier is not None:
            yield checkpoint.size

    def stage(db: apsw.Connection) -> Iterator[Finding]:
        protected = 0
        shown = _shown(db)
        for (number,) in fetch(db, "SELECT only FROM checkpoint WHERE only IS NOT 1"):
            yield Finding(level="altered", what="checkpoint", message=f"it is filed as row {number!r}; there is only 1")
        found = check(db, "checkpoint", shown, trusted=False) if shown is not None else iter(())
        if anchor is not None:
            found = itertools.chain(found, check(db, "checkpoint kept apart", anchor, trusted=True))
        for finding in itertools.chain(found, *(check(db, *pair, trusted=True, vouched=True) for pair in others)):
            if isinstance(finding, Finding):
                yield finding
            else:
                protected = max(protected, finding)
        if shown is not None and verifier is None:
            yield Finding(
                level="note", what="checkpoint", message="no key was given, so who signed it could not be told"
            )
        is_whole = anchor is not None and all(kept <= derivation.size for kept in _sizes([anchor]))
        if anchor is not None and is_whole and _is_behind(shown, anchor):
            said = "one was signed but is not shown" if shown is None else "a newer one was signed than the one shown"
            yield Finding(level="note", what="checkpoint", message=f"{said}; publishing shows it again")
        if protected < derivation.size:
            message = f"{derivation.size - protected} entries are not under a signed checkpoint yet"
            yield Finding(level="unprotected", what=_range(protected, derivation.size), message=message)

    return stage
