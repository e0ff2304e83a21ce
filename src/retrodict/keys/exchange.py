"""Keys sealed for one other workspace: a file that only its holder can open, and that says who made it.

X25519 twice, the ephemeral and the sender's own key with the receiver's, so that opening it also proves the sender (as
pattern K of the Noise protocol does); HKDF-SHA256 over both; AES-256-GCM under a key that is used once. The header is
authenticated. Sources: RFC 7748, RFC 5869, Noise protocol framework section 7.4.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Clock
from retrodict.keys.ring import SharedKey

FORMAT: Final = "retrodict keys 1"
_PREFIX: Final = "x25519:"
_BYTES: Final = 32


class SharedKeysError(UsageError):
    """A file of shared keys, or a public key, that is none, is altered, or is for somebody else."""

    slug = "shared-keys"
    hint = "`retrodict keys identity` prints the key to share with; `retrodict keys share --to KEY` makes the file."


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What a file held; `sender` is the public key of who made it."""

    sender: str
    keys: tuple[SharedKey, ...]


def public_text(private: bytes) -> str:
    """Return the public key of an exchange key, as people pass it on."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # 10 to 40 ms

    return _text(X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())


def seal_for(receiver: str, keys: Sequence[SharedKey], private: bytes, clock: Clock) -> bytes:
    """Return a file that gives `keys` to the holder of the public key `receiver`.

    Raises:
        SharedKeysError: `receiver` is no public key.
    """
    ephemeral = clock.random_bytes(_BYTES)
    to = _raw(receiver)
    header = {"format": FORMAT, "from": public_text(private), "to": receiver, "ephemeral": public_text(ephemeral)}
    listed = [
        {
            "key": item.key,
            "secret": base64.b64encode(item.secret).decode(),
            "subject": item.subject,
            "identity": None
            if item.identity is None
            else base64.b64encode(item.identity.encode("utf-8", "surrogateescape")).decode(),
        }
        for item in keys
    ]
    shared = _agreed(ephemeral, to) + _agreed(private, to)
    sealed = _cipher(shared, header).encrypt(bytes(12), json.dumps(listed).encode(), _bound(header))
    return json.dumps({**header, "sealed": base64.b64encode(sealed).decode()}, indent=1).encode() + b"\n"


def open_shared(data: bytes, private: bytes) -> Received:
    """Return what a file gives to the holder of the exchange key `private`.

    Raises:
        SharedKeysError: It is no such file, is altered, or is for somebody else.
    """
    from cryptography.exceptions import InvalidTag  # 10 to 40 ms

    try:
        file = json.loads(data)
        header = {name: str(file[name]) for name in ("format", "from", "to", "ephemeral")}
        sealed = base64.b64decode(file["sealed"], validate=True)
    except (ValueError, KeyError, TypeError) as error:
        raise SharedKeysError("this is no file of shared keys") from error
    if header["format"] != FORMAT:
        raise SharedKeysError(f"shared keys of a form that this release does not know: {header['format']}")
    if header["to"] != public_text(private):
        raise SharedKeysError(f"these keys are for {header['to']}, and this workspace is {public_text(private)}")
    shared = _agreed(private, _raw(header["ephemeral"])) + _agreed(private, _raw(header["from"]))
    try:
        listed = json.loads(_cipher(shared, header).decrypt(bytes(12), sealed, _bound(header)))
        keys = tuple(
            SharedKey(
                key=item["key"],
                secret=base64.b64decode(item["secret"]),
                subject=item["subject"],
                identity=None
                if item["identity"] is None
                else base64.b64decode(item["identity"]).decode("utf-8", "surrogateescape"),
            )
            for item in listed
        )
    except (InvalidTag, ValueError, KeyError, TypeError) as error:
        raise SharedKeysError("the shared keys are altered: they do not open") from error
    return Received(sender=header["from"], keys=keys)


def prove_holder(private: bytes, other: str, log: str) -> str:
    """Return what shows the holder of the public key `other` that the holder of `private` writes a log, in hex.

    HMAC-SHA256 of the log's origin under HKDF-SHA256 of the agreement of the two keys: nobody but these two can make
    it, and neither can for a log that the other writes without their knowing.

    Raises:
        SharedKeysError: `other` is no public key.
    """
    from cryptography.hazmat.primitives.hashes import SHA256  # 10 to 40 ms
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    key = HKDF(SHA256(), 32, None, b"retrodict holder 1").derive(_agreed(private, _raw(other)))
    return hmac.digest(key, log.encode(), "sha256").hex()


def _text(public: bytes) -> str:
    return _PREFIX + base64.b64encode(public).decode()


def _raw(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.removeprefix(_PREFIX), validate=True) if text.startswith(_PREFIX) else b""
    except ValueError:
        raw = b""
    if len(raw) != _BYTES:
        raise SharedKeysError(f"{text!r} is no public key: x25519: and 32 bytes in base64 are due")
    return raw


def _agreed(private: bytes, public: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey  # 10 to 40 ms

    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:  # a point of low order
        raise SharedKeysError("that public key agrees on nothing") from error


def _cipher(shared: bytes, header: dict[str, str]):  # type: ignore[no-untyped-def]
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 10 to 40 ms
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    salt = _raw(header["ephemeral"]) + _raw(header["from"]) + _raw(header["to"])
    return AESGCM(HKDF(SHA256(), 32, salt, FORMAT.encode()).derive(shared))


def _bound(header: dict[str, str]) -> bytes:
    return json.dumps(header, sort_keys=True).encode()
