"""Apache Iceberg: which files each snapshot of a table consists of, as `pyiceberg` reads its metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlsplit

from retrodict.kernel.errors import MissingExtraError
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
