"""The change log of a table, read: changes as Arrow tables, and the records that are alive after a number of them.

A change holds the whole record after it. So the records after N changes are the first N changes, without those that a
later one of them names as the one before it (`_prev`), and without deletes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retrodict.kernel.types import Digest
from retrodict.streams import MAIN, Line, named_type, own_branch, read_batch
from retrodict.streams import queries as streams
from retrodict.streams.formats import batch_of, cells
from retrodict.streams.personal import ERASED, open_rows
from retrodict.streams.records import Place
from retrodict.tables import queries, records
from retrodict.tables.errors import SealedRecordsError, TableFoldError
from retrodict.tables.personal import CLOSED, KEY, OF, SEALED, Seen, layout_of
from retrodict.tables.records import Column, Table
from retrodict.workspace import Workspace

if TYPE_CHECKING:
    import apsw

CREATE, UPDATE, DELETE = 1, 2, 3
OFFSET, ROW = "_offset", "_row"  # columns that are added to what is read
_SHOWN = 5
_LAYOUT = "_layout"  # added to what is read: the schema of what is sealed
_PART_RECORDS = 1 << 18
_NEAR = 1 << 16  # changes nearer than this to each other are read in one go


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLog:
    """The changes of a table, on its main line or on a branch.

    Attributes:
        size: How many there are.
        seen: What of the personal values was opened for somebody to see; None: they are opened for the machine alone.
    """

    table: Table
    line: Line
    seen: Seen | None = None

    @property
    def branch(self) -> str:
        """The branch; "" is the main line."""
        return self.line.branch

    @property
    def size(self) -> int:
        """How many changes there are."""
        return self.line.size


def change_log(workspace: Workspace, table: Table, branch: str = MAIN, *, seen: Seen | None = None) -> ChangeLog:
    """Open the changes of a table, as far as they go now."""
    (stream,) = streams.streams(workspace.views.database(), event=table.stream)
    return ChangeLog(table=table, line=Line(workspace, stream, branch), seen=seen)


def own_log(workspace: Workspace, table: Table) -> ChangeLog:
    """Open the line that this workspace appends to."""
    (stream,) = streams.streams(workspace.views.database(), event=table.stream)
    return ChangeLog(table=table, line=Line(workspace, stream, own_branch(workspace, stream)))


def columns_at(db: apsw.Connection, log: ChangeLog, version: int | None = None) -> tuple[Column, ...]:
    """Return the columns that a version of the table has; None: the newest."""
    number = last_number(db, log) if version is None else version
    base = 0
    if log.branch != MAIN:
        before = queries.versions(db, log.table.stream, MAIN, stop=log.line.base, limit=1)
        base = before[0].version if before else 0
    return queries.columns(db, log.table.stream, log.branch, number, base=base)


def versions(db: apsw.Connection, log: ChangeLog) -> list[records.Version]:
    """Return the versions of a line, in order, those of the main line before a branch included."""
    own = queries.versions(db, log.table.stream, log.branch)
    if log.branch == MAIN:
        return own
    return [*queries.versions(db, log.table.stream, MAIN, stop=log.line.base), *own]


def version_at(db: apsw.Connection, log: ChangeLog, offset: int) -> records.Version:
    """Return the version that a change belongs to."""
    branch = log.branch if offset >= log.line.base else MAIN
    found = queries.versions(db, log.table.stream, branch, start=offset, stop=offset + 1, limit=1)
    if not found:
        raise TableFoldError(f"change {offset} of {log.table.name} belongs to no version")
    return found[0]


def root_at(db: apsw.Connection, log: ChangeLog, size: int) -> str:
    """Return the digest of the first `size` changes, hex; without reading any where a version ends there."""
    branch = log.branch if size > log.line.base else MAIN
    for append in streams.appends(db, log.table.stream, branch, start=size - 1, stop=size):
        if append.stop == size:
            return append.root
    return log.line.root(size).hex()


def last_number(db: apsw.Connection, log: ChangeLog) -> int:
    """Return the number of the newest version; 0: the table has had no changes."""
    found = queries.last(db, log.table.stream, log.branch)
    if found is None and log.branch != MAIN:
        before = queries.versions(db, log.table.stream, MAIN, stop=log.line.base, limit=1)
        found = before[0] if before else None
    return 0 if found is None else found.version


def changes(
    log: ChangeLog, start: int, stop: int, columns: Sequence[Column], *, bare: bool = False, sealed: bool = False
) -> Any:
    """Return the changes [start, stop) as an Arrow table.

    It has `_offset`, what is known of each change, and the table's `columns` by their ids, in the types that they have
    there: what an older change does not have is null, what these do not have is left out.

    Args:
        bare: Of what is known of each change only what says which records are alive: `_op`, `_row`, `_prev`.
        sealed: Leave personal values sealed, for `opened`.

    Raises:
        SealedRecordsError: See `opened`.
    """
    import pyarrow as pa  # 57 ms

    schema = change_schema(columns, bare=bare, table=log.table)
    by_schema: list[tuple[bytes | None, list[Any]]] = []
    for block in log.line.kept(start, stop):
        text = log.line.schema_bytes(block.schema)
        if not by_schema or by_schema[-1][0] != text:
            by_schema.append((text, []))
        by_schema[-1][1].append(read_batch(block.data, text).slice(block.found.start, len(block.found)))
    parts = [conformed(laid_out(log, pa.Table.from_batches(found), text), schema) for text, found in by_schema]
    table = pa.concat_tables(parts) if parts else schema.empty_table()
    offsets = pa.array(range(start, start + table.num_rows), pa.int64())
    table = table.add_column(0, OFFSET, offsets)
    table = _with_rows(table)
    return table if sealed else opened(log, table, columns)


def laid_out(log: ChangeLog, found: Any, schema: bytes | None) -> Any:
    """Return changes of one schema with that of their sealed rows, where there are any."""
    import pyarrow as pa  # 57 ms

    if SEALED not in found.schema.names:
        return found
    places = pa.nulls(found.num_rows, pa.int32()).fill_null(0)
    return found.append_column(_LAYOUT, pa.DictionaryArray.from_arrays(places, [layout_of(log.table, schema)]))


def opened(log: ChangeLog, found: Any, columns: Sequence[Column]) -> Any:
    """Return changes with their personal values, where these can be opened.

    Those that cannot be are null, and why not stands in one more column, `_closed`.

    Raises:
        SealedRecordsError: The machine needs values whose key is not held, though nobody has destroyed it.
    """
    import pyarrow as pa  # 57 ms

    if SEALED not in found.schema.names:
        return found
    data, keys, people = (found[name].to_pylist() for name in (SEALED, KEY, OF))
    layouts = found[_LAYOUT].cast(pa.string()).to_pylist()
    places = [place for place, item in enumerate(data) if item is not None]
    withheld = None if log.seen is None else log.seen.withheld
    pairs = [(str(keys[place]), data[place]) for place in places]
    plain, why = open_rows(log.line.workspace, pairs, withheld=withheld)
    if log.seen is None and any(not reason.startswith(ERASED) for reason in why.values()):
        raise SealedRecordsError(
            f"{log.table.name} holds personal values whose keys are not held here",
            hint="`retrodict keys receive` takes keys that another clone shares.",
        )
    by_layout: dict[str, list[tuple[int, bytes]]] = {}
    for place, text in zip(places, plain, strict=True):
        if text is not None:
            by_layout.setdefault(layouts[place], []).append((place, text))
            if log.seen is not None:
                log.seen.people[people[place]] = None
    hidden = [column for column in columns if log.table.hides(column.id)]
    schema = pa.schema([(str(column.id), named_type(column.type)) for column in hidden])
    parts, order = [], []
    for layout, rows in by_layout.items():
        batch = batch_of([text for _, text in rows], layout.encode())
        parts.append(conformed(pa.Table.from_batches([batch]), schema))
        order += [place for place, _ in rows]
    rest = sorted(set(range(found.num_rows)) - set(order))
    parts.append(pa.table([pa.nulls(len(rest), field.type) for field in schema], schema=schema))
    values = pa.concat_tables(parts)
    if (order := [*order, *rest]) != sorted(order):
        number = {place: i for i, place in enumerate(order)}
        values = values.take(pa.array([number[place] for place in range(found.num_rows)], pa.int64()))
    found = found.drop_columns([SEALED, KEY, OF, _LAYOUT])
    for name in schema.names:
        found = found.set_column(found.schema.get_field_index(name), name, values[name])
    if why:
        closed = [None if data[place] is None else why.get(keys[place]) for place in range(found.num_rows)]
        found = found.append_column(CLOSED, pa.array(closed, pa.string()))
    return found


def taken(log: ChangeLog, offsets: Sequence[int], columns: Sequence[Column]) -> Any:
    """Return some changes, in the order of their offsets, as `changes` does. Only blocks that hold one are decoded."""
    import pyarrow as pa  # 57 ms

    wanted = sorted(set(offsets))
    schema = change_schema(columns, table=log.table)
    parts = []
    first = 0
    while first < len(wanted):
        end = first + 1
        while end < len(wanted) and wanted[end] - wanted[end - 1] < _NEAR:
            end += 1
        at = wanted[first]
        for block in log.line.kept(at, wanted[end - 1] + 1):
            size, low = len(block.found), first
            while first < end and wanted[first] < at + size:
                first += 1
            if low < first:
                text = log.line.schema_bytes(block.schema)
                places = [block.found.start + offset - at for offset in wanted[low:first]]
                found = pa.Table.from_batches([read_batch(block.data, text)]).take(pa.array(places, pa.int64()))
                found = conformed(laid_out(log, found, text), schema).add_column(
                    0, OFFSET, pa.array(wanted[low:first], pa.int64())
                )
                parts.append(_with_rows(found))
            at += size
    return opened(log, pa.concat_tables(parts), columns) if parts else changes(log, 0, 0, columns)


def chain(log: ChangeLog, last: int, columns: Sequence[Column], *, until: int = 0) -> Any:
    """Return a change and those of its key before it, not further than `until`: the oldest first, as `changes` does.

    Of the blocks on the way, only those that hold one are decoded, once, and of these only the change itself is looked
    at: a record may have been changed in many blocks.
    """
    import pyarrow as pa  # 57 ms

    schema = change_schema(columns, table=log.table)
    by_schema: list[tuple[bytes | None, list[Any]]] = []
    offsets = []
    first = stop = 0  # of the block that was decoded last
    places: list[Place] = []  # where changes before it lie, the last of them first
    reach = 1  # how far back these are looked up: further each time
    at: int | None = last
    while at is not None:
        if not first <= at < stop:
            while places and places[0].start > at:
                del places[0]
            if not places:
                places = log.line.places(max(at + 1 - reach, 0), at + 1)[::-1]
                reach *= 8
            block = log.line.kept_at(places[0], at)
            if block is None:
                raise TableFoldError(f"change {at} of {log.table.name} is not held")
            text = log.line.schema_bytes(block.schema)
            batch = read_batch(block.data, text)
            first, stop = at - block.found.start, at - block.found.start + block.size
        if not by_schema or by_schema[-1][0] != text:
            by_schema.append((text, []))
        change = batch.slice(at - first, 1)
        by_schema[-1][1].append(change)
        offsets.append(at)
        at = change["_prev"][0].as_py() if at > until else None
    parts = [
        conformed(laid_out(log, pa.Table.from_batches(found[::-1]).combine_chunks(), text), schema)
        for text, found in reversed(by_schema)
    ]
    table = pa.concat_tables(parts).add_column(0, OFFSET, pa.array(offsets[::-1], pa.int64()))
    return opened(log, _with_rows(table), columns)


def people(log: ChangeLog, start: int, stop: int) -> Iterator[tuple[int, str]]:
    """Yield the changes [start, stop) that hold sealed values: the offset, and the pseudonym of whom it is about."""
    at = start
    for block in log.line.kept(start, stop):
        batch = read_batch(block.data, log.line.schema_bytes(block.schema))
        batch = batch.slice(block.found.start, len(block.found))
        if OF in batch.schema.names:
            found = enumerate(batch.column(OF).to_pylist(), at)
            yield from ((offset, subject) for offset, subject in found if subject is not None)
        at += len(block.found)


def change_schema(columns: Sequence[Column], *, table: Table, bare: bool = False) -> Any:
    """Return the schema of changes, as they are read, before personal values are opened."""
    import pyarrow as pa  # 57 ms

    least = [("_op", pa.int8()), (ROW, pa.int64()), ("_prev", pa.int64())]
    own = [(str(column.id), named_type(column.type)) for column in columns]
    if any(table.hides(column.id) for column in columns):
        layout = pa.dictionary(pa.int32(), pa.string())
        own += [(SEALED, pa.binary()), (KEY, pa.string()), (OF, pa.string()), (_LAYOUT, layout)]
    if bare:
        return pa.schema([*least, *own])
    return pa.schema(
        [
            *least,
            ("_changed", pa.list_(pa.int32())),
            ("_valid_from", pa.timestamp("us", "UTC")),
            ("_at", pa.timestamp("us", "UTC")),
            *((name, pa.string()) for name in ("_who", "_why", "_how", "_tx")),
            *own,
        ]
    )


def conformed(table: Any, schema: Any) -> Any:
    """Return a table with the columns of `schema`, cast to its types; those that it lacks are null.

    A value that the type of a column which was given another one cannot hold is null: the older version has it.
    """
    import pyarrow as pa  # 57 ms

    found = []
    places = {name: place for place, name in enumerate(table.schema.names)}  # Arrow looks through all names each time
    for field in schema:
        place = places.get(field.name)
        if place is None:
            found.append(pa.chunked_array([pa.nulls(table.num_rows, field.type)], field.type))
        elif table.field(place).type == field.type:
            found.append(table.column(place))
        else:
            found.append(cast_or_null(table.column(place), field.type))
    return pa.table(found, schema=schema)


def cast_or_null(column: Any, kind: Any) -> Any:
    """Return a column in another type; null where a value has no equal there."""
    import pyarrow as pa  # 57 ms

    try:
        return column.cast(kind)
    except (pa.ArrowException, ValueError):
        pass
    values = []
    for value in column.to_pylist():
        try:
            values.append(pa.scalar(value).cast(kind).as_py())
        except (pa.ArrowException, ValueError):
            values.append(None)
    return pa.chunked_array([pa.array(values, kind)], kind)


def _with_rows(table: Any) -> Any:
    """Return changes with the identity of the record of each; a create has it in its offset."""
    import pyarrow.compute as pc  # 57 ms, with pyarrow

    at = table.schema.get_field_index(ROW)
    if table[ROW].null_count == 0:
        return table
    return table.set_column(at, ROW, pc.coalesce(table[ROW], table[OFFSET]))


def alive(log: ChangeLog, stop: int, columns: Sequence[Column]) -> Any:
    """Return the records after the first `stop` changes, in the order in which they were created.

    The Arrow table has what `changes` has where it is bare, of the last change of each.

    Raises:
        TableFoldError: Two of them have the same key, which stands among the columns; it names them.
    """
    found = opened(log, _alive(log, stop, columns), columns)
    keys = [column for column in columns if column.id in log.table.key]
    if len(keys) == len(log.table.key):
        _refuse_twins(log, found, keys)
    return found


def _alive(log: ChangeLog, stop: int, columns: Sequence[Column]) -> Any:
    """Return what `alive` does, with personal values sealed."""
    before, start = _snapshot(log, stop, columns)
    found = changes(log, start, stop, columns, bare=True, sealed=True)
    if before is not None:
        import pyarrow as pa  # 57 ms

        found = pa.concat_tables([before, found])
    return folded(found)


def _do_rise(values: Any) -> bool:
    """Say whether these are integers, each greater than the one before it: as most keys are, and it is seen at once."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    is_one = isinstance(values, pa.Array) and len(values) > 1 and pa.types.is_integer(values.type)
    return is_one and bool(pc.all(pc.less(values[:-1], values[1:])).as_py())


def _refuse_twins(log: ChangeLog, found: Any, keys: Sequence[Column]) -> None:
    """Refuse records that are there at once under one key. Raises as `alive` does."""
    import pyarrow.compute as pc  # 57 ms, with pyarrow

    names = [str(column.id) for column in keys]
    if len(names) == 1 and _do_rise(found[names[0]].combine_chunks()):
        return
    codes = codes_of(found, log.table)
    if pc.count_distinct(codes).as_py() == len(codes):
        return
    counts = pc.value_counts(codes)
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[:_SHOWN]
    twins = found.filter(pc.is_in(codes, value_set=twice)).select([OFFSET, *names]).to_pylist()
    shown: dict[str, list[str]] = {}
    for twin in twins:
        shown.setdefault("/".join(str(twin[name]) for name in names), []).append(str(twin[OFFSET]))
    said = "; ".join(f"{key} in the changes {' and '.join(offsets)}" for key, offsets in shown.items())
    raise TableFoldError(f"{log.table.name} has several living records under one key: {said}"[:1000])


def codes_of(found: Any, table: Table) -> Any:
    """Return `key_codes` of changes: of those whose key is out of reach, one for each record."""
    import pyarrow.compute as pc  # 57 ms, with pyarrow

    names = [str(column) for column in table.key]
    if not found[names[0]].null_count:
        return key_codes(found, names)
    row = pc.if_else(found[names[0]].is_null(), found[ROW], -1)
    return key_codes(found.append_column("_without", row), [*names, "_without"])


def key_codes(table: Any, names: Sequence[str]) -> Any:
    """Return one integer for each row, the same where all of these columns are; nulls are equal to each other."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    def coded(values: Any) -> tuple[Any, int]:
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if pa.types.is_floating(values.type):
            values = values.view({16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[values.type.bit_width])
        if pa.types.is_nested(values.type) or pa.types.is_null(values.type):
            values = pa.array(cells(values), pa.string())
        encoded = pc.dictionary_encode(values, null_encoding="encode")
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        return encoded.indices.cast(pa.int64()), max(len(encoded.dictionary), 1)

    codes, _ = coded(table[names[0]])
    for name in names[1:]:
        more, size = coded(table[name])
        codes, _ = coded(pc.add(pc.multiply(codes, size), more))
    return codes


def snapshot_before(log: ChangeLog, stop: int) -> tuple[int, int, list[Digest]]:
    """Return (offset, records, parts) of the last snapshot at or before `stop`; (0, 0, []): there is none."""
    db = log.line.workspace.views.database()
    branches = [(log.branch, stop), (MAIN, min(stop, log.line.base))] if log.branch != MAIN else [(MAIN, stop)]
    for branch, until in branches:
        found = queries.snapshot(db, log.table.stream, branch, until)
        # Of a line that began elsewhere, as branches of two owners do, the changes are others.
        if found is not None and root_at(db, log, found[0]) == found[1]:
            return found[0], found[2], found[3]
    return 0, 0, []


def _snapshot(log: ChangeLog, stop: int, columns: Sequence[Column]) -> tuple[Any, int]:
    """Return the records of the last snapshot at or before `stop`, as `changes` has them, and its offset."""
    import pyarrow as pa  # 57 ms

    start, _, parts = snapshot_before(log, stop)
    if not parts:
        return None, 0
    schema = change_schema(columns, bare=True, table=log.table).insert(0, pa.field(OFFSET, pa.int64()))
    tables = []
    for part in parts:
        with pa.ipc.open_stream(log.line.workspace.objects.get(part)) as reader:
            tables.append(conformed(reader.read_all(), schema))
    return pa.concat_tables(tables), start


def snapshot_parts(log: ChangeLog, stop: int, columns: Sequence[Column]) -> tuple[int, Iterator[bytes]]:
    """Return how many records there are after `stop` changes, and they, as the objects of a snapshot."""
    import pyarrow as pa  # 57 ms

    found = _alive(log, stop, columns)

    def parts() -> Iterator[bytes]:
        for first in range(0, found.num_rows, _PART_RECORDS):
            sink = pa.BufferOutputStream()
            piece = found.slice(first, _PART_RECORDS).combine_chunks()
            with pa.ipc.new_stream(sink, piece.schema) as writer:
                writer.write_table(piece)
            yield sink.getvalue().to_pybytes()

    return found.num_rows, parts()


def folded(found: Any) -> Any:
    """Return, of changes, the last of each record that is not deleted, in the order of the records."""
    import pyarrow.compute as pc  # 57 ms, with pyarrow

    previous = found["_prev"].drop_null().combine_chunks()
    dead = None
    if len(previous):
        dead = pc.is_in(found[OFFSET], value_set=previous)
    deletes = pc.equal(found["_op"], DELETE)
    if pc.any(deletes).as_py():
        dead = deletes if dead is None else pc.or_(dead, deletes)
    if dead is not None:
        found = found.filter(pc.invert(dead))
    found = found.combine_chunks()
    rows = found[ROW].combine_chunks()
    if len(rows) > 1 and not pc.all(pc.less(rows[:-1], rows[1:])).as_py():
        found = found.take(pc.sort_indices(rows))
    return found
