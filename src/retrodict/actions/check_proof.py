"""`log check-proof`: check a receipt with public keys and nothing else; there need be no workspace."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from retrodict.actions.public_keys import log_key, witness_keys
from retrodict.kernel import entry
from retrodict.kernel.clock import rfc3339
from retrodict.kernel.errors import IntegrityError, UsageError
from retrodict.kernel.merkle import leaf_hash
from retrodict.kernel.note import Checkpoint, SignatureError, read_rotation, verify_note
from retrodict.kernel.receipt import decode_receipt
from retrodict.keys import LogVerifier, WitnessVerifier, time_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosignature:
    """A witness's word: it saw this checkpoint at this time (RFC 3339)."""

    name: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedProof:
    """What a receipt shows.

    Attributes:
        answer: "yes": the entry is in the log, as the keys that were given say; "no": it is not, or they do not say so;
            "could not tell": the receipt agrees with itself, and no key was given.
        because: One sentence.
        origin, size, index: Of the receipt; None where it cannot be read.
        leaf_hash: Of the entry's bytes, 64 hex digits.
        event, kind, at: Of the entry, where its bytes were given and are an entry.
        witnesses: Those whose keys were given.
    """

    answer: Literal["yes", "no", "could not tell"]
    because: str
    origin: str | None = None
    size: int | None = None
    index: int | None = None
    leaf_hash: str | None = None
    event: str | None = None
    kind: str | None = None
    at: str | None = None
    witnesses: tuple[Cosignature, ...] = ()


def check_proof(
    receipt: bytes,
    data: bytes | None,
    *,
    leaf: bytes | None = None,
    keys: Sequence[str] = (),
    witnesses: Sequence[str] = (),
    rotations: Sequence[bytes] = (),
) -> CheckedProof:
    """Check that an entry is in a log, as a receipt says.

    Args:
        receipt: A `.tlog-proof` file.
        data: The entry's bytes.
        leaf: Its leaf hash (32 bytes), where the bytes themselves are not at hand.
        keys: Public keys of the log (or files that hold them); one of them must have signed.
        witnesses: Public keys of witnesses; each of them must have cosigned.
        rotations: Entries `key.rotated`, in any order: a key counts when one that counts has signed for it.

    Raises:
        UsageError: One of the keys is none, or neither the entry nor its leaf hash was given.
    """
    log_keys, witness_verifiers = [log_key(key) for key in keys], witness_keys(witnesses)
    for _ in rotations:  # so often that any order leads to the end of the chain
        log_keys += [key for data_ in rotations for key in _successor(data_, log_keys)]
    if data is not None:
        leaf = leaf_hash(data)
    try:
        read = decode_receipt(receipt)
    except IntegrityError as error:
        return CheckedProof(answer="no", because=error.message, leaf_hash=None if leaf is None else leaf.hex())
    if leaf is None:
        raise UsageError(
            "the entry that the receipt is about was not given",
            hint="It is the file beside the receipt with the suffix .json; --entry names it, or --leaf its hash.",
        )
    event = kind = at = None
    if data is not None:
        with contextlib.suppress(IntegrityError):
            said = entry.decode(data)
            event, kind, at = said.id, said.kind, said.at
    cosigned: tuple[Cosignature, ...] = ()
    answer: Literal["yes", "no", "could not tell"] = "no"
    try:
        if not read.includes(leaf):
            because = f"the path does not lead from this entry to the root of the {read.checkpoint.size} entries signed"
        else:
            if log_keys:
                verify_note(read.checkpoint, log_keys)
            cosigned = tuple(_cosignature(read.checkpoint, verifier) for verifier in witness_verifiers)
            if log_keys or witness_verifiers:
                answer, because = "yes", f"it is entry {read.index} of {read.checkpoint.origin}"
            else:
                answer = "could not tell"
                because = "the receipt agrees with itself, and no key was given: anybody could have made it"
    except IntegrityError as error:
        because = error.message
    return CheckedProof(
        answer=answer,
        because=because,
        origin=read.checkpoint.origin,
        size=read.checkpoint.size,
        index=read.index,
        leaf_hash=leaf.hex(),
        event=event,
        kind=kind,
        at=at,
        witnesses=cosigned,
    )


def _successor(data: bytes, known: Sequence[LogVerifier]) -> list[LogVerifier]:
    """Return the key that an entry `key.rotated` lets take the place of one that is known; none where it does not."""
    try:
        body = entry.decode(data).body
        for key in known:
            with contextlib.suppress(SignatureError):
                return [LogVerifier.from_text(read_rotation(str(body["note"]).encode(), key.name, [key]))]
    except (IntegrityError, KeyError):
        pass
    return []


def _cosignature(checkpoint: Checkpoint, verifier: WitnessVerifier) -> Cosignature:
    signature = verify_note(checkpoint, [verifier])[0]
    return Cosignature(name=signature.name, at=rfc3339(time_of(signature.signature) * 1_000_000_000))
