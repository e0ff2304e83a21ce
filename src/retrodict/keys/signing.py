"""Ed25519 keys of logs, named and written as in C2SP signed-note.

`cryptography` takes some 40 ms to import, so it is imported where a signature is made or checked.
"""

from __future__ import annotations

import base64
import binascii
import re

from retrodict.kernel.errors import FormatError
from retrodict.kernel.note import ED25519, Note, check_name, decode_verifier_key, encode_verifier_key, key_id

SEED_BYTES = 32
# Points of small order, with the sign bit cleared: under such a key one signature is good for many messages, and the
# library takes it. Source: the points whose order divides 8, in every encoding that decodes to them.
_SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
_SIGNATURE_BYTES = 64
_SECRET = re.compile(r"PRIVATE\+KEY\+(?P<name>[^\s+]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+=*)\Z")


class LogVerifier:
    """A log's public key. See `kernel.protocols.Verifier`."""

    def __init__(self, name: str, public_key: bytes) -> None:
        self.name = check_name(name)
        self.public_key = public_key
        self.key_id = key_id(name, public_key)

    @classmethod
    def from_text(cls, text: str) -> LogVerifier:
        """Return the key of `str()`.

        Raises:
            FormatError: Not an Ed25519 verifier key.
        """
        name, algorithm, public_key = decode_verifier_key(text)
        if algorithm != ED25519 or len(public_key) != 32:
            raise FormatError(f"the verifier key of {name} is not an Ed25519 key")
        if is_weak(public_key):
            raise FormatError(f"the verifier key of {name} is of small order: anybody can sign under it")
        return cls(name, public_key)

    def __str__(self) -> str:
        return encode_verifier_key(self.name, self.public_key)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Say whether `signature` over `message` is this key's."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if len(signature) != _SIGNATURE_BYTES or is_weak(self.public_key):
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class LogSigner:
    """A log's private key. See `kernel.protocols.Signer`."""

    def __init__(self, name: str, seed: bytes) -> None:
        self.name = check_name(name)
        self._seed = seed
        self._claimed_id: str | None = None
        self._verifier: LogVerifier | None = None

    @classmethod
    def from_text(cls, text: str) -> LogSigner:
        """Return the key of `secret_text`.

        Raises:
            FormatError: Not an Ed25519 private key in this form. Whether its id is that of its key is checked when the
                key is used, so that reading it costs nothing.
        """
        match = _SECRET.match(text.strip())
        try:
            packed = base64.b64decode(match["key"], validate=True) if match else b""
        except binascii.Error:
            packed = b""
        if match is None or len(packed) != 1 + SEED_BYTES or packed[0] != ED25519:
            raise FormatError("not a private key of a log (PRIVATE+KEY+name+id+key)")
        signer = cls(match["name"], packed[1:])
        signer._claimed_id = match["id"]
        return signer

    @property
    def secret_text(self) -> str:
        """The private key as one line, as Go's `note` package writes it."""
        return f"PRIVATE+KEY+{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([ED25519]) + self._seed).decode()}"

    @property
    def verifier(self) -> LogVerifier:
        """The public key.

        Raises:
            FormatError: The private key's id is not that of its key.
        """
        if self._verifier is None:
            verifier = LogVerifier(self.name, public_key(self._seed))
            if self._claimed_id not in (None, verifier.key_id.hex()):
                raise FormatError(f"the private key of {self.name} is altered: its id is not that of its key")
            self._verifier = verifier
        return self._verifier

    @property
    def key_id(self) -> bytes:
        """See `kernel.note.key_id`."""
        return self.verifier.key_id

    def sign(self, message: bytes) -> bytes:
        """Return the signature over `message`: 64 bytes."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self._seed).sign(message)


def is_weak(key: bytes) -> bool:
    """Say whether an Ed25519 public key (32 bytes) is of small order, so that anybody can sign under it."""
    return key[:-1] + bytes([key[-1] & 0x7F]) in _SMALL_ORDER


def rotation_body(*, key: LogVerifier, before: LogVerifier, note: Note) -> dict[str, object]:
    """Return the body of `key.rotated`; `note` is the statement that `before` has signed."""
    return {"key": str(key), "before": str(before), "note": note.encode().decode()}


def public_key(seed: bytes) -> bytes:
    """Return the public key of a private one: 32 bytes each."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
