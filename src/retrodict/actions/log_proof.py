"""`log proof`: a receipt for one entry, to be checked without us."""

from __future__ import annotations

import re
from dataclasses import dataclass

from retrodict.actions import names
from retrodict.actions.authorship import Authors
from retrodict.actions.cosigned import cosigned_checkpoints
from retrodict.kernel.entry import SIGNATURE
from retrodict.kernel.errors import UnavailableError, UnknownReferenceError, UsageError
from retrodict.kernel.note import Checkpoint, decode_checkpoint
from retrodict.kernel.receipt import Receipt
from retrodict.kernel.types import EntryNumber, EventId
from retrodict.ledger import HeldLog, Sequenced
from retrodict.workspace import Workspace, publish, signed_log

_LEAF = re.compile(r"(?:[0-9a-fA-F]{2}){8,32}\Z")  # 16 digits are what explanations print


class UnpublishedEntryError(UnavailableError):
    """An entry that no signed checkpoint covers, where there is no key to sign one."""

    slug = "unpublished-entry"
    hint = "Any command on the machine that holds the signing key publishes it; then ask again."

    def __init__(self, index: int, covered: int) -> None:
        super().__init__(f"entry {index} is not under a signed checkpoint yet: {covered} entries are")
        self.index = index


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A receipt, and what it is about.

    Attributes:
        leaf_hash: RFC 9162 leaf hash of the entry, 64 hex digits.
        origin: The log's name.
        size: How many entries the receipt's checkpoint covers.
        root: Its root, 64 hex digits.
        witnesses: The names under which it bears cosignatures.
        key: The log's public key, where it is known here: what the receipt is to be checked with.
        receipt: The text of the `.tlog-proof` file.
        entry: The entry's bytes, as text; they travel beside the receipt.
        signature: The author's own signature (SSHSIG, armored), where it was asked for.
    """

    reference: str
    event: EventId
    index: int
    kind: str
    leaf_hash: str
    origin: str
    size: int
    root: str
    witnesses: tuple[str, ...]
    key: str | None
    receipt: str
    entry: str
    signature: str | None = None


def log_proof(workspace: Workspace, reference: str, *, with_signature: bool = False) -> Proof:
    """Return a receipt for the entry that a reference, or a leaf hash (64 hex digits), names.

    It leads to the newest checkpoint that a witness has cosigned, where that covers the entry, else to the newest one.
    An entry that no checkpoint covers yet is published first, where the key is here.

    Args:
        with_signature: Add the author's own signature, which shows their public key.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: It names an object, which has no entry of its own; or a signature was asked for, and it has none.
        UnpublishedEntryError: See there.
    """
    sequenced = _entry(workspace, reference)
    log, index, verifiers = signed_log(workspace, sequenced.index)
    checkpoint = _checkpoint(workspace, index) if log.tag is None else _received(log, sequenced.index)
    path = log.ledger.inclusion_proof(index, checkpoint.size)
    receipt = Receipt(index=index, path=tuple(path), checkpoint=checkpoint)
    return Proof(
        reference=str(sequenced.index),
        event=sequenced.event.id,
        index=index,
        kind=sequenced.event.kind,
        leaf_hash=sequenced.leaf_hash.hex(),
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        witnesses=tuple(s.name for s in checkpoint.signatures if s.name != checkpoint.origin),
        key=str(verifiers[-1]) if verifiers else None,
        receipt=receipt.encode().decode(),
        entry=sequenced.data.decode(),
        signature=_signature(workspace, sequenced) if with_signature else None,
    )


def _signature(workspace: Workspace, sequenced: Sequenced) -> str:
    if SIGNATURE not in sequenced.event.extra:
        raise UsageError(
            f"entry {sequenced.index} bears no signature of its author", hint="Leave out --with-signature."
        )
    armored = Authors(workspace).signature(sequenced)
    if armored is None:
        raise UnavailableError(
            f"the signature on entry {sequenced.index} is sealed, and its key is not held here",
            hint="Ask where the entry was written.",
        )
    return armored.decode()


def _entry(workspace: Workspace, reference: str) -> Sequenced:
    try:
        resolved = names.resolve(workspace, reference)
    except UnknownReferenceError:
        index = workspace.ledger.find_leaf(bytes.fromhex(reference)) if _LEAF.match(reference) else None
        if index is None:
            raise
        return workspace.logs.event(EntryNumber(index))
    found = None if resolved.event is None else workspace.logs.find(resolved.event)
    if found is None:
        raise UsageError(
            f"{reference} is an object, and an object has no entry of its own",
            hint="Name the event that made it; `retrodict show` lists those that name it.",
        )
    return found


def _checkpoint(workspace: Workspace, index: int) -> Checkpoint:
    for cosigned in cosigned_checkpoints(workspace, above=index):
        return cosigned
    checkpoint = _published(workspace)
    if checkpoint is None or checkpoint.size <= index:
        publish(workspace)
        checkpoint = _published(workspace)
    if checkpoint is None or checkpoint.size <= index:
        raise UnpublishedEntryError(index, 0 if checkpoint is None else checkpoint.size)
    return checkpoint


def _received(log: HeldLog, number: int) -> Checkpoint:
    """Return the checkpoint that a log of others came with."""
    note = log.ledger.checkpoint()
    checkpoint = None if note is None else decode_checkpoint(note)
    index = EntryNumber(number).index
    if checkpoint is None or checkpoint.size <= index:
        raise UnpublishedEntryError(number, 0 if checkpoint is None else checkpoint.size)
    return checkpoint


def _published(workspace: Workspace) -> Checkpoint | None:
    note = workspace.ledger.checkpoint()
    return None if note is None else decode_checkpoint(note)
