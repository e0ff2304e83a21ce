"""Which rows two versions of a table in files differ in: by its change data feed, or by the files that changed.

What is read here are copies of pinned files in a folder of their own, laid out as the table is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote

from retrodict.kernel.errors import MissingExtraError

_KINDS: Final[Mapping[str, str]] = {
    "insert": "added",
    "delete": "removed",
    "update_preimage": "before",
    "update_postimage": "after",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeRow:
    """A row that was changed.

    Attributes:
        change: "added", "removed"; of an update, as the feed has it, "before" and "after".
        number: The table's version that changed it; None: it is not told.
        values: As text, by column; None: null.
    """

    change: str
    number: str | None
    values: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeRows:
    """Which rows changed.

    Attributes:
        by: "feed": each change that was made in between; "files": what differs in the end.
        updated: None where updates are told as a row removed and one added.
        rows: The first of them.
    """

    by: Literal["feed", "files"]
    added: int
    removed: int
    updated: int | None
    rows: tuple[LakeRow, ...]


def by_feed(folder: Path, before: int, after: int, *, limit: int | None) -> LakeRows:
    """Return what the feed tells of the versions after `before`, up to `after`.

    Raises:
        MissingExtraError: The extra `lakes` is not installed.
        ValueError: The table cannot be read so.
    """
    deltalake = _deltalake()
    import pyarrow as pa  # 57 ms

    with plain_errors(deltalake.exceptions.DeltaError):
        table = deltalake.DeltaTable(str(folder), version=after)
        reader = table.load_cdf(starting_version=before + 1, ending_version=after)
        found = pa.table(reader)
    counts = {str(one["values"]): int(one["counts"]) for one in found["_change_type"].value_counts().to_pylist()}
    order = sorted(range(found.num_rows), key=found["_commit_version"].to_pylist().__getitem__)
    rows = [
        LakeRow(
            change=_KINDS.get(row.pop("_change_type"), "changed"),
            number=str(row.pop("_commit_version")),
            values={name: _text(value) for name, value in row.items() if name != "_commit_timestamp"},
        )
        for place in order[:limit]
        for row in found.slice(place, 1).to_pylist()
    ]
    return LakeRows(
        by="feed",
        added=counts.get("insert", 0),
        removed=counts.get("delete", 0),
        updated=counts.get("update_postimage", 0),
        rows=tuple(rows),
    )


def by_files(
    folder: Path, before: tuple[int, AbstractSet[str]], after: tuple[int, AbstractSet[str]], *, limit: int | None
) -> LakeRows:
    """Return which rows are in one version and not in the other, each as often as it is.

    Args:
        before, after: A version, and the files that only it has; others are not read, and need not lie there.

    Raises:
        MissingExtraError: The extra `lakes` is not installed.
        ValueError: The table cannot be read so: it has deletion vectors, or its columns are other ones now.
    """
    deltalake = _deltalake()
    with plain_errors(deltalake.exceptions.DeltaError):
        old, new = (_only(deltalake.DeltaTable(str(folder), version=number), own) for number, own in (before, after))
    return differing(old, new, limit=limit)


def differing(before: Any, after: Any, *, limit: int | None) -> LakeRows:
    """Return which rows are in one Arrow table and not in the other, each as often as it is.

    Raises:
        MissingExtraError: The extra `lakes` is not installed.
        ValueError: Their columns are other ones.
    """
    try:
        import duckdb  # an extra
    except ImportError as error:
        raise MissingExtraError("comparing the rows of tables", "lakes") from error
    with plain_errors(duckdb.Error), duckdb.connect() as database:
        database.register("before_rows", before)
        database.register("after_rows", after)
        counts, rows = [], list[LakeRow]()
        for change, one, other in (("removed", "before", "after"), ("added", "after", "before")):
            query = f"SELECT * FROM {one}_rows EXCEPT ALL SELECT * FROM {other}_rows"  # noqa: S608 - names of ours
            database.execute(f"CREATE TEMP TABLE {change} AS {query}")
            counts.append(int((database.execute(f"SELECT count(*) FROM {change}").fetchone() or (0,))[0]))  # noqa: S608
            shown = "" if limit is None else f" LIMIT {limit - len(rows)}"
            cursor = database.execute(f"SELECT * FROM {change} ORDER BY ALL{shown}")  # noqa: S608
            names = [column[0] for column in cursor.description or ()]
            rows += [
                LakeRow(
                    change=change,
                    number=None,
                    values={name: _text(value) for name, value in zip(names, row, strict=True)},
                )
                for row in cursor.fetchall()
            ]
    return LakeRows(by="files", added=counts[1], removed=counts[0], updated=None, rows=tuple(rows))


def _only(table: Any, names: AbstractSet[str]) -> Any:
    """Return some files of a table's version, as a table."""
    from pyarrow.dataset import FileSystemDataset  # 57 ms

    whole = table.to_pyarrow_dataset()
    parts = [part for part in whole.get_fragments() if part.path in names or unquote(part.path) in names]
    if len(parts) != len(names):
        raise ValueError(f"{len(parts)} of {len(names)} files that changed are found in the table")
    return FileSystemDataset(parts, whole.schema, whole.format, whole.filesystem).to_table()


def _deltalake() -> Any:
    try:
        import deltalake  # an extra, 200 ms
    except ImportError as error:
        raise MissingExtraError("comparing the rows of a Delta table", "lakes") from error
    return deltalake


@contextlib.contextmanager
def plain_errors(*theirs: type[Exception]) -> Iterator[None]:
    """Turn what the libraries raise into `ValueError`."""
    import pyarrow as pa  # 57 ms

    try:
        yield
    except (*theirs, pa.ArrowException, OSError, NotImplementedError) as error:
        raise ValueError((str(error).splitlines() or [type(error).__name__])[0]) from error


def _text(value: object) -> str | None:
    return None if value is None else str(value)
