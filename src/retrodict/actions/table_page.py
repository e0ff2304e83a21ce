"""`table page`: what was done to a table, and who made each cell of its records what it is, for a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrodict.actions.authorship import Authors
from retrodict.actions.authorship import How as Known
from retrodict.actions.tabling import key_values, log_of, never_had, note_look, table_named
from retrodict.kernel.clock import parse_rfc3339, rfc3339
from retrodict.tables import history as histories
from retrodict.tables import lines, personal
from retrodict.tables.history import RecordChange
from retrodict.tables.lines import CREATE, DELETE, OFFSET, ROW, ChangeLog
from retrodict.tables.records import Column, Version
from retrodict.workspace import Workspace

CHANGES, RECORDS, DEPTH = 1000, 200, 100  # what a page has at most: changes, records, changes of one record
_BARS = 48
_PIECE = 100  # changes that are read in one go
_MEMORY = 1 << 25  # bytes of changes that are held, about: wide tables and long values get fewer changes
_CELL_BYTES = 64  # what a cell costs beyond its value


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Changes that somebody made in one go: a version, or of a captured one what one person did in one transaction.

    Attributes:
        number: By which changes and cells name it.
        reference: `NAME@v3`; `index` is its entry, `leaf_hash` that entry's, hex.
        who: Who did it; `known`: whether that is claimed or authenticated.
        count: How many changes the version has; 0: it changed the columns.
        changes: Of these, those that the page has, the newest first.
    """

    number: int
    reference: str
    index: int
    leaf_hash: str
    at: str
    who: str
    known: Known
    why: str | None
    how: str
    tx: str | None
    count: int
    changes: tuple[PageChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageChange:
    """One change of one record; `act` is what it was a part of, `record` the number of the record on the page."""

    key: Mapping[str, object]
    act: int
    record: int | None
    change: RecordChange


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCell:
    """A cell as it is, or was when its record was deleted.

    Attributes:
        before: The value before; `is_first`: it had none.
        act: What made it so; None: something before the changes that the page has of this record.
    """

    column: str
    value: object
    before: object
    is_first: bool
    act: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRecord:
    """One record: what made each of its cells what it is, and its changes, the newest first.

    Attributes:
        has_older: There are changes before these.
    """

    number: int
    key: Mapping[str, object]
    is_deleted: bool
    cells: tuple[PageCell, ...]
    changes: tuple[PageChange, ...]
    has_older: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What was done to a table in a version, or where these are many in an equal part of the whole time."""

    version: str | None
    start: str
    stop: str
    creates: int
    updates: int
    deletes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePage:
    """A table for a page.

    Attributes:
        reference: Its newest version; `digest` is of all its changes.
        records, changes, versions: How many there are.
        asked: The keys that the page was asked for; empty: it has what was changed last.
        people: Who has done something that is on the page, the most active first.
        acts: What was done, the newest first; what is only referred to has no changes.
        listed: How many changes the acts list; `shown` the records that were changed last.
    """

    reference: str
    name: str
    branch: str | None
    digest: str
    origin: str
    written: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    records: int
    changes: int
    versions: int
    asked: tuple[str, ...]
    people: tuple[str, ...]
    activity: tuple[Bar, ...]
    acts: tuple[Act, ...]
    listed: int
    shown: tuple[PageRecord, ...]


def page(
    workspace: Workspace,
    name: str,
    *,
    keys: Sequence[str | Sequence[object] | Mapping[str, object]] = (),
    branch: str | None = None,
    limit: int = CHANGES,
) -> TablePage:
    """Return what a page shows of a table: its newest changes, and the records that they changed.

    Args:
        keys: Only these records.
        limit: At most so many changes; of records at most `RECORDS`, of each at most `DEPTH` changes.

    Raises:
        UnknownReferenceError: There is no such table or branch.
        NoSuchRecordError: No record has ever had such a key.
    """
    log = log_of(workspace, table_named(workspace, name), branch)
    db = workspace.views.database()
    columns = lines.columns_at(db, log)
    versions = lines.versions(db, log)
    held: dict[int, dict[str, Any]] = {}
    if keys:
        ends = _ends_of(workspace, log, columns, keys)
    else:
        held = _newest(log, columns, limit)
        gone = {change["_prev"] for change in held.values()}
        ends = [offset for offset in held if offset not in gone]
    walks = _walks(log, columns, held, ends[:RECORDS])
    if keys:
        held = {change[OFFSET]: change for walk in walks for change in walk}
    wanted = sorted(held, reverse=True)[:limit]
    known = held | {change[OFFSET]: change for walk in walks for change in walk}
    before = {known[at]["_prev"] for at in wanted} | {walk[-1]["_prev"] for walk in walks}
    older = lines.taken(log, [at for at in before if at is not None and at not in known], columns)
    known |= {change[OFFSET]: change for change in personal.listed(log.table, older, columns)}
    note_look(log)
    acts = _Acts(workspace, log)
    record_of = {change[OFFSET]: i for i, walk in enumerate(walks) for change in walk}
    listed = [_described(known, held[at], columns, acts, record_of) for at in wanted]
    shown = [_record(i, walk, columns, acts, known) for i, walk in enumerate(walks)]
    if not keys:
        for version in versions[-limit:]:
            if version.start == version.stop and version.start >= log.size - limit:
                acts.of_version(version)
    by_act: dict[int, list[PageChange]] = {}
    for change in listed:
        by_act.setdefault(change.act, []).append(change)
    made = acts.made(by_act)
    people = Counter({act.who: 0 for act in made})
    people.update(acts.who(change.act) for change in listed)
    people.update(acts.who(c.act) for record in shown for c in record.cells if c.act is not None)
    return TablePage(
        reference=f"{log.table.name}@v{lines.last_number(db, log)}",
        name=log.table.name,
        branch=log.branch or None,
        digest=f"sha256:{lines.root_at(db, log, log.size)}",
        origin=workspace.ledger.origin,
        written=rfc3339(workspace.clock.now_ns()),
        key=tuple(column.name for i in log.table.key for column in columns if column.id == i),
        columns=tuple(column.name for column in columns),
        records=sum(version.creates - version.deletes for version in versions),
        changes=log.size,
        versions=len(versions),
        asked=tuple(",".join(map(str, record.key.values())) for record in shown) if keys else (),
        people=tuple(who for who, _ in people.most_common()),
        activity=_activity(log.table.name, versions),
        acts=made,
        listed=len(listed),
        shown=tuple(shown),
    )


def _ends_of(workspace: Workspace, log: ChangeLog, columns: Sequence[Column], keys: Sequence[Any]) -> list[int]:
    ends = []
    for key in keys:
        values = key_values(log.table, columns, key)
        last = histories.last_change(workspace, log, columns, values)
        if last is None:
            raise never_had(log.table, values)
        if last not in ends:
            ends.append(last)
    return ends


def _memory(found: Any) -> int:
    """Return about how many bytes changes take."""
    size: int = found.nbytes + _CELL_BYTES * found.num_rows * found.num_columns
    return size


def _newest(log: ChangeLog, columns: Sequence[Column], limit: int) -> dict[int, dict[str, Any]]:
    """Return the newest changes by their offsets, the newest first."""
    held: dict[int, dict[str, Any]] = {}
    stop, size = log.size, 0
    while stop > max(log.size - limit, 0) and size < _MEMORY:
        start = max(stop - _PIECE, log.size - limit, 0)
        found = lines.changes(log, start, stop, columns)
        held |= {change[OFFSET]: change for change in reversed(personal.listed(log.table, found, columns))}
        stop, size = start, size + _memory(found)
    return held


def _walks(
    log: ChangeLog, columns: Sequence[Column], held: Mapping[int, dict[str, Any]], ends: Sequence[int]
) -> list[list[dict[str, Any]]]:
    """Return the last changes of some keys, the newest first; all keys go back a step at a time, for one reading."""
    walks: list[list[dict[str, Any]]] = [[] for _ in ends]
    at: dict[int, int] = dict(enumerate(ends))
    size = 0
    for depth in range(DEPTH):
        if not at or (depth and size > _MEMORY):
            break
        found = lines.taken(log, sorted(set(at.values()) - held.keys()), columns)
        size += _memory(found)
        read = {change[OFFSET]: change for change in personal.listed(log.table, found, columns)}
        following = {}
        for i, offset in at.items():
            change = held.get(offset) or read[offset]
            walks[i].append(change)
            if change["_prev"] is not None:
                following[i] = change["_prev"]
        at = following
    return walks


class _Acts:
    """What was done, numbered as it comes up."""

    def __init__(self, workspace: Workspace, log: ChangeLog) -> None:
        self.sayings = histories.Sayings(workspace, log)
        self._logs = workspace.logs
        self._authors = Authors(workspace)
        self.log = log
        self._numbers: dict[tuple[object, ...], int] = {}
        self._said: list[tuple[int, Version, dict[str, Any], bool]] = []

    def of(self, change: Mapping[str, Any]) -> int:
        """Return the number of what a change was a part of."""
        said, version = self.sayings.said(change), self.sayings.version(change[OFFSET])
        return self._number(change[OFFSET], version, said, is_claimed=change["_who"] is not None)

    def of_version(self, version: Version) -> int:
        """Return the number of a version that changes no record."""
        said = {
            "version": version.version,
            "at": version.at,
            "who": self.sayings.name(version.agent),
            "why": self.sayings.reason(version),
            "how": self.sayings.how(version),
            "tx": None,
        }
        return self._number(version.start, version, said, is_claimed=False)

    def _number(self, offset: int, version: Version, said: dict[str, Any], *, is_claimed: bool) -> int:
        key = (version.event, *(said[field] for field in ("at", "who", "why", "how", "tx")))
        if key not in self._numbers:
            self._numbers[key] = len(self._said)
            self._said.append((offset, version, said, is_claimed))
        return self._numbers[key]

    def who(self, number: int) -> str:
        """Return who did it."""
        return str(self._said[number][2]["who"])

    def made(self, changes: Mapping[int, Sequence[PageChange]]) -> tuple[Act, ...]:
        """Return everything that was done, the newest first, with these changes."""
        order = sorted(range(len(self._said)), key=lambda i: (self._said[i][1].version, self._said[i][0]), reverse=True)
        result = []
        for i in order:
            _, version, said, is_claimed = self._said[i]
            entry = self._logs.event(version.index)
            result.append(
                Act(
                    number=i,
                    reference=f"{self.log.table.name}@v{version.version}",
                    index=version.index,
                    leaf_hash=entry.leaf_hash.hex(),
                    at=said["at"],
                    who=said["who"],
                    known="claimed" if is_claimed else self._authors.of(entry).how,
                    why=said["why"],
                    how=said["how"],
                    tx=said["tx"],
                    count=version.stop - version.start,
                    changes=tuple(changes.get(i, ())),
                )
            )
        return tuple(result)


def _key(log: ChangeLog, change: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, object]:
    return {column.name: change[str(column.id)] for column in columns if column.id in log.table.key}


def _described(
    known: Mapping[int, Mapping[str, Any]],
    change: Mapping[str, Any],
    columns: Sequence[Column],
    acts: _Acts,
    record_of: Mapping[int, int],
) -> PageChange:
    before = None if change["_prev"] is None else known.get(change["_prev"])
    (described,) = histories.described([change], columns, acts.sayings, before=before)
    return PageChange(
        key=_key(acts.log, change, columns),
        act=acts.of(change),
        record=record_of.get(change[OFFSET]),
        change=described,
    )


def _record(
    number: int, walk: Sequence[dict[str, Any]], columns: Sequence[Column], acts: _Acts, known: Mapping[int, Any]
) -> PageRecord:
    """Return one record from its changes, the newest first."""
    last = walk[0]
    state = last if last["_op"] != DELETE or len(walk) == 1 else walk[1]
    changed = [set(change["_changed"] or ()) for change in walk]
    cells = []
    for column in columns:
        name = str(column.id)
        places = [
            i
            for i, change in enumerate(walk)
            if change[ROW] == state[ROW]
            and (change["_op"] == CREATE or (change["_op"] != DELETE and column.id in changed[i]))
        ]
        act, before, is_first = None, None, False
        if places:
            change = walk[places[0]]
            act = acts.of(change)
            is_first = change["_op"] == CREATE
            if not is_first:
                before = known[change["_prev"]][name]
        cells.append(PageCell(column=column.name, value=state[name], before=before, is_first=is_first, act=act))
    numbered = dict.fromkeys((change[OFFSET] for change in walk), number)
    return PageRecord(
        number=number,
        key=_key(acts.log, last, columns),
        is_deleted=last["_op"] == DELETE,
        cells=tuple(cells),
        changes=tuple(_described(known, change, columns, acts, numbered) for change in walk),
        has_older=walk[-1]["_prev"] is not None,
    )


def _activity(name: str, versions: Sequence[Version]) -> tuple[Bar, ...]:
    if len(versions) <= _BARS:
        return tuple(
            Bar(
                version=f"{name}@v{v.version}",
                start=v.at,
                stop=v.at,
                creates=v.creates,
                updates=v.updates,
                deletes=v.deletes,
            )
            for v in versions
        )
    times = [parse_rfc3339(version.at) for version in versions]
    first, span = min(times), max(max(times) - min(times), 1)
    sums = [[0, 0, 0] for _ in range(_BARS)]
    for at, version in zip(times, versions, strict=True):
        place = sums[min((at - first) * _BARS // span, _BARS - 1)]
        place[0] += version.creates
        place[1] += version.updates
        place[2] += version.deletes
    return tuple(
        Bar(
            version=None,
            start=rfc3339(first + span * i // _BARS),
            stop=rfc3339(first + span * (i + 1) // _BARS),
            creates=creates,
            updates=updates,
            deletes=deletes,
        )
        for i, (creates, updates, deletes) in enumerate(sums)
    )
