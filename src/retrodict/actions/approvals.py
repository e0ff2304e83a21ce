"""Whether what a table's policy leaves to a second person was approved by one, as it was proposed. No verb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from retrodict import provenance, streams
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Digest, EventId, Finding
from retrodict.ledger import Sequenced
from retrodict.tables import lines, queries
from retrodict.tables.lines import ChangeLog
from retrodict.tables.proposals import placed
from retrodict.tables.records import Proposal, Version
from retrodict.workspace import Workspace


def unapproved(workspace: Workspace) -> Iterator[Finding]:
    """Name the changes of tables that ask for a second person which nobody else has approved, or not as they are."""
    db = workspace.views.database()
    asking = [table for table in queries.tables(db) if table.policy.approval]
    if not asking:
        return
    approvals = {
        EventId(str(found.event.body["proposal"])): found
        for held in workspace.logs.held()
        for found in held.ledger.entries_of("table.approved")
    }
    for table in asking:
        proposed = queries.proposals(db, table.stream)
        branches = [branch.name for branch in streams.queries.branches(db, table.stream)]
        for branch in (streams.MAIN, *branches):
            log = lines.change_log(workspace, table, branch)
            used: set[EventId] = set()  # an approval is for one version
            for version in queries.versions(db, table.stream, branch):
                if version.verb != "alter":
                    wrong = _wrong(workspace, log, version, proposed, approvals, used)
                    if wrong is not None:
                        message = (
                            f"it changes {table.name} (v{version.version}), which asks for a second person: {wrong}"
                        )
                        yield Finding(level="altered", what=f"entry {version.index}", message=message)


def _wrong(
    workspace: Workspace,
    log: ChangeLog,
    version: Version,
    proposed: Sequence[Proposal],
    approvals: Mapping[EventId, Sequenced],
    used: set[EventId],
) -> str | None:
    """Return why a version is not what somebody else has approved; None: it is."""
    made = workspace.logs.event(version.index).event
    edges = provenance.edges(made.uses, workspace.objects.get)
    payloads = {Digest(edge.ref) for edge in edges if edge.role == "proposal"}
    wrong = "nobody has approved it"
    for proposal in proposed:
        approval = approvals.get(proposal.event)
        if proposal.payload not in payloads or proposal.event in used or approval is None:
            continue
        if approval.event.tick > made.tick:
            continue
        if approval.event.agent == proposal.agent:
            wrong = "who proposed it has approved it"
            continue
        try:
            wanted = placed(workspace, proposal, version.start)
            said = [record for block in streams.parse_table(wanted, None).blocks for record in block.records]
            held = [record for block in log.line.records(version.start, version.stop) for record in block]
        except RetrodictError:  # what is missing is named for itself
            return None
        if said != held:
            wrong = "other changes were approved"
            continue
        used.add(proposal.event)
        return None
    return wrong
