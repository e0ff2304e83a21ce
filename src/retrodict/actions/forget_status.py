"""`forget --status`: what was forgotten, who held it, and who has confirmed that they no longer do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrodict.actions import names
from retrodict.actions.holding import Holder, Holders
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import EventId
from retrodict.ledger import Sequenced
from retrodict.workspace import Workspace, agent_name, forgettings, forgotten_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One forgetting, and how it stands now.

    Attributes:
        entry: The `subject.forgotten` ("person") or `file.forgotten` ("files"); `at` is RFC 3339.
        keys: How many keys it names.
        holders: Who held one of them, or what they had sealed: as far as the logs here say by now.
    """

    entry: int
    event: EventId
    of: Literal["person", "files"]
    at: str
    by: str
    keys: int
    holders: tuple[Holder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetStatus:
    """Every forgetting that was asked for, oldest first."""

    forgettings: tuple[Standing, ...]

    @property
    def is_confirmed(self) -> bool:
        """Everybody who held something has confirmed."""
        return all(holder.state == "confirmed" for one in self.forgettings for holder in one.holders)


def forget_status(workspace: Workspace, reference: str | None = None) -> ForgetStatus:
    """Say who has confirmed what was forgotten.

    Args:
        reference: The entry of one forgetting; None: all of them, in all logs.

    Raises:
        UsageError: It is no forgetting.
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    if reference is None:
        found = [workspace.logs.event(index) for index in forgettings(workspace)]
        found.sort(key=lambda one: one.event.tick)
    else:
        event = names.resolve(workspace, reference).event
        one = None if event is None else workspace.logs.find(event)
        if one is None or one.event.kind not in ("subject.forgotten", "file.forgotten"):
            raise UsageError(
                f"{reference} is no forgetting", hint="Give its entry, or none: `forget --status` lists all of them."
            )
        found = [one]
    holders = Holders(workspace)
    return ForgetStatus(forgettings=tuple(_standing(workspace, holders, one) for one in found))


def _standing(workspace: Workspace, holders: Holders, one: Sequenced) -> Standing:
    return Standing(
        entry=one.index,
        event=one.event.id,
        of="person" if one.event.kind == "subject.forgotten" else "files",
        at=one.event.at,
        by=agent_name(workspace, one.event.agent),
        keys=len(forgotten_keys(one.event.body, workspace.objects.get)),
        holders=holders.now(one),
    )
