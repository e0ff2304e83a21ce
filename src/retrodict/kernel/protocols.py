"""What rooms need of each other without importing each other; `workspace` wires the real parts in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from retrodict.kernel.types import Digest


class BlobSource(Protocol):
    """Somewhere else that small objects may lie: the ledger's payload table, seen from `objects`."""

    def blob(self, digest: Digest) -> bytes | None:
        """Return the bytes kept under `digest` (unverified), or None."""
        ...


class Clock(Protocol):
    """The wall clock and the source of ids."""

    def now_ns(self) -> int:
        """Return nanoseconds since the Unix epoch, uncorrected."""
        ...

    def random_bytes(self, n: int) -> bytes:
        """Return `n` unpredictable bytes."""
        ...


class Signer(Protocol):
    """Signs notes with a key that never leaves it (signed-note, C2SP)."""

    @property
    def name(self) -> str:
        """The key's name: for a log, its origin."""
        ...

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name, newline, type byte, public key)."""
        ...

    @property
    def verifier(self) -> Verifier:
        """The public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature over `message` (64 bytes for Ed25519)."""
        ...


class Verifier(Protocol):
    """Checks the signatures of one key."""

    @property
    def name(self) -> str:
        """The key's name."""
        ...

    @property
    def key_id(self) -> bytes:
        """See `Signer.key_id`."""
        ...

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Say whether `signature` over `message` is this key's."""
        ...


class Remote(Protocol):
    """Somewhere else that bytes are kept, under names such as `packs/9f2c.pack`. Not trusted: its reader checks."""

    @property
    def place(self) -> str:
        """Where that is, for people: without credentials."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Keep `data`, whole and durable when it returns; what was there under the name is replaced."""
        ...

    def put_parts(self, name: str, size_bytes: int, parts: Callable[[], Iterable[memoryview]]) -> None:
        """Keep what need not fit into memory, as `put` does.

        Args:
            name: As `put` takes it.
            size_bytes: How long it is.
            parts: Yields it, each part good until the next is asked for. It is called again where the network fails;
                what it raises is raised, and nothing is kept then.
        """
        ...

    def get(self, name: str) -> bytes | None:
        """Return the bytes under a name, or None where there is nothing."""
        ...

    def parts(self, name: str) -> Iterator[memoryview] | None:
        """Return the bytes under a name as parts, each good until the next is asked for; None: there is nothing."""
        ...

    def list(self, prefix: str) -> dict[str, int]:
        """Return every name in the folder `prefix` ("packs/") with its size in bytes."""
        ...

    def delete(self, name: str) -> None:
        """Remove what is under a name; nothing is there afterwards."""
        ...


class Progress(Protocol):
    """Told how far a long piece of work has come; the doors draw it."""

    def __call__(self, done: int, total: int | None, what: str) -> None:
        """`done` of `total` (None: unknown) units are ready; `what` names the work and its unit."""
        ...
