"""`gc undelete`: what is doomed is taken back."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict.workspace import Workspace, refuse_writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Undeleted:
    """How many records of the store were doomed and are no more."""

    records: int


def undelete(workspace: Workspace) -> Undeleted:
    """Take back everything that is doomed and not yet swept."""
    refuse_writing(workspace)
    return Undeleted(records=workspace.objects.spare())
