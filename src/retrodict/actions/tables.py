"""`table list`, `show`, `log`: which tables there are, and what was done to them."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict.actions.tabling import log_of, table_named
from retrodict.kernel.types import EventId
from retrodict.streams import Branch
from retrodict.streams import queries as streams
from retrodict.tables import conflicts, files, lines, queries
from retrodict.tables.history import Sayings
from retrodict.tables.lines import ChangeLog
from retrodict.tables.records import Policy, Table
from retrodict.workspace import Workspace, agent_name

_SHOWN_VERSIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One table as a list has it.

    Attributes:
        reference: Its newest version.
        records: How many there are in it; `changes`: how many there were.
        digest: Of all its changes: `sha256:` and the root of their Merkle tree.
        is_own: This workspace's log owns it.
        branches: How many branches have changes that were not merged.
    """

    reference: str
    name: str
    key: tuple[str, ...]
    records: int
    changes: int
    versions: int
    digest: str
    owner: str
    is_own: bool
    branches: int
    at: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """All tables."""

    rows: tuple[TableRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumn:
    """A column: its id, which it keeps when it is renamed, and its type as people write it."""

    id: int
    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """One version as a list has it: who made it, when, how and why, and what it changed.

    Attributes:
        reference: `NAME@v3`.
        branch: None on the main line.
        start, stop: Its changes' offsets.
    """

    reference: str
    index: int
    branch: str | None
    start: int
    stop: int
    creates: int
    updates: int
    deletes: int
    at: str
    who: str
    why: str | None
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableShown:
    """A table with its columns, its last versions and its branches; `conflicts` is how many changes stand beside."""

    table: TableRow
    columns: tuple[TableColumn, ...]
    policy: Policy
    valid_from: str | None
    versions: tuple[VersionRow, ...]
    branches: tuple[Branch, ...]
    conflicts: int
    event: EventId


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLog:
    """The versions of a table, the oldest first."""

    name: str
    versions: tuple[VersionRow, ...]


def list_tables(workspace: Workspace) -> Tables:
    """Return all tables."""
    return Tables(rows=tuple(_row(workspace, table) for table in queries.tables(workspace.views.database())))


def _row(workspace: Workspace, table: Table) -> TableRow:
    db = workspace.views.database()
    log = lines.change_log(workspace, table)
    versions = lines.versions(db, log)
    by_id = {column.id: column.name for column in lines.columns_at(db, log)}
    return TableRow(
        reference=f"{table.name}@v{lines.last_number(db, log)}",
        name=table.name,
        key=tuple(by_id[i] for i in table.key),
        records=sum(version.creates - version.deletes for version in versions),
        changes=log.size,
        versions=len(versions),
        digest=f"sha256:{lines.root_at(db, log, log.size)}",
        owner=table.owner,
        is_own=table.owner == workspace.ledger.origin,
        branches=sum(branch.merged < branch.stop for branch in streams.branches(db, table.stream)),
        at=versions[-1].at if versions else table.at,
        agent=agent_name(workspace, versions[-1].agent if versions else table.agent),
    )


def show(workspace: Workspace, name: str) -> TableShown:
    """Return one table.

    Raises:
        UnknownReferenceError: There is none of this name.
    """
    table = table_named(workspace, name)
    db = workspace.views.database()
    log = lines.change_log(workspace, table)
    columns = lines.columns_at(db, log)
    branches = tuple(streams.branches(db, table.stream))
    rows = _versions(workspace, log, _SHOWN_VERSIONS)
    for branch in branches:
        rows += _versions(workspace, log_of(workspace, table, branch.name), _SHOWN_VERSIONS, own=True)
    return TableShown(
        table=_row(workspace, table),
        columns=tuple(TableColumn(id=c.id, name=c.name, type=files.type_text(c.type)) for c in columns),
        policy=table.policy,
        valid_from=next((c.name for c in columns if c.id == table.valid_from), None),
        versions=tuple(sorted(rows, key=lambda row: row.index)[-_SHOWN_VERSIONS:]),
        branches=branches,
        conflicts=conflicts.count_standing(workspace, table),
        event=table.event,
    )


def log(workspace: Workspace, name: str, *, branch: str | None = None, limit: int | None = None) -> TableLog:
    """Return who changed a table, when, how and why: every version, or the last `limit`.

    Raises:
        UnknownReferenceError: There is no such table or branch.
    """
    found = log_of(workspace, table_named(workspace, name), branch)
    return TableLog(name=found.table.name, versions=tuple(_versions(workspace, found, limit)))


def _versions(workspace: Workspace, log: ChangeLog, limit: int | None, *, own: bool = False) -> list[VersionRow]:
    sayings = Sayings(workspace, log)
    found = lines.versions(workspace.views.database(), log)
    if own:
        found = [version for version in found if version.branch == log.branch]
    return [
        VersionRow(
            reference=f"{log.table.name}@v{version.version}",
            index=version.index,
            branch=version.branch or None,
            start=version.start,
            stop=version.stop,
            creates=version.creates,
            updates=version.updates,
            deletes=version.deletes,
            at=version.at,
            who=sayings.name(version.agent),
            why=sayings.reason(version),
            how=sayings.how(version),
        )
        for version in (found if limit is None else found[max(len(found) - limit, 0) :])
    ]
