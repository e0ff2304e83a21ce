"""What the view of tables is asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from retrodict.kernel.types import Digest, EntryNumber, EventId
from retrodict.streams import MAIN
from retrodict.tables.records import Column, Conflict, Personal, Policy, Proposal, Table, Version

if TYPE_CHECKING:
    import apsw


def tables(db: apsw.Connection, name: str | None = None, *, stream: EventId | None = None) -> list[Table]:
    """Return all tables (of a name, or of a stream), by name."""
    query = (
        "SELECT event, entry, stream, name, owner, key, policy, valid_from, at, agent, subject, clear "
        "FROM tables_tables"
    )
    if stream is not None:
        rows: list[Any] = db.execute(f"{query} WHERE stream = ?", (stream,)).fetchall()
    elif name is not None:
        rows = db.execute(f"{query} WHERE name = ? ORDER BY entry", (name,)).fetchall()
    else:
        rows = db.execute(f"{query} ORDER BY name, entry").fetchall()
    found = []
    for row in rows:
        policy = json.loads(row[6])
        found.append(
            Table(
                event=EventId(row[0]),
                index=EntryNumber(row[1]),
                stream=EventId(row[2]),
                name=row[3],
                owner=row[4],
                key=tuple(json.loads(row[5])),
                policy=Policy(
                    reason=bool(policy.get("reason")),
                    approval=bool(policy.get("approval")),
                    on_conflict="keep" if policy.get("on_conflict") == "keep" else "refuse",
                ),
                valid_from=row[7],
                at=row[8],
                agent=row[9],
                personal=None if row[10] is None else Personal(subject=row[10], clear=tuple(json.loads(row[11]))),
            )
        )
    return found


def columns(db: apsw.Connection, stream: EventId, branch: str, version: int, *, base: int = 0) -> tuple[Column, ...]:
    """Return the columns of a version of a table.

    Args:
        base: Of a branch, the last version of the main line that it has.
    """
    query = (
        "SELECT columns FROM tables_columns WHERE stream = ? AND branch = ? AND version <= ? "
        "ORDER BY version DESC, entry DESC LIMIT 1"
    )
    rows: list[Any] = db.execute(query, (stream, branch, version)).fetchall()
    if not rows and branch != MAIN:
        return columns(db, stream, MAIN, min(base, version))
    return tuple(Column(id=i, name=name, type=kind) for i, name, kind in json.loads(rows[0][0]))


def highest_id(db: apsw.Connection, stream: EventId) -> int:
    """Return the highest id that a column of a table has had, on any branch."""
    rows: list[Any] = db.execute("SELECT columns FROM tables_columns WHERE stream = ?", (stream,)).fetchall()
    return max((column[0] for (listed,) in rows for column in json.loads(listed)), default=0)


_VERSIONS = (
    "SELECT event, entry, branch, version, start, stop, creates, updates, deletes, verb, run, statement, at, agent, "
    "reason FROM tables_versions WHERE "
)


def _as_versions(rows: list[Any]) -> list[Version]:
    return [
        Version(
            event=EventId(row[0]),
            index=EntryNumber(row[1]),
            branch=row[2],
            version=row[3],
            start=row[4],
            stop=row[5],
            creates=row[6],
            updates=row[7],
            deletes=row[8],
            verb=row[9],
            run=None if row[10] is None else EventId(row[10]),
            statement=None if row[11] is None else json.loads(row[11]),
            at=row[12],
            agent=row[13],
            reason=None if row[14] is None else json.loads(row[14]),
        )
        for row in rows
    ]


def last(db: apsw.Connection, stream: EventId, branch: str) -> Version | None:
    """Return the last version of a line of its own: without those of the main line before a branch."""
    query = f"{_VERSIONS} stream = ? AND branch = ? ORDER BY start DESC, version DESC LIMIT 1"
    found = _as_versions(db.execute(query, (stream, branch)).fetchall())
    return found[0] if found else None


def versions(
    db: apsw.Connection, stream: EventId, branch: str, *, start: int = -1, stop: int = 1 << 53, limit: int = -1
) -> list[Version]:
    """Return the versions of a line of its own whose changes lie in [start, stop), in order; the last `limit`."""
    query = (
        f"{_VERSIONS} stream = ? AND branch = ? AND stop > ? AND start < ? ORDER BY start DESC, version DESC LIMIT ?"
    )
    return _as_versions(db.execute(query, (stream, branch, start, stop, limit)).fetchall())[::-1]


def numbered(db: apsw.Connection, stream: EventId, branch: str, version: int) -> list[Version]:
    """Return the versions of a line with this number: one."""
    return _as_versions(
        db.execute(f"{_VERSIONS} stream = ? AND branch = ? AND version = ?", (stream, branch, version)).fetchall()
    )


def snapshot(
    db: apsw.Connection, stream: EventId, branch: str, offset: int
) -> tuple[int, str, int, list[Digest]] | None:
    """Return (offset, digest of the changes up to it, records, parts) of the last snapshot of a line until `offset`."""
    query = (
        "SELECT start, root, records, parts FROM tables_snapshots WHERE stream = ? AND branch = ? AND start <= ? "
        "ORDER BY start DESC, event LIMIT 1"
    )
    rows: list[Any] = db.execute(query, (stream, branch, offset)).fetchall()
    if not rows:
        return None
    return int(rows[0][0]), str(rows[0][1]), int(rows[0][2]), [Digest(part) for part in json.loads(rows[0][3])]


def commitment(db: apsw.Connection, stream: EventId, root: str) -> tuple[int, str] | None:
    """Return (entry, root of the records) where the log commits to the records after changes with this digest."""
    query = "SELECT entry, records FROM tables_commitments WHERE stream = ? AND root = ? ORDER BY entry LIMIT 1"
    rows: list[Any] = db.execute(query, (stream, root)).fetchall()
    return (EntryNumber(rows[0][0]), str(rows[0][1])) if rows else None


def position(db: apsw.Connection, stream: EventId, branch: str, source: str) -> Any:
    """Return how far what is captured from a source has come, as the source says it; None: nothing of it has."""
    query = "SELECT position FROM tables_sources WHERE stream = ? AND branch = ? AND source = ?"
    rows: list[Any] = db.execute(query, (stream, branch, source)).fetchall()
    return json.loads(rows[0][0]) if rows else None


def captured_columns(db: apsw.Connection, stream: EventId, branch: str, source: str) -> dict[int, int] | None:
    """Return which column of a source, by its number there, is which of ours, by its id; None: nobody said so."""
    query = "SELECT columns FROM tables_captured WHERE stream = ? AND branch = ? AND source = ?"
    rows: list[Any] = db.execute(query, (stream, branch, source)).fetchall()
    return dict(json.loads(rows[0][0])) if rows else None


def sources(db: apsw.Connection, source: str | None = None) -> list[tuple[str, EventId]]:
    """Return what tables are captured from (of one source), each with the `stream.created` of the table's changes."""
    query = "SELECT DISTINCT source, stream FROM tables_sources WHERE ?1 IS NULL OR source = ?1 ORDER BY 1, 2"
    rows: list[Any] = db.execute(query, (source,)).fetchall()
    return [(name, EventId(stream)) for name, stream in rows]


_UNMADE = "SELECT event, entry, stream, log, branch, base, payload, verb, run, statement, at, agent"


def _unmade(row: Any) -> dict[str, Any]:
    """Return what a proposal and a conflict have in common."""
    return {
        "event": EventId(row[0]),
        "index": EntryNumber(row[1]),
        "stream": EventId(row[2]),
        "log": row[3],
        "branch": row[4],
        "base": row[5],
        "payload": Digest(row[6]),
        "verb": row[7],
        "run": None if row[8] is None else EventId(row[8]),
        "statement": None if row[9] is None else json.loads(row[9]),
        "at": row[10],
        "agent": row[11],
    }


def proposals(db: apsw.Connection, stream: EventId) -> list[Proposal]:
    """Return what was proposed for a table, in order."""
    query = (
        f"{_UNMADE}, creates, updates, deletes, merged, decided FROM tables_proposals WHERE stream = ? "
        "ORDER BY entry, event"
    )
    rows: list[Any] = db.execute(query, (stream,)).fetchall()
    return [
        Proposal(
            **_unmade(row),
            creates=row[12],
            updates=row[13],
            deletes=row[14],
            merged=None if row[15] is None else json.loads(row[15]),
            decided=row[16],
        )
        for row in rows
    ]


def conflicts(db: apsw.Connection, stream: EventId) -> list[Conflict]:
    """Return what stands, or has stood, beside the records of a table, in order."""
    query = f"{_UNMADE}, records FROM tables_conflicts WHERE stream = ? ORDER BY entry"
    rows: list[Any] = db.execute(query, (stream,)).fetchall()
    settled = "SELECT row, took FROM tables_settled WHERE conflict = ?"
    return [
        Conflict(**_unmade(row), records=row[12], settled=dict(db.execute(settled, (row[0],)).fetchall()))  # type: ignore[arg-type]
        for row in rows
    ]
