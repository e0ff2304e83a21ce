"""Receipts: strict to read, and worthless once a byte is changed."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrodict.kernel import merkle, note
from retrodict.kernel.errors import FormatError
from retrodict.kernel.note import Checkpoint, SignatureError
from retrodict.kernel.receipt import Receipt, decode_receipt
from retrodict.keys import LogSigner

SIGNER = LogSigner("example.com/log", b"1" * 32)
ENTRIES = [b"entry %d" % i for i in range(11)]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


def node(level: int, index: int) -> bytes:
    return merkle.tree_hash(LEAVES[index << level : (index + 1) << level])


def receipt(index: int, size: int = len(ENTRIES), extra: bytes | None = None) -> Receipt:
    unsigned = Checkpoint(origin=SIGNER.name, size=size, root=merkle.range_hash(0, size, node))
    signed = replace(unsigned, signatures=(note.sign_note(unsigned.text, SIGNER),))
    return Receipt(index=index, path=tuple(merkle.inclusion_proof(index, size, node)), checkpoint=signed, extra=extra)


def is_good(data: bytes, leaf: bytes) -> bool:
    read = decode_receipt(data)
    note.verify_note(read.checkpoint, [SIGNER.verifier])
    return read.includes(leaf)


@given(st.integers(1, len(ENTRIES)), st.data())
def test_a_receipt_comes_back_and_shows_its_entry_and_no_other(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    made = receipt(index, size, data.draw(st.none() | st.binary(max_size=40)))
    assert decode_receipt(made.encode()) == made
    assert [is_good(made.encode(), leaf) for leaf in LEAVES] == [i == index for i in range(len(LEAVES))]


@given(st.data())
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    raw = bytearray(receipt(4).encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(FormatError, SignatureError):
        assert not is_good(bytes(raw), LEAVES[4])


GOOD = receipt(4).encode()
HASH = GOOD.split(b"\n")[2]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD.replace(b"@v1", b"@v2"),
        GOOD.replace(b"index 4", b"index 04"),
        GOOD.replace(b"index 4", b"index -4"),
        GOOD.replace(b"index 4", b"index " + "٤".encode()),
        GOOD.replace(b"index 4\n", b""),
        GOOD.replace(b"index 4\n", b"index 4\nindex 4\n"),
        GOOD.replace(b"index 4\n", b"extra !!\nindex 4\n"),
        GOOD.replace(b"index 4\n", b"index 4\nextra eA==\n"),
        GOOD.replace(HASH, HASH[:-5] + b"="),
        GOOD.replace(HASH, b"\n".join([HASH] * 64)),
        GOOD.replace(b"\n\n", b"\n", 1),
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.split(b"\n\n")[0] + b"\n\n",
        GOOD + b"\n",
        b"x" * 3_000_000,
    ],
)
def test_what_the_format_forbids_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_receipt(data)
