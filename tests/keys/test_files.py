"""A file sealed piece by piece opens to the same bytes, and not if anything of it was changed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrodict.kernel.errors import IntegrityError
from retrodict.keys.files import CHUNK_BYTES, PREFIX_BYTES, open_chunks, seal_chunks

SECRET, PREFIX = bytes(range(32)), b"prefix7"
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]
SEALED_CHUNK = CHUNK_BYTES + 16


def sealed(data: bytes, step: int) -> bytes:
    return b"".join(seal_chunks(SECRET, "key", PREFIX, (data[i : i + step] for i in range(0, len(data), step))))


def opened(data: bytes, step: int) -> bytes:
    return b"".join(open_chunks(SECRET, "key", (data[i : i + step] for i in range(0, len(data), step))))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SIZES), st.integers(1000, 200_000), st.integers(1, 200_000))
def test_a_file_comes_back_whatever_pieces_it_comes_in(size: int, step: int, other: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert opened(sealed(data[:size], step), max(other, 100)) == data[:size]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_changed_cut_or_moved_does_not_open(size: int) -> None:
    whole = sealed(b"x" * size, 50_000)
    wrong = [b"", whole[:PREFIX_BYTES], whole[:-1], whole + b"\0", b"q" + whole[1:], whole[:-1] + b"q"]
    chunks = [whole[i : i + SEALED_CHUNK] for i in range(PREFIX_BYTES, len(whole), SEALED_CHUNK)]
    if len(chunks) > 1:
        wrong += [PREFIX + b"".join(chunks[:-1]), PREFIX + b"".join(chunks[::-1]), PREFIX + chunks[0] + chunks[0]]
    for data in wrong:
        with pytest.raises(IntegrityError):
            opened(data, 70_000)
    with pytest.raises(IntegrityError):
        b"".join(open_chunks(SECRET, "other", [whole]))
