"""Changes given one by one, folded into the records that they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from retrodict import streams
from retrodict.tables import lines
from retrodict.tables.appending import Rows, append_table, conflict, keep_policy, keeps_conflicts, unchanged
from retrodict.tables.captured import is_next
from retrodict.tables.cells import column_of, is_same
from retrodict.tables.changes import Change, ChangeSet, How, Source
from retrodict.tables.checks import normal_keys, refuse_nan
from retrodict.tables.errors import BadCellError, BadKeyError, NoSuchRecordError, values_unshown
from retrodict.tables.keys import Found, KeyIndex
from retrodict.tables.lines import CREATE, DELETE, OFFSET, ROW, UPDATE, ChangeLog
from retrodict.tables.records import Column, Table
from retrodict.tables.upkeep import keep_up
from retrodict.workspace import Workspace


def append(
    workspace: Workspace,
    table: Table,
    changes: Sequence[Change],
    how: How,
    *,
    source: Source | None = None,
) -> ChangeSet:
    """Record changes in their order, all of them in one piece; they are durable when this returns.

    A record may be changed several times in one piece. What changes nothing is not recorded.

    Args:
        source: What they are captured from. Then every change is taken as it comes (see `ChangeSet.amiss`), and
            whoever does not know whether they were recorded gives them again.

    Raises:
        BadCellError, BadKeyError: A value that is none of its column; a key that names no record.
        NoSuchRecordError: There is nothing to update or delete, or something there that was to be created.
        RecordConflictError: See `How.since`; where the table's policy keeps conflicts, a change that renames a record.
        TablePolicyError: The table asks for a reason.
    """
    with KeyIndex(workspace) as index, streams.locked(workspace):
        log = lines.own_log(workspace, table)
        db = workspace.views.database()
        columns = lines.columns_at(db, log)
        if source is not None and not is_next(db, log, source):
            return unchanged(workspace, log)
        keep_policy(table, how, changes, source)
        work = _Folding(workspace, index, log, columns, how, is_captured=source is not None)
        with values_unshown(table.personal is not None):
            work.take(changes)
        done = append_table(
            workspace,
            log,
            work.rows.to_arrow(),
            how,
            made_by=work.rows.made_by,
            source=source,
            amiss=work.amiss,
            beside=work.beside(),
        )
    return keep_up(workspace, done, table)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aside:
    """What is to stand beside a record.

    Attributes:
        row, last: Its identity and its last change as they were then; None: there was none.
        before, after: Its values then, and what the changes make of them; None: it is not there.
        now: What is known of it now.
    """

    row: int | None
    last: int | None
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None
    now: Found


class _Folding:
    """Works out what changes do to the records that they name."""

    def __init__(
        self,
        workspace: Workspace,
        index: KeyIndex,
        log: ChangeLog,
        columns: Sequence[Column],
        how: How,
        *,
        is_captured: bool,
    ) -> None:
        self._workspace = workspace
        self._index = index
        self._log = log
        self._columns = columns
        self._names = [str(column.id) for column in columns]
        self._by_name = {column.name: column for column in columns}
        self._keys = [column for column in columns if column.id in log.table.key]
        self._how = how
        self._is_captured = is_captured
        self._known: dict[bytes, Found | None] = {}
        self._values: dict[int, Mapping[str, object]] = {}  # of the changes that were the last ones, by offset
        self._aside: dict[bytes, _Aside] = {}
        self.rows = Rows(columns)
        self.amiss = 0

    def take(self, changes: Sequence[Change]) -> None:
        """Gather what they amount to."""
        if not changes:
            return
        given = self._given(changes)
        olds = self._hashes([self._key(change, change.key or change.values) for change in changes])
        news = olds
        if any(change.key for change in changes):
            news = self._hashes([self._key(change, {**change.key, **change.values}) for change in changes])
        asked = list(dict.fromkeys([*olds, *news]))
        self._known = dict(zip(asked, self._index.found(self._log, self._columns, asked), strict=True))
        self._look_up([found.last for found in self._known.values() if found is not None and found.is_alive])
        for change, values, old, new in zip(changes, given, olds, news, strict=True):
            if change.op == "truncate":
                self._truncate(change)
            else:
                self._one(change, values, old, new)

    def _given(self, changes: Sequence[Change]) -> list[dict[str, object]]:
        """Return the values of each change, by the ids of the columns, as the columns' types have them."""
        unknown = sorted({name for c in changes for name in (*c.values, *c.key)} - self._by_name.keys())
        if unknown:
            known = ", ".join(self._by_name)
            raise BadCellError(f"{self._log.table.name} has no column {', '.join(unknown)}; it has {known}"[:1000])
        given: list[dict[str, object]] = [{} for _ in changes]
        said = [{**change.key, **change.values} for change in changes]
        for column in self._columns:
            having = [i for i, values in enumerate(said) if column.name in values]
            if not having:
                continue
            values = [said[i][column.name] for i in having]
            made = column_of(values, column.type, f"column {column.name}").to_pylist()
            for i, value in zip(having, made, strict=True):
                given[i][str(column.id)] = value
        return given

    def _key(self, change: Change, values: Mapping[str, object]) -> Mapping[str, object]:
        lacking = [column.name for column in self._keys if values.get(column.name) is None]
        if lacking and change.op != "truncate":
            says = f"a {change.op} of {self._log.table.name} lacks its key ({', '.join(lacking)})"
            raise BadKeyError(f"{says}: {str(dict(values))[:200]}", without_values=says)
        return values

    def _hashes(self, keys: Sequence[Mapping[str, object]]) -> list[bytes]:
        import pyarrow as pa  # 57 ms

        table = pa.table(
            {
                str(column.id): column_of([key.get(column.name) for key in keys], column.type, f"column {column.name}")
                for column in self._keys
            }
        )
        table = normal_keys(table)
        refuse_nan(table, self._keys)
        return self._index.hashes(table, self._log.table.key)

    def _look_up(self, offsets: Sequence[int]) -> None:
        found = lines.taken(self._log, [offset for offset in offsets if offset not in self._values], self._columns)
        for offset, values in zip(found[OFFSET].to_pylist(), found.select(self._names).to_pylist(), strict=True):
            self._values[offset] = values

    def _one(self, change: Change, values: Mapping[str, object], old: bytes, new: bytes) -> None:
        known = self._known[old]
        lives = known is not None and known.is_alive
        if known is not None and self._how.since is not None and self._how.since <= known.last < self._log.size:
            if old != new or not keeps_conflicts(self._log.table, self._how):
                raise conflict(self._workspace, self._log, known.last, self._shown(change))
            self._set_aside(old, known, change, values)
            return
        if not self._is_captured:
            if change.op == "create" and lives:
                raise NoSuchRecordError(
                    f"{self._log.table.name} has a record {self._shown(change)} already",
                    hint="`retrodict table update` changes it.",
                )
            if change.op in ("update", "delete") and not lives:
                raise NoSuchRecordError(f"{self._log.table.name} has no record {self._shown(change)}")
        elif (change.op == "create" and lives) or (change.op in ("update", "delete") and not lives):
            self.amiss += 1
        if change.op == "delete":
            if lives and known is not None:
                self._delete(old, known, change)
            return
        before: Mapping[str, object] = self._values[known.last] if lives and known is not None else {}
        kept = before if change.op == "update" or (change.key and not change.values) else {}
        after = {name: values[name] if name in values else kept.get(name) for name in self._names}
        if old != new:
            if lives and known is not None:
                self._delete(old, known, change)
            known = self._known[new]
            lives = known is not None and known.is_alive
            if lives and not self._is_captured:
                raise NoSuchRecordError(
                    f"{self._log.table.name} has a record of that new key already", hint="Delete or rename it first."
                )
            before = self._values[known.last] if lives and known is not None else {}
        offset = self._log.size + len(self.rows.op)
        if known is not None and lives:
            changed = self._differing(before, after)
            if not changed:
                return
            self.rows.add(UPDATE, known.row, known.last, changed, after, change)
            self._known[new] = Found(known.row, offset, True)
        else:
            self.rows.add(CREATE, None, None if known is None else known.last, None, after, change)
            self._known[new] = Found(offset, offset, True)
        self._values[offset] = after

    def _delete(self, hashed: bytes, known: Found, change: Change) -> None:
        kept = self._values[known.last]
        only_key = {str(column): kept[str(column)] for column in self._log.table.kept_of_deletes}
        offset = self._log.size + len(self.rows.op)
        self.rows.add(DELETE, known.row, known.last, None, only_key, change)
        self._known[hashed] = Found(known.row, offset, False)

    def _truncate(self, change: Change) -> None:
        found = lines.alive(self._log, self._log.size, self._columns)
        hashes = self._index.hashes(found, self._log.table.key)
        listed = zip(
            hashes,
            found[ROW].to_pylist(),
            found[OFFSET].to_pylist(),
            found.select(self._names).to_pylist(),
            strict=True,
        )
        for hashed, row, last, values in listed:
            if hashed not in self._known:
                self._known[hashed] = Found(row, last, True)
                self._values[last] = values
        for hashed, known in list(self._known.items()):
            if known is not None and known.is_alive:
                self._delete(hashed, known, change)

    def _shown(self, change: Change) -> str:
        values = change.key or change.values
        return "/".join(str(values.get(column.name)) for column in self._keys)

    def _set_aside(self, hashed: bytes, known: Found, change: Change, values: Mapping[str, object]) -> None:
        """Fold a change into what is to stand beside its record: what it makes of that as it was then."""
        aside = self._aside.get(hashed) or self._as_it_was(known)
        then = aside.after
        if change.op == "create" and then is not None:
            raise NoSuchRecordError(f"{self._log.table.name} had a record {self._shown(change)} then")
        if change.op in ("update", "delete") and then is None:
            raise NoSuchRecordError(f"{self._log.table.name} had no record {self._shown(change)} then")
        after: dict[str, object] | None = None
        if change.op != "delete":
            kept = then if change.op == "update" and then is not None else {}
            after = {str(c.id): None for c in self._columns} | dict(kept) | dict(values)
        self._aside[hashed] = replace(aside, after=after, now=known)

    def _as_it_was(self, known: Found) -> _Aside:
        assert self._how.since is not None
        at: int | None = known.last
        while at is not None and at >= self._how.since:
            at = lines.taken(self._log, [at], self._columns)["_prev"][0].as_py()
        if at is None:
            return _Aside(row=None, last=None, before=None, after=None, now=known)
        (found,) = lines.taken(self._log, [at], self._columns).to_pylist()
        was = None if found["_op"] == DELETE else {str(c.id): found[str(c.id)] for c in self._columns}
        return _Aside(row=found[ROW], last=at, before=was, after=was, now=known)

    def beside(self) -> Any:
        """Return, as an Arrow table, the changes that are to stand beside their records; None: there are none.

        A change that comes to what is there already is none.
        """
        rows = Rows(self._columns)
        for aside in self._aside.values():
            now = self._values[aside.now.last] if aside.now.is_alive else None
            changed = self._differing(aside.before, aside.after)
            if not changed or not self._differing(now, aside.after):
                continue
            if aside.after is None:
                kept = aside.before or {}
                only_key = {str(column): kept[str(column)] for column in self._log.table.kept_of_deletes}
                rows.add(DELETE, aside.row, aside.last, None, only_key, None)
            elif aside.before is None:
                rows.add(CREATE, None, aside.last, None, aside.after, None)
            else:
                rows.add(UPDATE, aside.row, aside.last, changed, aside.after, None)
        return rows.to_arrow() if rows.op else None

    def _differing(self, a: Mapping[str, object] | None, b: Mapping[str, object] | None) -> list[int]:
        """Return the ids of the columns in which two states of a record differ; None: it is not there."""
        if a is None or b is None:
            return [] if a is b else [column.id for column in self._columns]
        return [int(name) for name in self._names if not is_same(a.get(name), b.get(name))]
