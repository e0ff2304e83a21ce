"""The view of tables, folded from their events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from retrodict.kernel import canonical
from retrodict.kernel.types import Digest, SealedText
from retrodict.ledger import Sequenced
from retrodict.streams import MAIN

if TYPE_CHECKING:
    import apsw

_LAST = "SELECT stop FROM tables_versions WHERE stream = ? AND branch = ? ORDER BY start DESC, version DESC LIMIT 1"


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
            last = db.execute(_LAST, (body["stream"], MAIN)).fetchall()
            if body["start"] != (last[0][0] if last else 0):
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
