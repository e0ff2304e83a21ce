"""Signed notes: strict to read, and worthless once a byte is changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrodict.kernel import note
from retrodict.kernel.errors import FormatError, RetrodictError, UsageError
from retrodict.kernel.note import Checkpoint, SignatureError
from retrodict.keys import LogSigner, LogVerifier

SIGNER = LogSigner("example.com/log", b"1" * 32)
OTHER = LogSigner("example.com/other", b"2" * 32)


def signed(*signers: LogSigner, size: int = 7, extensions: tuple[str, ...] = ()) -> bytes:
    unsigned = Checkpoint(origin=SIGNER.name, size=size, root=bytes(range(32)), extensions=extensions)
    signatures = tuple(note.sign_note(unsigned.text, signer) for signer in signers)
    return Checkpoint(
        origin=SIGNER.name, size=size, root=unsigned.root, extensions=extensions, signatures=signatures
    ).encode()


def test_the_example_of_the_go_package_verifies() -> None:
    """From the documentation of golang.org/x/mod/sumdb/note."""
    verifier = LogVerifier.from_text("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    data = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
        "\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    ).encode()
    parsed = note.decode_note(data)
    assert note.verify_note(parsed, [verifier]) == parsed.signatures
    assert parsed.encode() == data
    secret = LogSigner.from_text("PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")
    assert str(secret.verifier) == str(verifier)
    assert note.sign_note(parsed.text, secret) == parsed.signatures[0]


@pytest.mark.parametrize("size", [0, 1, 2**62])
@pytest.mark.parametrize("extensions", [(), ("one", "two 2")])
def test_a_checkpoint_comes_back(size: int, extensions: tuple[str, ...]) -> None:
    data = signed(SIGNER, OTHER, size=size, extensions=extensions)
    checkpoint = note.decode_checkpoint(data)
    assert (checkpoint.size, checkpoint.root, checkpoint.extensions) == (size, bytes(range(32)), extensions)
    assert checkpoint.encode() == data
    assert len(note.verify_note(checkpoint, [SIGNER.verifier, OTHER.verifier])) == 2
    assert note.verify_note(checkpoint, [OTHER.verifier])[0].name == OTHER.name


@given(st.data())
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    raw = bytearray(signed(SIGNER))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises((FormatError, SignatureError)):
        note.verify_note(note.decode_checkpoint(bytes(raw)), [SIGNER.verifier])


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda value: value.encode("utf-8", "surrogatepass")))
def test_bytes_that_are_no_note_are_refused_as_such(data: bytes) -> None:
    with pytest.raises(FormatError):
        note.decode_checkpoint(data)


LINE = signed(SIGNER).split(b"\n\n")[1]


@pytest.mark.parametrize(
    "data",
    [
        signed(SIGNER)[:-1],
        signed(SIGNER) + b"\n",
        signed(SIGNER).replace(b"\n7\n", b"\n07\n"),
        signed(SIGNER).replace(b"\n7\n", b"\n+7\n"),
        signed(SIGNER).replace(b"\n7\n", b"\n-7\n"),
        signed(SIGNER).replace(b"\n7\n", "\n٧\n".encode()),
        signed(SIGNER).replace(b"\n7\n", b"\n7\r\n"),
        signed(SIGNER).replace(b"\n7\n", b"\n" + b"9" * 30 + b"\n"),
        signed(SIGNER).replace(b"Hh8=\n", b"Hh9=\n"),
        signed(SIGNER).replace(b"Hh8=\n", b"\n"),
        signed(SIGNER).replace("— ".encode(), b"- "),
        signed(SIGNER).replace("— ".encode(), "—  ".encode()),
        b"example.com/log\n7\n\n" + LINE,
        signed(SIGNER) + LINE * note.MAX_SIGNATURES,
        b"x" * (note.MAX_NOTE_BYTES + 1),
    ],
)
def test_what_the_format_forbids_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        note.decode_checkpoint(data)


def test_a_known_key_with_a_wrong_signature_spoils_the_note() -> None:
    good, forged = note.decode_checkpoint(signed(SIGNER, OTHER)), note.decode_checkpoint(signed(SIGNER, OTHER, size=8))
    mixed = Checkpoint(
        origin=good.origin, size=good.size, root=good.root, signatures=(good.signatures[0], forged.signatures[1])
    )
    assert note.verify_note(mixed, [SIGNER.verifier])
    with pytest.raises(SignatureError, match="wrong"):
        note.verify_note(mixed, [SIGNER.verifier, OTHER.verifier])


def test_a_note_by_others_is_not_verified() -> None:
    with pytest.raises(SignatureError, match=r"example.com/log .* but not by example.com/other"):
        note.verify_note(note.decode_checkpoint(signed(SIGNER)), [OTHER.verifier])


def test_a_key_of_the_same_name_is_another_key() -> None:
    impostor = LogSigner(SIGNER.name, b"3" * 32)
    with pytest.raises(SignatureError):
        note.verify_note(note.decode_checkpoint(signed(impostor)), [SIGNER.verifier])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b"])
def test_a_name_that_would_break_a_note_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        note.check_name(name)


@given(st.text(max_size=60))
def test_a_text_that_is_no_key_is_refused_as_such(text: str) -> None:
    with pytest.raises(RetrodictError):
        LogVerifier.from_text(text)
    with pytest.raises(RetrodictError):
        LogSigner.from_text(text)


def test_an_altered_key_is_refused() -> None:
    text = str(SIGNER.verifier)
    with pytest.raises(FormatError, match="altered"):
        LogVerifier.from_text(text.replace("example", "exempel"))
    secret = LogSigner.from_text(SIGNER.secret_text.replace("example", "exempel"))
    with pytest.raises(FormatError, match="altered"):
        note.sign_note("text\n", secret)
