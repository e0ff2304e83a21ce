"""Signatures by people's own keys: SSHSIG (OpenSSH's PROTOCOL.sshsig), as `ssh-keygen -Y sign` and git make them.

A plain Ed25519 key file signs in this process. Any other key (under a passphrase, in an agent, on a token, of another
type) signs through `ssh-keygen`, which asks for what it needs.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from retrodict.kernel.errors import FormatError, UnavailableError
from retrodict.kernel.note import SignatureError
from retrodict.keys.signing import is_weak

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAMESPACE = "retrodict"
_MAGIC = b"SSHSIG"
_HEAD, _FOOT = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_TIMEOUT_S = 120.0  # a person may have to touch a token or to type a passphrase
_PUBLIC = re.compile(r"(?P<type>[a-z0-9@.-]+) (?P<key>[A-Za-z0-9+/]+=*)(?: (?P<comment>[^\r\n]*))?\s*\Z")


class SigningKeyError(UnavailableError):
    """The key with which somebody's events are to be signed cannot be used."""

    slug = "signing-key"
    hint = "Give --sign-with (or RETRODICT_SIGNING_KEY) an SSH key that `ssh-keygen -Y sign` can use, or leave it out."


@dataclass(frozen=True, slots=True)
class SshPublicKey:
    """A public key; `text` is its type and base64, without a comment."""

    text: str

    @classmethod
    def from_text(cls, line: str) -> SshPublicKey:
        """Return the key of a line such as a `.pub` file holds.

        Raises:
            FormatError: Not a public key of SSH.
        """
        match = _PUBLIC.match(line.strip())
        try:
            blob = base64.b64decode(match["key"], validate=True) if match else b""
            if match is None or _Reader(blob).string().decode("ascii") != match["type"]:
                raise FormatError("no key of its type")
        except (binascii.Error, UnicodeDecodeError, FormatError):
            if "PRIVATE KEY" in line:  # nothing of which may be shown
                raise FormatError("not a public key of SSH but a private one, which is given to nobody") from None
            raise FormatError(f"not a public key of SSH (TYPE BASE64): {line.strip()[:80]!r}") from None
        return cls(f"{match['type']} {match['key']}")

    @property
    def blob(self) -> bytes:
        """The key as SSH transmits it."""
        return base64.b64decode(self.text.split(" ")[1])

    @property
    def fingerprint(self) -> str:
        """What `ssh-keygen -l` prints: `SHA256:` and base64."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


class SshSigner:
    """Somebody's private key, wherever it is.

    Attributes:
        is_service: The workspace has found that the key is recorded as a service's.
    """

    def __init__(self, path: Path, public_key: SshPublicKey, private_key: Ed25519PrivateKey | None) -> None:
        """For `open`."""
        self.is_service = False
        self._path = path
        self._private_key = private_key
        self.public_key = public_key

    @classmethod
    def open(cls, path: Path) -> SshSigner:
        """Return the key in a file: a private key, or a public one whose private key an agent holds.

        Raises:
            SigningKeyError: There is none, or it cannot be read.
        """
        from cryptography.exceptions import UnsupportedAlgorithm  # 10 to 40 ms
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        try:
            data = path.read_bytes()
        except OSError as error:
            raise SigningKeyError(f"the signing key {path} cannot be read: {error.strerror}") from error
        if b"PRIVATE KEY-----" not in data:
            try:
                return cls(path, SshPublicKey.from_text(data.decode()), None)
            except (UnicodeDecodeError, FormatError):
                raise SigningKeyError(f"{path} holds no key of SSH") from None
        try:
            private = serialization.load_ssh_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None  # under a passphrase, on a token, in another form: ssh-keygen can use it
        if isinstance(private, Ed25519PrivateKey):
            public = private.public_key().public_bytes(
                serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
            )
            return cls(path, SshPublicKey.from_text(public.decode()), private)
        beside = path.with_name(path.name + ".pub")
        try:
            return cls(path, SshPublicKey.from_text(beside.read_text()), None)
        except (OSError, ValueError, FormatError):
            printed = _ssh_keygen("-y", "-f", str(path), message=b"").decode()
            return cls(path, SshPublicKey.from_text(printed), None)

    @classmethod
    def from_agent(cls, public_key: SshPublicKey) -> SshSigner:
        """Return the key that an agent holds."""
        return cls(Path(), public_key, None)

    def sign(self, message: bytes) -> bytes:
        """Return the signature over `message`, armored, as `ssh-keygen -Y sign -n retrodict` writes it.

        Raises:
            SigningKeyError: It cannot be made.
        """
        if self._private_key is not None:
            raw = self._private_key.sign(_signed_bytes(message, "sha512"))
            algorithm = _string(b"ssh-ed25519")
            return _armored(self.public_key, algorithm + _string(raw))
        if self._path != Path():
            return _ssh_keygen("-Y", "sign", "-n", NAMESPACE, "-f", str(self._path), message=message)
        import tempfile  # 10 ms, and seldom needed

        with tempfile.NamedTemporaryFile("w", suffix=".pub") as file:
            file.write(self.public_key.text + "\n")
            file.flush()
            return _ssh_keygen("-Y", "sign", "-n", NAMESPACE, "-f", file.name, message=message)


def open_signer(given: str) -> SshSigner:
    """Return the key that a person named: a file, `key::TYPE BASE64` for one that an agent holds, or `git`.

    `git` means the key with which git signs: `user.signingkey`, where `gpg.format` is `ssh`.

    Raises:
        SigningKeyError: There is none, or it cannot be used.
    """
    if given == "git":
        if _git_config("gpg.format") != "ssh":
            raise SigningKeyError("git does not sign with a key of SSH: its gpg.format is not ssh")
        given = _git_config("user.signingkey")
        if not given:
            raise SigningKeyError("git has no user.signingkey")
    literal = given.removeprefix("key::")
    if literal != given or given.startswith("ssh-"):
        try:
            return SshSigner.from_agent(SshPublicKey.from_text(literal))
        except FormatError as error:
            raise SigningKeyError(error.message) from error
    return SshSigner.open(Path(given).expanduser().absolute())


def _git_config(name: str) -> str:
    import subprocess  # 4 ms

    try:
        done = subprocess.run(
            ["git", "config", "--get", name], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SigningKeyError(f"git cannot be asked for its signing key: {error}") from error
    return done.stdout.strip()


def verify_ssh_signature(armored: bytes, message: bytes) -> SshPublicKey:
    """Return the key that has signed `message` in the namespace `retrodict`; whose it is, is another question.

    Raises:
        FormatError: Not a signature of SSH, or one for something else.
        SignatureError: It is not over this message.
        UnavailableError: It is by a key of a type that neither the library nor ssh-keygen here knows.
    """
    reader = _Reader(_unarmored(armored))
    if reader.take(6) != _MAGIC or reader.number() != 1:
        raise FormatError("not a signature of SSH, version 1")
    key, namespace, reserved, hashed, signature = (reader.string() for _ in range(5))
    reader.end()
    if namespace != NAMESPACE.encode() or reserved or hashed not in (b"sha512", b"sha256"):
        raise FormatError(f"a signature of SSH for {namespace.decode(errors='replace')!r}, not for {NAMESPACE!r}")
    kind = _Reader(key).string().decode("ascii", "replace")
    public = SshPublicKey.from_text(f"{kind} {base64.b64encode(key).decode()}")
    if not _is_signed(public, signature, _signed_bytes(message, hashed.decode()), armored, message):
        raise SignatureError(f"the signature by {public.fingerprint} is not over these bytes")
    return public


def _is_signed(public: SshPublicKey, signature: bytes, signed: bytes, armored: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

    reader = _Reader(signature)
    algorithm, raw = reader.string(), reader.string()
    key: object = None
    if not public.text.startswith("sk-"):  # on a token, which signs more than these bytes
        with contextlib.suppress(ValueError, UnsupportedAlgorithm):
            key = serialization.load_ssh_public_key(public.text.encode())
    try:
        if isinstance(key, ed25519.Ed25519PublicKey) and algorithm == b"ssh-ed25519":
            reader.end()
            key.verify(raw, signed)
            return not is_weak(key.public_bytes_raw())
        if isinstance(key, rsa.RSAPublicKey) and algorithm in (b"rsa-sha2-256", b"rsa-sha2-512"):
            reader.end()
            digest = hashes.SHA256() if algorithm.endswith(b"256") else hashes.SHA512()
            key.verify(raw, signed, padding.PKCS1v15(), digest)
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm == public.text.split(" ")[0].encode():
            reader.end()
            parts = _Reader(raw)
            r, s = (int.from_bytes(parts.string(), "big", signed=True) for _ in range(2))
            parts.end()
            curve = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
            key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(curve))
            return True
    except (InvalidSignature, ValueError):
        return False
    if key is not None:
        return False
    return _ssh_keygen_checks(armored, message)


def _ssh_keygen_checks(armored: bytes, message: bytes) -> bool:
    import subprocess  # with tempfile 10 ms, and seldom needed
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".sig") as file:
        file.write(armored)
        file.flush()
        command = ["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", file.name]
        try:
            done = subprocess.run(command, input=message, capture_output=True, check=False, timeout=_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(
                f"a signature cannot be checked: {error}", hint="Install OpenSSH, which brings ssh-keygen."
            ) from error
    return done.returncode == 0


def _ssh_keygen(*arguments: str, message: bytes) -> bytes:
    import subprocess  # 4 ms

    try:
        done = subprocess.run(
            ["ssh-keygen", *arguments], input=message, capture_output=True, check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SigningKeyError(f"ssh-keygen cannot be run: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise SigningKeyError(f"ssh-keygen could not use the key: {said[-1] if said else done.returncode}")
    return done.stdout


def _armored(public: SshPublicKey, signature: bytes) -> bytes:
    parts = (public.blob, NAMESPACE.encode(), b"", b"sha512", signature)
    packed = _MAGIC + struct.pack(">I", 1) + b"".join(map(_string, parts))
    text = base64.b64encode(packed).decode()
    lines = [text[i : i + 70] for i in range(0, len(text), 70)]
    return "\n".join([_HEAD, *lines, _FOOT, ""]).encode()


def _unarmored(armored: bytes) -> bytes:
    try:
        lines = armored.decode("ascii").strip().splitlines()
        if len(lines) < 3 or lines[0] != _HEAD or lines[-1] != _FOOT:
            raise ValueError("no armor")
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except (UnicodeDecodeError, ValueError) as error:
        raise FormatError(f"not a signature of SSH: {error}") from None


def _signed_bytes(message: bytes, hashed: str) -> bytes:
    digest = hashlib.new(hashed, message).digest()
    return _MAGIC + b"".join(map(_string, (NAMESPACE.encode(), b"", hashed.encode(), digest)))


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


class _Reader:
    """Reads what SSH writes: numbers of 4 bytes, strings after their length."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise FormatError("a signature or a key of SSH is cut off")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        return int(struct.unpack(">I", self.take(4))[0])

    def string(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self._at != len(self._data):
            raise FormatError("a signature of SSH goes on behind its end")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedSigner:
    """A line of an allowed_signers file (ssh-keygen's manual, ALLOWED SIGNERS).

    Attributes:
        principals: Names that the key may sign for, as they stand there.
        after, before: Seconds since 1970 between which it may, or None.
    """

    principals: tuple[str, ...]
    key: SshPublicKey
    after: int | None = None
    before: int | None = None

    def allows(self, name: str) -> bool:
        """Say whether the key may sign for a name. Source: ssh_config's manual, PATTERNS."""
        found = False
        for pattern in self.principals:
            form = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern.removeprefix("!"))
            if re.fullmatch(form, name, re.DOTALL):
                if pattern.startswith("!"):
                    return False
                found = True
        return found

    def line(self) -> str:
        """Return the line, for the namespace `retrodict` only."""
        names = ",".join(self.principals)
        return f'"{names}" namespaces="{NAMESPACE}" {self.key.text}'


def principal(name: str) -> str:
    """Return what an agent is called in an allowed_signers file: the mail address in its name, else the name.

    >>> principal("Ada <ada@example.org>")
    'ada@example.org'
    """
    match = re.search(r"<([^<>\s]+@[^<>\s]+)>", name)
    return re.sub(r"[\"*?!,\\\x00-\x1f\x7f]", "_", match[1] if match else name)


_LINE = re.compile(
    r'(?P<names>"[^"]*"|\S+)\s+'
    r'(?:(?P<options>(?:[a-z-]+(?:="[^"]*")?,?)+)\s+)??'
    r"(?P<key>[a-z0-9@.-]+ [A-Za-z0-9+/]{16,}=*)"
)
_OPTION = re.compile(r'([a-z-]+)(?:="([^"]*)")?')


def read_allowed_signers(text: str) -> list[AllowedSigner]:
    """Return the signers of an allowed_signers file that may sign for `retrodict`, without certificates' authorities.

    Raises:
        FormatError: A line is malformed.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line.strip())
        if match is None:
            raise FormatError(f"line {number} of the allowed signers is malformed: {line[:80]!r}")
        options = dict(_OPTION.findall(match["options"] or ""))
        spaces = options.get("namespaces")
        if "cert-authority" in options or (spaces is not None and NAMESPACE not in spaces.split(",")):
            continue
        found.append(
            AllowedSigner(
                principals=tuple(match["names"].strip('"').split(",")),
                key=SshPublicKey.from_text(match["key"]),
                after=_instant(options.get("valid-after"), number),
                before=_instant(options.get("valid-before"), number),
            )
        )
    return found


def _instant(text: str | None, line: int) -> int | None:
    if text is None:
        return None
    digits = text.rstrip("Z")
    for form in ("%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S"):
        try:
            parsed = datetime.strptime(digits, form)  # noqa: DTZ007 - made aware below
        except ValueError:
            continue
        # Without Z it is the reader's local time, as for ssh-keygen.
        return int((parsed.replace(tzinfo=UTC) if text.endswith("Z") else parsed.astimezone()).timestamp())
    raise FormatError(f"line {line} of the allowed signers has a time that is none: {text!r}")
