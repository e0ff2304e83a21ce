"""Events, made and appended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from retrodict.kernel import clock as clocks
from retrodict.kernel.entry import SIGNATURE, authored_bytes, encode_edge_list
from retrodict.kernel.types import MAX_EDGES, Digest, Edge, EdgeList, Event, EventId
from retrodict.ledger import Sequenced
from retrodict.objects import digest_of
from retrodict.workspace.errors import UnwritableStateError
from retrodict.workspace.opened import Workspace, refuse_without_keys, refuse_writing
from retrodict.workspace.texts import sealed_text

if TYPE_CHECKING:
    from retrodict.keys import NewKey


class Batch:
    """Events and their small payloads (`blobs`, by digest), gathered for one atomic append.

    Raises:
        CopiedWorkspaceError, ReadOnlyStoreError: The workspace cannot be written.
        UnwritableStateError: There is no key to seal a text with.
    """

    def __init__(self, workspace: Workspace) -> None:
        refuse_writing(workspace)
        refuse_without_keys(workspace)
        self._workspace = workspace
        self._events: list[Event] = []
        self._new_keys: list[NewKey] = []
        self.blobs: dict[Digest, bytes] = {}

    def blob(self, data: bytes) -> Digest:
        """Let `data` ride in the same transaction; return its name."""
        digest = digest_of(data)
        self.blobs[digest] = data
        return digest

    def seal(self, text: str | None) -> dict[str, str] | None:
        """Seal a text under a key of its own, which is kept before the entry; return what an entry holds of it."""
        if text is None:
            return None
        keys = self._workspace.keys
        if keys is None:
            raise UnwritableStateError("a text cannot be sealed: the keys of this workspace are out of reach")
        sealed, key = keys.seal_unkept(text.encode("utf-8", "surrogateescape"))
        self._new_keys.append(key)
        return {"sealed": self.blob(sealed.ciphertext), "key": sealed.key}

    def keep_keys(self) -> None:
        """Keep the keys of what was sealed, before `append` does: for whoever copies them with the entry to come."""
        if self._new_keys and self._workspace.keys is not None:
            self._workspace.keys.keep(self._new_keys)
            self._new_keys = []

    def agent(self, name: str) -> str:
        """Return the pseudonym of `name`; the first time an event records it, with the name sealed."""
        keys = self._workspace.keys
        if keys is None:
            raise UnwritableStateError("nobody can be named: the keys of this workspace are out of reach")
        pseudonym = keys.pseudonym(name)
        database = self._workspace.views.database()
        known = database.execute("SELECT 1 FROM workspace_agents WHERE pseudonym = ?", (pseudonym,)).fetchone()
        if known is None and not any(e.kind == "agent.named" and e.body["agent"] == pseudonym for e in self._events):
            body = {"agent": pseudonym, "name": self.seal(name), "how": "claimed"}
            self._events.append(self._draft("agent.named", pseudonym, (), (), body, None, (), None))
        return pseudonym

    def event(
        self,
        kind: str,
        *,
        uses: Sequence[Edge | EdgeList],
        makes: Sequence[Edge | EdgeList],
        body: Mapping[str, object],
        reason: str | None = None,
        replaces: Sequence[EventId] = (),
        id: EventId | None = None,  # noqa: A002 - the envelope's word
    ) -> Event:
        """Add one event by the workspace's agent, now; a blank reason is none."""
        reason = reason if reason and reason.strip() else None
        agent = self.agent(self._workspace.agent or "unknown")
        event = self._draft(kind, agent, uses, makes, body, reason, replaces, id)
        self._events.append(event)
        return event

    def _draft(
        self,
        kind: str,
        agent: str,
        uses: Sequence[Edge | EdgeList],
        makes: Sequence[Edge | EdgeList],
        body: Mapping[str, object],
        reason: str | None,
        replaces: Sequence[EventId],
        id_: EventId | None,
    ) -> Event:
        sealed = sealed_text(self.seal(reason))
        clock = self._workspace.clock
        return Event(
            id=id_ or clocks.event_id(clock),
            kind=kind,
            at=clocks.rfc3339(clock.now_ns()),
            agent=agent,
            uses=tuple(uses),
            makes=tuple(makes),
            body=body,
            reason=sealed,
            replaces=tuple(replaces),
        )

    def append(self) -> list[Sequenced]:
        """Record everything gathered; it is durable when this returns. In the order in which it was added."""
        self.keep_keys()
        return self._workspace.ledger.append(signed(self._workspace, self._events, self.blobs), self.blobs)


def signed(workspace: Workspace, events: Sequence[Event], blobs: dict[Digest, bytes]) -> list[Event]:
    """Return the events, those of the workspace's own agent signed with the key that it was opened with, if any.

    A signature goes to `blobs`: sealed, since it shows whose it is to everybody who has that person's public key; in
    the clear where the key is recorded as a service's.

    Raises:
        SigningKeyError: The key does not sign.
    """
    signer, keys = workspace.signer, workspace.keys
    if signer is None or keys is None:
        return list(events)
    own = keys.pseudonym(workspace.agent or "unknown")
    if not signer.is_service:  # a server that answers cannot wait for the views every time
        query = "SELECT 1 FROM workspace_signers WHERE plain = ? AND agent = ? AND revoked_idx IS NULL"
        found = workspace.views.database().execute(query, (signer.public_key.text, own)).fetchone()
        signer.is_service = found is not None
    result = list(events)
    signatures = {i: signer.sign(authored_bytes(event)) for i, event in enumerate(events) if event.agent == own}
    places: list[object] = []
    if signer.is_service:
        for signature in signatures.values():
            places.append(digest_of(signature))
            blobs[digest_of(signature)] = signature
    elif signatures:
        for sealed in keys.seal_many(list(signatures.values())):
            places.append({"sealed": digest_of(sealed.ciphertext), "key": sealed.key})
            blobs[digest_of(sealed.ciphertext)] = sealed.ciphertext
    for i, place in zip(signatures, places, strict=True):
        result[i] = replace(events[i], extra={**events[i].extra, SIGNATURE: place})
    return result


def edges_or_list(batch: Batch, edges: Sequence[Edge]) -> Sequence[Edge | EdgeList]:
    """Return edges as an entry holds them: in a list of their own where they are many."""
    return edges if len(edges) <= MAX_EDGES else (EdgeList(digest=batch.blob(encode_edge_list(edges))),)
