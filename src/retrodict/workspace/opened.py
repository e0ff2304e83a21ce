"""A workspace that is open: its parts, and what is asked of all of them together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from retrodict.kernel.errors import ReadOnlyStoreError
from retrodict.kernel.protocols import Clock
from retrodict.keys import KeyRing, LogVerifier, StateDirectory
from retrodict.ledger import HeldLog, Ledger, Logs, ReplacedKeyError
from retrodict.objects import ObjectStore
from retrodict.views import Views
from retrodict.workspace.errors import CopiedWorkspaceError, UnwritableStateError

if TYPE_CHECKING:
    from retrodict.keys import SshSigner


def _no_run() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The opened parts; it has no verbs.

    Attributes:
        root: The project's folder; paths in the record are relative to it.
        folder: `.retrodict` below it.
        id: Random name of this workspace, 32 hex digits.
        keys: None where the keys are out of reach: texts stay sealed then.
        agent: Name of who acts, as claimed; "" for a reader.
        signer: With what the agent signs its events; None: they stay claimed.
        read_only: Nothing can be recorded.
        is_copy: Another store stands where this one's key was made, so this is a copy of it: it is read, and its log
            is not continued, since two histories under one key would be a fork.
        keyless: Why nothing can be opened, sealed or signed; None where something can.
        ledger: The workspace's own log, the only one that it appends to.
        logs: That log, and those of others that it has received.
        copied: The log that this copy has read so far, where it has begun a log of its own just now.
        run: Gives the run that whoever acts is a part of now, by its `run.started`, as they say; None: no run.
        notes: What was done beside what was asked for, for the door to say; filled while it is open.
    """

    root: Path
    folder: Path
    id: str
    objects: ObjectStore
    ledger: Ledger
    logs: Logs
    views: Views
    keys: KeyRing | None
    state: StateDirectory | None
    clock: Clock
    agent: str
    read_only: bool
    is_copy: bool
    signer: SshSigner | None = None
    keyless: str | None = None
    copied: HeldLog | None = None
    run: Callable[[], str | None] = _no_run
    notes: list[str] = field(default_factory=list)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        close(self)


def close(workspace: Workspace) -> None:
    """Publish what was recorded, where the key is here, and close the parts."""
    try:
        publish(workspace)
    finally:
        workspace.views.close()
        workspace.logs.close()
        workspace.objects.close()
        if workspace.keys is not None:
            workspace.keys.close()


def signed_log(workspace: Workspace, number: int) -> tuple[HeldLog, int, list[LogVerifier]]:
    """Return the log that an entry is of, its index there, and the keys that may have signed for it, where known.

    Raises:
        IntegrityError: The log cannot be read.
    """
    log, index = workspace.logs.place(number)
    if log.tag is None:
        verifier = None if workspace.state is None else workspace.state.verifier
        return log, index, [] if verifier is None else [verifier]
    if log.key is None:
        return log, index, []
    return log, index, log_keys(log, LogVerifier.from_text(log.key))


def log_keys(log: HeldLog, first: LogVerifier) -> list[LogVerifier]:
    """Return a key of a log, and those that took its place, each signed for by the one before.

    Raises:
        IntegrityError: The log cannot be read.
    """
    chain = log.ledger.key_chain(first, LogVerifier.from_text)
    return [key for key in chain if isinstance(key, LogVerifier)]


def publish(workspace: Workspace) -> None:
    """Sign a checkpoint over everything sequenced, where there is something new and the key is here.

    Raises:
        ReplacedKeyError: Another key has taken the place of the one that is here.
    """
    state = workspace.state
    if workspace.read_only or state is None or state.signer is None or workspace.ledger.size() == 0:
        return
    try:
        workspace.ledger.publish(state.signer, state, follow=LogVerifier.from_text)
    except ReplacedKeyError:
        state.reload()  # another process has replaced the key since this one read it
        workspace.ledger.publish(state.signer, state, follow=LogVerifier.from_text)


def refuse_writing(workspace: Workspace) -> None:
    """Do nothing where the workspace can be written.

    Raises:
        CopiedWorkspaceError, ReadOnlyStoreError: It cannot.
        OldStoreError, ForkError: It is not the store that was signed last: writing to it would fork its log.
    """
    if workspace.is_copy:
        raise CopiedWorkspaceError(str(workspace.folder))
    if workspace.read_only:
        raise ReadOnlyStoreError(str(workspace.folder))
    state = workspace.state
    if state is not None and state.signer is not None:
        workspace.ledger.refuse_another_history(state.checkpoint(), state.signer, LogVerifier.from_text)


def refuse_without_keys(workspace: Workspace) -> None:
    """Do nothing where texts and names can be sealed.

    Raises:
        UnwritableStateError: The keys are not to be had.
    """
    if workspace.keyless is not None:
        raise UnwritableStateError(f"nothing can be sealed or signed: {workspace.keyless}")
