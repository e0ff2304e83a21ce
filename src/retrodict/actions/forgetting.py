"""When, by whom and why what a key had sealed was forgotten. No verb."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict.workspace import Workspace, agent_name, forgotten_by, open_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """A forgetting, as the log has it; `at` is RFC 3339, `reason` None where none was given."""

    entry: int
    at: str
    by: str
    reason: str | None

    def __str__(self) -> str:
        because = "" if self.reason is None else f": {self.reason}"
        return f"forgotten on {self.at[:10]} by {self.by} (entry {self.entry}){because}"


def find_forgetting(workspace: Workspace, key: str) -> Forgetting | None:
    """Return what destroyed a key, or None."""
    entry = forgotten_by(workspace, key)
    if entry is None:
        return None
    event = workspace.logs.event(entry).event
    return Forgetting(
        entry=entry,
        at=event.at,
        by=agent_name(workspace, event.agent),
        reason=open_text(workspace, event.reason),
    )
