"""Files of any size sealed under one key, read and written piece by piece.

7 random bytes, then chunks: 65,536 bytes of the file (the last may be shorter, and is there even if it is empty), each
AES-256-GCM with its tag behind. The nonce of a chunk is those 7 bytes, its number (4 bytes, big-endian), and 1 for the
last chunk, else 0: chunks cannot be reordered, left out or cut off. The key's id is authenticated with each. Source of
the construction: STREAM, Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", 2015.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from retrodict.kernel.errors import IntegrityError

CHUNK_BYTES: Final = 1 << 16
PREFIX_BYTES: Final = 7
_TAG_BYTES: Final = 16


def seal_chunks(secret: bytes, key: str, prefix: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the sealed form of a file that comes in pieces.

    Args:
        secret: The key, 32 bytes, that seals nothing else; `key` its id.
        prefix: 7 random bytes.
        pieces: The file, in pieces of any size.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 10 to 40 ms

    cipher = AESGCM(secret)
    yield prefix
    for number, chunk, is_last in _chunks(pieces, CHUNK_BYTES):
        yield cipher.encrypt(_nonce(prefix, number, is_last), chunk, key.encode())


def open_chunks(secret: bytes, key: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a file from its sealed form; nothing that was altered is yielded.

    Raises:
        IntegrityError: A chunk is altered, or the last one is not there.
    """
    from cryptography.exceptions import InvalidTag  # 10 to 40 ms
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(secret)
    rest = iter(pieces)
    head = b""
    while len(head) < PREFIX_BYTES and (piece := next(rest, None)) is not None:
        head += piece
    prefix = head[:PREFIX_BYTES]

    def sealed() -> Iterator[bytes]:
        yield head[PREFIX_BYTES:]
        yield from rest

    for number, chunk, is_last in _chunks(sealed(), CHUNK_BYTES + _TAG_BYTES):
        try:
            yield cipher.decrypt(_nonce(prefix, number, is_last), chunk, key.encode())
        except (InvalidTag, ValueError) as error:
            raise IntegrityError(f"the file sealed under key {key} is altered: it does not open") from error


def _chunks(pieces: Iterable[bytes], size: int) -> Iterator[tuple[int, bytes, bool]]:
    """Yield number, bytes, and whether it is the last, of chunks of `size` bytes."""
    number, held = 0, bytearray()
    for piece in pieces:
        held += piece
        while len(held) > size:
            yield number, bytes(held[:size]), False
            del held[:size]
            number += 1
    yield number, bytes(held), True


def _nonce(prefix: bytes, number: int, is_last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([is_last])
