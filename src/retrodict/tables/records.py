"""Events of tables: their bodies, their projection, their queries.

A table is a stream whose records are changes. What was appended stands in the stream's own events, which say with
`table` what the changes of a version amount to; here is what else there is to know of a table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from retrodict.kernel import canonical
from retrodict.kernel.types import Digest, EntryNumber, EventId, SealedText
from retrodict.ledger import Sequenced
from retrodict.streams import MAIN

if TYPE_CHECKING:
    import apsw

INLINE_COLUMNS = 100  # the columns of wider tables are an object of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        id: Never given to another column of the table; its name in the records is this number.
        type: As the schemas of streams name types (`streams.type_name`).
    """

    id: int
    name: str
    type: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a table asks of a change.

    Attributes:
        reason: That it has a reason.
        approval: That a second person approves it: until then it is a proposal.
        on_conflict: What becomes of a change against an older version of its record: "refuse" tells whoever makes it,
            "keep" also lets it stand beside the record until somebody settles it.
    """

    reason: bool = False
    approval: bool = False
    on_conflict: Literal["refuse", "keep"] = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """What of a table's records is about people.

    Attributes:
        subject: The id of the column that says whom a record is about; personal itself.
        clear: The ids of the columns that are not personal; what is not named here is, so columns added later are.
    """

    subject: int
    clear: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, as its `table.created` says.

    Attributes:
        event: Its `table.created`; `index` is its entry.
        stream: The `stream.created` of its changes, by which it is known everywhere.
        key: The ids of the columns whose values name a record.
        valid_from: The id of the column that says since when a change is true in the world; None: there is none.
        personal: None: its records are about nobody.
    """

    event: EventId
    index: int
    stream: EventId
    name: str
    owner: str
    key: tuple[int, ...]
    policy: Policy
    valid_from: int | None
    at: str
    agent: str
    personal: Personal | None = None

    def hides(self, column: int) -> bool:
        """Say whether the values of a column, by its id, are sealed."""
        return self.personal is not None and column not in self.personal.clear

    @property
    def kept_of_deletes(self) -> tuple[int, ...]:
        """The ids of the columns that a delete holds: the key, and whose it is where that is sealed."""
        if self.personal is None or not any(map(self.hides, self.key)):
            return self.key
        return tuple(dict.fromkeys([*self.key, self.personal.subject]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One set of changes, appended in one piece: the records [start, stop) of the change log.

    Attributes:
        event: Its `stream.appended`; `index` is its entry.
        branch: Where it is; "" is the main line.
        version: Its number: `NAME@v3`.
        how: What made it, by its verb, and the run that it was made in.
        statement, reason: What made it, in words, and why, as an entry holds a sealed text.
    """

    event: EventId
    index: int
    branch: str
    version: int
    start: int
    stop: int
    creates: int
    updates: int
    deletes: int
    verb: str
    run: EventId | None
    statement: Mapping[str, str] | None
    at: str
    agent: str
    reason: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Changes that wait for a second person, or did.

    Attributes:
        event: Its `table.proposed`; `index` is its entry.
        log, branch: Where it was made, and for which line.
        base: After how many changes.
        payload: The object with the changes.
        agent: Who made it.
        statement: By which statement, as an entry holds a sealed text.
        decided: "approved" or "rejected"; None: it waits.
    """

    event: EventId
    index: int
    stream: EventId
    log: str
    branch: str
    base: int
    payload: Digest
    creates: int
    updates: int
    deletes: int
    verb: str
    run: EventId | None
    statement: Mapping[str, str] | None
    merged: Mapping[str, Any] | None
    at: str
    agent: str
    decided: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Changes against an older version of their records, which stand beside these.

    Attributes:
        event: Its `table.conflicted`; `index` is its entry.
        log, branch: Where it was made, and on which line.
        base: After how many changes the table was as they were made against.
        payload: The object with the changes.
        records: How many there are, each of another record.
        agent: Who made them.
        statement: By which statement, as an entry holds a sealed text.
        settled: Of those that are settled, by their number in the payload: "ours" or "theirs".
    """

    event: EventId
    index: int
    stream: EventId
    log: str
    branch: str
    base: int
    payload: Digest
    records: int
    verb: str
    run: EventId | None
    statement: Mapping[str, str] | None
    at: str
    agent: str
    settled: Mapping[int, str]


def columns_value(columns: Sequence[Column]) -> list[object]:
    """Return columns as bodies hold them."""
    return [{"id": column.id, "name": column.name, "type": column.type} for column in columns]


def columns_blob(columns: Sequence[Column]) -> bytes:
    """Return the object with columns that are too many for a body."""
    return canonical.encode(cast("Any", columns_value(columns)))


def policy_value(policy: Policy) -> dict[str, object]:
    """Return a policy as bodies hold it."""
    value: dict[str, object] = {"reason": policy.reason, "approval": policy.approval}
    return value if policy.on_conflict == "refuse" else {**value, "on_conflict": policy.on_conflict}


def created_body(
    *,
    name: str,
    stream: EventId,
    owner: str,
    key: Sequence[int],
    columns: object,
    policy: Policy,
    valid_from: int | None,
    personal: Personal | None = None,
) -> dict[str, object]:
    """Return the body of `table.created`."""
    body: dict[str, object] = {
        "name": name,
        "stream": stream,
        "owner": owner,
        "key": list(key),
        "columns": columns,
        "policy": policy_value(policy),
        "valid_from": valid_from,
    }
    if personal is not None:
        body["personal"] = {"subject": personal.subject, "clear": list(personal.clear)}
    return body


def version_body(
    *,
    version: int,
    creates: int,
    updates: int,
    deletes: int,
    verb: str,
    run: EventId | None,
    statement: Mapping[str, str] | None,
    source: str | None,
    position: object,
) -> dict[str, object]:
    """Return what `stream.appended` says of a table's changes."""
    return {
        "version": version,
        "creates": creates,
        "updates": updates,
        "deletes": deletes,
        "how": {"verb": verb, "run": run, "statement": statement},
        "source": None if source is None else {"name": source, "position": position},
    }


def captured_body(
    *, stream: EventId, branch: str, source: str, position: object, columns: Sequence[tuple[int, int]] | None
) -> dict[str, object]:
    """Return the body of `table.captured`.

    Args:
        columns: Which column of the source, by its number there, is which of ours, by its id; None: as before.
    """
    return {
        "stream": stream,
        "branch": branch,
        "source": {"name": source, "position": position},
        "columns": None if columns is None else [list(pair) for pair in columns],
    }


def altered_body(
    *,
    stream: EventId,
    log: str,
    branch: str,
    version: int,
    start: int,
    columns: object,
    policy: Policy | None,
) -> dict[str, object]:
    """Return the body of `table.altered`; `policy` None: as before."""
    body = {"stream": stream, "log": log, "branch": branch, "version": version, "start": start, "columns": columns}
    return body if policy is None else {**body, "policy": policy_value(policy)}


def snapshotted_body(
    *, stream: EventId, log: str, branch: str, offset: int, rows: int, root: str, parts: Sequence[Digest]
) -> dict[str, object]:
    """Return the body of `table.snapshotted`."""
    return {
        "stream": stream,
        "log": log,
        "branch": branch,
        "offset": offset,
        "rows": rows,
        "root": root,
        "parts": list(parts),
    }


def proposed_body(
    *,
    stream: EventId,
    log: str,
    branch: str,
    base: int,
    payload: Digest,
    counts: tuple[int, int, int],
    how: Mapping[str, object],
    merged: Mapping[str, object] | None,
) -> dict[str, object]:
    """Return the body of `table.proposed`; `counts` are of creates, updates and deletes."""
    return {
        "stream": stream,
        "log": log,
        "branch": branch,
        "base": base,
        "payload": payload,
        **dict(zip(("creates", "updates", "deletes"), counts, strict=True)),
        "how": how,
        "merged": merged,
    }


def decided_body(*, stream: EventId, proposal: EventId) -> dict[str, object]:
    """Return the body of `table.approved` and `table.rejected`."""
    return {"stream": stream, "proposal": proposal}


def conflicted_body(
    *,
    stream: EventId,
    log: str,
    branch: str,
    base: int,
    payload: Digest,
    records: int,
    how: Mapping[str, object],
) -> dict[str, object]:
    """Return the body of `table.conflicted`."""
    return {
        "stream": stream,
        "log": log,
        "branch": branch,
        "base": base,
        "payload": payload,
        "records": records,
        "how": how,
    }


def settled_body(*, stream: EventId, conflict: EventId, rows: Sequence[int], took: str) -> dict[str, object]:
    """Return the body of `table.settled`; `rows` are numbers of changes in the payload, `took` "ours" or "theirs"."""
    return {"stream": stream, "conflict": conflict, "rows": list(rows), "took": took}


def committed_body(
    *, stream: EventId, branch: str, offset: int, rows: int, root: str, records: str
) -> dict[str, object]:
    """Return the body of `table.committed`; `root` is the change log's, `records` that of the records."""
    return {"stream": stream, "branch": branch, "offset": offset, "rows": rows, "root": root, "records": records}


class TableProjection:
    """Tables, their columns over time, their versions, and how far what is captured from elsewhere has come."""

    name = "tables"
    version = 8
    tables: Mapping[str, str] = {
        "tables_tables": "CREATE TABLE tables_tables (stream TEXT PRIMARY KEY, event TEXT NOT NULL, "
        "entry INTEGER NOT NULL, name TEXT NOT NULL, owner TEXT NOT NULL, key TEXT NOT NULL, policy TEXT NOT NULL, "
        "valid_from INTEGER, at TEXT NOT NULL, agent TEXT NOT NULL, "
        "subject INTEGER, clear TEXT) WITHOUT ROWID",
        "tables_columns": "CREATE TABLE tables_columns (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "stream TEXT NOT NULL, branch TEXT NOT NULL, version INTEGER NOT NULL, columns TEXT NOT NULL) WITHOUT ROWID",
        "tables_versions": "CREATE TABLE tables_versions (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "stream TEXT NOT NULL, branch TEXT NOT NULL, version INTEGER NOT NULL, start INTEGER NOT NULL, "
        "stop INTEGER NOT NULL, creates INTEGER NOT NULL, updates INTEGER NOT NULL, deletes INTEGER NOT NULL, "
        "verb TEXT NOT NULL, run TEXT, statement TEXT, at TEXT NOT NULL, agent TEXT NOT NULL, "
        "reason TEXT) WITHOUT ROWID",
        "tables_snapshots": "CREATE TABLE tables_snapshots (event TEXT PRIMARY KEY, stream TEXT NOT NULL, "
        "branch TEXT NOT NULL, start INTEGER NOT NULL, root TEXT NOT NULL, records INTEGER NOT NULL, "
        "parts TEXT NOT NULL) WITHOUT ROWID",
        "tables_commitments": "CREATE TABLE tables_commitments (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "stream TEXT NOT NULL, root TEXT NOT NULL, records TEXT NOT NULL) WITHOUT ROWID",
        "tables_proposals": "CREATE TABLE tables_proposals (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "stream TEXT NOT NULL, log TEXT NOT NULL, branch TEXT NOT NULL, base INTEGER NOT NULL, payload TEXT NOT NULL, "
        "creates INTEGER NOT NULL, updates INTEGER NOT NULL, deletes INTEGER NOT NULL, verb TEXT NOT NULL, run TEXT, "
        "statement TEXT, merged TEXT, at TEXT NOT NULL, agent TEXT NOT NULL, decided TEXT) WITHOUT ROWID",
        "tables_conflicts": "CREATE TABLE tables_conflicts (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "stream TEXT NOT NULL, log TEXT NOT NULL, branch TEXT NOT NULL, base INTEGER NOT NULL, payload TEXT NOT NULL, "
        "records INTEGER NOT NULL, verb TEXT NOT NULL, run TEXT, statement TEXT, at TEXT NOT NULL, "
        "agent TEXT NOT NULL) WITHOUT ROWID",
        "tables_settled": "CREATE TABLE tables_settled (conflict TEXT NOT NULL, row INTEGER NOT NULL, "
        "took TEXT NOT NULL, PRIMARY KEY (conflict, row)) WITHOUT ROWID",
        "tables_captured": "CREATE TABLE tables_captured (stream TEXT NOT NULL, branch TEXT NOT NULL, "
        "source TEXT NOT NULL, columns TEXT NOT NULL, PRIMARY KEY (stream, branch, source)) WITHOUT ROWID",
        "tables_sources": "CREATE TABLE tables_sources (stream TEXT NOT NULL, branch TEXT NOT NULL, "
        "source TEXT NOT NULL, position TEXT NOT NULL, event TEXT NOT NULL, "
        "PRIMARY KEY (stream, branch, source)) WITHOUT ROWID",
    }
    indexes: Sequence[str] = (
        "CREATE INDEX tables_by_name ON tables_tables (name)",
        "CREATE INDEX tables_conflicts_by_stream ON tables_conflicts (stream)",
        "CREATE INDEX tables_columns_by_version ON tables_columns (stream, branch, version, entry)",
        "CREATE INDEX tables_snapshots_by_start ON tables_snapshots (stream, branch, start)",
        "CREATE INDEX tables_versions_by_start ON tables_versions (stream, branch, start, version)",
    )

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        event, body = entry.event, cast("Mapping[str, Any]", entry.event.body)
        match event.kind:
            case "table.created":
                personal = body.get("personal")
                db.execute(
                    "INSERT INTO tables_tables VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        body["stream"],
                        event.id,
                        entry.index,
                        body["name"],
                        body["owner"],
                        json.dumps(list(body["key"])),
                        json.dumps(dict(body["policy"]), sort_keys=True),
                        body["valid_from"],
                        event.at,
                        event.agent,
                        None if personal is None else personal["subject"],
                        None if personal is None else json.dumps(list(personal["clear"])),
                    ),
                )
                self._columns(db, entry, body["stream"], MAIN, 0, body["columns"], blob)
            case "table.altered":
                branch = body["branch"] if self._owns(db, body) else body["log"]
                self._columns(db, entry, body["stream"], branch, body["version"], body["columns"], blob)
                self._version(db, entry, body, branch, "alter")
                if body.get("policy") is not None and branch == MAIN:
                    self._policy(db, body)
            # Only who appends to a line is believed what it comes to.
            case "table.snapshotted" if body["branch"] == body["log"] or self._owns(db, body):
                row = (event.id, body["stream"], body["branch"], body["offset"], body["root"], body["rows"])
                parts = json.dumps(list(body["parts"]))
                db.execute("INSERT INTO tables_snapshots VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, parts))
            case "table.committed":
                db.execute(
                    "INSERT INTO tables_commitments VALUES (?, ?, ?, ?, ?)",
                    (event.id, entry.index, body["stream"], body["root"], body["records"]),
                )
            case "table.proposed":
                how = body["how"]
                said = [how["verb"], how["run"], *(_json(value) for value in (how["statement"], body["merged"]))]
                row = (event.id, entry.index, *(body[name] for name in _PROPOSED), *said, event.at, event.agent)
                db.execute(
                    "INSERT INTO tables_proposals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", row
                )
            case "table.approved" | "table.rejected":
                db.execute(
                    "UPDATE tables_proposals SET decided = ? WHERE event = ? AND stream = ? AND decided IS NULL",
                    (event.kind.removeprefix("table."), body["proposal"], body["stream"]),
                )
            case "table.conflicted":
                how = body["how"]
                said = [how["verb"], how["run"], _json(how["statement"]), event.at, event.agent]
                row = (event.id, entry.index, *(body[name] for name in _CONFLICTED), *said)
                db.execute("INSERT INTO tables_conflicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            case "table.settled":
                # The first word counts, where two clones have settled one.
                settled = [(body["conflict"], row, body["took"]) for row in body["rows"]]
                db.executemany("INSERT OR IGNORE INTO tables_settled VALUES (?, ?, ?)", settled)
            case "stream.moved":
                db.execute("UPDATE tables_tables SET owner = ? WHERE stream = ?", (body["owner"], body["stream"]))
            case "stream.appended" if body.get("table") is not None:
                self._appended(db, entry, body)
            case "table.captured":
                self._come_to(db, entry, body["stream"], body["branch"], body["source"])
                if body["columns"] is not None:
                    columns = canonical.encode(body["columns"]).decode()
                    db.execute(
                        "INSERT OR REPLACE INTO tables_captured VALUES (?, ?, ?, ?)",
                        (body["stream"], body["branch"], body["source"]["name"], columns),
                    )

    def _policy(self, db: apsw.Connection, body: Mapping[str, Any]) -> None:
        """Take over what becomes of conflicts; that a change needs a reason or an approval was said for good."""
        query = "SELECT policy FROM tables_tables WHERE stream = ?"
        for (held,) in cast("list[tuple[str]]", db.execute(query, (body["stream"],)).fetchall()):
            policy = {**json.loads(held), "on_conflict": body["policy"].get("on_conflict", "refuse")}
            values = (json.dumps(policy, sort_keys=True), body["stream"])
            db.execute("UPDATE tables_tables SET policy = ? WHERE stream = ?", values)

    def _owns(self, db: apsw.Connection, body: Mapping[str, Any]) -> bool:
        query = "SELECT 1 FROM tables_tables WHERE stream = ? AND owner = ?"
        return bool(db.execute(query, (body["stream"], body["log"])).fetchall())

    def _columns(
        self,
        db: apsw.Connection,
        entry: Sequenced,
        stream: str,
        branch: str,
        version: int,
        columns: Any,
        blob: Callable[[Digest], bytes],
    ) -> None:
        found = json.loads(blob(Digest(columns))) if isinstance(columns, str) else columns
        listed = json.dumps([[int(c["id"]), str(c["name"]), _plain(c["type"])] for c in found])
        row = (entry.event.id, entry.index, stream, branch, version, listed)
        db.execute("INSERT INTO tables_columns VALUES (?, ?, ?, ?, ?, ?)", row)

    def _version(self, db: apsw.Connection, entry: Sequenced, body: Mapping[str, Any], branch: str, verb: str) -> None:
        """Note a version that changes no record."""
        event, start = entry.event, body["start"]
        row = (event.id, entry.index, body["stream"], branch, body["version"], start, start, 0, 0, 0, verb)
        db.execute(
            "INSERT INTO tables_versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?, ?, ?)",
            (*row, event.at, event.agent, _kept(event.reason)),
        )

    def _appended(self, db: apsw.Connection, entry: Sequenced, body: Mapping[str, Any]) -> None:
        event, said, branch = entry.event, body["table"], body["branch"]
        if branch == MAIN:
            end = last(db, body["stream"], MAIN)
            if body["start"] != (0 if end is None else end.stop):
                branch = body["log"]  # as the stream's own view has it: two logs took themselves for the owner
        how = said["how"]
        statement = how["statement"]
        db.execute(
            "INSERT INTO tables_versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.id,
                entry.index,
                body["stream"],
                branch,
                said["version"],
                body["start"],
                body["stop"],
                said["creates"],
                said["updates"],
                said["deletes"],
                how["verb"],
                how["run"],
                None if statement is None else json.dumps(dict(statement), sort_keys=True),
                event.at,
                event.agent,
                _kept(event.reason),
            ),
        )
        if said["source"] is not None:
            self._come_to(db, entry, body["stream"], branch, said["source"])

    def _come_to(
        self, db: apsw.Connection, entry: Sequenced, stream: str, branch: str, source: Mapping[str, Any]
    ) -> None:
        position = canonical.encode(source["position"]).decode()
        row = (stream, branch, source["name"], position, entry.event.id)
        db.execute("INSERT OR REPLACE INTO tables_sources VALUES (?, ?, ?, ?, ?)", row)


_PROPOSED = ("stream", "log", "branch", "base", "payload", "creates", "updates", "deletes")
_CONFLICTED = ("stream", "log", "branch", "base", "payload", "records")


def _kept(text: SealedText | None) -> str | None:
    return None if text is None else json.dumps({"key": text.key, "sealed": text.digest})


def _json(value: Any) -> str | None:
    return None if value is None else canonical.encode(value).decode()


def _plain(value: Any) -> object:
    """Return a value of an entry as JSON's own types."""
    return value if isinstance(value, str | int) or value is None else [_plain(item) for item in value]


PROJECTION = TableProjection()


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


def proposals(db: apsw.Connection, stream: EventId) -> list[Proposal]:
    """Return what was proposed for a table, in order."""
    query = "SELECT * FROM tables_proposals WHERE stream = ? ORDER BY entry, event"
    rows: list[Any] = db.execute(query, (stream,)).fetchall()
    return [
        Proposal(
            event=EventId(row[0]),
            index=EntryNumber(row[1]),
            stream=EventId(row[2]),
            log=row[3],
            branch=row[4],
            base=row[5],
            payload=Digest(row[6]),
            creates=row[7],
            updates=row[8],
            deletes=row[9],
            verb=row[10],
            run=None if row[11] is None else EventId(row[11]),
            statement=None if row[12] is None else json.loads(row[12]),
            merged=None if row[13] is None else json.loads(row[13]),
            at=row[14],
            agent=row[15],
            decided=row[16],
        )
        for row in rows
    ]


def conflicts(db: apsw.Connection, stream: EventId) -> list[Conflict]:
    """Return what stands, or has stood, beside the records of a table, in order."""
    rows: list[Any] = db.execute("SELECT * FROM tables_conflicts WHERE stream = ? ORDER BY entry", (stream,)).fetchall()
    return [
        Conflict(
            event=EventId(row[0]),
            index=EntryNumber(row[1]),
            stream=EventId(row[2]),
            log=row[3],
            branch=row[4],
            base=row[5],
            payload=Digest(row[6]),
            records=row[7],
            verb=row[8],
            run=None if row[9] is None else EventId(row[9]),
            statement=None if row[10] is None else json.loads(row[10]),
            at=row[11],
            agent=row[12],
            settled=dict(db.execute("SELECT row, took FROM tables_settled WHERE conflict = ?", (row[0],)).fetchall()),  # type: ignore[arg-type]
        )
        for row in rows
    ]
