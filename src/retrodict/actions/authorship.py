"""Who did something: *claimed*, or *authenticated* by a signature of their own key. No verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from retrodict.kernel.clock import parse_rfc3339
from retrodict.kernel.entry import SIGNATURE, authored_bytes
from retrodict.kernel.errors import IntegrityError, MissingObjectError, RetrodictError, UnavailableError
from retrodict.kernel.types import Digest, EntryNumber
from retrodict.keys import AllowedSigner, SshPublicKey, principal, verify_ssh_signature
from retrodict.ledger import Sequenced
from retrodict.workspace import RecordedSigner, Workspace, agent_name, recorded_signers, sealed_text

How = Literal["claimed", "authenticated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorship:
    """How an event's agent is known.

    Attributes:
        how: "authenticated": their own key has signed the event; "claimed": nothing proves it.
        because: Why a signature that is there does not count; None where there is none, or where it counts.
        is_altered: The signature is not over this event, or is none.
    """

    how: How
    because: str | None = None
    is_altered: bool = False


class Authors:
    """Looks at signatures, against the keys that the log has recorded or an allowed_signers file holds."""

    def __init__(self, workspace: Workspace, allowed: Sequence[AllowedSigner] | None = None) -> None:
        self._workspace = workspace
        self._allowed = allowed
        self._recorded: list[RecordedSigner] | None = None
        self._names: dict[str, str] = {}

    def of(self, entry: Sequenced) -> Authorship:
        """Return how the agent of an entry is known."""
        if SIGNATURE not in entry.event.extra:
            return Authorship(how="claimed")
        try:
            armored = self.signature(entry)
            if armored is None:
                return Authorship(how="claimed", because="the key of its sealed signature is not held")
            key = verify_ssh_signature(armored, authored_bytes(entry.event))
        except MissingObjectError as error:
            return Authorship(how="claimed", because=f"its signature is missing: {error.message}")
        except UnavailableError as error:
            return Authorship(how="claimed", because=error.message)
        except RetrodictError as error:
            return Authorship(how="claimed", because=f"its signature is wrong: {error.message}", is_altered=True)
        because = self._why_not(entry, key)
        return Authorship(how="claimed" if because else "authenticated", because=because)

    def how(self, index: int) -> How:
        """Return how the agent of entry number `index` is known."""
        return self.of(self._workspace.logs.event(index)).how

    def signature(self, entry: Sequenced) -> bytes | None:
        """Return the author's signature over an entry that has one, armored; None where it cannot be opened here.

        Raises:
            MissingObjectError, AlteredObjectError: It is not held as it was recorded.
            IntegrityError: The field names no signature.
        """
        workspace, where = self._workspace, entry.event.extra[SIGNATURE]
        match where:
            case str(digest):
                return workspace.objects.get(Digest(digest))
            case {"sealed": _, "key": _}:
                sealed = sealed_text(where)
                assert sealed is not None
                ciphertext = workspace.objects.get(sealed.digest)
                return None if workspace.keys is None else workspace.keys.open_sealed(sealed.key, ciphertext)
        raise IntegrityError(f"its field `{SIGNATURE}` names no signature: {where!r}")

    def _why_not(self, entry: Sequenced, key: SshPublicKey) -> str | None:
        agent = entry.event.agent
        if self._allowed is not None:
            return self._why_not_allowed(entry, key, self._allowed)
        if self._recorded is None:
            self._recorded = recorded_signers(self._workspace)
        precedes = self._workspace.logs.precedes
        # What another log records about keys counts in that log alone: it could record its own key in anybody's name.
        own = {None, EntryNumber(entry.index).tag}
        known = [
            signer
            for signer in self._recorded
            if signer.agent == agent and signer.key == key and EntryNumber(signer.index).tag in own
        ]
        for number, signer in enumerate(known):
            # The first record also counts for what was signed before it; one after a revocation only from there on.
            begins = number == 0 or not precedes(entry.index, signer.index)
            if begins and (signer.until is None or precedes(entry.index, signer.until)):
                return None
        if known:
            return f"signed with a key that entry {known[-1].revoked} has revoked ({key.fingerprint})"
        return f"signed with a key that is not recorded for this agent ({key.fingerprint})"

    def _why_not_allowed(self, entry: Sequenced, key: SshPublicKey, allowed: Sequence[AllowedSigner]) -> str | None:
        agent = entry.event.agent
        if agent not in self._names:
            self._names[agent] = agent_name(self._workspace, agent)
        name = self._names[agent]
        at = parse_rfc3339(entry.event.at) // 1_000_000_000
        known = [s for s in allowed if s.key == key and (s.allows(principal(name)) or s.allows(name))]
        if any((s.after is None or at >= s.after) and (s.before is None or at < s.before) for s in known):
            return None
        if known:
            return f"signed with a key that was not allowed at that time ({key.fingerprint})"
        return f"signed with a key that is not allowed for this agent ({key.fingerprint})"


def unproved(workspace: Workspace, first: int) -> str | None:
    """Return why the newest signature from entry `first` on does not count; None where it does, or there is none."""
    for index in range(workspace.ledger.size() - 1, first - 1, -1):
        entry = workspace.ledger.event(index)
        if SIGNATURE in entry.event.extra:
            return Authors(workspace).of(entry).because
    return None
