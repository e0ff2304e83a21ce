"""`log witness`: let witnesses cosign the newest checkpoint, and keep what they signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from retrodict.actions.cosigned import cosigned_body, cosigned_checkpoints
from retrodict.actions.public_keys import witness_keys
from retrodict.kernel.clock import rfc3339
from retrodict.kernel.note import Signature, SignatureError, decode_checkpoint
from retrodict.kernel.types import Event, EventId
from retrodict.keys import WitnessVerifier, time_of
from retrodict.ledger import WitnessError
from retrodict.ledger.witness import ask_witness
from retrodict.workspace import Batch, UnwritableStateError, Workspace, publish, refuse_writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigned:
    """What one witness signed.

    Attributes:
        at: When, as it says; RFC 3339. None where its key was not given.
        verified: Its key was given, and the signature is that key's.
    """

    url: str
    name: str
    at: str | None
    verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """A checkpoint that witnesses have cosigned, and the entry that keeps it.

    Attributes:
        refused: Why others of those that were asked have not, one sentence each.
        event, index: None: nothing is kept, as the log keeps a cosignature by each of them already, and has said
            nothing since.
    """

    size: int
    root: str
    witnesses: tuple[Cosigned, ...]
    refused: tuple[str, ...]
    event: EventId | None
    index: int | None
    note: str


def log_witness(workspace: Workspace, urls: Sequence[str], *, keys: Sequence[str] = ()) -> Witnessed:
    """Ask the witnesses at `urls` (submission prefixes) to cosign the newest checkpoint; record what is new of it.

    Args:
        urls: All of them are asked about the same checkpoint.
        keys: Their public keys, or files that hold them. A signature by another key is not kept; without any key
            signatures are kept unverified, and `verify` with the witness's key checks them.

    Raises:
        UnwritableStateError: There is no signing key here.
        WitnessError: No witness can be reached and knows this log; nothing is recorded.
        OldStoreError, ForkError: It has cosigned more of this log than there is, or another history.
        SignatureError: A witness answered without a valid signature by one of `keys`.
    """
    refuse_writing(workspace)
    verifiers = witness_keys(keys)
    if workspace.state is None or workspace.state.signer is None:
        raise UnwritableStateError("there is no signing key here, so no checkpoint can be shown to a witness")
    publish(workspace)
    note = workspace.ledger.checkpoint()
    assert note is not None  # it was published just now
    checkpoint = decode_checkpoint(note)
    seen = max((kept.size for kept in cosigned_checkpoints(workspace)), default=0)
    told: list[Cosigned] = []
    kept: list[Signature] = []
    failures: list[WitnessError] = []
    for url in urls:
        try:
            answered = ask_witness(workspace.ledger, checkpoint, url, seen=seen)
            found = _kept(url, checkpoint.text.encode(), answered, verifiers)
        except WitnessError as error:  # one that is down must not cost the words of the others
            failures.append(error)
            continue
        kept += [signature for signature, _ in found]
        told += [cosigned for _, cosigned in found]
    if failures and not kept:
        raise failures[0]
    cosigned = replace(checkpoint, signatures=(*checkpoint.signatures, *dict.fromkeys(kept)))
    event = index = None
    if not _is_kept(workspace, kept, verifiers):
        batch = Batch(workspace)
        event = batch.event("checkpoint.witnessed", uses=(), makes=(), body=cosigned_body(cosigned)).id
        index = batch.append()[-1].index
    return Witnessed(
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        witnesses=tuple(told),
        refused=tuple(error.message for error in failures),
        event=event,
        index=index,
        note=cosigned.encode().decode(),
    )


def _is_kept(workspace: Workspace, signatures: Sequence[Signature], verifiers: Sequence[WitnessVerifier]) -> bool:
    """Say whether cosignatures by the same keys are kept already that cover everything the log has said."""
    last = workspace.ledger.size() - 1
    while last >= 0 and not _is_news(workspace.ledger.event(last).event):
        last -= 1
    by = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    covering = {
        (signature.name, signature.key_id)
        for checkpoint in cosigned_checkpoints(workspace, above=last)
        for signature in checkpoint.signatures
        if (verifier := by.get((signature.name, signature.key_id))) is None
        or verifier.verify(checkpoint.text.encode(), signature.signature)
    }
    return covering.issuperset((signature.name, signature.key_id) for signature in signatures)


def _is_news(event: Event) -> bool:
    """Say whether it is more than that the log was cosigned or copied: else two schedules would feed each other."""
    match event.kind:
        case "checkpoint.witnessed" | "agent.named":
            return False
        case "backup.made":
            return event.body.get("what") != "store"
    return True


def _kept(
    url: str, text: bytes, answered: Sequence[Signature], verifiers: Sequence[WitnessVerifier]
) -> list[tuple[Signature, Cosigned]]:
    if not verifiers:
        unverified = [s for s in answered if len(s.signature) > 8]
        if not unverified:
            raise WitnessError(url, "its answer holds no cosignature")
        return [(s, Cosigned(url=url, name=s.name, at=None, verified=False)) for s in unverified]
    found = []
    for signature in answered:
        for verifier in verifiers:
            if (signature.name, signature.key_id) == (verifier.name, verifier.key_id):
                if not verifier.verify(text, signature.signature):
                    raise SignatureError(f"the cosignature by {signature.name} from {url} is wrong")
                at = rfc3339(time_of(signature.signature) * 1_000_000_000)
                found.append((signature, Cosigned(url=url, name=signature.name, at=at, verified=True)))
    if not found:
        names = ", ".join(signature.name for signature in answered)
        raise SignatureError(f"the witness at {url} answered with a signature by {names}, whose key was not given")
    return found
