"""`runs`: what was run, by whom, with what outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retrodict import runs as records
from retrodict.actions import names
from retrodict.actions.authorship import Authors, How
from retrodict.kernel.types import EventId
from retrodict.workspace import Workspace, agent_name


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run.

    Attributes:
        entry: The entry that can be pasted: of its end, or of its start where it has no end.
        exit_code: None where its end is not on record: it is running, or its recorder died.
        completeness: How sure the record is to have seen everything.
    """

    entry: int
    event: EventId
    name: str
    command: str
    started: str
    duration_ns: int | None
    exit_code: int | None
    completeness: str | None
    agent: str
    params: Mapping[str, str]
    authorship: How


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Runs, newest first."""

    rows: tuple[RunRow, ...]


def runs(workspace: Workspace, *, name: str | None = None) -> Runs:
    """List the runs (named `name`).

    Raises:
        UnknownReferenceError: No run has this name.
    """
    database = workspace.views.database()
    found = records.runs(database, name)
    if name is not None and not found:
        raise names.unknown(name, sorted({run.name for run in records.runs(database)}))
    authors = Authors(workspace)
    return Runs(
        rows=tuple(
            RunRow(
                entry=run.index,
                event=run.event or run.started_event,
                name=run.name,
                command=records.command_line(run.argv),
                started=run.started,
                duration_ns=run.duration_ns,
                exit_code=run.exit_code,
                completeness=run.completeness,
                agent=agent_name(workspace, run.agent),
                params=run.params,
                authorship=authors.how(run.index),
            )
            for run in reversed(found)
        )
    )
