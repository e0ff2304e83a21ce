"""Signatures of SSH: ssh-keygen takes ours, we take its, and nothing else passes."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from retrodict.kernel.errors import FormatError
from retrodict.kernel.note import SignatureError
from retrodict.keys import (
    AllowedSigner,
    SigningKeyError,
    SshPublicKey,
    SshSigner,
    open_signer,
    principal,
    read_allowed_signers,
    verify_ssh_signature,
)

MESSAGE = b'{"agent":"a-1","kind":"thing.happened"}'
TYPES = {
    "ed25519": ["-t", "ed25519"],
    "ecdsa-256": ["-t", "ecdsa", "-b", "256"],
    "ecdsa-384": ["-t", "ecdsa", "-b", "384"],
    "ecdsa-521": ["-t", "ecdsa", "-b", "521"],
    "rsa": ["-t", "rsa", "-b", "2048"],
}


def make_key(path: Path, *options: str, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-N", passphrase, "-C", "c", "-f", str(path), *options], check=True)
    return path


pytestmark = pytest.mark.usefixtures("ssh_keygen")


@pytest.fixture(scope="module")
def keys(ssh_keygen: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: make_key(folder / name, *options) for name, options in TYPES.items()}


def accepts(folder: Path, allowed: str, name: str, signature: bytes, message: bytes = MESSAGE) -> bool:
    """Say whether `ssh-keygen -Y verify` takes it."""
    (folder / "allowed").write_text(allowed)
    (folder / "sig").write_bytes(signature)
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", name, "-n", "retrodict", "-s", "sig"]
    return subprocess.run(command, cwd=folder, input=message, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("kind", TYPES)
def test_ssh_keygen_and_we_take_each_others_signatures(kind: str, keys: dict[str, Path], tmp_path: Path) -> None:
    signer = SshSigner.open(keys[kind])
    ours = signer.sign(MESSAGE)
    command = ["ssh-keygen", "-Y", "sign", "-n", "retrodict", "-f", str(keys[kind])]
    theirs = subprocess.run(command, input=MESSAGE, capture_output=True, check=True).stdout
    if kind == "ed25519":
        assert ours == theirs  # this type has one signature only
    for signature in (ours, theirs):
        assert verify_ssh_signature(signature, MESSAGE) == signer.public_key
        with pytest.raises(SignatureError):
            verify_ssh_signature(signature, MESSAGE + b" ")
    allowed = AllowedSigner(principals=("ada@example.org",), key=signer.public_key).line() + "\n"
    assert accepts(tmp_path, allowed, "ada@example.org", ours)
    assert not accepts(tmp_path, allowed, "ada@example.org", ours, MESSAGE + b" ")
    assert not accepts(tmp_path, allowed, "eve@example.org", ours)
    listed = subprocess.run(["ssh-keygen", "-l", "-f", f"{keys[kind]}.pub"], capture_output=True, text=True, check=True)
    assert signer.public_key.fingerprint == listed.stdout.split()[1]


def test_a_name_with_spaces_is_a_principal(keys: dict[str, Path], tmp_path: Path) -> None:
    signer = SshSigner.open(keys["ed25519"])
    allowed = AllowedSigner(principals=(principal("Ada Lovelace"),), key=signer.public_key).line() + "\n"
    assert accepts(tmp_path, allowed, "Ada Lovelace", signer.sign(MESSAGE))
    assert read_allowed_signers(allowed)[0].principals == ("Ada Lovelace",)


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def test_a_signature_by_a_token_is_checked(tmp_path: Path) -> None:
    """As a FIDO token makes it: over the hash of the bytes, with flags and a counter of its own."""
    private = Ed25519PrivateKey.from_private_bytes(b"2" * 32)
    kind, application = b"sk-ssh-ed25519@openssh.com", b"ssh:"
    blob = string(kind) + string(private.public_key().public_bytes_raw()) + string(application)
    public = SshPublicKey.from_text(f"{kind.decode()} {base64.b64encode(blob).decode()}")
    parts = (b"retrodict", b"", b"sha512", hashlib.sha512(MESSAGE).digest())
    inner = b"SSHSIG" + b"".join(map(string, parts))
    flags = b"\1" + (7).to_bytes(4, "big")
    raw = private.sign(hashlib.sha256(application).digest() + flags + hashlib.sha256(inner).digest())
    packed = b"SSHSIG" + (1).to_bytes(4, "big")
    packed += b"".join(map(string, (blob, *parts[:3], string(kind) + string(raw) + flags)))
    text = base64.encodebytes(packed).decode()
    armored = f"-----BEGIN SSH SIGNATURE-----\n{text}-----END SSH SIGNATURE-----\n".encode()
    assert verify_ssh_signature(armored, MESSAGE) == public
    with pytest.raises(SignatureError):
        verify_ssh_signature(armored, MESSAGE + b" ")


@given(st.data())
def test_any_flipped_bit_is_found(data: st.DataObject) -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"1" * 32)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    signer = SshSigner(Path(), SshPublicKey.from_text(public.decode()), private)
    raw = bytearray(signer.sign(MESSAGE))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        said = verify_ssh_signature(bytes(raw), MESSAGE)
    except (FormatError, SignatureError):
        return
    assert (said, bytes(raw).split()) == (signer.public_key, signer.sign(MESSAGE).split())  # one blank for another


def test_a_signature_for_something_else_does_not_count(keys: dict[str, Path]) -> None:
    for namespace in ("git", "file", "retrodict2"):
        command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(keys["ed25519"])]
        other = subprocess.run(command, input=MESSAGE, capture_output=True, check=True).stdout
        with pytest.raises(FormatError, match=namespace):
            verify_ssh_signature(other, MESSAGE)
    for rubbish in (b"", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n", b"\xff" * 40):
        with pytest.raises(FormatError):
            verify_ssh_signature(rubbish, MESSAGE)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    started = subprocess.run(
        ["ssh-agent", "-s", "-a", str(tmp_path / "agent")], capture_output=True, text=True, check=True
    ).stdout
    process = int(started.split("SSH_AGENT_PID=")[1].split(";")[0])
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    yield
    os.kill(process, signal.SIGTERM)


def test_a_key_in_an_agent_signs(agent: None, tmp_path: Path) -> None:
    path = make_key(tmp_path / "key", "-t", "ed25519")
    subprocess.run(["ssh-add", "-q", str(path)], check=True)
    public = path.with_suffix(".pub").read_text()
    for given_ in (f"{path}.pub", f"key::{public}", public):
        signer = open_signer(given_)
        assert verify_ssh_signature(signer.sign(MESSAGE), MESSAGE).text in public


def test_the_key_of_git_signs_when_it_is_asked_for(
    keys: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gitconfig"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.chdir(tmp_path)
    config.write_text(f"[user]\n signingkey = {keys['ed25519']}\n")
    with pytest.raises(SigningKeyError, match=r"gpg\.format"):
        open_signer("git")
    config.write_text(f"[user]\n signingkey = {keys['ed25519']}\n[gpg]\n format = ssh\n")
    assert verify_ssh_signature(open_signer("git").sign(MESSAGE), MESSAGE) == SshSigner.open(keys["ed25519"]).public_key
    config.write_text("[gpg]\n format = ssh\n")
    with pytest.raises(SigningKeyError, match=r"no user\.signingkey"):
        open_signer("git")


def test_a_key_that_cannot_be_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "never")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "note.txt").write_text("no key\n")
    for name in ("absent", "note.txt"):
        with pytest.raises(SigningKeyError):
            open_signer(str(tmp_path / name))
    public = make_key(tmp_path / "key", "-t", "ed25519").with_suffix(".pub")
    (tmp_path / "key").unlink()
    with pytest.raises(SigningKeyError):
        open_signer(str(public)).sign(MESSAGE)  # nobody holds its private key


def test_an_allowed_signers_file_is_read_as_ssh_keygen_reads_it(keys: dict[str, Path], tmp_path: Path) -> None:
    key = SshSigner.open(keys["ed25519"])
    signature = key.sign(MESSAGE)
    lines = {
        f"ada@example.org {key.public_key.text} a comment": True,
        f'ada@example.org,bob@example.org namespaces="git,retrodict" {key.public_key.text}': True,
        f'ada@example.org namespaces="git" {key.public_key.text}': False,
        f'ada@example.org valid-after="20200101Z",valid-before="20991231Z" {key.public_key.text}': True,
        f'ada@example.org valid-before="20200101Z" {key.public_key.text}': False,
        f'ada@example.org valid-after="209912312359" {key.public_key.text}': False,
        f"ada@example.org cert-authority {key.public_key.text}": False,
        f"*@example.org {key.public_key.text}": True,
        f"*,!ada@example.org {key.public_key.text}": False,
        f"?da@example.org {key.public_key.text}": True,
        f"example.org {key.public_key.text}": False,
        f"# ada@example.org {key.public_key.text}": False,
        "": False,
    }
    now = 1_790_000_000
    for line, expected in lines.items():
        assert accepts(tmp_path, line + "\n", "ada@example.org", signature) == expected, line
        read = read_allowed_signers(line + "\n")
        ours = [
            s
            for s in read
            if s.key == key.public_key and s.allows("ada@example.org") and (s.after or 0) <= now < (s.before or now + 1)
        ]
        assert bool(ours) == expected, line
    for wrong in ("ada@example.org", "ada@example.org ssh-ed25519 AAAA", f'a valid-after="x" {key.public_key.text}'):
        with pytest.raises(FormatError):
            read_allowed_signers(wrong)
