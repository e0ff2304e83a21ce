"""Receipts, as text: C2SP tlog-proof v1 (`docs/formats/checkpoint.md`).

A receipt holds where an entry stands in a log, the inclusion proof, and the checkpoint that it leads to. The entry's
own bytes travel beside it: whoever has both, and the log's public key, needs nothing else.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from retrodict.kernel.errors import FormatError
from retrodict.kernel.merkle import HASH_BYTES, verify_inclusion
from retrodict.kernel.note import MAX_NOTE_BYTES, Checkpoint, decode_checkpoint, unbase64

_HEAD = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})\Z", re.ASCII)
_MAX_HASHES = 63  # a path in the largest tree that a checkpoint can be of


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A proof that something is in a log.

    Attributes:
        index: Number of the entry, from 0.
        path: The inclusion proof, from the leaf's sibling up; 32 bytes each.
        checkpoint: The signed checkpoint that the path leads to.
        extra: Bytes that nothing authenticates; kept. This project writes none.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint
    extra: bytes | None = None

    def encode(self) -> bytes:
        """Return the file's bytes."""
        lines = [_HEAD]
        if self.extra is not None:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(item).decode() for item in self.path]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint.encode()

    def includes(self, leaf: bytes) -> bool:
        """Say whether the path leads from this leaf hash to the checkpoint's root; who signed that, it does not say."""
        return verify_inclusion(self.index, self.checkpoint.size, leaf, self.path, self.checkpoint.root)


def decode_kept(data: bytes) -> Checkpoint:
    """Return the checkpoint that `data` is, or that `data` as a receipt leads to. Nothing is verified yet.

    Raises:
        FormatError: Neither.
    """
    return decode_receipt(data).checkpoint if data.startswith(_HEAD.encode()) else decode_checkpoint(data)


def decode_receipt(data: bytes) -> Receipt:
    """Return the receipt in `data`. Nothing is verified yet.

    Raises:
        FormatError: Not a receipt.
    """
    if len(data) > 2 * MAX_NOTE_BYTES:
        raise FormatError(f"a receipt of {len(data):,} bytes; at most {2 * MAX_NOTE_BYTES:,} are read")
    head, separator, note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise FormatError("a receipt (.tlog-proof) begins with lines of ASCII") from None
    if not separator or lines.pop(0) != _HEAD:
        raise FormatError(f"a receipt begins with {_HEAD!r} and has an empty line before its checkpoint")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = unbase64(lines.pop(0).removeprefix("extra "))
        if extra is None:
            raise FormatError("the extra line of a receipt is not base64")
    index = _INDEX.match(lines.pop(0)) if lines else None
    path = [unbase64(line) for line in lines]
    if index is None or len(path) > _MAX_HASHES:
        raise FormatError("a receipt says its entry's index, and then at most 63 hashes")
    hashes = [item for item in path if item is not None and len(item) == HASH_BYTES]
    if len(hashes) != len(path):
        raise FormatError("a line of a receipt's proof is not a hash of 32 bytes in base64")
    return Receipt(index=int(index[1]), path=tuple(hashes), checkpoint=decode_checkpoint(note), extra=extra)
