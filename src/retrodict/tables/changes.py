"""What changes of a table are: one of them, a set of them, what makes them, what they are captured from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from retrodict.kernel.types import Edge, EventId

Op = Literal["create", "put", "update", "delete", "truncate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one record.

    Attributes:
        op: "create" and "put" give the whole record, and what they do not name is null; "update" some of its values;
            "delete" needs the key alone; "truncate" deletes every record.
        values: By the names of the columns. A key among them that is another than `key` renames the record: it is
            deleted, and created under the new key.
        key: The values of the key, by the names of its columns; {}: they stand in `values`.
        valid_from: Since when it is true in the world: RFC 3339, or a `datetime`; None: since it was recorded.
        at: When another system made it (RFC 3339, or a `datetime`); None: now.
        who, why, how: Who made it there, why, and by which statement; sealed in the record. None: as the event says.
        tx: The id of the transaction there.
    """

    op: Op
    values: Mapping[str, object] = field(default_factory=dict)
    key: Mapping[str, object] = field(default_factory=dict)
    valid_from: object = None
    at: object = None
    who: str | None = None
    why: str | None = None
    how: str | None = None
    tx: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What changes are captured from, and how far they come.

    Attributes:
        after: The position after which the changes begin: None where nothing has been recorded from there. Where
            another position is recorded by now, another process has been faster, and nothing is recorded.
        position: The position after them: what a source likes to call it, as JSON without floats.
    """

    name: str
    after: object
    position: object


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """Changes that are durable: one version of a table.

    Attributes:
        reference: The version: `NAME@v3`.
        start, stop: Their offsets in the change log: [start, stop).
        digest: Of all changes up to them.
        branch: Where they were recorded; None: the main line.
        index: The entry that records them; None: nothing was different, and nothing recorded.
        amiss: How many captured changes did not fit what was known: a create of what was there, an update or a delete
            of what was not. They are recorded so that the table is as it is there.
        proposal: The entry that proposes them, where a second person has to approve them; then nothing is changed yet.
        conflict: The entry that keeps changes against an older version of their records beside these, where there were
            such; `conflicts` is how many. They are no part of the version.
    """

    reference: str
    name: str
    version: int
    start: int
    stop: int
    creates: int
    updates: int
    deletes: int
    digest: str
    branch: str | None
    event: EventId | None
    index: int | None
    size_bytes: int
    amiss: int = 0
    proposal: int | None = None
    conflicts: int = 0
    conflict: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Of a conflict, by its `table.conflicted`, which of the changes that stand beside are settled, and how.

    Attributes:
        rows: Their numbers in the payload.
        took: "ours": the records stay as they are; "theirs": the changes are made.
    """

    conflict: EventId
    rows: Sequence[int]
    took: Literal["ours", "theirs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What makes changes.

    Attributes:
        verb: "put", "update", "delete", "import", "revert", "merge", "capture".
        reason: Why.
        run: The run that they are made in.
        statement: The statement or program, in words; sealed.
        uses: What they were taken from.
        since: Refuse changes to records that were changed at or after this offset.
        valid_from: Since when they are true, where a change does not say so itself.
        merged: The branch that they come from: as `streams.append` has it.
        settles: What they settle.
    """

    verb: str
    reason: str | None = None
    run: EventId | None = None
    statement: str | None = None
    uses: Sequence[Edge] = ()
    since: int | None = None
    valid_from: object = None
    merged: Mapping[str, object] | None = None
    settles: Settlement | None = None
