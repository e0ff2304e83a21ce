"""What signs a log, and what seals one person's values: the only thing that is ever destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.keys.cosigning import WitnessVerifier, time_of
    from retrodict.keys.errors import StateDirectoryError
    from retrodict.keys.exchange import SharedKeysError
    from retrodict.keys.folder import Member, MemberKind, decode_folder, encode_folder
    from retrodict.keys.ring import KeyNotHeldError, KeyRing, KnownFile, NewKey, Sealed, SharedKey, Subject
    from retrodict.keys.signing import LogSigner, LogVerifier, rotation_body
    from retrodict.keys.ssh import (
        AllowedSigner,
        SigningKeyError,
        SshPublicKey,
        SshSigner,
        open_signer,
        principal,
        read_allowed_signers,
        verify_ssh_signature,
    )
    from retrodict.keys.state import Standing, StateDirectory, is_private_key

_HOMES = {
    "AllowedSigner": "ssh",
    "KeyNotHeldError": "ring",
    "KeyRing": "ring",
    "KnownFile": "ring",
    "LogSigner": "signing",
    "LogVerifier": "signing",
    "Member": "folder",
    "MemberKind": "folder",
    "NewKey": "ring",
    "Sealed": "ring",
    "SharedKey": "ring",
    "SharedKeysError": "exchange",
    "SigningKeyError": "ssh",
    "SshPublicKey": "ssh",
    "SshSigner": "ssh",
    "Standing": "state",
    "StateDirectory": "state",
    "StateDirectoryError": "errors",
    "Subject": "ring",
    "WitnessVerifier": "cosigning",
    "decode_folder": "folder",
    "encode_folder": "folder",
    "is_private_key": "state",
    "open_signer": "ssh",
    "principal": "ssh",
    "read_allowed_signers": "ssh",
    "rotation_body": "signing",
    "time_of": "cosigning",
    "verify_ssh_signature": "ssh",
}

__all__ = [
    "AllowedSigner",
    "KeyNotHeldError",
    "KeyRing",
    "KnownFile",
    "LogSigner",
    "LogVerifier",
    "Member",
    "MemberKind",
    "NewKey",
    "Sealed",
    "SharedKey",
    "SharedKeysError",
    "SigningKeyError",
    "SshPublicKey",
    "SshSigner",
    "Standing",
    "StateDirectory",
    "StateDirectoryError",
    "Subject",
    "WitnessVerifier",
    "decode_folder",
    "encode_folder",
    "is_private_key",
    "open_signer",
    "principal",
    "read_allowed_signers",
    "rotation_body",
    "time_of",
    "verify_ssh_signature",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
