"""Tables and their events: what there is to know of one, and their bodies.

A table is a stream whose records are changes. What was appended stands in the stream's own events, which say with
`table` what the changes of a version amount to; here is what else there is to know of a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from retrodict.kernel import canonical
from retrodict.kernel.types import Digest, EventId

INLINE_COLUMNS = 100  # the columns of wider tables are an object of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        id: Never given to another column of the table; its name in the records is this number.
        type: As the schemas of streams name types (`streams.type_name`).
    """

    id: int
    name: str
    type: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a table asks of a change.

    Attributes:
        reason: That it has a reason.
        approval: That a second person approves it: until then it is a proposal.
        on_conflict: What becomes of a change against an older version of its record: "refuse" tells whoever makes it,
            "keep" also lets it stand beside the record until somebody settles it.
    """

    reason: bool = False
    approval: bool = False
    on_conflict: Literal["refuse", "keep"] = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """What of a table's records is about people.

    Attributes:
        subject: The id of the column that says whom a record is about; personal itself.
        clear: The ids of the columns that are not personal; what is not named here is, so columns added later are.
    """

    subject: int
    clear: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, as its `table.created` says.

    Attributes:
        event: Its `table.created`; `index` is its entry.
        stream: The `stream.created` of its changes, by which it is known everywhere.
        key: The ids of the columns whose values name a record.
        valid_from: The id of the column that says since when a change is true in the world; None: there is none.
        personal: None: its records are about nobody.
    """

    event: EventId
    index: int
    stream: EventId
    name: str
    owner: str
    key: tuple[int, ...]
    policy: Policy
    valid_from: int | None
    at: str
    agent: str
    personal: Personal | None = None

    def hides(self, column: int) -> bool:
        """Say whether the values of a column, by its id, are sealed."""
        return self.personal is not None and column not in self.personal.clear

    @property
    def kept_of_deletes(self) -> tuple[int, ...]:
        """The ids of the columns that a delete holds: the key, and whose it is where that is sealed."""
        if self.personal is None or not any(map(self.hides, self.key)):
            return self.key
        return tuple(dict.fromkeys([*self.key, self.personal.subject]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One set of changes, appended in one piece: the records [start, stop) of the change log.

    Attributes:
        event: Its `stream.appended`; `index` is its entry.
        branch: Where it is; "" is the main line.
        version: Its number: `NAME@v3`.
        how: What made it, by its verb, and the run that it was made in.
        statement, reason: What made it, in words, and why, as an entry holds a sealed text.
    """

    event: EventId
    index: int
    branch: str
    version: int
    start: int
    stop: int
    creates: int
    updates: int
    deletes: int
    verb: str
    run: EventId | None
    statement: Mapping[str, str] | None
    at: str
    agent: str
    reason: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmade:
    """Changes that were recorded and not made.

    Attributes:
        event: What records them; `index` is its entry.
        log, branch: Where that was, and for which line they are.
        base: After how many changes the table was as they were meant for.
        payload: The object with the changes.
        agent: Whose they are.
        statement: By which statement, as an entry holds a sealed text.
    """

    event: EventId
    index: int
    stream: EventId
    log: str
    branch: str
    base: int
    payload: Digest
    verb: str
    run: EventId | None
    statement: Mapping[str, str] | None
    at: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal(Unmade):
    """Changes that wait for a second person, or did: a `table.proposed`.

    Attributes:
        decided: "approved" or "rejected"; None: it waits.
    """

    creates: int
    updates: int
    deletes: int
    merged: Mapping[str, Any] | None
    decided: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict(Unmade):
    """Changes against an older version of their records, which stand beside these: a `table.conflicted`.

    Attributes:
        records: How many there are, each of another record.
        settled: Of those that are settled, by their number in the payload: "ours" or "theirs".
    """

    records: int
    settled: Mapping[int, str]


def columns_value(columns: Sequence[Column]) -> list[object]:
    """Return columns as bodies hold them."""
    return [{"id": column.id, "name": column.name, "type": column.type} for column in columns]


def columns_blob(columns: Sequence[Column]) -> bytes:
    """Return the object with columns that are too many for a body."""
    return canonical.encode(cast("Any", columns_value(columns)))


def policy_value(policy: Policy) -> dict[str, object]:
    """Return a policy as bodies hold it."""
    value: dict[str, object] = {"reason": policy.reason, "approval": policy.approval}
    return value if policy.on_conflict == "refuse" else {**value, "on_conflict": policy.on_conflict}


def created_body(
    *,
    name: str,
    stream: EventId,
    owner: str,
    key: Sequence[int],
    columns: object,
    policy: Policy,
    valid_from: int | None,
    personal: Personal | None = None,
) -> dict[str, object]:
    """Return the body of `table.created`."""
    body: dict[str, object] = {
        "name": name,
        "stream": stream,
        "owner": owner,
        "key": list(key),
        "columns": columns,
        "policy": policy_value(policy),
        "valid_from": valid_from,
    }
    if personal is not None:
        body["personal"] = {"subject": personal.subject, "clear": list(personal.clear)}
    return body


def version_body(
    *,
    version: int,
    creates: int,
    updates: int,
    deletes: int,
    verb: str,
    run: EventId | None,
    statement: Mapping[str, str] | None,
    source: str | None,
    position: object,
) -> dict[str, object]:
    """Return what `stream.appended` says of a table's changes."""
    return {
        "version": version,
        "creates": creates,
        "updates": updates,
        "deletes": deletes,
        "how": {"verb": verb, "run": run, "statement": statement},
        "source": None if source is None else {"name": source, "position": position},
    }


def captured_body(
    *, stream: EventId, branch: str, source: str, position: object, columns: Sequence[tuple[int, int]] | None
) -> dict[str, object]:
    """Return the body of `table.captured`.

    Args:
        columns: Which column of the source, by its number there, is which of ours, by its id; None: as before.
    """
    return {
        "stream": stream,
        "branch": branch,
        "source": {"name": source, "position": position},
        "columns": None if columns is None else [list(pair) for pair in columns],
    }


def altered_body(
    *,
    stream: EventId,
    log: str,
    branch: str,
    version: int,
    start: int,
    columns: object,
    policy: Policy | None,
) -> dict[str, object]:
    """Return the body of `table.altered`; `policy` None: as before."""
    body = {"stream": stream, "log": log, "branch": branch, "version": version, "start": start, "columns": columns}
    return body if policy is None else {**body, "policy": policy_value(policy)}


def snapshotted_body(
    *, stream: EventId, log: str, branch: str, offset: int, rows: int, root: str, parts: Sequence[Digest]
) -> dict[str, object]:
    """Return the body of `table.snapshotted`."""
    return {
        "stream": stream,
        "log": log,
        "branch": branch,
        "offset": offset,
        "rows": rows,
        "root": root,
        "parts": list(parts),
    }


def proposed_body(
    *,
    stream: EventId,
    log: str,
    branch: str,
    base: int,
    payload: Digest,
    counts: tuple[int, int, int],
    how: Mapping[str, object],
    merged: Mapping[str, object] | None,
) -> dict[str, object]:
    """Return the body of `table.proposed`; `counts` are of creates, updates and deletes."""
    return {
        "stream": stream,
        "log": log,
        "branch": branch,
        "base": base,
        "payload": payload,
        **dict(zip(("creates", "updates", "deletes"), counts, strict=True)),
        "how": how,
        "merged": merged,
    }


def decided_body(*, stream: EventId, proposal: EventId) -> dict[str, object]:
    """Return the body of `table.approved` and `table.rejected`."""
    return {"stream": stream, "proposal": proposal}


def conflicted_body(
    *,
    stream: EventId,
    log: str,
    branch: str,
    base: int,
    payload: Digest,
    records: int,
    how: Mapping[str, object],
) -> dict[str, object]:
    """Return the body of `table.conflicted`."""
    return {
        "stream": stream,
        "log": log,
        "branch": branch,
        "base": base,
        "payload": payload,
        "records": records,
        "how": how,
    }


def settled_body(*, stream: EventId, conflict: EventId, rows: Sequence[int], took: str) -> dict[str, object]:
    """Return the body of `table.settled`; `rows` are numbers of changes in the payload, `took` "ours" or "theirs"."""
    return {"stream": stream, "conflict": conflict, "rows": list(rows), "took": took}


def committed_body(
    *, stream: EventId, branch: str, offset: int, rows: int, root: str, records: str
) -> dict[str, object]:
    """Return the body of `table.committed`; `root` is the change log's, `records` that of the records."""
    return {"stream": stream, "branch": branch, "offset": offset, "rows": rows, "root": root, "records": records}
