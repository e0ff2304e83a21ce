"""What changed a table, as a line: of the commands that are run most often, without what draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrodict.tables.changes import ChangeSet

_SHORT = len("sha256:") + 12


def changed(record: ChangeSet) -> str:
    """Render what changed a table."""
    if record.proposal is not None:
        what = counted(record.creates, record.updates, record.deletes)
        return f"{record.name}  proposed: {what}  entry {record.proposal}, which somebody else approves"
    beside = ""
    if record.conflict is not None:
        count = f"{record.conflicts} change{'s' if record.conflicts != 1 else ''}"
        beside = (
            f"\n{count} of records that changed meanwhile, kept beside them: entry {record.conflict}; "
            f"retrodict table settle {record.name}"
        )
    if record.index is None:
        return f"{record.reference}  nothing is different{beside}"
    branch = "" if record.branch is None else f"  on the branch {record.branch}"
    return (
        f"{record.reference}  {record.digest[:_SHORT]}  {counted(record.creates, record.updates, record.deletes)}"
        f"{branch}  entry {record.index}{beside}"
    )


def counted(creates: int, updates: int, deletes: int) -> str:
    """Return how many records were created, changed and deleted."""
    found = [f"{n} {what}" for n, what in ((creates, "created"), (updates, "changed"), (deletes, "deleted")) if n]
    return ", ".join(found) or "nothing"
