"""What a run read through us and not as a file: versions of tables, ranges of streams, slices of tensors."""

from __future__ import annotations

from retrodict import runs
from retrodict.actions import row_lineage
from retrodict.actions.explain.reading import Reader
from retrodict.actions.explanation import Fact
from retrodict.actions.row_lineage import UsedRows
from retrodict.kernel.words import count
from retrodict.rows import records as readings
from retrodict.runs import Run

_SHOWN = 5


def _entries(reader: Reader, run: Run) -> dict[str, int]:
    """Return what a run read, and the first entry that says so."""
    found: dict[str, int] = {}
    for index in runs.reads(reader.database, run.started_event):
        found.setdefault(str(reader.workspace.logs.event(index).event.body["what"]), index)
    return found


def _tables(reader: Reader, run: Run) -> list[UsedRows]:
    found = readings.of_run(reader.database, run.started_event)
    return [row_lineage.used(reader.workspace, reading, limit=_SHOWN) for reading in found]


def _used(table: UsedRows) -> str:
    total = count(table.reading.total, "record")
    return f"all {total}" if table.reading.count is None else f"{table.reading.count} of {total}"


def named(reader: Reader, run: Run) -> list[str]:
    """Return what a run read by itself, in words."""
    tables = {table.reading.reference: f"{table.reading.reference} ({_used(table)})" for table in _tables(reader, run)}
    return [tables.get(what, what) for what in _entries(reader, run)]


def read(reader: Reader, run: Run) -> list[Fact]:
    """Return a fact for each thing that a run read by itself."""
    tables = {table.reading.reference: table for table in _tables(reader, run)}
    facts = []
    for what, index in _entries(reader, run).items():
        says = what
        if what in tables:
            says = f"table {what}: {_used(tables[what])} were used"
            if tables[what].reading.count is not None:
                says += "; a filter or a join had dropped the others, looking at one record at a time"
        facts.append(reader.entry_fact(says, reader.workspace.logs.event(index), "observed"))
    return facts


def origins(reader: Reader, run: Run) -> list[Fact]:
    """Return a fact for each version of a table that a run read, with what became since of the records that it used."""
    facts = []
    entries = _entries(reader, run)
    for table in _tables(reader, run):
        reference = table.reading.reference
        below = [
            Fact(
                says=f"since then: {change.op} of {key} by {change.who} in v{change.version}"
                + (f": {change.why}" if change.why else ""),
                evidence="observed",
                state="held",
                ref=f"{reference.partition('@')[0]}@v{change.version}",
                lines=tuple(f"{cell.column}: {cell.before} -> {cell.after}" for cell in change.cells),
            )
            for key, change in table.later
        ]
        says = f"table {reference}: none of the {_used(table)} that were used has been corrected since"
        if table.since:
            says = (
                f"table {reference}: {count(table.since, 'record')} corrected since "
                f"{'was' if table.since == 1 else 'were'} among the {_used(table)} that were used"
            )
        facts.append(
            reader.entry_fact(says, reader.workspace.logs.event(entries[reference]), "observed", facts=tuple(below))
        )
    return facts
