"""What is captured from another system: how far that has come, and what it knows of each change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from retrodict import streams
from retrodict.kernel.types import Digest, Edge, Ref
from retrodict.tables import lines, queries, records
from retrodict.tables.cells import column_of
from retrodict.tables.changes import Change, Source
from retrodict.tables.lines import ChangeLog
from retrodict.tables.records import Table
from retrodict.workspace import Batch, Workspace

if TYPE_CHECKING:
    import apsw

_CAPTURED = ("_at", "_who", "_why", "_how", "_tx")


def is_next(db: apsw.Connection, log: ChangeLog, source: Source) -> bool:
    """Say whether what is captured begins where the last of it ended: else another process has been faster."""
    return bool(queries.position(db, log.table.stream, log.branch, source.name) == source.after)


def note_position(workspace: Workspace, log: ChangeLog, source: Source | None) -> None:
    """Record that a source has come further without a change; called while the lock is held."""
    if source is None or source.position == source.after:
        return
    batch = Batch(workspace)
    batch.event(
        "table.captured",
        uses=(),
        makes=(),
        body=records.captured_body(
            stream=log.table.stream, branch=log.branch, source=source.name, position=source.position, columns=None
        ),
    )
    batch.append()


def follow_columns(workspace: Workspace, table: Table, source: str, columns: Sequence[tuple[int, int]]) -> None:
    """Record which column of a source is which of ours: by its number there, and by its id here."""
    with streams.locked(workspace):
        log = lines.own_log(workspace, table)
        position = queries.position(workspace.views.database(), table.stream, log.branch, source)
        batch = Batch(workspace)
        batch.event(
            "table.captured",
            uses=(),
            makes=(),
            body=records.captured_body(
                stream=table.stream, branch=log.branch, source=source, position=position, columns=columns
            ),
        )
        batch.append()


def with_captured(batch: Batch, made: Any, made_by: Sequence[Change | None]) -> tuple[Any, list[Edge]]:
    """Return changes with what another system knows of them, and the sealed texts among that.

    All texts of one append are sealed together: a key of its own for each statement of a busy database would cost a
    wait for the disk each.
    """
    import pyarrow as pa  # 57 ms

    agents: dict[str, str] = {}
    said = [text for c in made_by if c is not None for text in (c.why, c.how) if text is not None and text.strip()]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(said))}
    kept = batch.seal(json.dumps(list(numbers))) if numbers else None
    texts = [] if kept is None else [Edge(ref=Ref(Digest(kept["sealed"])), role="text", evidence="observed")]

    def seal(text: str | None) -> str | None:
        if kept is None or text not in numbers:
            return None
        return f"{kept['sealed']} {kept['key']} {numbers[text]}"

    def agent(name: str | None) -> str | None:
        if name is None or not name.strip():
            return None
        if name not in agents:
            agents[name] = batch.agent(name)
        return agents[name]

    given = [change or Change(op="put") for change in made_by]
    at = column_of([change.at for change in given], ["timestamp", "us", "UTC"], "the time of the change")
    place = made.schema.get_field_index("_changed") + 1 + ("_valid_from" in made.schema.names)
    for name, values in zip(
        _CAPTURED,
        (
            at,
            *(
                pa.array(found, pa.string())
                for found in (
                    [agent(change.who) for change in given],
                    [seal(change.why) for change in given],
                    [seal(change.how) for change in given],
                    [change.tx for change in given],
                )
            ),
        ),
        strict=True,
    ):
        made = made.add_column(place, name, values)
        place += 1
    return made, texts
