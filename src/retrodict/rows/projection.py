"""The view of which rows runs have read and used, folded from their events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from retrodict.kernel.types import Digest

if TYPE_CHECKING:
    import apsw

    from retrodict.ledger import Sequenced


class RowProjection:
    """Which versions of tables and ranges of streams were read by which runs, and which rows of them were used."""

    name = "rows"
    version = 2
    tables: Mapping[str, str] = {
        "rows_readings": "CREATE TABLE rows_readings (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "run TEXT NOT NULL, stream TEXT NOT NULL, branch TEXT NOT NULL, start INTEGER, stop INTEGER NOT NULL, "
        "at TEXT NOT NULL) "
        "WITHOUT ROWID",
        "rows_used": "CREATE TABLE rows_used (read TEXT PRIMARY KEY, count INTEGER NOT NULL, ranges TEXT, bitmap TEXT) "
        "WITHOUT ROWID",
    }
    indexes: Sequence[str] = (
        "CREATE INDEX rows_readings_by_stream ON rows_readings (stream, stop)",
        "CREATE INDEX rows_readings_by_run ON rows_readings (run)",
    )

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        del blob
        event, body = entry.event, cast("Mapping[str, Any]", entry.event.body)
        if event.kind == "run.read" and (where := body.get("table", body.get("range"))) is not None:
            place = (where["stream"], where["branch"], where.get("start"), where["offset"])
            row = (event.id, entry.index, body["run"], *place, event.at)
            db.execute("INSERT INTO rows_readings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        elif event.kind == "run.used_rows":
            rows = body["rows"]
            ranges = json.dumps(rows["ranges"]) if "ranges" in rows else None
            # A second event about one reading cannot take rows away that the first has named: the first stands.
            db.execute(
                "INSERT OR IGNORE INTO rows_used VALUES (?, ?, ?, ?)",
                (body["read"], body["count"], ranges, rows.get("bitmap")),
            )


PROJECTION = RowProjection()
