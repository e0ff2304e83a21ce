"""`log`: the entries, newest first."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict.actions import names
from retrodict.actions.authorship import Authors, How
from retrodict.actions.looks import people_in
from retrodict.kernel.types import EventId
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
class Log:
    """Some entries of the `size` that the log has, newest first."""

    size: int
    rows: tuple[LogRow, ...]


def log(workspace: Workspace, *, limit: int = 30, kind: str | None = None) -> Log:
    """Return the newest entries; `kind` keeps those whose kind begins with it."""
    size, authors = workspace.ledger.size(), Authors(workspace)
    rows: list[LogRow] = []
    position = size
    while position > 0 and len(rows) < limit:
        start = max(0, position - 500)
        for sequenced in reversed(list(workspace.ledger.read(start, position))):
            if len(rows) < limit and (kind is None or sequenced.event.kind.startswith(kind)):
                rows.append(row(workspace, sequenced, authors))
        position = start
    return Log(size=size, rows=tuple(rows))


def _reason(workspace: Workspace, sequenced: Sequenced) -> str | None:
    """Return why; not what is about a person: the log is listed often, and each look at that is an entry."""
    if sequenced.event.reason is not None and people_in(workspace, sequenced):
        return f"(about a person: retrodict show {sequenced.index})"
    return open_text(workspace, sequenced.event.reason)


def row(workspace: Workspace, sequenced: Sequenced, authors: Authors) -> LogRow:
    """Return an entry as a row."""
    event = sequenced.event
    return LogRow(
        entry=sequenced.index,
        event=event.id,
        at=event.at,
        agent=agent_name(workspace, event.agent),
        kind=event.kind,
        what=names.label(workspace, sequenced),
        reason=_reason(workspace, sequenced),
        authorship=authors.of(sequenced).how,
    )
