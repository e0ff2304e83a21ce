"""`table settle`: changes that were kept beside their records, because these had changed; look at them, settle them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from retrodict.actions.tabling import key_values, table_named
from retrodict.kernel.errors import UnknownReferenceError, UsageError
from retrodict.tables import conflicts, lines
from retrodict.tables.changes import ChangeSet
from retrodict.tables.conflicts import Standing, Taking
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSettled:
    """What stands beside the records of a table, or what became of it.

    Attributes:
        answer: "no": something stands, and nobody has settled it.
        conflicts: What stands; after a settling, what was settled.
        done: What the settling changed; None: nothing was asked to be settled.
    """

    answer: Literal["yes", "no"]
    name: str
    conflicts: tuple[Standing, ...]
    done: ChangeSet | None


def settle(
    workspace: Workspace,
    name: str,
    entry: str | int | None = None,
    *,
    keys: Sequence[str | Sequence[object] | Mapping[str, object]] = (),
    take: Taking | None = None,
    reason: str | None = None,
) -> TableSettled:
    """List what stands beside records, or settle what one entry keeps: a new change, by which nothing is erased.

    Args:
        entry: Only what it keeps; needed where several stand.
        keys: Only these records.
        take: "ours": the records stay as they are; "theirs": the changes are made; None: they are only listed.

    Raises:
        UnknownReferenceError: There is no such table, or nothing stands there.
        RecordConflictError: Another process changed such a record meanwhile; nothing is settled.
        UsageError: It is not said which entry is meant, or it was recorded in another workspace.
    """
    table = table_named(workspace, name)
    log = lines.own_log(workspace, table)
    columns = lines.columns_at(workspace.views.database(), log)
    asked: list[Any] | None = [key_values(table, columns, key) for key in keys] or None
    index = None if entry is None else _index(entry)
    found = conflicts.standing(workspace, log, keys=asked, index=index)
    entries = list(dict.fromkeys(standing.index for standing in found))
    if (entry is not None or keys) and not found:
        known = dict.fromkeys(str(standing.index) for standing in conflicts.standing(workspace, log))
        raise UnknownReferenceError(str(entry) if entry is not None else f"a conflict of {name}", tuple(known))
    if take is None or not found:
        return TableSettled(answer="no" if found else "yes", name=table.name, conflicts=tuple(found), done=None)
    if len(entries) > 1:
        raise UsageError(
            f"{name} has conflicts in several entries: {', '.join(map(str, entries))}", hint="Name one of them."
        )
    done = conflicts.settle(workspace, table, entries[0], found, take, since=log.size, reason=reason)
    return TableSettled(answer="yes", name=table.name, conflicts=tuple(found), done=done)


def _index(entry: str | int) -> int:
    try:
        return int(entry)
    except ValueError as error:
        raise UsageError(
            f"{entry!r} is no number of an entry", hint="`retrodict table settle NAME` lists them."
        ) from error
