"""`log`: the entries, newest first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from retrodict import ledger
from retrodict.actions import names
from retrodict.actions.authorship import Authors, How
from retrodict.actions.looks import people_in
from retrodict.kernel.errors import UnknownReferenceError
from retrodict.kernel.types import EntryNumber, EventId
from retrodict.ledger import Sequenced
from retrodict.workspace import Workspace, agent_name, open_text


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One entry: when, who, what, why. `what` is a reference or a label that can be pasted.

    Attributes:
        authorship: "authenticated": the agent's own key has signed it; "claimed": nothing proves who did it.
    """

    entry: int
    event: EventId
    at: str
    agent: str
    kind: str
    what: str
    reason: str | None
    authorship: How


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLog:
    """A log of others that is held: what its entries are called by, its origin, its length."""

    name: str
    origin: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Some entries of the `size` that there are, newest first; and the logs of others that are held."""

    size: int
    rows: tuple[LogRow, ...]
    others: tuple[HeldLog, ...] = ()


def log(workspace: Workspace, *, limit: int = 30, kind: str | None = None, of: str | None = None) -> Log:
    """Return the newest entries; `kind` keeps those whose kind begins with it.

    Args:
        of: The log, by its name or the beginning of its hash; "all": of all of them; None: the workspace's own.

    Raises:
        UnknownReferenceError: There is no such log.
    """
    held, authors = workspace.logs.held(), Authors(workspace)
    wanted = held if of == "all" else held[:1] if of is None else workspace.logs.named(of)
    if not wanted:
        raise UnknownReferenceError(of or "", tuple(one.name for one in held[1:]))
    rows: list[LogRow] = []
    for sequenced in heapq.merge(*map(_newest_first, wanted), key=_order, reverse=True):
        if len(rows) >= limit:
            break
        if kind is None or sequenced.event.kind.startswith(kind):
            rows.append(row(workspace, sequenced, authors))
    others = tuple(HeldLog(name=one.name, origin=one.ledger.origin, size=one.ledger.size()) for one in held[1:])
    return Log(size=sum(one.ledger.size() for one in wanted), rows=tuple(rows), others=others)


def _newest_first(of: ledger.HeldLog) -> Iterator[Sequenced]:
    position = of.ledger.size()
    while position > 0:
        start = max(0, position - 500)
        yield from map(of.numbered, reversed(list(of.ledger.read(start, position))))
        position = start


def _order(sequenced: Sequenced) -> int:
    return sequenced.event.tick


def _reason(workspace: Workspace, sequenced: Sequenced) -> str | None:
    """Return why; not what is about a person: the log is listed often, and each look at that is an entry."""
    if sequenced.event.reason is not None and people_in(workspace, sequenced):
        return f"(about a person: retrodict show {sequenced.index})"
    return open_text(workspace, sequenced.event.reason)


def row(workspace: Workspace, sequenced: Sequenced, authors: Authors) -> LogRow:
    """Return an entry as a row."""
    event = sequenced.event
    return LogRow(
        entry=EntryNumber(sequenced.index),
        event=event.id,
        at=event.at,
        agent=agent_name(workspace, event.agent),
        kind=event.kind,
        what=names.label(workspace, sequenced),
        reason=_reason(workspace, sequenced),
        authorship=authors.of(sequenced).how,
    )
