"""`signers`: whose keys sign whose events."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict.actions import names
from retrodict.actions.authorship import Authors, How
from retrodict.kernel.errors import AmbiguousReferenceError, FormatError, UsageError
from retrodict.kernel.types import Edge, EventId, Ref
from retrodict.keys import AllowedSigner, SshPublicKey, principal
from retrodict.workspace import Batch, RecordedSigner, Workspace, agent_name, recorded_signers


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerRow:
    """A key.

    Attributes:
        entry: Where it was recorded; what `revoke` takes.
        key: Type and base64; None where it is sealed and cannot be opened here.
        by, authorship: Who recorded it, and how that is known.
        revoked: The entry that revoked it, or None.
        until: The first entry for which it does not count, or None.
    """

    entry: int
    event: EventId
    name: str
    fingerprint: str | None
    key: str | None
    is_service: bool
    at: str
    by: str
    authorship: How
    revoked: int | None
    until: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """The keys that are on record, in the order in which they were added."""

    rows: tuple[SignerRow, ...]

    def allowed_signers(self) -> str:
        """Return the keys in force, as an allowed_signers file of ssh-keygen."""
        lines = [
            AllowedSigner(principals=(principal(row.name),), key=SshPublicKey.from_text(row.key)).line()
            for row in self.rows
            if row.key is not None and row.revoked is None
        ]
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerChanged:
    """A key was added or revoked."""

    index: int
    event: EventId
    name: str
    fingerprint: str | None


def signers(workspace: Workspace) -> Signers:
    """List the keys."""
    authors = Authors(workspace)
    rows = []
    for signer in recorded_signers(workspace):
        added = workspace.logs.event(signer.index)
        rows.append(
            SignerRow(
                entry=signer.index,
                event=signer.event,
                name=agent_name(workspace, signer.agent),
                fingerprint=None if signer.key is None else signer.key.fingerprint,
                key=None if signer.key is None else signer.key.text,
                is_service=signer.is_service,
                at=added.event.at,
                by=agent_name(workspace, added.event.agent),
                authorship=authors.of(added).how,
                revoked=signer.revoked,
                until=signer.until,
            )
        )
    return Signers(rows=tuple(rows))


def add_signer(
    workspace: Workspace, name: str, public_key: str, *, service: bool = False, reason: str | None = None
) -> SignerChanged:
    """Record that `public_key` signs for an agent.

    Args:
        name: As the record calls them, or the mail address in that name.
        public_key: A line as a `.pub` file holds it.
        service: It is a service's: the key and its signatures stand in the clear, and signing costs no write of a key.

    Raises:
        UsageError: It is no public key, or it is recorded for them already.
        AmbiguousReferenceError: The mail address is in the names of several.
    """
    try:
        key = SshPublicKey.from_text(public_key)
    except FormatError as error:
        raise UsageError(error.message, hint="Give the file that ends in .pub.") from error
    batch = Batch(workspace)
    known = _agent(workspace, name)
    pseudonym = batch.agent(known)
    for signer in recorded_signers(workspace):
        if signer.agent == pseudonym and signer.key == key and signer.revoked is None:
            raise UsageError(f"{key.fingerprint} is recorded for {known} already (entry {signer.index})")
    body = {"agent": pseudonym, "key": key.text if service else batch.seal(key.text)}
    event = batch.event("signer.added", uses=(), makes=(), body=body, reason=reason)
    index = batch.append()[-1].index
    return SignerChanged(index=index, event=event.id, name=known, fingerprint=key.fingerprint)


def revoke_signer(
    workspace: Workspace, which: str, *, since: str | None = None, reason: str | None = None
) -> SignerChanged:
    """Record that a key signs no more.

    Args:
        which: The entry that recorded it, its fingerprint, or the name of an agent with one key.
        since: The first entry whose signature does not count; None: from now on.

    Raises:
        UsageError: There is no such key in force.
        AmbiguousReferenceError: There are several.
        UnknownReferenceError: `since` names nothing.
    """
    signer = _signer(workspace, which)
    first = None if since is None else names.resolve(workspace, since).event
    if since is not None and first is None:
        raise UsageError(f"{since} is no entry", hint="`retrodict log` lists them.")
    batch = Batch(workspace)
    event = batch.event(
        "signer.revoked",
        uses=(Edge(ref=Ref(signer.event), role="signer", evidence="declared"),),
        makes=(),
        body={"signer": signer.event, "since": first},
        reason=reason,
    )
    index = batch.append()[-1].index
    return SignerChanged(
        index=index,
        event=event.id,
        name=agent_name(workspace, signer.agent),
        fingerprint=None if signer.key is None else signer.key.fingerprint,
    )


def _signer(workspace: Workspace, which: str) -> RecordedSigner:
    in_force = [signer for signer in recorded_signers(workspace) if signer.revoked is None]
    found = []
    for signer in in_force:
        name = agent_name(workspace, signer.agent)
        called = {str(signer.index), signer.event, name, principal(name)}
        if which in called or (signer.key is not None and which in (signer.key.fingerprint, signer.key.text)):
            found.append(signer)
    if not found:
        raise UsageError(f"no key in force is called {which}", hint="`retrodict signers` lists them.")
    if len(found) > 1:
        raise AmbiguousReferenceError(which, tuple(str(signer.index) for signer in found))
    return found[0]


def _agent(workspace: Workspace, name: str) -> str:
    """Return the full name of the agent whose name or mail address this is; a new name stays as it is."""
    query = "SELECT pseudonym FROM workspace_agents"
    known = {agent_name(workspace, str(row[0])) for row in workspace.views.database().execute(query).fetchall()}
    if name in known:
        return name
    matching = sorted(full for full in known if principal(full) == name and full != name)
    if len(matching) > 1:
        raise AmbiguousReferenceError(name, tuple(matching))
    return matching[0] if matching else name
