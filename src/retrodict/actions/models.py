"""`models`: the versions of the models, their metrics, and who moved which alias when and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retrodict.actions import names
from retrodict.actions.authorship import Authors, How
from retrodict.actions.metrics import read_metrics
from retrodict.kernel.types import Digest, EventId
from retrodict.models import records
from retrodict.workspace import Workspace, agent_name, open_text


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasRow:
    """One move of an alias."""

    alias: str
    version: str
    at: str
    agent: str
    reason: str | None
    is_current: bool
    entry: int
    authorship: How


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One version.

    Attributes:
        reference: `NAME@vN`.
        entry: Its entry in the log.
        run: The entry of the run that made it, None where none is on record.
        metrics: What the metrics file says, flattened to dotted names, where it is JSON; else empty.
        aliases: Those that point here now.
        personal: Whom its questions are about; None: nobody.
    """

    reference: str
    name: str
    version: int
    entry: int
    event: EventId
    content: Digest
    flavor: str
    at: str
    agent: str
    reason: str | None
    run: int | None
    metrics: Mapping[str, object]
    aliases: tuple[str, ...]
    personal: records.Personal | None
    authorship: How


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """All versions (of one model), and every move of an alias."""

    versions: tuple[ModelRow, ...]
    moves: tuple[AliasRow, ...]


def models(workspace: Workspace, name: str | None = None) -> Models:
    """List the versions and the moves of aliases of `name`, or of every model.

    Raises:
        UnknownReferenceError: There is no such model.
    """
    database = workspace.views.database()
    found = records.versions(database, name)
    if name is not None and not found:
        known = sorted({version.name for version in records.versions(database)})
        raise names.unknown(name, known)
    moves = records.aliases(database, name)
    labels = {version.event: version.label for version in found}
    authors = Authors(workspace)
    rows = []
    for version in found:
        event = workspace.logs.event(version.index).event
        run = None if version.run is None else workspace.logs.find(version.run)
        rows.append(
            ModelRow(
                reference=version.label,
                name=version.name,
                version=version.version,
                entry=version.index,
                event=version.event,
                content=version.content,
                flavor=version.flavor,
                at=version.at,
                agent=agent_name(workspace, version.agent),
                reason=open_text(workspace, event.reason),
                run=None if run is None else run.index,
                metrics=read_metrics(workspace, version.metrics),
                personal=version.personal,
                aliases=tuple(m.alias for m in moves if m.is_current and m.version_event == version.event),
                authorship=authors.how(version.index),
            )
        )
    return Models(
        versions=tuple(rows),
        moves=tuple(
            AliasRow(
                alias=f"{move.name}@{move.alias}",
                version=labels.get(move.version_event, move.version_event),
                at=move.at,
                agent=agent_name(workspace, move.agent),
                reason=open_text(workspace, workspace.logs.event(move.index).event.reason),
                is_current=move.is_current,
                entry=move.index,
                authorship=authors.how(move.index),
            )
            for move in moves
        ),
    )
