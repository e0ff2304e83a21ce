"""State that must survive a restored store: the signing key, the last signed checkpoint, the wrapping key, the place.

It lies outside the store, in a folder per workspace or, for a service, in a key file with its companions beside it
(`NAME`, `NAME.checkpoint`, `NAME.wrapping`, `NAME.place`). A key is bound to one store: it bears the name of its log.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import json
import os
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Literal

from retrodict.kernel.durable import sync_folder, write_file
from retrodict.kernel.errors import FormatError, IntegrityError, UsageError
from retrodict.kernel.note import decode_checkpoint, verify_note
from retrodict.kernel.protocols import Clock
from retrodict.keys.errors import StateDirectoryError
from retrodict.keys.signing import SEED_BYTES, LogSigner, LogVerifier, public_key

Standing = Literal["here", "moved", "copy", "absent"]

WRAPPING_BYTES = 32
_WORKSPACE_ID = re.compile(r"[0-9a-f][0-9a-f-]{7,63}\Z")
_SECRET_MODE = 0o600
_PRIVATE_KEY = re.compile(rb"PRIVATE\+KEY\+|-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
_WRAPPING = re.compile(rb"[0-9a-f]{64}\n?\Z")
_IN_STATE = "signing.key"  # the name of the key in a state directory
_WRITES_ONE = "`retrodict keys export-signing` writes one, where the workspace's own keys are."


def is_private_key(path: Path, content: bytes) -> bool:
    """Say whether a file is what no store may hold in the clear: a key that signs, or the one that wraps others.

    Args:
        path: By its name a wrapping key is told from any other 32 bytes in hexadecimal.
        content: Its bytes, or the first 100 of them.
    """
    if path.name == "wrapping" or path.name.endswith(".wrapping"):
        return _WRAPPING.match(content) is not None
    return _PRIVATE_KEY.match(content) is not None


class StateDirectory:
    """The keys of one workspace. Where it holds none (`signer` is None), this process sequences and cannot sign."""

    def __init__(self, *, key: Path, companions: str, workspace_id: str, store_path: Path) -> None:
        """For the class methods. `companions` is what the names of the other files begin with."""
        if not _WORKSPACE_ID.match(workspace_id):
            raise UsageError(f"{workspace_id!r} cannot be a workspace's id")
        self.workspace_id = workspace_id
        self._store_path = store_path
        self._key = key
        self._next = key.with_name(key.name + ".next")
        self._checkpoint = key.with_name(companions + "checkpoint")
        self._wrapping = key.with_name(companions + "wrapping")
        self._place = key.with_name(companions + "place")
        self._signer: LogSigner | None = None
        self._wrapping_key: bytes | None = None
        self._has_succeeded = False
        self.reload()

    def reload(self) -> None:
        """Read the keys again, as they are now: another process may have replaced the signing key.

        A replacement that was cut off counts from the first checkpoint that the new key has signed; before that the
        old key stays.

        Raises:
            StateDirectoryError: They cannot be read.
            FormatError: A file is not what it should be.
        """
        with self._usable():
            self._wrapping_key = _wrapping_key(self._wrapping)
            if not self._key.exists():
                return
            self._signer = LogSigner.from_text(self._key.read_text(encoding="utf-8"))
            self._has_succeeded = False
            if self._next.exists():
                successor = LogSigner.from_text(self._next.read_text(encoding="utf-8"))
                if _has_signed(successor, self.checkpoint()):
                    self._signer, self._has_succeeded = successor, True

    @classmethod
    def create(
        cls, folder: Path, workspace_id: str, store_path: Path, clock: Clock, *, wrapping_key: bytes | None = None
    ) -> StateDirectory:
        """Make keys for the workspace whose store is at `store_path`, in `folder`.

        Args:
            wrapping_key: The key that wraps the others, where there are some already; None: a new one.

        Raises:
            UsageError: `folder` holds a key already.
            StateDirectoryError: `folder` cannot be written.
        """
        state = cls.open(folder, workspace_id, store_path, clock)
        with state._usable():  # noqa: SLF001 - its own class
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if wrapping_key is not None:
            state._write(state._wrapping, wrapping_key.hex() + "\n")  # noqa: SLF001
        state._generate(clock)  # noqa: SLF001
        return state

    @classmethod
    def restore(
        cls,
        folder: Path,
        workspace_id: str,
        store_path: Path,
        *,
        signing_key: str,
        wrapping_key: bytes | None,
        checkpoint: bytes | None,
    ) -> StateDirectory:
        """Put keys that were kept elsewhere back into `folder`; where a key is already, nothing is changed.

        Raises:
            FormatError: `signing_key` is none.
            StateDirectoryError: `folder` cannot be written.
        """
        state = cls(key=folder / "signing.key", companions="", workspace_id=workspace_id, store_path=store_path)
        if state.signer is None:
            LogSigner.from_text(signing_key)
            with state._usable():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if wrapping_key is not None:
                state._write(state._wrapping, wrapping_key.hex() + "\n")
            if checkpoint is not None:
                state.save_checkpoint(checkpoint)
            state.settle(store_path)
            state._write(state._key, signing_key.strip() + "\n")
            state.reload()
        return state

    @classmethod
    def open(cls, folder: Path, workspace_id: str, store_path: Path, clock: Clock) -> StateDirectory:
        """Open the keys in `folder`, if there are any.

        Raises:
            StateDirectoryError: They are there and cannot be read.
            FormatError: A file is not what it should be.
        """
        del clock  # only making keys needs it
        return cls(key=folder / _IN_STATE, companions="", workspace_id=workspace_id, store_path=store_path)

    @classmethod
    def from_key_file(cls, path: Path, workspace_id: str, store_path: Path) -> StateDirectory:
        """Open the key that a service was given.

        Raises:
            StateDirectoryError: There is no key at `path`, or it cannot be read.
            FormatError: A file is not what it should be.
        """
        try:
            state = cls(key=path, companions=f"{path.name}.", workspace_id=workspace_id, store_path=store_path)
        except FormatError as error:
            raise FormatError(f"{path} is no key file: {error.message}", hint=_WRITES_ONE) from error
        if state.signer is None:
            raise StateDirectoryError(f"there is no key file at {path}", hint=_WRITES_ONE)
        return state

    def export_key_file(self, path: Path) -> None:
        """Write a key file for a service: this key, the wrapping key, and the checkpoint as it stands.

        Raises:
            UsageError: There is a file at `path`, or no key here.
            StateDirectoryError: `path` cannot be written.
        """
        if self._signer is None:
            raise UsageError(f"there is no key at {self._key}")
        if path.exists():
            raise UsageError(f"{path} exists already")
        copy = StateDirectory(
            key=path, companions=f"{path.name}.", workspace_id=self.workspace_id, store_path=self._store_path
        )
        checkpoint, wrapping = self.checkpoint(), self.wrapping_key
        if checkpoint is not None:
            copy.save_checkpoint(checkpoint)
        if wrapping is not None:
            copy._write(copy._wrapping, wrapping.hex() + "\n")
        copy.settle(self._store_path)
        copy._write(path, self._signer.secret_text + "\n")

    def _generate(self, clock: Clock) -> None:
        if self._signer is not None:
            raise UsageError(f"{self._key} exists already")
        if not self._wrapping.exists():  # a first try may have got so far; what it sealed must stay readable
            self._write(self._wrapping, clock.random_bytes(WRAPPING_BYTES).hex() + "\n")
        self.settle(self._store_path)
        seed = clock.random_bytes(SEED_BYTES)
        name = f"retrodict.local/{self.workspace_id[:8]}/{sha256(public_key(seed)).hexdigest()[:16]}"
        signer = LogSigner(name, seed)
        self._write(self._key, signer.secret_text + "\n")  # last: a key without its companions is never seen
        self._signer, self._wrapping_key = signer, _wrapping_key(self._wrapping)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from replacing the key meanwhile; what one of them did before is read first.

        Raises:
            StateDirectoryError: The folder cannot be used.
        """
        with self._usable():
            fd = os.open(self._key.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self._usable():
                fcntl.flock(fd, fcntl.LOCK_EX)
            self.reload()
            yield
        finally:
            os.close(fd)

    def prepare_successor(self, clock: Clock) -> LogSigner:
        """Make the key that is to take the place of the signing key, of the same name; `settle_successor` ends it.

        Raises:
            StateDirectoryError: There is no key here, or it cannot be written.
        """
        if self._has_succeeded:
            self.settle_successor()  # an earlier rotation, which was cut off after the new key had signed
        successor = LogSigner(self.origin, clock.random_bytes(SEED_BYTES))
        self._write(self._next, successor.secret_text + "\n")
        return successor

    def settle_successor(self) -> None:
        """Let the prepared key take the place of the old one, which is destroyed.

        Raises:
            StateDirectoryError: It cannot be written.
        """
        with self._usable():
            os.replace(self._next, self._key)
            sync_folder(self._key.parent)
        self.reload()

    def make_wrapping_key(self, clock: Clock) -> bytes:
        """Return the wrapping key, made where there is none: a clone can hold what others share with it, unsigned.

        Raises:
            StateDirectoryError: It cannot be written.
        """
        if self._wrapping_key is None:
            with self._usable():
                self._wrapping.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(self._wrapping, clock.random_bytes(WRAPPING_BYTES).hex() + "\n")
            self._wrapping_key = _wrapping_key(self._wrapping)
        assert self._wrapping_key is not None
        return self._wrapping_key

    def lies_in(self, folder: Path) -> bool:
        """Say whether the keys lie somewhere in `folder`."""
        return Path(os.path.realpath(self._key)).is_relative_to(os.path.realpath(folder))

    @property
    def origin(self) -> str:
        """The name of the log, with the hash of its first public key.

        Raises:
            StateDirectoryError: There is no key here.
        """
        if self._signer is None:
            raise StateDirectoryError(f"there is no key at {self._key}")
        return self._signer.name

    @property
    def signer(self) -> LogSigner | None:
        """The private key, or None."""
        return self._signer

    @property
    def verifier(self) -> LogVerifier | None:
        """The public key, or None."""
        return None if self._signer is None else self._signer.verifier

    @property
    def wrapping_key(self) -> bytes | None:
        """The key that wraps the keys of subjects and texts (32 bytes), or None."""
        return self._wrapping_key

    @property
    def cache_key(self) -> bytes | None:
        """What marks the rows of caches in the store, so that only who has the keys writes them (32 bytes), or None."""
        return None if self._wrapping_key is None else hmac.digest(self._wrapping_key, b"retrodict cache", "sha256")

    def checkpoint(self) -> bytes | None:
        """Return the last signed checkpoint, or None.

        Raises:
            StateDirectoryError: It cannot be read.
        """
        with self._usable():
            return self._checkpoint.read_bytes() if self._checkpoint.exists() else None

    def save_checkpoint(self, note: bytes) -> None:
        """Keep a signed checkpoint; durable when it returns.

        Raises:
            StateDirectoryError: It cannot be written.
        """
        with self._usable():
            write_file(self._checkpoint, note)

    def standing(self, store_path: Path) -> Standing:
        """Say what the store at `store_path` is to this key.

        Returns:
            "absent": there is no key here. "here": the store is where the key was made for it. "moved": the old place
            holds this workspace no longer. "copy": it still does, so this store is to begin a log of its own.
        """
        if self._signer is None:
            return "absent"
        path, device, inode = self._read_place()
        if path == os.path.realpath(store_path):
            return "here"
        if (device, inode) == _identity(store_path):
            return "moved"
        return "copy" if _workspace_at(Path(path)) == self.workspace_id else "moved"

    def settle(self, store_path: Path) -> None:
        """Record that the store is at `store_path` now.

        Raises:
            StateDirectoryError: It cannot be written.
        """
        device, inode = _identity(store_path)
        place = {"path": os.path.realpath(store_path), "device": device, "inode": inode}
        self._write(self._place, json.dumps(place) + "\n")

    def _read_place(self) -> tuple[str, int, int]:
        with self._usable():
            data = self._place.read_bytes()
        match _parsed(data):
            case {"path": str(path), "device": int(device), "inode": int(inode)}:
                return path, device, inode
        raise FormatError(f"{self._place} does not say where the store is")

    def _write(self, path: Path, text: str) -> None:
        with self._usable():
            write_file(path, text.encode(), mode=_SECRET_MODE)

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = "state directory" if self._key.name == _IN_STATE else "key file's folder"
            raise StateDirectoryError(
                f"the {what} {self._key.parent} cannot be used: {error.strerror} ({error.filename})"
            ) from error
        except UnicodeDecodeError as error:
            raise FormatError(f"{self._key} is not a key file: {error}") from error


def _wrapping_key(path: Path) -> bytes | None:
    if not path.exists():
        return None  # a service may sign without being able to open what is sealed
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError:
        key = b""
    if len(key) != WRAPPING_BYTES:
        raise FormatError(f"{path} is not a wrapping key: {WRAPPING_BYTES} bytes in hex are due")
    return key


def _has_signed(signer: LogSigner, checkpoint: bytes | None) -> bool:
    """Say whether a checkpoint is signed by this key, by itself or beside the one before it."""
    if checkpoint is None:
        return False
    try:
        verify_note(decode_checkpoint(checkpoint), [signer.verifier])
    except IntegrityError:
        return False
    return True


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


def _workspace_at(store_path: Path) -> str | None:
    """Return the id of the workspace whose store lies at `store_path`, or None."""
    try:
        layout = _parsed((store_path / "format.json").read_bytes())
    except OSError:
        return None
    match layout:
        case {"workspace": str(workspace_id)}:
            return workspace_id
    return None
