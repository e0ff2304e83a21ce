"""`table create`, `put`, `update`, `delete`, `import`: what changes a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retrodict import exposure
from retrodict.actions.tabling import key_values, table_named, version_on
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Edge, EventId
from retrodict.streams import type_name
from retrodict.tables import checks, creating, difference, files, folding, lines, records
from retrodict.tables.changes import Change, ChangeSet, How
from retrodict.tables.errors import BadKeyError, TablePolicyError, values_unshown
from retrodict.tables.records import Column, Table
from retrodict.workspace import Workspace

_NAME = re.compile(r"[^@:#\s]+\Z")
_FEW = 10_000  # records that are looked up one by one rather than by reading the table


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCreated:
    """A new table.

    Attributes:
        columns: Names and types, as people write them.
        first: Its first version, where it was given records.
    """

    reference: str
    name: str
    key: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    event: EventId
    index: int
    first: ChangeSet | None


def create(
    workspace: Workspace,
    name: str,
    key: Sequence[str],
    *,
    source: Path | Any = None,
    types: Mapping[str, str] | None = None,
    policy: records.Policy | None = None,
    valid_from: str | None = None,
    subject: str | None = None,
    personal: Sequence[str] = (),
    how: How | None = None,
) -> TableCreated:
    """Create a table, with the records of a file or of values where there are any.

    Args:
        key: The columns whose values name a record.
        source: A file (CSV, JSON Lines, Parquet, Arrow), an Arrow table, a frame, or mappings.
        types: Of columns, as people write them: of those that `source` lacks too.
        valid_from: The column that says since when a record is true in the world.
        subject: The column that says whom a record is about; `personal` its other personal columns; none: all are.
        how: What makes it.

    Raises:
        UsageError: There is a table or a stream of this name.
        BadCellError, BadKeyError: What is given cannot be its columns, key or records.
        PersonalFileError: `source` is a personal file, and the table about nobody.
        ExposedError: Likewise, and it is values, or only names of columns: this run has read personal values.
    """
    if not _NAME.fullmatch(name) or not name.isprintable() or name.startswith("-"):
        raise UsageError(
            f"{name!r} cannot be a table's name", hint="Use printable characters without spaces, @, # and colons."
        )
    if not isinstance(source, Path) and subject is None:
        exposure.refuse(workspace, f"the table {name}")
    how = how or How(verb="create")
    given = {column: files.type_named(text) for column, text in (types or {}).items()}
    with values_unshown(subject is not None):
        rows, uses, called = _rows(workspace, source, given, is_personal=subject is not None)
    columns = [] if rows is None else [(field.name, type_name(field.type)) for field in rows.schema]
    if rows is None:
        asked = dict.fromkeys([*key, *([] if subject is None else [subject])])
        columns += [(column, "string") for column in asked if column not in given]
    known = dict(columns)
    columns += [(column, kind) for column, kind in given.items() if column not in known]
    if rows is not None:
        if policy is not None and policy.reason and rows.num_rows and not (how.reason or "").strip():
            raise TablePolicyError(f"{name} is to take no change without a reason", hint="Give --why.")
        with values_unshown(subject is not None):
            _check_key(rows, columns, key, called)
    table = creating.create(
        workspace,
        name,
        key,
        columns,
        policy=policy,
        valid_from=valid_from,
        subject=subject,
        named=personal or None,
        reason=how.reason,
        goes_on=rows is not None,
    )
    first = None
    if rows is not None and rows.num_rows:
        first = difference.bring_to(workspace, table, rows, _using(how, uses), called=called)
    return TableCreated(
        reference=f"table:{name}",
        name=name,
        key=tuple(key),
        columns=tuple((column, files.type_text(kind)) for column, kind in columns),
        event=table.event,
        index=table.index,
        first=first,
    )


def _check_key(rows: Any, columns: Sequence[tuple[str, object]], key: Sequence[str], called: str) -> None:
    """Refuse what could not be the first records before the table is there."""
    listed = [Column(id=i, name=column, type=kind) for i, (column, kind) in enumerate(columns, 1)]
    checks.check_columns(listed)
    ids = {column.name: column.id for column in listed if column.name in rows.schema.names}
    lacking = [column for column in key if column not in ids]
    if lacking or not key:
        raise BadKeyError(
            f"{called} has no column {', '.join(map(repr, lacking))} to be the key; it has {', '.join(ids)}"
        )
    checks.check_rows(rows, listed, [ids[column] for column in key], called)


def _rows(
    workspace: Workspace, source: Any, given: Mapping[str, object], *, is_personal: bool
) -> tuple[Any, list[Edge], str]:
    """Return records as an Arrow table with types, where they come from, and what to call them."""
    if source is None:
        return None, [], ""
    if isinstance(source, Path):
        called = source.name
        found, uses = _read(workspace, source, is_personal=is_personal)
    else:
        found, called, uses = files.from_values(source), "what was given", []
    files.names_once(found.schema.names, called)
    unknown = [name for name in given if name not in found.schema.names]
    typed = files.cast_columns(found, {name: kind for name, kind in given.items() if name not in unknown}, called)
    rest = [name for name in typed.schema.names if name not in given]
    made = files.typed(typed.select(rest))
    for name in rest:
        typed = typed.set_column(typed.schema.get_field_index(name), name, made[name])
    return typed, uses, called


def put(
    workspace: Workspace,
    name: str,
    records_: Any,
    *,
    how: How,
    if_version: str | None = None,
) -> ChangeSet:
    """Put whole records into a table: those whose key is there take the place of what was, the others are created.

    Args:
        records_: A mapping, mappings, a file, an Arrow table or a frame; columns that it lacks are null.
        if_version: Refuse to change what was changed since this version.

    Raises:
        As `folding.append` does.
    """
    table = table_named(workspace, name)
    if not isinstance(records_, Path):
        _refuse_exposed(workspace, table)
    how = _since(workspace, table, how, if_version)
    called = records_.name if isinstance(records_, Path) else "what was given"
    if isinstance(records_, Path):
        records_, uses = _read(workspace, records_, is_personal=table.personal is not None)
        how = _using(how, uses)
    elif isinstance(records_, Mapping):
        return folding.append(workspace, table, [Change(op="put", values=records_)], how)
    with values_unshown(table.personal is not None):
        found = files.from_values(records_)
    log = lines.own_log(workspace, table)
    columns = lines.columns_at(workspace.views.database(), log)
    if found.num_rows > _FEW or not found.num_rows:
        return difference.bring_to(workspace, table, found, how, keep_missing=True, called=called)
    with values_unshown(table.personal is not None):
        rows = checks.prepared_rows(found, columns, table, called)
    names = [column.name for column in columns]
    values = rows.rename_columns(names).to_pylist()
    return folding.append(workspace, table, [Change(op="put", values=row) for row in values], how)


def update(
    workspace: Workspace,
    name: str,
    key: str | Sequence[object] | Mapping[str, object],
    values: Mapping[str, object],
    *,
    how: How,
    if_version: str | None = None,
) -> ChangeSet:
    """Change some values of one record.

    Raises:
        NoSuchRecordError: There is none with this key.
        And as `folding.append` does.
    """
    table = table_named(workspace, name)
    _refuse_exposed(workspace, table)
    change = Change(op="update", key=_key(workspace, table, key), values=values)
    return folding.append(workspace, table, [change], _since(workspace, table, how, if_version))


def delete(
    workspace: Workspace,
    name: str,
    keys: Sequence[str | Sequence[object] | Mapping[str, object]],
    *,
    how: How,
    if_version: str | None = None,
) -> ChangeSet:
    """Delete records; what they were stays in the history. Raises as `update` does."""
    table = table_named(workspace, name)
    _refuse_exposed(workspace, table)
    made = [Change(op="delete", key=_key(workspace, table, key)) for key in keys]
    return folding.append(workspace, table, made, _since(workspace, table, how, if_version))


def import_(
    workspace: Workspace,
    name: str,
    source: Any,
    *,
    how: How,
    keep_missing: bool = False,
    if_version: str | None = None,
) -> ChangeSet:
    """Bring a table to what a file says: works out which records are new, changed and gone.

    Args:
        source: A file, an Arrow table, a frame, or mappings.
        keep_missing: Records that are not there stay.

    Raises:
        RecordConflictError: Another process changed one of them meanwhile.
        And as `folding.append` does.
    """
    table = table_named(workspace, name)
    how = _since(workspace, table, how, if_version)
    called = "what was given"
    if not isinstance(source, Path):
        _refuse_exposed(workspace, table)
    else:
        called = source.name
        source, uses = _read(workspace, source, is_personal=table.personal is not None)
        how = _using(how, uses)
    with values_unshown(table.personal is not None):
        found = files.from_values(source)
    return difference.bring_to(workspace, table, found, how, keep_missing=keep_missing, called=called)


def _refuse_exposed(workspace: Workspace, table: Table) -> None:
    """Raise `ExposedError` where a table is about nobody, and this run has read personal values."""
    if table.personal is None:
        exposure.refuse(workspace, f"the table {table.name}")


def _read(workspace: Workspace, path: Path, *, is_personal: bool) -> tuple[Any, list[Edge]]:
    """Return the records in a file, and the edge to it.

    Raises:
        PersonalFileError: They would be kept in the clear.
        ChangedFileError: It changed meanwhile.
    """
    from retrodict.actions.held_source import source_of  # 30 ms
    from retrodict.actions.personal_files import PersonalFiles

    if not is_personal:
        PersonalFiles(workspace).refuse(path)
    then = path.stat() if path.exists() else None
    found = files.read_file(path)
    return found, [] if then is None else source_of(workspace, path, then, is_personal=is_personal)


def _key(workspace: Workspace, table: Table, key: Any) -> dict[str, object]:
    log = lines.own_log(workspace, table)
    return key_values(table, lines.columns_at(workspace.views.database(), log), key)


def _since(workspace: Workspace, table: Table, how: How, if_version: str | None) -> How:
    if if_version is None:
        return how
    found = version_on(workspace, lines.own_log(workspace, table), if_version)
    return replace(how, since=found.stop)


def _using(how: How, uses: Sequence[Edge]) -> How:
    return replace(how, uses=(*how.uses, *uses))
