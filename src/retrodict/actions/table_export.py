"""`table export`: a version as a Delta table, a DuckDB database or a Parquet file, which say what they are made of."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retrodict.actions import table_files
from retrodict.actions.table_read import table_of
from retrodict.actions.tabling import TableVersion, version_of
from retrodict.kernel.durable import is_special, sync_folder
from retrodict.kernel.errors import MissingExtraError, UsageError
from retrodict.kernel.types import Digest
from retrodict.tables import lines
from retrodict.workspace import Workspace

Form = Literal["delta", "duckdb", "parquet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableExported:
    """A version that was written for other programs.

    Attributes:
        reference: `NAME@v3`; `digest` is of its changes.
        files: Paths and objects of what was written.
        index: The entry that records where the bytes come from.
        marks: What the file itself says of where it comes from.
    """

    reference: str
    digest: str
    form: Form
    path: str
    count: int
    files: tuple[tuple[str, Digest], ...]
    index: int
    marks: Mapping[str, str]


def export(
    workspace: Workspace,
    reference: str,
    form: Form,
    path: Path,
    *,
    branch: str | None = None,
    true_at: str | None = None,
    overwrite: bool = False,
    reason: str | None = None,
) -> TableExported:
    """Write a version for other programs, whole or not at all, and record where its bytes come from.

    Args:
        path: The file; of a Delta table the folder.
        true_at: What was true at that time, rather than what was known last.
        overwrite: Put it in the place of what is there. A Delta table is not continued but replaced: its earlier
            versions would keep values that were erased since. A folder must be such an export.

    Raises:
        UsageError: There is something at `path`, or it cannot be written, or a column has a type that `form` has not.
        MissingExtraError: What writes it is not installed.
    """
    found = version_of(workspace, reference, branch)
    _refuse_what_is_there(path, form, overwrite=overwrite)
    made = table_of(found, true_at=true_at)
    _refuse_names(made.schema.names, form)
    marks = _marks(workspace, found, true_at)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        match form:
            case "delta":
                _write_delta(made, found.table.name, marks, temporary)
            case "duckdb":
                _write_duckdb(made, found.table.name, marks, temporary)
            case "parquet":
                _write_parquet(made, marks, temporary)
        files = {}
        for written in _files(temporary):
            with written.open("rb+") as file:
                os.fsync(file.fileno())
            files[path / written.relative_to(temporary)] = table_files.keep(workspace, found, written)
        if temporary.is_dir():
            for folder, _, _ in os.walk(temporary):
                sync_folder(Path(folder))
            _put_folder(temporary, path)
        else:
            temporary.replace(path)
        sync_folder(path.absolute().parent)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            temporary.unlink()
    index = table_files.note_written(workspace, found, files, reason)
    return TableExported(
        reference=found.reference,
        digest=marks["retrodict.digest"],
        form=form,
        path=str(path),
        count=made.num_rows,
        files=tuple((str(where), content) for where, (content, _) in files.items()),
        index=index,
        marks=marks,
    )


def _marks(workspace: Workspace, found: TableVersion, true_at: str | None) -> dict[str, str]:
    root = lines.root_at(workspace.views.database(), found.log, found.stop)
    marks = {
        "retrodict.table": found.table.name,
        "retrodict.version": found.reference,
        "retrodict.changes": str(found.stop),
        "retrodict.digest": f"sha256:{root}",
        "retrodict.log": workspace.ledger.origin,
    }
    if found.log.branch:
        marks["retrodict.branch"] = found.log.branch
    return marks if true_at is None else {**marks, "retrodict.true-at": true_at}


def _refuse_what_is_there(path: Path, form: Form, *, overwrite: bool) -> None:
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise UsageError(f"{path} is there already", hint="Give --overwrite to put the export in its place.")
    if form == "delta":
        log = sorted((path / "_delta_log").glob("*.json")) if path.is_dir() and not path.is_symlink() else []
        # What others have added to it since would be lost.
        if len(log) != 1 or "retrodict.digest" not in log[0].read_text(errors="replace"):
            raise UsageError(f"{path} is not a Delta table as an export left it", hint="Name another place.")
    elif is_special(path) or not path.is_file():
        raise UsageError(f"{path} is no file", hint="Name another place.")


def _refuse_names(names: Sequence[str], form: Form) -> None:
    """Refuse what Delta forbids, and what DuckDB would give another name."""
    small = [name.lower() for name in names]
    twice = next((name for name in names if small.count(name.lower()) > 1), None)
    if twice is not None and form != "parquet":
        raise UsageError(
            f"{form} does not tell capitals from small letters in names of columns, and {twice} differs in these alone",
            hint="Export it as parquet.",
        )


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(item for item in path.rglob("*") if item.is_file())
    else:
        yield path


def _put_folder(temporary: Path, path: Path) -> None:
    """Put a folder in the place of one that may be there: a folder that is not empty cannot be renamed over."""
    old = temporary.with_suffix(".old")
    with contextlib.suppress(FileNotFoundError):
        path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_parquet(made: Any, marks: Mapping[str, str], path: Path) -> None:
    from pyarrow import parquet  # 57 ms

    parquet.write_table(made.replace_schema_metadata(marks), path)


def _write_duckdb(made: Any, name: str, marks: Mapping[str, str], path: Path) -> None:
    try:
        import duckdb  # of an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("writing a DuckDB database", "sql") from error
    quoted = '"' + name.replace('"', '""') + '"'
    said = json.dumps(marks, sort_keys=True).replace("'", "''")
    try:
        with duckdb.connect(str(path)) as database:
            database.register("_retrodict_records", made)
            database.execute(f"CREATE TABLE {quoted} AS SELECT * FROM _retrodict_records")  # noqa: S608 - quoted
            database.execute(f"COMMENT ON TABLE {quoted} IS '{said}'")
    except duckdb.Error as error:
        raise UsageError(f"DuckDB cannot hold it: {' '.join(str(error).split())[:500]}") from error


def _write_delta(made: Any, name: str, marks: Mapping[str, str], path: Path) -> None:
    try:
        from deltalake import CommitProperties, write_deltalake  # of an extra
        from deltalake.exceptions import DeltaError
    except ModuleNotFoundError as error:
        raise MissingExtraError("writing a Delta table", "delta") from error
    import pyarrow as pa  # 57 ms

    fields = [pa.field(field.name, _delta_type(field.type, field.name)) for field in made.schema]
    try:
        write_deltalake(
            str(path),
            made.cast(pa.schema(fields)),
            name=name,
            description=marks["retrodict.version"],
            commit_properties=CommitProperties(custom_metadata=dict(marks)),
        )
    except (DeltaError, ValueError) as error:
        raise UsageError(f"Delta cannot hold it: {' '.join(str(error).split())[:500]}") from error


def _delta_type(kind: Any, column: str) -> Any:
    """Return the type that holds every value of another one and that Delta has.

    Raises:
        UsageError: There is none.
    """
    import pyarrow as pa  # 57 ms
    import pyarrow.types as known

    wider = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.decimal128(20)}
    if kind in wider:
        return wider[kind]
    if known.is_date(kind):
        return pa.date32()
    if known.is_timestamp(kind) and kind.unit != "ns":
        return pa.timestamp("us", kind.tz)
    if known.is_list(kind) or known.is_large_list(kind):
        return pa.list_(_delta_type(kind.value_type, column))
    if known.is_struct(kind):
        return pa.struct([pa.field(field.name, _delta_type(field.type, column)) for field in kind])
    same = (
        known.is_signed_integer,
        known.is_float32,
        known.is_float64,
        known.is_boolean,
        known.is_string,
        known.is_large_string,
        known.is_binary,
        known.is_large_binary,
        known.is_decimal128,
    )
    if any(is_one(kind) for is_one in same):
        return kind
    raise UsageError(f"column {column} is {kind}, which Delta has not", hint="Export it as parquet or duckdb.")
