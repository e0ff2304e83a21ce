"""Captured databases as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from retrodict.kernel.words import count
from retrodict.render.changed import counted
from retrodict.render.text import listing

if TYPE_CHECKING:
    from retrodict.actions.capture_db import Captured, CapturedSources, CapturedTable, Planned


def statements(record: Planned) -> str:
    """Return the SQL that is to be run."""
    return f"-- in {record.database}\n" + "".join(f"{statement};\n" for statement in record.statements)


def sources(record: CapturedSources) -> RenderableType:
    """Render what is captured."""
    rows = [[row.source, row.reference] for row in record.rows]
    return listing(
        "Nothing is captured: `retrodict capture db DATABASE` records what others change in it.",
        ["table of another program", "is here"],
        rows,
        wrap=["table of another program"],
    )


def captured(record: Captured) -> RenderableType:
    """Render `capture db`."""
    return Text("\n".join(line for table in record.tables for line in _lines(table)))


def _lines(table: CapturedTable) -> list[str]:
    lines = [f"{table.table} -> {table.reference}  {counted(table.creates, table.updates, table.deletes)}"]
    if table.amiss:
        lines.append(f"  {count(table.amiss, 'change')} did not fit what was known: it was changed around the capture")
    if table.differs is not None:
        told = "the same, record by record" if table.differs == 0 else f"{count(table.differs, 'record')} differ"
        lines.append(f"  compared: {told}{', recorded' if table.mended else ''}")
    lines += [f"  {problem}" for problem in table.problems]
    return lines
