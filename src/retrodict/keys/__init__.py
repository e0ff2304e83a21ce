"""What signs a log, and what seals one person's values: the only thing that is ever destroyed."""

from retrodict.keys.cosigning import WitnessVerifier, time_of
from retrodict.keys.errors import StateDirectoryError
from retrodict.keys.ring import KeyRing, Sealed
from retrodict.keys.signing import LogSigner, LogVerifier, rotation_body
from retrodict.keys.state import StateDirectory

__all__ = [
    "KeyRing",
    "LogSigner",
    "LogVerifier",
    "Sealed",
    "StateDirectory",
    "StateDirectoryError",
    "WitnessVerifier",
    "rotation_body",
    "time_of",
]
