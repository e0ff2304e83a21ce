"""Signed notes and checkpoints, as text: C2SP signed-note v1 and tlog-checkpoint v1 (`docs/formats/checkpoint.md`).

Keys and arithmetic come in through the protocols `Signer` and `Verifier`: nothing here knows an algorithm but by the
byte that marks it. Readers are strict, so that two readers can never see two texts in one note.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from retrodict.kernel.errors import FormatError, IntegrityError, UsageError
from retrodict.kernel.merkle import HASH_BYTES
from retrodict.kernel.protocols import Signer, Verifier

ED25519 = 0x01
ED25519_COSIGNATURE = 0x04
ML_DSA_44_COSIGNATURE = 0x06
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100

_KEY_ID_BYTES = 4
_ROTATION = "retrodict key rotation"  # with spaces: no checkpoint begins so, since no log can be named so
_NAME = re.compile(r"[^\s+]+\Z")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\Z", re.ASCII)
_VKEY = re.compile(r"(?P<name>[^\s+]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+=*)\Z")


class SignatureError(IntegrityError):
    """A note without a valid signature by a key that was asked for."""

    slug = "signature"
    hint = "Compare the key with the one that the log's owner publishes; do not trust what the note says."


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature line. `key_id` is 4 bytes that tell keys of one name apart; they prove nothing."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A text (it ends in a newline) and its signatures."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """Return the note's bytes."""
        lines = [f"— {s.name} {base64.b64encode(s.key_id + s.signature).decode()}\n" for s in self.signatures]
        return (self.text + "\n" + "".join(lines)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a log's key says: its first `size` entries have this root.

    Attributes:
        origin: The log's name.
        size: Number of entries.
        root: RFC 9162 root over them, 32 bytes.
        extensions: Further lines, kept; this project writes none.
        signatures: None before it is signed.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    signatures: tuple[Signature, ...] = ()

    @property
    def text(self) -> str:
        """What is signed."""
        return "\n".join([self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions]) + "\n"

    def encode(self) -> bytes:
        """Return the signed note."""
        return Note(text=self.text, signatures=self.signatures).encode()


def check_name(name: str) -> str:
    """Return the name of a key (for a log: its origin), checked.

    Raises:
        UsageError: Empty, or with a space or a plus sign.
    """
    if not _NAME.match(name) or _CONTROL.search(name):
        raise UsageError(f"{name!r} cannot name a key or a log", hint="Use a name without spaces and plus signs.")
    return name


def key_id(name: str, public_key: bytes, algorithm: int = ED25519) -> bytes:
    """Return the id of a key: 4 bytes. Source: C2SP signed-note, "Key IDs"."""
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public_key).digest()[:_KEY_ID_BYTES]


def encode_verifier_key(name: str, public_key: bytes, algorithm: int = ED25519) -> str:
    """Return a public key as text, for people and other tools.

    >>> encode_verifier_key("example.com/log", bytes(32))
    'example.com/log+a3ad76db+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
    """
    packed = base64.b64encode(bytes([algorithm]) + public_key).decode()
    return f"{name}+{key_id(name, public_key, algorithm).hex()}+{packed}"


def decode_verifier_key(text: str) -> tuple[str, int, bytes]:
    """Return the name, algorithm and public key of a verifier key.

    Raises:
        FormatError: Not such a text, or its id is not that of its key.
    """
    match = _VKEY.match(text.strip())
    packed = unbase64(match["key"]) if match else None
    if match is None or not packed or len(packed) < 2:
        raise FormatError(f"not a verifier key (name+id+key): {text!r}")
    if key_id(match["name"], packed[1:], packed[0]).hex() != match["id"]:
        raise FormatError(f"the verifier key of {match['name']} is altered: its id is not that of its key")
    return match["name"], packed[0], packed[1:]


def sign_note(text: str, signer: Signer) -> Signature:
    """Return `signer`'s signature over a text.

    Raises:
        UsageError: The text cannot be a note's: no newline at its end, or control characters.
    """
    if not text.endswith("\n") or _CONTROL.search(text):
        raise UsageError("a note's text ends in a newline and has no other control characters")
    return Signature(name=check_name(signer.name), key_id=signer.key_id, signature=signer.sign(text.encode()))


def decode_note(data: bytes) -> Note:
    """Return the note in `data`. Nothing is verified yet.

    Raises:
        FormatError: Not a signed note.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise FormatError(f"a signed note of {len(data):,} bytes; at most {MAX_NOTE_BYTES:,} are read")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"a signed note is not UTF-8: {error}") from None
    if _CONTROL.search(text):
        raise FormatError("a signed note holds a control character")
    body, separator, lines = text.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise FormatError("a signed note has no signature lines after an empty line")
    rows = lines[:-1].split("\n")
    if len(rows) > MAX_SIGNATURES:
        raise FormatError(f"a signed note has {len(rows)} signatures; at most {MAX_SIGNATURES} are read")
    return Note(text=body + "\n", signatures=tuple([_signature(row) for row in rows]))


def _signature(line: str) -> Signature:
    match line.split(" "):
        case ["—", name, packed] if _NAME.match(name):
            raw = unbase64(packed)
            if raw is not None and len(raw) > _KEY_ID_BYTES:
                return Signature(name=name, key_id=raw[:_KEY_ID_BYTES], signature=raw[_KEY_ID_BYTES:])
    raise FormatError(f"a malformed signature line: {line!r}")


def decode_checkpoint(data: bytes) -> Checkpoint:
    """Return the checkpoint in a signed note. Nothing is verified yet.

    Raises:
        FormatError: Not a checkpoint.
    """
    note = decode_note(data)
    origin, *rest = note.text[:-1].split("\n")
    root = unbase64(rest[1]) if len(rest) > 1 else None
    if not _NAME.match(origin):
        raise FormatError(f"the origin of a checkpoint is malformed: {origin!r}")
    if root is None or len(root) != HASH_BYTES or not _SIZE.match(rest[0]) or not all(rest[2:]):
        raise FormatError(f"a checkpoint is an origin, a size and a root of 32 bytes; this is {note.text[:80]!r}")
    return Checkpoint(
        origin=origin, size=int(rest[0]), root=root, extensions=tuple(rest[2:]), signatures=note.signatures
    )


def decode_signatures(data: bytes) -> tuple[Signature, ...]:
    """Return the signatures in lines of their own, as a witness answers. Nothing is verified yet.

    Raises:
        FormatError: Not signature lines.
    """
    return decode_note(b"x\n\n" + data).signatures


def verify_note(note: Note | Checkpoint, verifiers: Iterable[Verifier]) -> tuple[Signature, ...]:
    """Return the signatures by known keys, all of them valid and at least one; others are left out.

    Raises:
        SignatureError: A known key's signature is wrong, or no known key signed.
    """
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    message, found = note.text.encode(), {}
    for signature in note.signatures:
        key = (signature.name, signature.key_id)
        verifier = known.get(key)
        if verifier is None or key in found:
            continue
        if not verifier.verify(message, signature.signature):
            raise SignatureError(f"the signature by {signature.name} ({signature.key_id.hex()}) is wrong")
        found[key] = signature
    if not found:
        signers = ", ".join(f"{s.name} ({s.key_id.hex()})" for s in note.signatures) or "nobody"
        asked = ", ".join(f"{name} ({identifier.hex()})" for name, identifier in known) or "no key"
        raise SignatureError(f"signed by {signers}, but not by {asked}")
    return tuple(found.values())


def sign_rotation(origin: str, new_key: str, signer: Signer) -> Note:
    """Return the note in which the key of a log says which key takes its place.

    Args:
        origin: The log's name.
        new_key: The verifier key of the new one, of the same name.
        signer: The key that is replaced.
    """
    text = f"{_ROTATION}\n{origin}\n{new_key}\n"
    return Note(text=text, signatures=(sign_note(text, signer),))


def read_rotation(data: bytes, origin: str, verifiers: Iterable[Verifier]) -> str:
    """Return the verifier key that takes the place of one of `verifiers`.

    Raises:
        FormatError: Not such a note, or one for another log.
        SignatureError: None of `verifiers` signed it.
    """
    note = decode_note(data)
    match note.text.split("\n"):
        case [head, log, new_key, ""] if head == _ROTATION and log == origin:
            name, _, _ = decode_verifier_key(new_key)
            if name == origin:
                verify_note(note, verifiers)
                return new_key
    raise FormatError(f"not the rotation of a key of {origin}: {note.text!r}")


def unbase64(text: str) -> bytes | None:
    """Return the bytes of standard base64, None for anything else (also for a second way to write the same bytes)."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
