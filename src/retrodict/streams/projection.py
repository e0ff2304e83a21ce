"""The view of streams, folded from their events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from retrodict.kernel.types import Digest
from retrodict.ledger import Sequenced

if TYPE_CHECKING:
    import apsw

MAIN = ""  # the branch that is the main line
_LAST = "SELECT stop FROM streams_appends WHERE stream = ? AND branch = ? ORDER BY start DESC LIMIT 1"


class StreamProjection:
    """Tables of streams, appends and whom these are about, where records lie now, positions, files, merged branches."""

    name = "streams"
    version = 3
    tables: Mapping[str, str] = {
        "streams_streams": "CREATE TABLE streams_streams (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "name TEXT NOT NULL, format TEXT NOT NULL, owner TEXT NOT NULL, at TEXT NOT NULL, agent TEXT NOT NULL, "
        "subject TEXT, columns TEXT) WITHOUT ROWID",
        "streams_about": "CREATE TABLE streams_about (subject TEXT NOT NULL, event TEXT NOT NULL, "
        "PRIMARY KEY (subject, event)) WITHOUT ROWID",
        "streams_files": "CREATE TABLE streams_files (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "stream TEXT NOT NULL, branch TEXT NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL, "
        "key TEXT NOT NULL) WITHOUT ROWID",
        "streams_appends": "CREATE TABLE streams_appends (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "stream TEXT NOT NULL, branch TEXT NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL, "
        "root TEXT NOT NULL, segment TEXT NOT NULL, schema TEXT, at TEXT NOT NULL, agent TEXT NOT NULL, "
        "topic TEXT, partition INTEGER, next INTEGER) WITHOUT ROWID",
        "streams_places": "CREATE TABLE streams_places (stream TEXT NOT NULL, branch TEXT NOT NULL, "
        "start INTEGER NOT NULL, stop INTEGER NOT NULL, segment TEXT NOT NULL, event TEXT NOT NULL, "
        "dropped INTEGER NOT NULL, PRIMARY KEY (stream, branch, start)) WITHOUT ROWID",
        "streams_positions": "CREATE TABLE streams_positions (stream TEXT NOT NULL, consumer TEXT NOT NULL, "
        "position INTEGER NOT NULL, event TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (stream, consumer)) "
        "WITHOUT ROWID",
        "streams_merged": "CREATE TABLE streams_merged (stream TEXT NOT NULL, branch TEXT NOT NULL, "
        "stop INTEGER NOT NULL, PRIMARY KEY (stream, branch)) WITHOUT ROWID",
    }
    indexes: Sequence[str] = (
        "CREATE INDEX streams_by_name ON streams_streams (name)",
        "CREATE INDEX streams_appends_by_start ON streams_appends (stream, branch, start)",
        "CREATE INDEX streams_about_by_event ON streams_about (event)",
    )

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        event, body = entry.event, cast("Mapping[str, Any]", entry.event.body)
        match event.kind:
            case "stream.created":
                personal = body.get("personal") or {}
                columns = personal.get("columns")
                row = (event.id, entry.index, body["name"], body["format"], body["owner"], event.at, event.agent)
                about = (personal.get("subject"), None if columns is None else json.dumps(list(columns)))
                db.execute("INSERT INTO streams_streams VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, *about))
            case "stream.moved":
                db.execute("UPDATE streams_streams SET owner = ? WHERE event = ?", (body["owner"], body["stream"]))
            case "stream.appended":
                self._appended(db, entry, body)
                subjects = body.get("subjects") or ()
                if isinstance(subjects, str):
                    subjects = json.loads(blob(Digest(subjects)))
                rows = [(str(subject), event.id) for subject in subjects]
                db.executemany("INSERT OR IGNORE INTO streams_about VALUES (?, ?)", rows)
            case "stream.materialized" if body.get("sealed") is not None:
                where = (body["stream"], body["branch"], body["start"], body["stop"], body["sealed"]["key"])
                db.execute("INSERT INTO streams_files VALUES (?, ?, ?, ?, ?, ?, ?)", (event.id, entry.index, *where))
            case "stream.compacted":
                self._compacted(db, entry, body)
            case "stream.positioned":
                position = (body["stream"], body["consumer"], body["offset"], event.id, event.at)
                db.execute("INSERT OR REPLACE INTO streams_positions VALUES (?, ?, ?, ?, ?)", position)

    def _compacted(self, db: apsw.Connection, entry: Sequenced, body: Mapping[str, Any]) -> None:
        query = "SELECT 1 FROM streams_appends WHERE stream = ? AND branch = ? AND stop = ? AND root = ?"
        for branch in (body["branch"], body["log"]):
            if db.execute(query, (body["stream"], branch, body["stop"], body["root"])).fetchall():
                where = (body["stream"], branch, body["start"], body["stop"])
                delete = "DELETE FROM streams_places WHERE stream = ? AND branch = ? AND start >= ? AND stop <= ?"
                db.execute(delete, where)
                row = (*where, body["segment"], entry.event.id, body.get("dropped", 0))
                db.execute("INSERT INTO streams_places VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                return

    def _appended(self, db: apsw.Connection, entry: Sequenced, body: Mapping[str, Any]) -> None:
        event, kafka, merged = entry.event, body["kafka"] or {}, body["merged"]
        branch = body["branch"]
        if branch == MAIN:
            last = db.execute(_LAST, (body["stream"], MAIN)).fetchall()
            if body["start"] != (last[0][0] if last else 0):
                branch = body["log"]  # two logs took themselves for the owner: what the other did not know is a branch
        where = (body["stream"], branch, body["start"], body["stop"])
        db.execute("INSERT INTO streams_places VALUES (?, ?, ?, ?, ?, ?, 0)", (*where, body["segment"], event.id))
        db.execute(
            "INSERT INTO streams_appends VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.id,
                entry.index,
                *where,
                body["root"],
                body["segment"],
                body["schema"],
                event.at,
                event.agent,
                kafka.get("topic"),
                kafka.get("partition"),
                kafka.get("stop"),
            ),
        )
        if merged is not None:
            row = (body["stream"], merged["branch"], merged["stop"])
            db.execute("INSERT OR REPLACE INTO streams_merged VALUES (?, ?, ?)", row)


PROJECTION = StreamProjection()
