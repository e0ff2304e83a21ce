"""Keys of witnesses, and what they say: C2SP tlog-cosignature v1, by Ed25519 or ML-DSA-44.

A cosignature says: at this time I saw the log in this state, and it continued every state of it that I had seen.
"""

from __future__ import annotations

import base64
import struct

from retrodict.kernel.errors import FormatError, UnavailableError
from retrodict.kernel.note import (
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    check_name,
    decode_verifier_key,
    encode_verifier_key,
    key_id,
)
from retrodict.keys.signing import LogVerifier

_TIME = struct.Struct(">Q")
_KEY_BYTES = {ED25519_COSIGNATURE: 32, ML_DSA_44_COSIGNATURE: 1312}
_SIGNATURE_BYTES = {ED25519_COSIGNATURE: 64, ML_DSA_44_COSIGNATURE: 2420}
_LABEL = b"subtree/v1\n\0"


class WitnessVerifier:
    """A witness's public key. See `kernel.protocols.Verifier`."""

    def __init__(self, name: str, algorithm: int, public_key: bytes) -> None:
        self.name = check_name(name)
        self.algorithm = algorithm
        self.public_key = public_key
        self.key_id = key_id(name, public_key, algorithm)

    @classmethod
    def from_text(cls, text: str) -> WitnessVerifier:
        """Return the key of a verifier key of type 0x04 or 0x06.

        Raises:
            FormatError: Not the key of a witness.
        """
        name, algorithm, public_key = decode_verifier_key(text)
        if len(public_key) != _KEY_BYTES.get(algorithm):
            raise FormatError(
                f"the verifier key of {name} is not that of a witness: its type is {algorithm:#04x}, and 0x04 "
                "(Ed25519) or 0x06 (ML-DSA-44) is due"
            )
        return cls(name, algorithm, public_key)

    def __str__(self) -> str:
        return encode_verifier_key(self.name, self.public_key, self.algorithm)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Say whether `signature` (time and signature) over the checkpoint's text is this witness's.

        Raises:
            UnavailableError: The key is of ML-DSA-44, which the cryptography package here does not know.
        """
        if len(signature) != _TIME.size + _SIGNATURE_BYTES[self.algorithm]:
            return False
        time, signed = time_of(signature), signature[_TIME.size :]
        if self.algorithm == ED25519_COSIGNATURE:
            return LogVerifier(self.name, self.public_key).verify(ed25519_message(message, time), signed)
        return _verify_ml_dsa(self.public_key, ml_dsa_message(self.name, message, time), signed)


def time_of(cosignature: bytes) -> int:
    """Return when a cosignature was made, in seconds since 1970, as the witness says."""
    return int(_TIME.unpack_from(cosignature)[0])


def ed25519_message(text: bytes, time: int) -> bytes:
    """Return what a witness signs by Ed25519. Source: C2SP tlog-cosignature, "Ed25519 signed message"."""
    return b"cosignature/v1\ntime %d\n%b" % (time, text)


def ml_dsa_message(name: str, text: bytes, time: int) -> bytes:
    """Return what a witness signs by ML-DSA-44. Source: C2SP tlog-cosignature, "ML-DSA-44 signed message"."""
    origin, size, root = text.split(b"\n")[:3]
    cosigner = name.encode()
    parts = [_LABEL, bytes([len(cosigner)]), cosigner, _TIME.pack(time), bytes([len(origin)]), origin]
    return b"".join([*parts, _TIME.pack(0), _TIME.pack(int(size)), base64.b64decode(root)])


def _verify_ml_dsa(public_key: bytes, message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

        MLDSA44PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (ImportError, UnsupportedAlgorithm) as error:
        raise UnavailableError(
            "the installed cryptography package cannot check ML-DSA-44 signatures",
            hint="Update it: pip install --upgrade cryptography",
        ) from error
    except (InvalidSignature, ValueError):
        return False
    return True
