"""The view of registered models and aliases, folded from their events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from retrodict.kernel.types import Digest

if TYPE_CHECKING:
    import apsw

    from retrodict.ledger import Sequenced


class ModelProjection:
    """Tables `models_versions` and `models_aliases`."""

    name = "models"
    version = 3
    tables: Mapping[str, str] = {
        "models_versions": "CREATE TABLE models_versions (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "name TEXT NOT NULL, version INTEGER NOT NULL, content TEXT NOT NULL, flavor TEXT NOT NULL, signature TEXT, "
        "metrics TEXT, run TEXT, at TEXT NOT NULL, agent TEXT NOT NULL, is_current INTEGER NOT NULL, personal TEXT) "
        "WITHOUT ROWID",
        "models_aliases": "CREATE TABLE models_aliases (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "name TEXT NOT NULL, alias TEXT NOT NULL, version_event TEXT NOT NULL, at TEXT NOT NULL, "
        "agent TEXT NOT NULL, is_current INTEGER NOT NULL)",  # rows stand in the order of all logs
    }
    indexes: Sequence[str] = (
        "CREATE INDEX models_by_name ON models_versions (name, version)",
        "CREATE INDEX models_by_content ON models_versions (content)",
        "CREATE INDEX models_by_alias ON models_aliases (name, alias)",
    )

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        del blob
        event, body = entry.event, entry.event.body
        if event.kind == "model.registered":
            for replaced in event.replaces:
                db.execute("UPDATE models_versions SET is_current = 0 WHERE event = ?", (replaced,))
            columns = ("name", "version", "content", "flavor", "signature", "metrics", "run")
            db.execute(
                "INSERT INTO models_versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?)",
                (event.id, entry.index, *(body[c] for c in columns), event.at, event.agent, _personal_text(body)),
            )
        elif event.kind == "alias.set":
            for replaced in event.replaces:
                db.execute("UPDATE models_aliases SET is_current = 0 WHERE event = ?", (replaced,))
            named = ("name", "alias", "version")
            db.execute(
                "INSERT INTO models_aliases VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
                (event.id, entry.index, *(body[c] for c in named), event.at, event.agent),
            )


def _personal_text(body: Mapping[str, object]) -> str | None:
    found = body.get("personal")  # an entry of an earlier release has no such field
    return None if found is None else json.dumps(found, sort_keys=True)


PROJECTION = ModelProjection()
