"""Walks through the graph: what something came from, and everything that it reached.

An edge in `uses` may say which event made the bytes (`made_by`, written "from"). Then only that event is a cause: two
runs that write the same empty file are not each other's ancestors. Where it does not say, every event that made these
bytes is possible, and the link shows it (`is_certain`). The two directions are each other's inverse, to the link.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from retrodict.kernel.clock import rfc3339
from retrodict.kernel.errors import UnknownReferenceError
from retrodict.kernel.types import EntryNumber, EventId, Evidence, Ref, is_event_id
from retrodict.provenance.projection import EVIDENCE, LISTED, MAKES, USES, key, ref_of

if TYPE_CHECKING:
    import apsw


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An object or an event.

    Attributes:
        event_kind: Of an event that is in this log; None for an object and for an event that is not.
        entry: Its number in the log, `at` its time (RFC 3339), `agent` its pseudonym; None as `event_kind`.
        depth: Links from the start.
        label: What people call it; left to the caller.
    """

    ref: Ref
    kind: Literal["event", "object"]
    event_kind: str | None
    entry: int | None
    at: str | None
    agent: str | None
    depth: int
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One edge of an event's `uses` or `makes`.

    Attributes:
        relation: Whether `event` used or made `ref`.
        role: As in the edge; "" where another event's edge names `event` as the maker and its own `makes` do not.
        made_by: For "used": the event that made these bytes, where known.
    """

    relation: Literal["used", "made"]
    event: Ref
    ref: Ref
    role: str
    evidence: Evidence
    path: str | None
    made_by: EventId | None

    @property
    def is_certain(self) -> bool:
        """False: whoever made these bytes is a possible cause, no more."""
        return self.relation == "made" or self.made_by is not None or is_event_id(self.ref)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Neighbours that were counted and not followed.

    Attributes:
        ref: Whose neighbours.
        relation: "used": events that used it, or things that it used; "made" likewise.
        what: Their event kind; for the things that an event used or made their role.
        total: How many links there are; `shown` of them are in the graph.
    """

    ref: Ref
    relation: Literal["used", "made"]
    what: str
    total: int
    shown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Edges that could not be read.

    Attributes:
        event: Whose edges.
        edge_list: The object that holds them.
        state: What is wrong with it.
    """

    event: Ref
    edge_list: Ref
    state: Literal["missing", "altered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """What was reached from `start`.

    Attributes:
        nodes: Nearest first; the first one is the start.
        links: In the order of the walk.
        ends_at_depth: The walk was ended by its depth, somewhere.
    """

    start: Ref
    direction: Literal["up", "down"]
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    cuts: tuple[Cut, ...]
    gaps: tuple[Gap, ...]
    ends_at_depth: bool

    @property
    def is_whole(self) -> bool:
        """Nothing was left out."""
        return not (self.cuts or self.gaps or self.ends_at_depth)


def upstream(db: apsw.Connection, ref: Ref, depth: int | None = None, *, limit_per_node: int | None = None) -> Graph:
    """Return everything that `ref` came from.

    Args:
        db: The views.
        ref: An object or an event.
        depth: At most so many links from the start; None: to the end.
        limit_per_node: Of one node's neighbours follow so many of each kind (of each role), and count the others.

    Raises:
        UnknownReferenceError: The log has no such event.
    """
    walk = _Walk(db, limit_per_node)
    return _graph(walk, ref, "up", walk.up, depth)


def downstream(db: apsw.Connection, ref: Ref, depth: int | None = None, *, limit_per_node: int | None = 100) -> Graph:
    """Return everything that `ref` reached: what was made of it, by whom it was used, predictions too.

    Args and Raises: as `upstream`. What lies behind a neighbour that was only counted is not in the graph.
    """
    walk = _Walk(db, limit_per_node)
    return _graph(walk, ref, "down", walk.down, depth)


def paths(db: apsw.Connection, source: Ref, target: Ref, *, limit: int = 3) -> tuple[tuple[Link, ...], ...]:
    """Return the shortest ways in which `source` reached `target`, `limit` at most, each from source to target.

    Raises:
        UnknownReferenceError: The log has no such event.
    """
    walk = _Walk(db, None)
    first = walk.start(target)
    depths: dict[_State, int] = {first: 0}
    came_from: dict[_State, list[tuple[Link, _State]]] = {first: []}
    queue, found = deque([first]), [first] if source == target else []
    walk.start(source)
    while queue and not (found and depths[queue[0]] >= depths[found[0]]):
        state = queue.popleft()
        for link, following in walk.up(state):
            if following not in depths:
                depths[following] = depths[state] + 1
                came_from[following] = []
                queue.append(following)
                if following.ref == source:
                    found.append(following)
            if depths[following] == depths[state] + 1:
                came_from[following].append((link, state))
    result: dict[tuple[Link, ...], None] = {}
    for state in found:
        for way in _ways(state, came_from):
            result[way] = None
            if len(result) == limit:
                return tuple(result)
    return tuple(result)


def maker(db: apsw.Connection, ref: Ref, path: str | None) -> EventId | None:
    """Return the last event that made these bytes at this path; None where none did."""
    if path is None:
        return None
    rows = db.execute(
        """
        SELECT v.id FROM provenance_events v WHERE v.entry IN (
            SELECT d.owner AS entry FROM provenance_edges d
            WHERE d.node = (SELECT node FROM provenance_refs WHERE name = ?1) AND d.direction = 1 AND d.path = ?2
            UNION ALL
            SELECT max(s.entry) FROM provenance_edges d JOIN provenance_shared s ON s.list = -d.owner
            WHERE d.node = (SELECT node FROM provenance_refs WHERE name = ?1) AND d.direction = 2 AND d.path = ?2
            AND s.direction = 1)
        ORDER BY v.tick DESC LIMIT 1
        """,
        (key(ref), path.encode("utf-8", "surrogateescape")),
    ).fetchall()
    return EventId(ref_of(rows[0][0])) if rows else None  # type: ignore[arg-type]


def neighbours(db: apsw.Connection, ref: Ref, *, limit: int = 100) -> list[tuple[str, int]]:
    """Return the events one step away: how they stand to `ref`, and their entries.

    Args:
        db: The views.
        ref: An object ("made it", "used it") or an event ("it depends on", "depends on it").
        limit: Of one kind of event at most so many.

    Raises:
        UnknownReferenceError: The log has no such event.
    """
    walk = _Walk(db, limit)
    start = walk.start(ref)
    found: dict[tuple[str, int], None] = {}
    for step, at_object, at_event in ((walk.up, "made it", "it depends on"), (walk.down, "used it", "depends on it")):
        for _, state in step(start):
            reached = [state] if isinstance(state, _Event) else [s for _, s in step(state)]
            how = at_object if isinstance(start, _Object) else at_event
            found |= {
                (how, EntryNumber(event.entry)): None
                for event in reached
                if isinstance(event, _Event) and event.entry is not None
            }
    return list(found)


class _Event(NamedTuple):
    """An event that the walk stands at; `entry` is None where it is not in this log."""

    name: bytes
    entry: int | None
    kind: int | None
    at: int | None
    agent: int | None

    @property
    def ref(self) -> Ref:
        return ref_of(self.name)


class _Object(NamedTuple):
    """An object, and the event that made it on the way that the walk came.

    Attributes:
        maker: None: any maker. Upwards, since the edge does not say; downwards, since the walk starts here.
    """

    name: bytes
    node: int | None
    maker: bytes | None

    @property
    def ref(self) -> Ref:
        return ref_of(self.name)


_State = _Event | _Object
_Step = Callable[[_State], Iterator[tuple[Link, _State]]]


def _graph(walk: _Walk, ref: Ref, direction: Literal["up", "down"], step: _Step, depth: int | None) -> Graph:
    start = walk.start(ref)
    seen: dict[_State, int] = {start: 0}
    nodes: dict[Ref, Node] = {ref: walk.node(start, 0)}
    links: dict[Link, None] = {}
    queue = deque([start])
    ends_at_depth = False
    while queue:
        state = queue.popleft()
        reached = seen[state] + 1
        for link, following in step(state):
            if depth is not None and reached > depth:
                ends_at_depth = True
                break
            links[link] = None
            if following not in seen:
                seen[following] = reached
                queue.append(following)
                if following.ref not in nodes:
                    nodes[following.ref] = walk.node(following, reached)
    return Graph(
        start=ref,
        direction=direction,
        nodes=tuple(nodes.values()),
        links=tuple(links),
        cuts=tuple(walk.cuts.values()),
        gaps=tuple(walk.gaps),
        ends_at_depth=ends_at_depth,
    )


def _ways(state: _State, came_from: dict[_State, list[tuple[Link, _State]]]) -> Iterator[tuple[Link, ...]]:
    if not came_from[state]:
        yield ()
    for link, following in came_from[state]:
        for rest in _ways(following, came_from):
            yield (link, *rest)


_EVENT = "v.id, v.entry, v.kind, v.at, v.agent"
_ENDS = (
    f"SELECT d.node, r.name, d.role, d.evidence, d.path, m.name, {_EVENT} FROM provenance_edges d "  # noqa: S608
    "JOIN provenance_refs r ON r.node = d.node LEFT JOIN provenance_refs m ON m.node = d.maker "
    "LEFT JOIN provenance_events v ON v.id = r.name WHERE d.owner = ? AND d.direction = ? ORDER BY d.position"
)


_FEW = 64  # edges at one node that are read all at once; above it, one look-up for each kind
_AROUND = (
    f"SELECT d.direction, d.maker, d.owner, {_EVENT}, d.role, d.evidence, d.path, m.name FROM provenance_edges d "  # noqa: S608
    "LEFT JOIN provenance_events v ON v.entry = d.owner LEFT JOIN provenance_refs m ON m.node = d.maker "
    "WHERE d.node = ? LIMIT ?"
)


_OWNER = (
    f"SELECT {_EVENT}, d.role, d.evidence, d.path, m.name FROM provenance_edges d "  # noqa: S608
    "JOIN provenance_events v ON v.entry = d.owner LEFT JOIN provenance_refs m ON m.node = d.maker"
)
_SHARER = f"SELECT {_EVENT} FROM provenance_shared d JOIN provenance_events v ON v.entry = d.entry"  # noqa: S608
_LISTS = (
    "SELECT -d.owner, d.role, d.evidence, d.path, m.name FROM provenance_edges d "  # noqa: S608
    f"LEFT JOIN provenance_refs m ON m.node = d.maker WHERE d.node = ? AND d.direction = {LISTED} AND d.maker IS ?"
)


def _in_order(row: Any) -> tuple[int, int]:
    """The order of a row of `_AROUND`: by kind, then by entry; edges in lists come first."""
    return row[5] or 0, row[2]


class _Walk:
    """Single steps, and what was left out on the way."""

    def __init__(self, db: apsw.Connection, limit: int | None) -> None:
        self._db = db
        self._limit = limit
        self.cuts: dict[tuple[Ref, str, str], Cut] = {}
        self.gaps: dict[Gap, None] = {}
        self._words: dict[int, str] = {}
        self._nodes: dict[bytes, int | None] = {}
        self._sharing: dict[tuple[int, int], tuple[list[Any], dict[int, int]]] = {}

    def _rows(self, sql: str, *values: object) -> list[Any]:
        return self._db.execute(sql, values).fetchall()

    def _word(self, number: int) -> str:
        if number not in self._words:  # the views have grown meanwhile
            self._words = dict(self._rows("SELECT word, text FROM provenance_words"))
        return self._words[number]

    def start(self, ref: Ref) -> _State:
        name = key(ref)
        if is_event_id(ref):
            event = self._event(name)
            if event.entry is None:
                raise UnknownReferenceError(ref)
            return event
        return _Object(name, self._node(name), None)

    def node(self, state: _State, depth: int) -> Node:
        is_known = isinstance(state, _Event) and state.entry is not None
        return Node(
            ref=state.ref,
            kind="event" if isinstance(state, _Event) else "object",
            event_kind=self._word(state.kind) if is_known else None,  # type: ignore[arg-type,union-attr]
            entry=None if isinstance(state, _Object) or state.entry is None else EntryNumber(state.entry),
            at=rfc3339(state.at) if is_known else None,  # type: ignore[arg-type,union-attr]
            agent=self._word(state.agent) if is_known else None,  # type: ignore[arg-type,union-attr]
            depth=depth,
        )

    def up(self, state: _State) -> Iterator[tuple[Link, _State]]:
        if isinstance(state, _Event):
            yield from self._ends(state, USES)
        elif state.maker is not None:
            event = self._event(state.maker)
            yield self._made(event, state), event
        elif state.node is not None:
            yield from self._owners(state, state.node, MAKES)
            for made_by in self._named_makers(state.node):
                event = self._event(self._rows("SELECT name FROM provenance_refs WHERE node = ?", made_by)[0][0])
                yield self._made(event, state), event

    def down(self, state: _State) -> Iterator[tuple[Link, _State]]:
        if isinstance(state, _Object):
            if state.node is None:
                return
            if state.maker is None:
                yield from self._owners(state, state.node, USES)
                return
            made_by = self._node(state.maker)
            yield from self._owners(state, state.node, USES, (None,) if made_by is None else (None, made_by))
            return
        yield from self._ends(state, MAKES)
        own = self._node(state.name)
        if own is None:
            return
        yield from self._owners(state, own, USES)
        made = {node for (node,) in self._rows(_MADE, state.entry, state.entry)}
        named = "SELECT DISTINCT d.node, r.name FROM provenance_edges d JOIN provenance_refs r ON r.node = d.node "
        for node, name in self._rows(named + "WHERE d.maker = ?", own):
            if node not in made and len(name) == 32:
                item = _Object(name, node, state.name)
                yield self._link("made", state, item.ref, None, None, None, None), item

    def _named_makers(self, node: int) -> list[int]:
        """Return the events (as nodes) that edges in `uses` name as the maker of a node."""
        query = "SELECT min(maker) FROM provenance_edges WHERE node = ? AND direction = ? AND maker > ?"
        return list(dict.fromkeys([*self._distinct(query, node, USES), *self._distinct(query, node, LISTED)]))

    def _node(self, name: bytes) -> int | None:
        if name not in self._nodes:
            rows = self._rows("SELECT node FROM provenance_refs WHERE name = ?", name)
            self._nodes[name] = rows[0][0] if rows else None
        return self._nodes[name]

    def _event(self, name: bytes) -> _Event:
        rows = self._rows(f"SELECT {_EVENT} FROM provenance_events v WHERE v.id = ?", name)  # noqa: S608
        return _Event(*rows[0]) if rows else _Event(name, None, None, None, None)

    def _link(
        self, relation: Literal["used", "made"], event: _Event, ref: Ref,
        role: int | None, evidence: int | None, path: bytes | None, made_by: bytes | None,
    ) -> Link:  # fmt: skip
        return Link(
            relation=relation,
            event=event.ref,
            ref=ref,
            role="" if role is None else self._word(role),
            evidence="inferred" if evidence is None else EVIDENCE[evidence],
            path=None if path is None else path.decode("utf-8", "surrogateescape"),
            made_by=None if made_by is None else EventId(ref_of(made_by)),
        )

    def _ends(self, event: _Event, direction: int) -> Iterator[tuple[Link, _State]]:
        """Yield what an event used or made."""
        relation: Literal["used", "made"] = "used" if direction == USES else "made"
        rows = self._rows(_ENDS, event.entry, direction)
        shared = (
            "SELECT s.list, l.digest, l.state FROM provenance_shared s JOIN provenance_lists l ON l.list = s.list "
            "WHERE s.entry = ? AND s.direction = ?"
        )
        for number, digest, state in self._rows(shared, event.entry, direction):
            if state != "held":
                self.gaps[Gap(event=event.ref, edge_list=ref_of(digest), state=state)] = None
            rows += self._rows(_ENDS, -number, LISTED)
        taken: dict[int, int] = {}
        for node, name, role, evidence, path, made_by, *other in rows:
            taken[role] = taken.get(role, 0) + 1
            if self._limit is not None and taken[role] > self._limit:
                continue
            link = self._link(relation, event, ref_of(name), role, evidence, path, made_by)
            following: _State
            if len(name) == 16:
                following = _Event(name, *other[1:])
            else:
                following = _Object(name, node, made_by if direction == USES else event.name)
            yield link, following
        for role, total in taken.items():
            self._cut(event.ref, relation, self._word(role), total)

    def _cut(self, ref: Ref, relation: Literal["used", "made"], what: str, total: int) -> None:
        if self._limit is not None and total > self._limit:
            self.cuts[ref, relation, what] = Cut(ref=ref, relation=relation, what=what, total=total, shown=self._limit)

    def _made(self, event: _Event, item: _Object) -> Link:
        """Return the link by which `event` made `item`: as its `makes` say, or as only another's edge says."""
        rows = []
        if event.entry is not None and item.node is not None:
            rows = self._rows(
                "SELECT role, evidence, path FROM provenance_edges WHERE node = ?1 AND direction = 1 "
                "AND maker IS NULL AND kind = ?2 AND owner = ?3 UNION ALL "
                "SELECT d.role, d.evidence, d.path FROM provenance_shared s JOIN provenance_edges d "
                "ON d.owner = -s.list AND d.direction = 2 AND d.maker IS NULL AND d.kind IS NULL AND d.node = ?1 "
                "WHERE s.entry = ?3 AND s.direction = 1 LIMIT 1",
                item.node, event.kind, event.entry,
            )  # fmt: skip
        role, evidence, path = rows[0] if rows else (None, None, None)
        return self._link("made", event, item.ref, role, evidence, path, None)

    def _owners(
        self, of: _State, node: int, direction: int, makers: tuple[int | None, ...] | None = None
    ) -> Iterator[tuple[Link, _State]]:
        """Yield the events that used or made a node, by kind, in the order of the log.

        Args:
            of: What is at the node.
            node: Its number.
            direction: USES or MAKES.
            makers: Only by edges that name one of these as the maker (None: that name none).
        """
        relation: Literal["used", "made"] = "used" if direction == USES else "made"
        rows: list[Any] = []
        lists: list[Any] = []
        totals: dict[int, int] = {}
        around = self._rows(_AROUND, node, _FEW + 1)
        if len(around) <= _FEW:
            for side, made_by, owner, *row in sorted(around, key=_in_order):
                if makers is not None and made_by not in makers:
                    continue
                if side == LISTED:
                    lists.append((-owner, *row[5:]))
                elif side == direction:
                    rows.append(row)
                    totals[row[2]] = totals.get(row[2], 0) + 1
        else:
            for made_by in (None, *self._named_makers(node)) if makers is None else makers:
                where = f"WHERE d.node = ? AND d.direction = {direction} AND d.maker IS ?"
                rows += self._by_kind(totals, _OWNER, "provenance_edges d", where, "d.owner", (node, made_by))
                lists += self._rows(_LISTS, node, made_by)
        for number, *edge in lists:
            if (number, direction) not in self._sharing:
                counts: dict[int, int] = {}
                where = f"WHERE d.list = ? AND d.direction = {direction}"
                events = self._by_kind(counts, _SHARER, "provenance_shared d", where, "d.entry", (number,))
                self._sharing[number, direction] = events, counts
            events, counts = self._sharing[number, direction]
            rows += [(*event, *edge) for event in events]
            for kind, count in counts.items():
                totals[kind] = totals.get(kind, 0) + count
        shown: dict[int, int] = {}
        for name, entry, kind, at, agent, role, evidence, path, made_by in rows:
            shown[kind] = shown.get(kind, 0) + 1
            if self._limit is None or shown[kind] <= self._limit:
                event = _Event(name, entry, kind, at, agent)
                yield self._link(relation, event, of.ref, role, evidence, path, made_by), event
        for kind, total in totals.items():
            self._cut(of.ref, relation, self._word(kind), total)

    def _by_kind(
        self, totals: dict[int, int], select: str, table: str, where: str, order: str, values: tuple[object, ...]
    ) -> list[Any]:
        """Return the first rows of each kind of event, as many as are shown; add to `totals` how many there are."""
        few = self._rows(f"{select} {where} ORDER BY d.kind, {order} LIMIT ?", *values, _FEW + 1)
        if len(few) <= _FEW:
            for row in few:
                totals[row[2]] = totals.get(row[2], 0) + 1
            return few
        rows: list[Any] = []
        for kind in self._distinct(f"SELECT min(d.kind) FROM {table} {where} AND d.kind > ?", *values):  # noqa: S608
            limit = -1 if self._limit is None else self._limit
            found = self._rows(f"{select} {where} AND d.kind = ? ORDER BY {order} LIMIT ?", *values, kind, limit)
            count = len(found)
            if count == limit:
                ((count,),) = self._rows(f"SELECT count(*) FROM {table} {where} AND d.kind = ?", *values, kind)  # noqa: S608
            totals[kind] = totals.get(kind, 0) + count
            rows += found
        return rows

    def _distinct(self, query: str, *values: object) -> Iterator[int]:
        """Yield the values of an indexed column, by one look-up each instead of a pass over all rows."""
        last = -1
        while True:
            ((kind,),) = self._rows(query, *values, last)
            if kind is None:
                return
            yield kind
            last = kind


_MADE = (
    "SELECT node FROM provenance_edges WHERE owner = ? AND direction = 1 UNION SELECT d.node FROM provenance_shared s "
    "JOIN provenance_edges d ON d.owner = -s.list AND d.direction = 2 WHERE s.entry = ? AND s.direction = 1"
)
