"""What signs a log, and what seals one person's values: the only thing that is ever destroyed."""

from retrodict.keys.cosigning import WitnessVerifier, time_of
from retrodict.keys.errors import StateDirectoryError
from retrodict.keys.exchange import SharedKeysError
from retrodict.keys.ring import KeyNotHeldError, KeyRing, Sealed, SharedKey, Subject
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
from retrodict.keys.state import Standing, StateDirectory

__all__ = [
    "AllowedSigner",
    "KeyNotHeldError",
    "KeyRing",
    "LogSigner",
    "LogVerifier",
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
    "open_signer",
    "principal",
    "read_allowed_signers",
    "rotation_body",
    "time_of",
    "verify_ssh_signature",
]
