"""RFC 8032's vectors, and what a careless verifier takes: malleable and truncated ones, as Wycheproof has them."""

from __future__ import annotations

import base64

import pytest

from retrodict.kernel import note
from retrodict.kernel.errors import FormatError
from retrodict.kernel.note import Checkpoint, Signature, SignatureError
from retrodict.keys import LogSigner, LogVerifier
from retrodict.keys.cosigning import WitnessVerifier, ed25519_message

ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19

# RFC 8032 section 7.1: secret key, public key, message, signature.
VECTORS = {
    "1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe246"
            "55141438e7a100b"
        ),
    ),
    "2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb"
            "00d291612bb0c00"
        ),
    ),
    "3": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc"
            "027beceea1ec40a"
        ),
    ),
}


@pytest.mark.parametrize("number", VECTORS)
def test_the_vectors_of_the_standard_hold(number: str) -> None:
    secret, public, message, signature = (bytes.fromhex(text) for text in VECTORS[number])
    signer = LogSigner("rfc8032.example", secret)
    assert signer.verifier.public_key == public
    assert signer.sign(message) == signature
    assert LogVerifier("rfc8032.example", public).verify(message, signature)


def _bad() -> dict[str, bytes]:
    good = bytes.fromhex(VECTORS["3"][3])
    r, s = good[:32], int.from_bytes(good[32:], "little")
    return {
        "empty": b"",
        "only R": r,
        "one byte short": good[:-1],
        "one byte long": good + b"\0",
        "twice": good * 2,
        "R and S exchanged": good[32:] + good[:32],
        "S + order": r + (s + ORDER).to_bytes(32, "little"),  # the malleable twin
        "S + 2 orders": r + (s + 2 * ORDER).to_bytes(32, "little"),
        "-S": r + (ORDER - s).to_bytes(32, "little"),
        "S = 0": r + bytes(32),
        "S = 1": r + (1).to_bytes(32, "little"),
        "S = order": r + ORDER.to_bytes(32, "little"),
        "S = order - 1": r + (ORDER - 1).to_bytes(32, "little"),
        "S all ones": r + b"\xff" * 32,
        "S with its top bit": r + (s | 1 << 255).to_bytes(32, "little"),
        "R = 0": bytes(32) + good[32:],
        "R the neutral element": (1).to_bytes(32, "little") + good[32:],
        "R not below the prime": PRIME.to_bytes(32, "little") + good[32:],
        "R with another sign": bytes([*r[:31], r[31] ^ 0x80]) + good[32:],
        "all zero": bytes(64),
        "all ones": b"\xff" * 64,
        "of another message": bytes.fromhex(VECTORS["2"][3]),
        "with the message before it": bytes.fromhex(VECTORS["3"][2]) + good,
        "in hex": VECTORS["3"][3].encode(),
        "in base64": base64.b64encode(good),
    }


@pytest.mark.parametrize("what", _bad())
def test_a_bad_signature_is_refused(what: str) -> None:
    _, public, message, good = (bytes.fromhex(text) for text in VECTORS["3"])
    verifier = LogVerifier("rfc8032.example", public)
    assert verifier.verify(message, good)
    assert not verifier.verify(message, _bad()[what])


@pytest.mark.parametrize("bit", range(0, 512, 7))
def test_a_flipped_bit_is_refused(bit: int) -> None:
    _, public, message, good = (bytes.fromhex(text) for text in VECTORS["3"])
    changed = bytearray(good)
    changed[bit // 8] ^= 1 << bit % 8
    assert not LogVerifier("rfc8032.example", public).verify(message, bytes(changed))


# Points of small order (and other ways to write them): with such a key one signature may fit many messages.
SMALL = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]
NO_POINTS = [
    "0200000000000000000000000000000000000000000000000000000000000000",
    "efffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


@pytest.mark.parametrize("public", [*SMALL, *NO_POINTS])
def test_a_key_that_fits_every_message_signs_nothing(public: str) -> None:
    """Signatures R = the point itself or the neutral element, S = 0, verify for some messages where nobody looks."""
    verifier = LogVerifier("weak.example", bytes.fromhex(public))
    if public not in NO_POINTS:
        with pytest.raises(FormatError, match="small order"):
            LogVerifier.from_text(str(verifier))
    for r in {public, SMALL[0]}:
        for number in range(16):
            assert not verifier.verify(b"%d" % number, bytes.fromhex(r) + bytes(32))


def test_a_signature_counts_for_its_name_its_key_and_its_purpose_only() -> None:
    signer = LogSigner("example.com/log", b"1" * 32)
    text = Checkpoint(origin=signer.name, size=3, root=bytes(32)).text
    raw = signer.sign(text.encode())
    key_id = signer.key_id

    def checked(name: str, identifier: bytes, signature: bytes) -> None:
        line = Signature(name=name, key_id=identifier, signature=signature)
        note.verify_note(note.Note(text=text, signatures=(line,)), [signer.verifier])

    checked(signer.name, key_id, raw)
    for name, identifier, signature in (
        ("example.com/other", key_id, raw),
        (signer.name, bytes(4), raw),
        (signer.name, key_id, raw[:32] + bytes(32)),
        (signer.name, key_id, raw + raw),
    ):
        with pytest.raises(SignatureError):
            checked(name, identifier, signature)
    # What is signed as a log is no witness's word, and the other way round.
    witness = WitnessVerifier(signer.name, note.ED25519_COSIGNATURE, signer.verifier.public_key)
    assert not witness.verify(text.encode(), bytes(8) + raw)
    cosigned = signer.sign(ed25519_message(text.encode(), 7))
    assert witness.verify(text.encode(), (7).to_bytes(8, "big") + cosigned)
    assert not witness.verify(text.encode(), (8).to_bytes(8, "big") + cosigned)
    assert not signer.verifier.verify(text.encode(), cosigned)
