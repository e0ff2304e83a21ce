"""The views of versions, and of what is marked about them, folded from their events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from retrodict.kernel.types import Digest, Edge, EntryNumber

if TYPE_CHECKING:
    import apsw

    from retrodict.ledger import Sequenced


class DatasetProjection:
    """A row for each version, for each time that one was made again, and for each object that was let go."""

    name = "datasets"
    version = 8
    tables: Mapping[str, str] = {
        "datasets_versions": "CREATE TABLE datasets_versions (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "name TEXT NOT NULL, version INTEGER NOT NULL, content TEXT NOT NULL, type TEXT NOT NULL, "
        "files INTEGER NOT NULL, size_bytes INTEGER NOT NULL, path TEXT NOT NULL, at TEXT NOT NULL, "
        "agent TEXT NOT NULL, is_current INTEGER NOT NULL, key TEXT, recipe TEXT, cpu_us INTEGER) WITHOUT ROWID",
        "datasets_rederived": "CREATE TABLE datasets_rederived (entry INTEGER PRIMARY KEY, version TEXT NOT NULL, "
        "verdict TEXT NOT NULL, at TEXT NOT NULL)",
        "datasets_released": "CREATE TABLE datasets_released (content TEXT PRIMARY KEY, entry INTEGER NOT NULL) "
        "WITHOUT ROWID",
    }
    indexes: Sequence[str] = (
        "CREATE INDEX datasets_by_name ON datasets_versions (name, version)",
        "CREATE INDEX datasets_by_content ON datasets_versions (content)",
        "CREATE INDEX datasets_rederived_by_version ON datasets_rederived (version, entry)",
    )

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        del blob
        event = entry.event
        body = event.body
        if event.kind == "dataset.rederived":
            row = (entry.index, str(body["version"]), str(body["verdict"]), event.at)
            db.execute("INSERT INTO datasets_rederived VALUES (?, ?, ?, ?)", row)
            return
        if event.kind == "evidence.released":
            if EntryNumber(entry.index).is_of_another_log:
                return  # what others need no more may be needed here
            contents = body.get("contents", (body["content"],))
            rows = [(str(content), entry.index) for content in cast("Sequence[str]", contents)]
            db.executemany("REPLACE INTO datasets_released VALUES (?, ?)", rows)
            return
        if event.kind not in ("dataset.added", "dataset.derived", "dataset.attached"):
            return
        for replaced in event.replaces:
            db.execute("UPDATE datasets_versions SET is_current = 0 WHERE event = ?", (replaced,))
        path = next((e.path for e in event.makes if hasattr(e, "path") and e.path), "")
        db.execute(
            "INSERT INTO datasets_versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.id,
                entry.index,
                str(body["name"]),
                body["version"],
                str(body["content"]),
                str(body["type"]),
                body["files"],
                body["size_bytes"],
                _column(path),
                event.at,
                event.agent,
                int(body.get("superseded_by") is None),
                sealed["key"] if isinstance(sealed := body.get("sealed"), Mapping) else None,
                body.get("recipe"),
                took["user_us"] + took["system_us"] if isinstance(took := body.get("resources"), Mapping) else None,
            ),
        )


def _column(path: str) -> str | bytes:
    """Return a path as a column holds it: one that is not UTF-8 as its bytes."""
    raw = path.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


class MarkProjection:
    """Tables `marks_tags`, `marks_untracked`, `marks_fetched`, `marks_buckets` and `marks_imported`."""

    name = "marks"
    version = 2
    tables: Mapping[str, str] = {
        "marks_tags": "CREATE TABLE marks_tags (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, name TEXT NOT NULL, "
        "label TEXT NOT NULL, version TEXT NOT NULL, is_current INTEGER NOT NULL) WITHOUT ROWID",
        "marks_untracked": "CREATE TABLE marks_untracked (version TEXT PRIMARY KEY, entry INTEGER NOT NULL) "
        "WITHOUT ROWID",
        "marks_fetched": "CREATE TABLE marks_fetched (entry INTEGER PRIMARY KEY, event TEXT NOT NULL, "
        "path BLOB NOT NULL, content TEXT NOT NULL)",
        "marks_buckets": "CREATE TABLE marks_buckets (entry INTEGER PRIMARY KEY, event TEXT NOT NULL, "
        "version TEXT NOT NULL, objects TEXT NOT NULL)",
        "marks_imported": "CREATE TABLE marks_imported (entry INTEGER PRIMARY KEY, event TEXT NOT NULL, "
        "system TEXT NOT NULL, key TEXT NOT NULL)",
    }
    indexes: Sequence[str] = (
        "CREATE INDEX marks_tags_by_name ON marks_tags (name, label)",
        "CREATE INDEX marks_fetched_by_path ON marks_fetched (path, entry)",
        "CREATE INDEX marks_imported_by_key ON marks_imported (system, key)",
    )

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        del blob
        event, body = entry.event, entry.event.body
        match event.kind:
            case "dataset.tagged":
                for replaced in event.replaces:
                    db.execute("UPDATE marks_tags SET is_current = 0 WHERE event = ?", (replaced,))
                values = (event.id, entry.index, str(body["name"]), str(body["label"]), str(body["version"]))
                db.execute("INSERT INTO marks_tags VALUES (?, ?, ?, ?, ?, 1)", values)
            case "dataset.untracked":
                versions = body["versions"]
                assert isinstance(versions, list | tuple)
                rows = [(str(version), entry.index) for version in versions]
                db.executemany("INSERT OR IGNORE INTO marks_untracked VALUES (?, ?)", rows)
            case "origin.fetched":
                path = next((e.path for e in event.makes if isinstance(e, Edge) and e.path is not None), "")
                place = path.encode("utf-8", "surrogateescape")
                fetched = (entry.index, event.id, place, str(body["content"]))
                db.execute("INSERT INTO marks_fetched VALUES (?, ?, ?, ?)", fetched)
            case "bucket.fetched":
                row = (entry.index, event.id, str(body["version"]), str(body["objects"]))
                db.execute("INSERT INTO marks_buckets VALUES (?, ?, ?, ?)", row)
            case "dataset.added" | "run.declared":
                match body.get("imported"):
                    case {"system": str(system), "key": str(key)}:
                        imported = (entry.index, event.id, system, key)
                        db.execute("INSERT INTO marks_imported VALUES (?, ?, ?, ?)", imported)


PROJECTION = DatasetProjection()
MARKS = MarkProjection()
