"""A workspace's keys, sealed under a passphrase: what they are kept as apart from the store (`docs/formats/backup.md`).

One canonical JSON object; `box` is AES-256-GCM under a key that scrypt makes of the passphrase, with every other field
authenticated.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from retrodict.backups.errors import PassphraseError
from retrodict.kernel import canonical
from retrodict.kernel.errors import FormatError
from retrodict.kernel.protocols import Clock

_FORMAT, _VERSION = "retrodict keys", 1
# RFC 7914's cost for files (N = 2^20 takes 1 GiB and 3 s): a guess costs a quarter of a second and 128 MiB.
LOG_N, _R, _P = 17, 8, 1
_MAX_LOG_N = 22  # a file cannot make us take more than 4 GiB
_NONCE_BYTES, _SALT_BYTES = 12, 16
_WORKSPACE = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Keys:
    """The keys of a workspace.

    Attributes:
        workspace, origin: Whose they are.
        signing_key: As `signing.key` in the state directory holds it.
        wrapping_key: 32 bytes, or None.
        checkpoint: The last signed checkpoint, or None.
        ring: The bytes of `keys.db`; empty where there is none.
    """

    workspace: str
    origin: str
    signing_key: str
    wrapping_key: bytes | None
    checkpoint: bytes | None
    ring: bytes


def seal_keys(keys: Keys, passphrase: bytes, clock: Clock, *, at: str) -> bytes:
    """Return the keys sealed under a passphrase.

    Raises:
        PassphraseError: It is empty.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 10 to 40 ms

    if not passphrase:
        raise PassphraseError("the passphrase is empty", hint="Put a long one on the first line of its file.")
    salt, nonce = clock.random_bytes(_SALT_BYTES), clock.random_bytes(_NONCE_BYTES)
    head = {
        "format": _FORMAT,
        "version": _VERSION,
        "workspace": keys.workspace,
        "origin": keys.origin,
        "at": at,
        "kdf": {"name": "scrypt", "log_n": LOG_N, "r": _R, "p": _P, "salt": _text(salt)},
        "nonce": _text(nonce),
    }
    inside = {
        "signing_key": keys.signing_key,
        "wrapping_key": None if keys.wrapping_key is None else _text(keys.wrapping_key),
        "checkpoint": None if keys.checkpoint is None else _text(keys.checkpoint),
        "ring": _text(keys.ring),
    }
    box = AESGCM(_derive(passphrase, salt, LOG_N)).encrypt(nonce, canonical.encode(inside), canonical.encode(head))
    return canonical.encode({**head, "box": _text(box)}) + b"\n"


def open_keys(data: bytes, passphrase: bytes) -> Keys:
    """Return the keys that `seal_keys` sealed.

    Raises:
        FormatError: It is no such file, or one of a later release.
        PassphraseError: They do not open: another passphrase, or a file that was altered.
    """
    from cryptography.exceptions import InvalidTag  # 10 to 40 ms
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head = canonical.decode(data)
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise FormatError("not a file of sealed keys")
    if head.get("version") != _VERSION:
        raise FormatError(f"sealed keys of format {head.get('version')}; this release reads {_VERSION}")
    box = head.pop("box", None)
    try:
        kdf = head["kdf"]
        if (kdf["name"], kdf["r"], kdf["p"]) != ("scrypt", _R, _P) or not 10 <= kdf["log_n"] <= _MAX_LOG_N:
            raise ValueError("another way to make a key of a passphrase")
        key = _derive(passphrase, _bytes(kdf["salt"]), kdf["log_n"])
        inside = canonical.decode(AESGCM(key).decrypt(_bytes(head["nonce"]), _bytes(box), canonical.encode(head)))
        assert isinstance(inside, dict)
        found = Keys(
            workspace=head["workspace"],
            origin=head["origin"],
            signing_key=inside["signing_key"],
            wrapping_key=None if inside["wrapping_key"] is None else _bytes(inside["wrapping_key"]),
            checkpoint=None if inside["checkpoint"] is None else _bytes(inside["checkpoint"]),
            ring=_bytes(inside["ring"]),
        )
        if not _WORKSPACE.match(found.workspace):
            raise ValueError("no workspace's id")
    except InvalidTag:
        raise PassphraseError("the keys do not open: another passphrase, or a file that was altered") from None
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"not a file of sealed keys: {error}") from error
    return found


def _derive(passphrase: bytes, salt: bytes, log_n: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # 10 to 40 ms

    return Scrypt(salt=salt, length=32, n=1 << log_n, r=_R, p=_P).derive(passphrase)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
