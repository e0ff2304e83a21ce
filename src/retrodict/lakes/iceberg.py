"""Apache Iceberg: which files each snapshot of a table consists of, as `pyiceberg` reads its metadata."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from retrodict.kernel.errors import MissingExtraError
from retrodict.lakes.rows import LakeRows, differing, plain_errors
from retrodict.lakes.states import TableState, Wanted
from retrodict.lakes.store import LakeError, Store

_METADATA: Final = re.compile(r"metadata/(?:v(\d+)|(\d+)-[^/]*)(?:\.gz)?\.metadata\.json(?:\.gz)?\Z")


def is_iceberg(store: Store) -> bool:
    """Say whether an Iceberg table lies in a folder."""
    return any(_METADATA.match(one.name) for one in store.list("metadata"))


def states(store: Store, is_wanted: Wanted) -> Iterator[TableState]:
    """Yield those of the snapshots that lead to the current one that are wanted, oldest first, and the current one.

    Raises:
        MissingExtraError: The extra `lakes` is not installed.
        LakeError: Its metadata cannot be read, or name files outside the table.
    """
    try:
        from pyiceberg.io import FileIO  # an extra; 300 ms
        from pyiceberg.serializers import FromInputFile
    except ImportError as error:
        raise MissingExtraError("an Iceberg table", "lakes") from error
    found = [
        (int(m[1] or m[2]), one.modified, one.name)
        for one in store.list("metadata")
        if (m := _METADATA.match(one.name))
    ]
    newest = max(found)[2]

    class Files(FileIO):  # type: ignore[misc,unused-ignore]
        """What pyiceberg reads by its own addresses, read from where the table lies now."""

        def new_input(self, location: str) -> Any:
            return _Input(store, location, _below(store, location, base))

        def new_output(self, location: str) -> Any:
            raise NotImplementedError(location)

        def delete(self, location: Any) -> None:
            raise NotImplementedError(location)

    base = ""
    try:
        metadata = FromInputFile.table_metadata(_Input(store, newest, newest))
        base = metadata.location.rstrip("/")
        by_id = {one.snapshot_id: one for one in metadata.snapshots}
        chain, at = list[Any](), by_id.get(metadata.current_snapshot_id)
        while at is not None:
            chain.append(at)
            at = by_id.get(at.parent_snapshot_id)
        schemas = {schema.schema_id: schema for schema in metadata.schemas}
        files = Files()
        for snapshot in reversed(chain):
            if snapshot is not chain[0] and not is_wanted(
                str(metadata.table_uuid), str(snapshot.snapshot_id), _moment(snapshot.timestamp_ms)
            ):
                continue
            names = {newest, _below(store, snapshot.manifest_list, base)}
            for manifest in snapshot.manifests(files):
                names.add(_below(store, manifest.manifest_path, base))
                for entry in manifest.fetch_manifest_entry(files, discard_deleted=True):
                    names.add(_below(store, entry.data_file.file_path, base))
            yield _state(
                str(metadata.table_uuid), snapshot, schemas.get(snapshot.schema_id, metadata.schema()), frozenset(names)
            )
    except FileNotFoundError as error:
        raise LakeError(store.url, f"{error} is not there") from error
    except (ValueError, KeyError, EOFError) as error:
        raise LakeError(store.url, (str(error).splitlines() or [type(error).__name__])[0]) from error


def by_snapshots(
    folder: Path,
    before: tuple[str, str],
    after: tuple[str, str],
    *,
    lay: Callable[[AbstractSet[str]], None],
    limit: int | None,
) -> LakeRows:
    """Return which rows differ between two snapshots, under the columns of the second, by the files that changed.

    Args:
        folder: Where the metadata lie, laid out as the table is.
        before, after: The file of metadata that tells of a snapshot, and the snapshot's id.
        lay: Puts more files into the folder, by their names below the table.

    Raises:
        MissingExtraError: The extra `lakes` is not installed.
        LakeError, ValueError: The table cannot be read so: it has equality deletes, say.
    """
    try:
        from pyiceberg.expressions import AlwaysTrue  # an extra; 300 ms
        from pyiceberg.io.pyarrow import ArrowScan, PyArrowFileIO
        from pyiceberg.serializers import FromInputFile
        from pyiceberg.table import DataScan
    except ImportError as error:
        raise MissingExtraError("comparing the rows of an Iceberg table", "lakes") from error
    store = Store(str(folder), {})

    class Copy(PyArrowFileIO):  # type: ignore[misc,unused-ignore]
        """What pyiceberg reads by the table's addresses, read from the folder."""

        def new_input(self, location: str) -> Any:
            return super().new_input(str(folder / _below(store, location, base)))

    with plain_errors(KeyError):
        scans = []
        for name, snapshot in (before, after):
            metadata = FromInputFile.table_metadata(_Input(store, name, name))
            base = metadata.location.rstrip("/")
            scan = DataScan(metadata, Copy(), snapshot_id=int(snapshot))
            scans.append((scan, {_task(task): task for task in scan.plan_files()}))
        (old, of_old), (new, of_new) = scans
        changed = [
            [task for key, task in one.items() if key not in other]
            for one, other in ((of_old, of_new), (of_new, of_old))
        ]
        lay({_below(store, place, base) for tasks in changed for task in tasks for place in _places(task)})
        schema = new.projection()
        before_rows, after_rows = (
            ArrowScan(scan.table_metadata, scan.io, schema, AlwaysTrue()).to_table(tasks)
            for scan, tasks in zip((old, new), changed, strict=True)
        )
    return differing(before_rows, after_rows, limit=limit)


def is_metadata(name: str) -> bool:
    """Say whether a file, by its name below the table, is one that describes a table and its snapshots."""
    return _METADATA.match(name) is not None


def _task(task: Any) -> tuple[str, frozenset[tuple[str, object]]]:
    """Return what a part of a snapshot is read from: a file of rows, and what is deleted in it."""
    deletes = ((one.file_path, getattr(one, "content_offset", None)) for one in task.delete_files)
    return task.file.file_path, frozenset(deletes)


def _places(task: Any) -> Iterator[str]:
    yield task.file.file_path
    for one in task.delete_files:
        yield one.file_path


class _Input:
    """A file, as pyiceberg opens one."""

    def __init__(self, store: Store, location: str, name: str) -> None:
        self._store, self.location, self._name = store, location, name

    def open(self, seekable: bool = True) -> BytesIO:
        del seekable
        return BytesIO(b"".join(self._store.read(self._name)))

    def exists(self) -> bool:
        return self._store.look(self._name) is not None

    def __len__(self) -> int:
        found = self._store.look(self._name)
        return 0 if found is None else found.size_bytes


def _below(store: Store, location: str, base: str) -> str:
    """Return where a file lies below the table, of its address in the metadata."""
    for start in (base, store.url.rstrip("/")):
        plain, place = (
            one.removeprefix("file://") if urlsplit(one).scheme == "file" else one for one in (start, location)
        )
        if place.startswith(f"{plain}/"):
            return place[len(plain) + 1 :]
    raise LakeError(store.url, f"it refers to a file outside it: {location}")


def _state(table_id: str, snapshot: Any, schema: Any, names: frozenset[str]) -> TableState:
    said = {} if snapshot.summary is None else dict(snapshot.summary.additional_properties)
    operation = None if snapshot.summary is None else snapshot.summary.operation.value
    rows = said.get("total-records")
    is_counted = (
        rows is not None and said.get("total-position-deletes", "0") == said.get("total-equality-deletes", "0") == "0"
    )
    return TableState(
        table_id=table_id,
        number=str(snapshot.snapshot_id),
        at=_moment(snapshot.timestamp_ms),
        operation=operation,
        commit=said,
        rows=int(rows) if is_counted and rows is not None else None,
        columns={field.name: str(field.field_type) for field in schema.fields},
        files=names,
        has_feed=False,
    )


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
