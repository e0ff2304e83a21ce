"""What differs between two versions of a table: found in the changes between them alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrodict.tables import lines
from retrodict.tables.cells import unequal
from retrodict.tables.history import Cell
from retrodict.tables.lines import DELETE, OFFSET, ChangeLog
from retrodict.tables.personal import CLOSED, Gap, listed
from retrodict.tables.records import Column, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDiff:
    """How one record differs.

    Attributes:
        op: "created", "changed" or "deleted".
        cells: Of a created or deleted record every value that is not null.
        offset: Of the last change between the two.
    """

    key: Mapping[str, object]
    op: str
    cells: tuple[Cell, ...]
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """Records that differ, before and after, row by row; `after` has the last change of each between the versions.

    Attributes:
        was, is_: Whether the record was there before, and is there after: Arrow arrays of booleans.
    """

    before: Any
    after: Any
    was: Any
    is_: Any


def between(log: ChangeLog, start: int, stop: int, columns: Sequence[Column]) -> Both:
    """Return the records whose last state before the changes [start, stop) is another one than after them."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    found = lines.changes(log, start, stop, columns)
    names = [str(column.id) for column in columns]
    if not found.num_rows:
        none = pa.array([], pa.bool_())
        return Both(before=found, after=found, was=none, is_=none)
    codes = lines.codes_of(found, log.table)
    grouped = pa.table({"code": codes, "at": found[OFFSET]}).group_by("code").aggregate([("at", "min"), ("at", "max")])
    grouped = grouped.take(pc.sort_indices(grouped["at_max"]))
    after = found.take(pc.subtract(grouped["at_max"], start))
    previous = found["_prev"].take(pc.subtract(grouped["at_min"], start)).combine_chunks()
    held = lines.taken(log, previous.drop_null().to_pylist(), columns)
    place = pc.index_in(previous, value_set=held[OFFSET].combine_chunks())
    before = held.take(place)
    was = pc.fill_null(pc.not_equal(before["_op"], DELETE), False)
    is_ = pc.not_equal(after["_op"], DELETE)
    differs = pc.xor(was, is_)
    for name in names:
        differs = pc.or_(differs, pc.and_(pc.and_(was, is_), unequal(before[name], after[name])))
    if CLOSED in after.schema.names:  # that it was changed is known, though not to what
        differs = pc.or_(differs, after[CLOSED].is_valid())
    return Both(
        before=before.filter(differs), after=after.filter(differs), was=was.filter(differs), is_=is_.filter(differs)
    )


def described(both: Both, columns: Sequence[Column], table: Table, *, backwards: bool) -> list[RecordDiff]:
    """Return what differs as people want to read it.

    Args:
        backwards: From the later to the earlier.
    """
    before, after = listed(table, both.before, columns), listed(table, both.after, columns)
    was, is_ = both.was.to_pylist(), both.is_.to_pylist()
    if backwards:
        before, after, was, is_ = after, before, is_, was
    result = []
    rows = zip(before, after, was, is_, both.after[OFFSET].to_pylist(), strict=True)
    for old, new, was_there, is_there, offset in rows:
        cells = []
        for column in columns:
            a = old[str(column.id)] if was_there else None
            b = new[str(column.id)] if is_there else None
            if a is not None or b is not None:
                same = was_there and is_there and (a == b or (a != a and b != b)) and type(a) is type(b)
                if not same or isinstance(a, Gap):
                    cells.append(Cell(column=column.name, before=a, after=b))
        keyed = new if is_there else old
        result.append(
            RecordDiff(
                key={column.name: keyed[str(column.id)] for column in columns if column.id in table.key},
                op="changed" if was_there and is_there else "created" if is_there else "deleted",
                cells=tuple(cells),
                offset=offset,
            )
        )
    return result
