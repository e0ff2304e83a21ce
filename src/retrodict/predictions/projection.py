"""The view of calls and disputes, folded from their events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from retrodict.kernel.types import Digest

if TYPE_CHECKING:
    import apsw

    from retrodict.ledger import Sequenced


class PredictionProjection:
    """Tables of calls, their parts, disputes, and whom calls are about, by pseudonym; small rows, since there are many.

    `nth` numbers the answered calls of each model version from 0, so that an even sample of them is drawn without a
    look at the others; it is NULL for failed and for declared ones.
    """

    name = "predictions"
    version = 5
    tables: Mapping[str, str] = {
        "predictions_calls": "CREATE TABLE predictions_calls (entry INTEGER PRIMARY KEY, event TEXT NOT NULL, "
        "kind TEXT NOT NULL, model TEXT, model_name TEXT NOT NULL, model_version TEXT NOT NULL, "
        "requested TEXT NOT NULL, status TEXT NOT NULL, rows INTEGER NOT NULL, caller TEXT, trace TEXT, span TEXT, "
        "parent_span TEXT, parent TEXT, received TEXT NOT NULL, duration_ns INTEGER NOT NULL, request_id TEXT, "
        "parts INTEGER NOT NULL, nth INTEGER)",
        "predictions_parts": "CREATE TABLE predictions_parts (entry INTEGER NOT NULL, first_row INTEGER NOT NULL, "
        "rows INTEGER NOT NULL, caller TEXT, trace TEXT NOT NULL, span TEXT NOT NULL, parent_span TEXT, "
        "request_id TEXT, PRIMARY KEY (entry, first_row)) WITHOUT ROWID",
        "predictions_disputes": "CREATE TABLE predictions_disputes (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "prediction TEXT NOT NULL, row INTEGER, at TEXT NOT NULL, agent TEXT NOT NULL, resolution TEXT, "
        "resolution_entry INTEGER)",
        "predictions_subjects": "CREATE TABLE predictions_subjects (subject TEXT NOT NULL, entry INTEGER NOT NULL, "
        "PRIMARY KEY (subject, entry)) WITHOUT ROWID",
    }
    indexes: Sequence[str] = (
        "CREATE INDEX predictions_by_model ON predictions_calls (model_name, model_version)",
        "CREATE UNIQUE INDEX predictions_answered ON predictions_calls (model, nth) WHERE nth IS NOT NULL",
        "CREATE INDEX predictions_by_trace ON predictions_calls (trace) WHERE trace IS NOT NULL",
        "CREATE INDEX predictions_by_parent ON predictions_calls (parent) WHERE parent IS NOT NULL",
        "CREATE INDEX predictions_by_caller ON predictions_calls (caller) WHERE caller IS NOT NULL",
        "CREATE INDEX predictions_by_time ON predictions_calls (received)",
        "CREATE INDEX predictions_parts_by_caller ON predictions_parts (caller) WHERE caller IS NOT NULL",
        "CREATE INDEX predictions_parts_by_trace ON predictions_parts (trace)",
        "CREATE INDEX disputes_by_prediction ON predictions_disputes (prediction)",
        "CREATE INDEX subjects_by_entry ON predictions_subjects (entry)",
    )

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        event, body = entry.event, entry.event.body
        match event.kind:
            case "prediction.made" | "prediction.declared" | "prediction.fetched":
                # 4 ms, and few commands fold a call
                from retrodict.predictions.records import CALL_COLUMNS, answered, parts_of, subjects_of

                parts = parts_of(body)
                is_answered = event.kind == "prediction.made" and body["status"] == "ok"
                db.execute(
                    "INSERT INTO predictions_calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        entry.index,
                        event.id,
                        event.kind.removeprefix("prediction."),
                        *[body[column] for column in CALL_COLUMNS],
                        body.get("request_id"),
                        len(parts),
                        answered(db, str(body["model"])) if is_answered else None,
                    ),
                )
                if parts:
                    db.executemany(
                        "INSERT INTO predictions_parts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        [(entry.index, *part.as_body().values()) for part in parts],
                    )
                for subject in sorted(subjects_of(event, blob)):
                    db.execute("INSERT INTO predictions_subjects VALUES (?, ?)", (subject, entry.index))
            case "prediction.disputed":
                db.execute(
                    "INSERT INTO predictions_disputes VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)",
                    (event.id, entry.index, body["prediction"], body["row"], event.at, event.agent),
                )
            case "dispute.resolved":
                db.execute(
                    "UPDATE predictions_disputes SET resolution = ?, resolution_entry = ? WHERE event = ?",
                    (event.id, entry.index, str(body["dispute"])),
                )


PROJECTION = PredictionProjection()
