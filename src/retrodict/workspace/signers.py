"""The keys that are recorded for agents."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from retrodict.kernel.errors import IntegrityError, RetrodictError
from retrodict.kernel.types import Digest, EntryNumber, EventId
from retrodict.keys import SshPublicKey
from retrodict.workspace.opened import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSigner:
    """A key that is recorded for an agent.

    Attributes:
        event, index: Of the `signer.added`.
        agent: The pseudonym.
        key: None where it is sealed and cannot be opened here, or is not held as it was recorded.
        is_service: The key is a service's: it and its signatures stand in the clear.
        revoked: The entry that revoked it, or None.
        until: The first entry for which it does not count, or None while it is in force.
    """

    event: EventId
    index: int
    agent: str
    key: SshPublicKey | None
    is_service: bool
    revoked: int | None
    until: int | None


def recorded_signers(workspace: Workspace) -> list[RecordedSigner]:
    """Return the keys that are recorded for agents, in their order."""
    found = []
    query = "SELECT event, idx, agent, plain, digest, key, revoked_idx, since FROM workspace_signers ORDER BY rowid"
    rows: list[tuple[Any, ...]] = workspace.views.database().execute(query).fetchall()
    for event, index, agent, plain, digest, key, revoked, since in rows:
        public = None
        with contextlib.suppress(RetrodictError, UnicodeDecodeError):  # what is lost or altered is for `verify` to name
            text = plain
            if plain is None and workspace.keys is not None:
                opened = workspace.keys.open_sealed(key, workspace.objects.get(Digest(digest)))
                text = None if opened is None else opened.decode()
            public = None if text is None else SshPublicKey.from_text(text)
        until = None if revoked is None else EntryNumber(revoked)
        if since is not None:
            until = EntryNumber(0)  # of an entry that cannot be found, nothing is known to come before it
            with contextlib.suppress(IntegrityError):
                first = workspace.logs.find(EventId(since))
                if first is not None:
                    until = (
                        EntryNumber(first.index)
                        if workspace.logs.precedes(first.index, revoked)
                        else EntryNumber(revoked)
                    )
        found.append(
            RecordedSigner(
                event=EventId(event),
                index=EntryNumber(index),
                agent=agent,
                key=public,
                is_service=plain is not None,
                revoked=None if revoked is None else EntryNumber(revoked),
                until=until,
            )
        )
    return found
