"""`attach` of a table: pin its versions and their files by digest, or all its rows as they are now.

A table in files (Delta Lake, Iceberg) has a log of its own: each version that it can still show becomes one here. A
table of a database has none that a reader could ask: each time that it is attached its rows are read in one snapshot.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from retrodict import datasets
from retrodict.actions import attaching
from retrodict.buckets import Listing, Pin, PinAlteredError, PinGoneError, changed_keys
from retrodict.databases import Readable, Whole
from retrodict.datasets import DatasetVersion
from retrodict.kernel.clock import parse_rfc3339, rfc3339
from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.lakes import Lake, TableState
from retrodict.streams.formats import named_type
from retrodict.workspace import Batch, Workspace

_SHOWN: Final = 100
_ROWS_AT_ONCE: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedState:
    """A version that was recorded.

    Attributes:
        number: What the table itself calls it; None: of a database.
        as_of: When it was committed, as the table's log says; of a database when it was read.
        how: "listed": it is what the table is now; "history": its log says that it was.
        operation, who: What made it, and whoever did, as far as the log says.
        rows: How many there are; None: the log does not say.
        digest: Over all rows, of a database.
        files, size_bytes: Of what is pinned.
        added, removed, changed: How many files differ from the version before.
        says: Of a database: what differs from the version before, in words.
    """

    reference: str
    version: int
    index: int
    content: Digest
    number: str | None
    as_of: str | None
    how: Literal["listed", "history"]
    operation: str | None
    who: str | None
    rows: int | None
    digest: str | None
    files: int
    size_bytes: int
    added: int
    removed: int
    changed: int
    says: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A version that the table's log tells of and that cannot be read any more, for lack of files."""

    number: str
    file: str
    lacking: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedTable:
    """A table, pinned.

    Attributes:
        reference: Of the version that pins what it is now.
        url: Its address, or its path; without what is secret.
        table: Its name in its database; None: it lies in files.
        format: "delta", "iceberg", "postgresql", "sqlite" or "duckdb".
        has_feed: Whether it keeps which rows each commit changed.
        is_kept: Whether its rows are held here, as Parquet.
        versions: Those that were recorded now, oldest first; none: nothing has changed.
        unreadable: Versions that were not, since files of theirs are gone.
        gone: Files that versions pin, which are not there any more nor held here: `REFERENCE/NAME`, at most a hundred.
        gone_files: How many there are.
        altered: Files that have other bytes now than those that versions pin.
    """

    reference: str
    name: str
    url: str
    table: str | None
    format: str
    has_feed: bool
    is_kept: bool
    versions: tuple[AttachedState, ...]
    unreadable: tuple[Unreadable, ...]
    gone: tuple[str, ...]
    gone_files: int
    altered: tuple[str, ...]


def attach_table(
    workspace: Workspace,
    what: str,
    *,
    name: str | None = None,
    table: str | None = None,
    key: Sequence[str] = (),
    keep: bool = False,
    folder: Path,
    environment: Mapping[str, str],
    since: str | None = None,
    history: bool = True,
    reason: str | None = None,
    progress: Progress | None = None,
) -> AttachedTable:
    """Pin a table, and what it was before as far as its log still shows that; again: what is new.

    Args:
        what: The folder of a Delta or Iceberg table, a file of SQLite or DuckDB, an address of a bucket or
            of PostgreSQL, or the name of what is attached.
        name: Of the dataset; default: the name of the table.
        table: Which one of a database.
        key: Columns that tell its rows apart; none: those of its primary key.
        keep: Keep a database's rows, too, as Parquet; once they are kept, they are the next time.
        folder: Where relative paths begin.
        environment: Where a bucket's credentials, region and end-point are looked for.
        since: No version is made of what was over before this instant (RFC 3339).
        history: False: only of what the table is now.
        reason: Why it is attached.
        progress: Told of versions.

    Raises:
        UsageError: There is no table; another one has the name.
        LakeError, DatabaseError, NotCapturableError, MissingExtraError: See there.
    """
    database = workspace.views.database()
    label = what.removeprefix("dataset:")
    heads = datasets.current(database, label)
    if name is None and heads and heads[-1].is_attached:
        address, endpoint = attaching.address(workspace, heads[-1].event)
        where = address if "://" in address else str(workspace.root / address)
        if heads[-1].type == "table":
            known = attaching.read(workspace, heads[-1]).listing
            said = known.table or {}
            table, key = str(said["table"]), key or [str(one) for one in cast("list[object]", said["key"])]
            keep = keep or bool(known.pins)
    else:
        where = what if "://" in what else str((folder / what).absolute())
        address, endpoint = _kept(workspace, where), None
        default = where.rstrip("/").rpartition("/")[2] if table is None else table
        label = name or default
        heads = datasets.current(database, label)
    datasets.check_name(label)
    opened = _Opened(label, where, address, endpoint, heads, reason)
    if table is not None:
        return _attach_rows(workspace, opened, table, key, keep=keep)
    return _attach_files(workspace, opened, environment, since=since, history=history, progress=progress)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is attached under which name: where it is, how that is kept, and the versions that are current."""

    label: str
    where: str
    address: str
    endpoint: str | None
    heads: Sequence[DatasetVersion]
    reason: str | None

    def check(self, workspace: Workspace, kind: str, endpoint: str | None) -> None:
        """Do nothing, unless the name is that of something else.

        Raises:
            UsageError: It is.
        """
        for head in self.heads:
            there = attaching.address(workspace, head.event) if head.is_attached else ("other data", None)
            if head.type != kind or there != (self.address, endpoint):
                raise UsageError(
                    f"{self.label!r} is the name of {there[0]}", hint="Give this one another name with --as."
                )


def _kept(workspace: Workspace, where: str) -> str:
    """Return what is kept of an address: no password, and a path of the workspace as one below it."""
    if "://" not in where:
        path = os.path.realpath(where)
        root = os.path.realpath(workspace.root)
        return os.path.relpath(path, root) if path.startswith(f"{root}/") else path
    parts = urlsplit(where)
    user, at, host = parts.netloc.rpartition("@")
    query = [(one, value) for one, value in parse_qsl(parts.query, keep_blank_values=True) if one != "password"]
    netloc = f"{user.partition(':')[0]}{at}{host}"
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), urlencode(query, safe="/"), ""))


# ---- a table in files ------------------------------------------------------------------------------------------------


def _attach_files(
    workspace: Workspace,
    opened: _Opened,
    environment: Mapping[str, str],
    *,
    since: str | None,
    history: bool,
    progress: Progress | None,
) -> AttachedTable:
    if urlsplit(opened.where).scheme in ("postgresql", "postgres") or Path(opened.where).is_file():
        raise UsageError(f"{opened.where} is a database", hint="Say which of its tables: --table NAME.")
    if "://" not in opened.where and not os.path.exists(opened.where):
        raise UsageError(
            f"{opened.where} is not there, and {opened.label!r} no attached bucket or table",
            hint="Give the folder of a table, or its address.",
        )
    lake = Lake(opened.where, environment, endpoint=opened.endpoint)
    opened.check(workspace, lake.format, lake.endpoint)
    before = [
        attaching.read(workspace, version)
        for version in datasets.versions(workspace.views.database(), opened.label)
        if workspace.objects.has(version.content)
    ]
    gone, altered = _lost(workspace, lake, before)
    known = {pin.key: pin for one in before for pin in one.listing.pins.values()}
    numbers = {_number(one.listing) for one in before}
    head = None if len(opened.heads) != 1 else attaching.read(workspace, opened.heads[0]).listing
    begin = None if since is None else parse_rfc3339(since)
    is_told = history and len(opened.heads) < 2

    def is_wanted(table: str, number: str, at: str | None) -> bool:
        is_late = begin is None or at is None or parse_rfc3339(at) >= begin
        return is_told and is_late and (table, number) not in numbers

    wanted = list(lake.states(is_wanted))
    if not wanted:
        raise UsageError(f"{opened.where} has no version yet", hint="Attach it once something was written.")
    last = wanted[-1]
    if head is not None and (last.table_id, last.number) == _number(head) and opened.heads[-1].is_tracked:
        wanted.pop()
    found: list[tuple[TableState, Listing]] = []
    unreadable: list[Unreadable] = []
    for done, state in enumerate(wanted, 1):
        pins, lacking = lake.pin(state.files, known)
        if lacking:
            unreadable.append(Unreadable(number=state.number, file=lacking[0], lacking=len(lacking)))
        else:
            found.append((state, Listing("", pins, _about(lake, state))))
        if progress is not None:
            progress(done, len(wanted), "versions")
    if not found and not opened.heads:
        lacks = unreadable[-1]
        raise UsageError(f"no version of {opened.where} is whole: version {lacks.number} lacks {lacks.file}")
    versions = _record_files(workspace, opened, lake, found, last) if found else []
    return AttachedTable(
        reference=versions[-1].reference if versions else opened.heads[-1].label,
        name=opened.label,
        url=opened.address,
        table=None,
        format=lake.format,
        has_feed=last.has_feed,
        is_kept=False,
        versions=tuple(versions),
        unreadable=tuple(unreadable),
        gone=tuple(gone[:_SHOWN]),
        gone_files=len(gone),
        altered=tuple(altered),
    )


def _number(listing: Listing) -> tuple[str, str]:
    said = listing.table or {}
    return str(said.get("id")), str(said.get("number"))


def _about(lake: Lake, state: TableState) -> dict[str, object]:
    return {
        "format": lake.format,
        "id": state.table_id,
        "number": state.number,
        "rows": state.rows,
        "columns": [{"name": name, "type": kind} for name, kind in state.columns.items()],
        "feed": state.has_feed,
    }


def _lost(workspace: Workspace, lake: Lake, versions: Sequence[attaching.Attached]) -> tuple[list[str], list[str]]:
    """Return what versions pin that is not there any more nor held here, and what has other bytes now."""
    gone, altered = list[str](), list[str]()
    seen = set[tuple[str, str | None]]()
    for attached in versions:
        for name, pin in attached.listing.names.items():
            if (name, pin.digest) in seen:
                continue
            seen.add((name, pin.digest))
            try:
                lake.check(pin)
            except PinGoneError:
                if attaching.where(workspace, attached, pin) != "held":
                    gone.append(f"{attached.version.label}/{name}")
            except PinAlteredError:
                altered.append(f"{attached.version.label}/{name}")
    return gone, altered


def _record_files(
    workspace: Workspace,
    opened: _Opened,
    lake: Lake,
    found: Sequence[tuple[TableState, Listing]],
    last: TableState,
) -> list[AttachedState]:
    batch = Batch(workspace)
    source, endpoint = batch.seal(opened.address), batch.seal(lake.endpoint)
    number = datasets.next_version(workspace.views.database(), opened.label)
    replaces: list[EventId] = [head.event for head in opened.heads]
    base = opened.heads[-1].content if opened.heads else None
    old = attaching.read(workspace, opened.heads[-1]).listing if opened.heads else Listing("", {})
    rows: list[AttachedState] = []
    for state, listing in found:
        stored = attaching.store(workspace, listing, base)
        base = stored.digest
        how: Literal["listed", "history"] = "listed" if state is last else "history"
        evidence: Literal["observed", "declared"] = "observed" if how == "listed" else "declared"
        event = batch.event(
            "dataset.attached",
            uses=(),
            makes=(Edge(ref=Ref(stored.digest), role="dataset", evidence=evidence),),
            body=datasets.attached_body(
                name=opened.label,
                version=number,
                content=stored.digest,
                recipes=stored.recipes,
                files=len(listing.pins),
                size_bytes=listing.size_bytes,
                source=source,
                endpoint=endpoint,
                as_of=state.at,
                how=how,
                type=lake.format,
                commit=batch.seal(json.dumps({"who": state.who, "operation": state.operation, "log": state.commit})),
            ),
            reason=opened.reason,
            replaces=replaces,
        )
        added, removed, changed = changed_keys(old, listing)
        rows.append(
            AttachedState(
                reference=f"dataset:{opened.label}@v{number}",
                version=number,
                index=-1,
                content=stored.digest,
                number=state.number,
                as_of=state.at,
                how=how,
                operation=state.operation,
                who=state.who,
                rows=state.rows,
                digest=None,
                files=len(listing.pins),
                size_bytes=listing.size_bytes,
                added=len(added),
                removed=len(removed),
                changed=len(changed),
                says=(),
            )
        )
        old, replaces, number = listing, [event.id], number + 1
    indexes = [s.index for s in batch.append() if s.event.kind == "dataset.attached"]
    return [replace(row, index=index) for row, index in zip(rows, indexes, strict=True)]


# ---- a table of a database -------------------------------------------------------------------------------------------


def _attach_rows(workspace: Workspace, opened: _Opened, table: str, key: Sequence[str], *, keep: bool) -> AttachedTable:
    opened.check(workspace, "table", None)
    old = attaching.read(workspace, opened.heads[-1]).listing if opened.heads else None
    if old is not None and str((old.table or {}).get("table")) not in (table, f"public.{table}", f"main.{table}"):
        raise UsageError(
            f"{opened.label!r} is the name of the table {(old.table or {}).get('table')}",
            hint="Give this one another with --as.",
        )
    database = _database(opened.where)
    scratch = workspace.folder / "tmp"
    scratch.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=scratch, prefix="rows-") as folder, database.whole(table, key) as whole:
            at = rfc3339(workspace.clock.now_ns())
            about: dict[str, object] = {
                "format": whole.format,
                "table": whole.description.name,
                "rows": whole.rows,
                "digest": whole.digest,
                "columns": [{"name": one.name, "type": one.declared} for one in whole.description.columns],
                "key": list(whole.description.key),
            }
            is_same = old is not None and old.table == about and (bool(old.pins) or not keep)
            pins, recipes = dict[str, Pin](), None
            if keep and not is_same:
                path = Path(folder) / "rows.parquet"
                _write(whole, path)
                stored = workspace.objects.add(path)
                file = f"{whole.description.name}.parquet"
                size = path.stat().st_size
                pins[file] = Pin(key=file, version_id="", etag="", size_bytes=size, modified=at, digest=stored.digest)
                recipes = stored.recipes
    finally:
        database.close()
    versions = () if is_same else (_record_rows(workspace, opened, about, pins, recipes, old, at),)
    return AttachedTable(
        reference=versions[-1].reference if versions else opened.heads[-1].label,
        name=opened.label,
        url=opened.address,
        table=str(about["table"]),
        format=whole.format,
        has_feed=False,
        is_kept=bool(pins) or (is_same and old is not None and bool(old.pins)),
        versions=versions,
        unreadable=(),
        gone=(),
        gone_files=0,
        altered=(),
    )


def _database(where: str) -> Readable:
    """Open a database to be read.

    Raises:
        UsageError: It is none that is known here.
        MissingExtraError, DatabaseError: See there.
    """
    if urlsplit(where).scheme in ("postgresql", "postgres"):
        from retrodict.databases.postgres import Postgres  # psycopg: 90 ms

        return Postgres(where)
    path = Path(where.removeprefix("sqlite:///").removeprefix("duckdb:///"))
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(16)
        if head == b"SQLite format 3\0":
            from retrodict.databases.sqlite import SQLite

            return SQLite(path, is_read_only=True)
        if head[8:12] == b"DUCK":
            from retrodict.databases.duck import DuckDB

            return DuckDB(path)
    raise UsageError(
        f"{where} is no database whose tables can be attached",
        hint="Give postgresql://USER@HOST/NAME, or a file of SQLite or DuckDB.",
    )


def _write(whole: Whole, path: Path) -> None:
    """Write rows as Parquet, a part of them in memory at a time."""
    import pyarrow as pa  # 57 ms
    import pyarrow.parquet as pq

    schema: Any = pa.schema([(one.name, named_type(one.type)) for one in whole.description.columns])
    rows: Iterator[Mapping[str, object]] = iter(whole.stream())
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while part := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))


def _record_rows(
    workspace: Workspace,
    opened: _Opened,
    about: Mapping[str, object],
    pins: Mapping[str, Pin],
    recipes: Digest | None,
    old: Listing | None,
    at: str,
) -> AttachedState:
    listing = Listing("", pins, about)
    batch = Batch(workspace)
    number = datasets.next_version(workspace.views.database(), opened.label)
    stored = attaching.store(workspace, listing, opened.heads[-1].content if opened.heads else None)
    makes = [Edge(ref=Ref(stored.digest), role="dataset", evidence="observed")]
    makes += [Edge(ref=Ref(str(pin.digest)), role="file", evidence="observed") for pin in pins.values()]
    batch.event(
        "dataset.attached",
        uses=(),
        makes=makes,
        body=datasets.attached_body(
            name=opened.label,
            version=number,
            content=stored.digest,
            recipes=recipes,
            files=len(pins),
            size_bytes=listing.size_bytes,
            source=batch.seal(opened.address),
            endpoint=None,
            as_of=at,
            how="listed",
            type="table",
        ),
        reason=opened.reason,
        replaces=[head.event for head in opened.heads],
    )
    (index,) = (s.index for s in batch.append() if s.event.kind == "dataset.attached")
    rows = about["rows"]
    assert isinstance(rows, int)
    return AttachedState(
        reference=f"dataset:{opened.label}@v{number}",
        version=number,
        index=index,
        content=stored.digest,
        number=None,
        as_of=at,
        how="listed",
        operation=None,
        who=None,
        rows=rows,
        digest=str(about["digest"]),
        files=len(pins),
        size_bytes=listing.size_bytes,
        added=0,
        removed=0,
        changed=0,
        says=() if old is None else tuple(attaching.table_changes(old.table or {}, about)),
    )
