"""Project Wycheproof's signatures: every one that is good is taken, every other one refused, by each path to a key."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrodict.keys import LogVerifier, SshPublicKey, ssh
from retrodict.keys.signing import is_weak

FOLDER = Path(__file__).with_name("wycheproof")


def vectors(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the public key and the case of each vector of a file."""
    for group in json.loads((FOLDER / name).read_text())["testGroups"]:
        for case in group["tests"]:
            yield group["publicKey"], case


ED25519 = list(vectors("ed25519_test.json"))
P256 = list(vectors("ecdsa_secp256r1_sha256_p1363_test.json"))


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def integer(value: int) -> bytes:
    """Write a non-negative number as SSH does (RFC 4251, mpint)."""
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big") if value else b"")


def is_signed(kind: str, *key: bytes, signature: bytes, message: bytes) -> bool:
    blob = b"".join(string(part) for part in (kind.encode(), *key))
    public = SshPublicKey.from_text(f"{kind} {base64.b64encode(blob).decode()}")
    return ssh._is_signed(public, string(kind.encode()) + string(signature), message, b"", b"")


def test_the_vectors_are_all_there() -> None:
    for cases, least in ((ED25519, 150), (P256, 250)):
        assert len(cases) >= least
        assert {case["result"] for _, case in cases} >= {"valid", "invalid"}


@pytest.mark.parametrize(("key", "case"), ED25519, ids=lambda item: str(item.get("tcId", "")))
def test_an_ed25519_signature_counts_where_it_should(key: dict[str, Any], case: dict[str, Any]) -> None:
    public, message, signature = (bytes.fromhex(text) for text in (key["pk"], case["msg"], case["sig"]))
    found = (
        LogVerifier("wycheproof.example", public).verify(message, signature),
        is_signed("ssh-ed25519", public, signature=signature, message=message),
    )
    if "SmallOrderPublicKey" in case["flags"]:  # "acceptable"; here such a key signs nothing
        assert is_weak(public)
        assert found == (False, False), case["comment"]
    elif (
        case["result"] != "acceptable"
    ):  # a key with a part of small order can be used by its holder alone: both will do
        assert found == (case["result"] == "valid",) * 2, case["comment"]


@pytest.mark.parametrize(("key", "case"), P256, ids=lambda item: str(item.get("tcId", "")))
def test_a_p256_signature_counts_where_it_should(key: dict[str, Any], case: dict[str, Any]) -> None:
    point, message, signature = (bytes.fromhex(text) for text in (key["uncompressed"], case["msg"], case["sig"]))
    half = len(signature) // 2
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    found = is_signed("ecdsa-sha2-nistp256", b"nistp256", point, signature=integer(r) + integer(s), message=message)
    # A wrong length is bad in the vectors' form, which has fixed widths; SSH's numbers have none, so nothing is wrong.
    if len(signature) == 64:
        assert found == (case["result"] == "valid"), case["comment"]
