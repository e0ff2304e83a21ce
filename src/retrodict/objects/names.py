"""How objects are named.

A blob's name is the BLAKE3 of its bytes, what `b3sum` prints. Trees and recipes are named in BLAKE3's key derivation
mode with a context of their own, so that no file can be mistaken for a listing, whatever its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum

from blake3 import blake3

from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, is_digest


class Kind(IntEnum):
    """What a record holds."""

    BLOB = 1  # the bytes of a file, a link's target, a payload
    TREE = 2  # a node of a listing
    RECIPE = 3  # the chunks that make up one large blob
    CHUNK = 4  # a piece of a blob; named like a blob


_CONTEXTS: dict[int, str] = {Kind.TREE: "retrodict tree v1", Kind.RECIPE: "retrodict recipe v1"}


def is_alike(one: int, other: int) -> bool:
    """Say whether objects of two kinds are named in the same way, so that one may be a difference to the other."""
    return _CONTEXTS.get(one) == _CONTEXTS.get(other)


def name_of(kind: int, payload: bytes | memoryview) -> bytes:
    """Return the 32-byte name of an object of `kind`."""
    context = _CONTEXTS.get(kind)
    return (blake3(payload, derive_key_context=context) if context else blake3(payload)).digest()


def digest_of(data: bytes) -> Digest:
    """Return the name of a blob.

    >>> digest_of(b"")[:11]
    'b3-af1349b9'
    """
    return Digest("b3-" + blake3(data).hexdigest())


def checked(parts: Iterable[memoryview], expected: str, refusal: Callable[[], Exception]) -> Iterator[memoryview]:
    """Yield bytes on their way somewhere, and at their end raise `refusal` where their BLAKE3 is not `expected` (hex).

    So whoever takes them keeps them only once this has ended.
    """
    whole = blake3()
    for part in parts:
        whole.update(part)
        yield part
    if whole.hexdigest() != expected:
        raise refusal()


def as_digest(name: bytes) -> Digest:
    """Return a 32-byte name as text."""
    return Digest("b3-" + name.hex())


def as_name(digest: str) -> bytes:
    """Return the 32 bytes of a digest.

    Raises:
        UsageError: `digest` is not "b3-" and 64 hex digits.
    """
    if not is_digest(digest):
        raise UsageError(f"{digest!r} is not the name of an object", hint="A name is b3- and 64 hex digits.")
    return bytes.fromhex(digest[3:])


Keep = Callable[[bytes], bytes]  # stores a payload, returns its name
