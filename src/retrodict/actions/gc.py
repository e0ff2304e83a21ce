"""`gc`: what nothing in the record needs, doomed first and swept after a grace."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict.actions.needs import roots
from retrodict.kernel.clock import NS
from retrodict.kernel.protocols import Progress
from retrodict.objects import Weight
from retrodict.workspace import Batch, Workspace, refuse_writing

GRACE_S = 7 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What can go, and what went.

    Attributes:
        needed: What the record needs. Payloads that lie in the log are not counted: they always stay.
        dead: What nothing needs.
        doomed: What is doomed now: it is still there, `gc undelete` takes it back.
        doomed_since_ns: Since when the oldest of it is; None: nothing is.
        swept: What was removed now.
        grace_s: How long something is doomed before it is swept, in seconds.
        is_plan: Nothing was changed.
    """

    needed: Weight
    dead: Weight
    doomed: Weight
    doomed_since_ns: int | None
    swept: Weight
    grace_s: float
    is_plan: bool


def gc(
    workspace: Workspace, *, apply: bool = False, grace_s: float = GRACE_S, progress: Progress | None = None
) -> Collection:
    """Find what nothing in the record needs; sweep what has been doomed for the grace, and doom the rest.

    Args:
        apply: False: only say what would go.
        grace_s: Longer than it takes to store something and to record that.
        progress: Told of entries, objects and packs.

    Raises:
        IntegrityError: Something altered may name others: `verify` says what; nothing was changed.
    """
    if apply:
        refuse_writing(workspace)
    objects = workspace.objects
    live = objects.needed(roots(workspace, progress=progress).needed, progress=progress)
    swept = Weight(records=0, stored_bytes=0)
    if apply:
        swept = objects.sweep(live, grace_ns=round(grace_s * NS), progress=progress)
        objects.doom(live)
        if grace_s == 0:  # whoever gives no grace says that nobody is writing
            more = objects.sweep(live, grace_ns=0, progress=progress)
            swept = Weight(records=swept.records + more.records, stored_bytes=swept.stored_bytes + more.stored_bytes)
        if swept.records:
            batch = Batch(workspace)
            body = {"records": swept.records, "stored_bytes": swept.stored_bytes}
            batch.event("store.swept", uses=(), makes=(), body=body)
            batch.append()
    doomed, since = objects.doomed()
    return Collection(
        needed=objects.weigh(live),
        dead=objects.dead(live),
        doomed=doomed,
        doomed_since_ns=since,
        swept=swept,
        grace_s=grace_s,
        is_plan=not apply,
    )
