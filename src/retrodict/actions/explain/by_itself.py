"""What a run read through us and not as a file: versions of tables, ranges of streams, slices of tensors."""

from __future__ import annotations

from collections.abc import Iterator

from retrodict import runs
from retrodict.actions import row_lineage
from retrodict.actions.explain.reading import Reader
from retrodict.actions.explanation import Fact
from retrodict.actions.row_lineage import RowReading
from retrodict.kernel.words import count
from retrodict.ledger import Sequenced
from retrodict.rows import records as readings
from retrodict.rows.records import Reading
from retrodict.runs import Run

_SHOWN = 5


def _read(reader: Reader, run: Run) -> Iterator[tuple[Sequenced, str, Reading | None]]:
    """Yield each entry that says what a run read, what that is, and of a table which rows; it may come twice."""
    tables = {reading.event: reading for reading in readings.of_run(reader.database, run.started_event)}
    found = [reader.workspace.logs.event(index) for index in runs.reads(reader.database, run.started_event)]
    is_told = any(sequenced.event.body.get("personal") is True for sequenced in found)
    for sequenced in found:
        body = sequenced.event.body
        if sequenced.event.kind == "run.read":
            yield sequenced, str(body["what"]), tables.get(sequenced.event.id)
        elif not is_told:  # what is read for itself is looked at, too
            yield sequenced, f"personal values, shown to it ({body['by']})", None


def _used(table: RowReading) -> str:
    total = count(table.total, "record")
    return f"all {total}" if table.count is None else f"{table.count} of {total}"


def named(reader: Reader, run: Run) -> list[str]:
    """Return what a run read by itself, in words."""
    words = [
        what if table is None else f"{what} ({_used(row_lineage.told(reader.workspace, table))})"
        for _, what, table in _read(reader, run)
    ]
    return list(dict.fromkeys(words))


def read(reader: Reader, run: Run) -> list[Fact]:
    """Return a fact for each thing that a run read by itself."""
    facts: dict[str, Fact] = {}
    for sequenced, what, table in _read(reader, run):
        says = what
        if table is not None:
            kind = "table" if table.start is None else "stream"
            says = f"{kind} {what}: {_used(row_lineage.told(reader.workspace, table))} were used"
            if table.count is not None:
                says += "; a filter or a join had dropped the others, looking at one record at a time"
        facts.setdefault(says, reader.entry_fact(says, sequenced, "observed"))
    return list(facts.values())


def origins(reader: Reader, run: Run) -> list[Fact]:
    """Return a fact for each version of a table that a run read, with what became since of the records that it used."""
    facts: dict[str, Fact] = {}
    for sequenced, reference, reading in _read(reader, run):
        if reading is None or reading.start is not None:  # records of a stream are never corrected
            continue
        since, later = row_lineage.corrected(reader.workspace, reading, limit=_SHOWN)
        below = [
            Fact(
                says=f"since then: {change.op} of {key} by {change.who} in v{change.version}"
                + (f": {change.why}" if change.why else ""),
                evidence="observed",
                state="held",
                ref=f"{reference.partition('@')[0]}@v{change.version}",
                lines=tuple(f"{cell.column}: {cell.before} -> {cell.after}" for cell in change.cells),
            )
            for key, change in later
        ]
        which = _used(row_lineage.told(reader.workspace, reading))
        says = f"table {reference}: none of the {which} that were used has been corrected since"
        if since:
            says = (
                f"table {reference}: {count(since, 'record')} corrected since "
                f"{'was' if since == 1 else 'were'} among the {which} that were used"
            )
        facts.setdefault(says, reader.entry_fact(says, sequenced, "observed", facts=tuple(below)))
    return list(facts.values())
