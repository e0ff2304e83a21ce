"""`table proposals`, `approve`, `reject`: changes that a second person has to approve."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict.actions.tabling import table_named
from retrodict.kernel.errors import UnknownReferenceError
from retrodict.tables import proposals, queries
from retrodict.tables.changes import ChangeSet
from retrodict.tables.records import Proposal, Table
from retrodict.workspace import Workspace, agent_name, open_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """Changes that wait for a second person, or did.

    Attributes:
        index: The entry that proposes them, by which they are named.
        verb: What was to make them: "put", "import", ...
        decided: "approved" or "rejected"; None: they wait.
    """

    index: int
    at: str
    who: str
    why: str | None
    verb: str
    creates: int
    updates: int
    deletes: int
    decided: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposals:
    """What was proposed for a table, in order."""

    name: str
    proposals: tuple[Proposed, ...]


def listed(workspace: Workspace, name: str) -> Proposals:
    """List what was proposed for a table. Raises `UnknownReferenceError`: there is none."""
    found = queries.proposals(workspace.views.database(), table_named(workspace, name).stream)
    return Proposals(name=name, proposals=tuple(_proposed(workspace, proposal) for proposal in found))


def approve(workspace: Workspace, name: str, proposal: str | int, *, reason: str | None = None) -> ChangeSet:
    """Make the changes of a proposal, named by its entry.

    Raises:
        UnknownReferenceError: There is no such table or proposal.
        And as `proposals.approve` does.
    """
    table = table_named(workspace, name)
    return proposals.approve(workspace, table, _meant(workspace, table, proposal), reason=reason)


def reject(workspace: Workspace, name: str, proposal: str | int, *, reason: str | None = None) -> Proposed:
    """Decide that the changes of a proposal are not made. Raises as `approve` does."""
    table = table_named(workspace, name)
    proposals.reject(workspace, table, _meant(workspace, table, proposal), reason=reason)
    return _proposed(workspace, _meant(workspace, table, proposal))


def _meant(workspace: Workspace, table: Table, asked: str | int) -> Proposal:
    found = queries.proposals(workspace.views.database(), table.stream)
    for proposal in found:
        if str(asked) in (str(proposal.index), proposal.event):
            return proposal
    raise UnknownReferenceError(str(asked), tuple(str(proposal.index) for proposal in found))


def _proposed(workspace: Workspace, proposal: Proposal) -> Proposed:
    sequenced = workspace.logs.find(proposal.event)
    return Proposed(
        index=proposal.index,
        at=proposal.at,
        who=agent_name(workspace, proposal.agent),
        why=None if sequenced is None else open_text(workspace, sequenced.event.reason),
        verb=proposal.verb,
        creates=proposal.creates,
        updates=proposal.updates,
        deletes=proposal.deletes,
        decided=proposal.decided,
    )
