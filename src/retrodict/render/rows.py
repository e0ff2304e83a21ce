"""Records that were used, and what they reached, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from retrodict.kernel.words import count
from retrodict.render import graph

if TYPE_CHECKING:
    from retrodict.actions.row_lineage import CausingRows, RecordLineage, RowReading, UsedRows


def reached(record: RecordLineage) -> RenderableType:
    """Render `lineage TABLE#KEY --down`."""
    so = f"since {record.since}" + ("" if record.until is None else f", before {record.until}")
    lines = [f"{record.reference}  as it was {so}"]
    lines += [f"  used by {_reading(reading)}" for reading in record.readings]
    if record.passed_over:
        lines.append(f"  {count(record.passed_over, 'run')} read the table then, and did not use this record")
    if not record.readings:
        lines.append("  nothing has used it")
    for found in record.reached:
        lines += ["", graph.to_tree(found.graph, found.labels)]
    return Text("\n".join(lines))


def caused(record: CausingRows) -> RenderableType:
    """Render `lineage REFERENCE --rows`."""
    if not record.tables:
        return Text(f"{record.root}: no run behind it read a table")
    return Text("\n".join([record.root, *(line for table in record.tables for line in _used(table))]))


def _reading(reading: RowReading) -> str:
    how = f"all {reading.total} records" if reading.count is None else f"{reading.count} of {reading.total} records"
    return f"{reading.label} ({reading.index}): {how} of {reading.reference}"


def _used(table: UsedRows) -> list[str]:
    used = table.reading.total if table.reading.count is None else table.reading.count
    keys = ["/".join(map(str, key)) for key in table.keys]
    more = f", and {used - len(keys)} more" if used > len(keys) else ""
    lines = [f"  {_reading(table.reading)}", f"    {', '.join(table.columns)}: {', '.join(keys)}{more}"]
    if table.since:
        lines.append(f"    {count(table.since, 'record')} of these changed since")
    return lines
