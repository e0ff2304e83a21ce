"""The edges of every event as tables, compact: references, roles and kinds are interned as integers.

An edge list that many events share is stored once, under the owner `-list`, and each event that names it costs one
row of `provenance_shared`: ten million predictions of one deployment do not repeat its edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from retrodict.kernel.clock import parse_rfc3339
from retrodict.kernel.entry import decode_edge_list
from retrodict.kernel.errors import IntegrityError, UnavailableError
from retrodict.kernel.types import Digest, Edge, EdgeList, Evidence, Ref
from retrodict.ledger import Sequenced

if TYPE_CHECKING:
    import apsw

USES, MAKES, LISTED = 0, 1, 2  # the `direction` of an edge; one in a list has that of the events that name the list
EVIDENCE: tuple[Evidence, ...] = ("declared", "observed", "inferred")

_REF = "(SELECT node FROM provenance_refs WHERE name = ?)"
_WORD = "(SELECT word FROM provenance_words WHERE text = ?)"
_INSERT_EDGE = f"INSERT INTO provenance_edges VALUES (?, ?, ?, {_WORD}, {_REF}, {_WORD}, ?, ?, {_REF})"  # noqa: S608


def key(ref: str) -> bytes:
    """Return the bytes that a reference is kept as: 32 of a digest, 16 of an event id.

    >>> key("01936b00-0000-7000-8000-000000000001").hex()
    '01936b00000070008000000000000001'
    """
    return bytes.fromhex(ref.removeprefix("b3-").replace("-", ""))


def ref_of(name: bytes) -> Ref:
    """Return the reference that `key` was given."""
    h = name.hex()
    return Ref(f"b3-{h}" if len(name) == 32 else f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}")


def edges(of: Iterable[Edge | EdgeList], blob: Callable[[Digest], bytes]) -> Iterator[Edge]:
    """Yield the edges, those in edge-list objects too.

    Raises:
        MissingObjectError: An edge list is not held.
        FormatError: An object is no edge list.
    """
    for item in of:
        if isinstance(item, EdgeList):
            yield from decode_edge_list(blob(item.digest))
        else:
            yield item


class ProvenanceProjection:
    """Tables `provenance_events`, `_edges`, `_lists`, `_shared`, `_refs` and `_words`."""

    name = "provenance"
    version = 1
    tables: Mapping[str, str] = {
        "provenance_refs": "CREATE TABLE provenance_refs (node INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE) STRICT",
        "provenance_words": "CREATE TABLE provenance_words (word INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) "
        "STRICT",
        "provenance_events": "CREATE TABLE provenance_events (entry INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, "
        "kind INTEGER NOT NULL, at INTEGER NOT NULL, tick INTEGER NOT NULL, agent INTEGER NOT NULL) STRICT",
        "provenance_edges": "CREATE TABLE provenance_edges (owner INTEGER NOT NULL, direction INTEGER NOT NULL, "
        "position INTEGER NOT NULL, kind INTEGER, node INTEGER NOT NULL, role INTEGER NOT NULL, "
        "evidence INTEGER NOT NULL, path BLOB, maker INTEGER, PRIMARY KEY (owner, direction, position)) "
        "STRICT, WITHOUT ROWID",
        "provenance_lists": "CREATE TABLE provenance_lists (list INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, "
        "state TEXT NOT NULL) STRICT",
        "provenance_shared": "CREATE TABLE provenance_shared (entry INTEGER NOT NULL, direction INTEGER NOT NULL, "
        "position INTEGER NOT NULL, kind INTEGER NOT NULL, list INTEGER NOT NULL, "
        "PRIMARY KEY (entry, direction, position)) STRICT, WITHOUT ROWID",
    }
    indexes: Sequence[str] = (
        "CREATE INDEX provenance_by_node ON provenance_edges (node, direction, maker, kind, owner)",
        "CREATE INDEX provenance_by_maker ON provenance_edges (maker, node) WHERE maker IS NOT NULL",
        "CREATE INDEX provenance_by_list ON provenance_shared (list, direction, kind, entry)",
    )

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry, of any kind."""
        event = entry.event
        own: list[tuple[int, int, Edge]] = []
        shared: list[tuple[int, int, Digest]] = []
        for direction, items in ((USES, event.uses), (MAKES, event.makes)):
            for position, item in enumerate(items):
                if isinstance(item, EdgeList):
                    shared.append((direction, position, item.digest))
                else:
                    own.append((direction, position, item))
        _intern_words(db, [event.kind, event.agent])
        db.execute(
            f"INSERT INTO provenance_events VALUES (?, ?, {_WORD}, ?, ?, {_WORD})",  # noqa: S608
            (entry.index, key(event.id), event.kind, parse_rfc3339(event.at), event.tick, event.agent),
        )
        if own:
            _insert_edges(db, entry.index, event.kind, own)
        for direction, position, digest in shared:
            number = _list(db, digest, blob)
            db.execute(
                f"INSERT INTO provenance_shared VALUES (?, ?, ?, {_WORD}, ?)",  # noqa: S608
                (entry.index, direction, position, event.kind, number),
            )


PROJECTION = ProvenanceProjection()


def _intern_words(db: apsw.Connection, words: Iterable[str]) -> None:
    db.executemany("INSERT OR IGNORE INTO provenance_words (text) VALUES (?)", [(word,) for word in words])


def _insert_edges(db: apsw.Connection, owner: int, kind: str | None, rows: Sequence[tuple[int, int, Edge]]) -> None:
    names: dict[bytes, None] = {}
    values = []
    for direction, position, edge in rows:
        name, made_by = key(edge.ref), None if edge.made_by is None else key(edge.made_by)
        names[name] = None
        if made_by is not None:
            names[made_by] = None
        path = None if edge.path is None else edge.path.encode("utf-8", "surrogateescape")
        evidence = EVIDENCE.index(edge.evidence)
        values.append((owner, direction, position, kind, name, edge.role, evidence, path, made_by))
    db.executemany("INSERT OR IGNORE INTO provenance_refs (name) VALUES (?)", [(name,) for name in names])
    _intern_words(db, dict.fromkeys(edge.role for _, _, edge in rows))
    db.executemany(_INSERT_EDGE, values)


def _list(db: apsw.Connection, digest: Digest, blob: Callable[[Digest], bytes]) -> int:
    """Return the number of an edge list; the first time, its edges are stored."""
    rows = db.execute("SELECT list FROM provenance_lists WHERE digest = ?", (key(digest),)).fetchall()
    if rows:
        return int(str(rows[0][0]))
    state, found = "held", []
    try:
        found = [(LISTED, position, edge) for position, edge in enumerate(decode_edge_list(blob(digest)))]
    except UnavailableError:
        state = "missing"  # a gap, which every graph that meets it shows
    except IntegrityError:
        state = "altered"
    db.execute("INSERT INTO provenance_lists (digest, state) VALUES (?, ?)", (key(digest), state))
    number = db.last_insert_rowid()
    _insert_edges(db, -number, None, found)
    return number
