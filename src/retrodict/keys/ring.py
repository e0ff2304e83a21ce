"""Keys of texts and subjects, and pseudonyms: `keys.db`, of no use without the wrapping key in the state directory.

Every sealed value has a random key of its own, so that destroying one key erases one value, wherever its ciphertext
was copied to. A sealed value is nonce (12 bytes), AES-256-GCM ciphertext, tag (16), with the key's id authenticated.

The database has a rollback journal: after a commit no earlier page stays in a file, and a read-only folder can be read.
HAZARD: what a file system or a disk keeps of overwritten blocks is out of reach; whoever must be sure also destroys
the wrapping key.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from retrodict.kernel import schema
from retrodict.kernel.errors import IntegrityError, ReadOnlyStoreError, UnavailableError
from retrodict.kernel.protocols import Clock
from retrodict.kernel.types import Finding
from retrodict.keys.errors import StateDirectoryError
from retrodict.keys.state import StateDirectory

_NONCE_BYTES = 12
_KEY_BYTES = 32
_BUSY_TIMEOUT_MS = 60_000
_DAMAGE = (
    apsw.NotADBError,
    apsw.CorruptError,
    apsw.FormatError,
    apsw.SQLError,
    apsw.TooBigError,
    UnicodeDecodeError,
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
  id TEXT PRIMARY KEY, holder BLOB NOT NULL, wrapped BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pseudonyms (
  tag BLOB PRIMARY KEY, pseudonym TEXT NOT NULL UNIQUE, holder BLOB NOT NULL, wrapped BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A sealed value: `key` is the random id of the key that opens `ciphertext`."""

    key: str
    ciphertext: bytes


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Secrets:
    """What follows from the wrapping key: one key for each purpose, so that no use tells anything about another.

    Attributes:
        wrap: Wraps keys and names.
        tag: Finds a name without showing it.
        holder: Says under which wrapping key a row was written; no secret.
    """

    wrap: bytes
    tag: bytes
    holder: bytes

    @classmethod
    def derive(cls, wrapping: bytes) -> _Secrets:
        wrap, tag, holder = (hmac.digest(wrapping, b"retrodict " + use, "sha256") for use in (b"wrap", b"tag", b"id"))
        return cls(wrap=wrap, tag=tag, holder=holder)


class KeyRing:
    """The keys that this workspace holds. Threads and processes may share it."""

    def __init__(self, path: Path, state: StateDirectory | None, clock: Clock, *, read_only: bool) -> None:
        """For `open`."""
        self._path = path
        self._uri = f"file:{quote(os.fsencode(path))}"  # apsw takes only text, and a path may be any bytes
        self._clock = clock
        self._read_only = read_only
        self._lock = threading.Lock()
        self._db: apsw.Connection | None = None
        self._made = False
        wrapping = None if state is None else state.wrapping_key
        self._secrets_held = None if wrapping is None else _Secrets.derive(wrapping)

    @classmethod
    def open(cls, path: Path, state: StateDirectory | None, clock: Clock, *, read_only: bool = False) -> KeyRing:
        """Open the keys at `path`; the file is made when the first key is.

        Args:
            path: The database.
            state: Where the wrapping key is. None, or without one: nothing can be sealed or opened.
            clock: The source of randomness.
            read_only: Refuse to write.
        """
        return cls(path, state, clock, read_only=read_only)

    def seal(self, plaintext: bytes) -> Sealed:
        """Seal a value under a new key, which is durable when this returns.

        Raises:
            StateDirectoryError: There is no wrapping key.
            ReadOnlyStoreError: The keys cannot be written.
        """
        return self.seal_many([plaintext])[0]

    def seal_many(self, plaintexts: Sequence[bytes]) -> list[Sealed]:
        """Seal values under a new key each, with one write to the disk. Raises as `seal` does."""
        secrets = self._secrets()
        rows, result = [], []
        for plaintext in plaintexts:
            identifier, key = self._clock.random_bytes(16).hex(), self._clock.random_bytes(_KEY_BYTES)
            rows.append((identifier, secrets.holder, self._encrypt(secrets.wrap, key, identifier)))
            result.append(Sealed(key=identifier, ciphertext=self._encrypt(key, plaintext, identifier)))
        with self._writing() as db:
            db.executemany("INSERT INTO keys VALUES (?, ?, ?)", rows)
        return result

    def open_sealed(self, key: str, ciphertext: bytes) -> bytes | None:
        """Return the value, or None where its key is not held: destroyed, or another's.

        Raises:
            IntegrityError: The key or the ciphertext is altered.
        """
        rows = self._rows("SELECT holder, wrapped FROM keys WHERE id = ?", (key,))
        secrets = self._secrets_held
        if not rows or secrets is None or rows[0][0] != secrets.holder:
            return None
        data_key = _decrypt(secrets.wrap, rows[0][1], key, f"the key {key} in {self._path}")
        return _decrypt(data_key, ciphertext, key, f"the value sealed under key {key}")

    def holds(self, key: str) -> bool | None:
        """Say whether the key is here, under the wrapping key that is here; None where there is no wrapping key."""
        return self._is_held("SELECT holder FROM keys WHERE id = ?", key)

    def knows(self, pseudonym: str) -> bool | None:
        """Say whether it is known here whose pseudonym this is; None where there is no wrapping key."""
        return self._is_held("SELECT holder FROM pseudonyms WHERE pseudonym = ?", pseudonym)

    def _is_held(self, query: str, name: str) -> bool | None:
        if self._secrets_held is None:
            return None
        rows = self._rows(query, (name,))
        return bool(rows) and rows[0][0] == self._secrets_held.holder

    def destroy(self, key: str) -> None:
        """Destroy a key: what it sealed can never be read again, here. Durable when it returns."""
        if self._rows("SELECT 1 FROM keys WHERE id = ?", (key,)):
            with self._writing() as db:
                db.execute("DELETE FROM keys WHERE id = ?", (key,))

    def pseudonym(self, identity: str) -> str:
        """Return the random pseudonym of a person, made the first time; durable when it returns.

        Raises:
            StateDirectoryError: There is no wrapping key.
            ReadOnlyStoreError: There is none yet, and the keys cannot be written.
        """
        secrets = self._secrets()
        name = identity.encode("utf-8", "surrogateescape")
        tag = hmac.digest(secrets.tag, name, "sha256")
        query = "SELECT pseudonym FROM pseudonyms WHERE tag = ?"
        rows = self._rows(query, (tag,))
        if not rows:
            with self._writing() as db:
                rows = db.execute(query, (tag,)).fetchall()  # another process may have been first
                if not rows:
                    pseudonym = f"a-{self._clock.random_bytes(10).hex()}"
                    wrapped = self._encrypt(secrets.wrap, name, pseudonym)
                    db.execute("INSERT INTO pseudonyms VALUES (?, ?, ?, ?)", (tag, pseudonym, secrets.holder, wrapped))
                    return pseudonym
        return str(rows[0][0])

    def identity(self, pseudonym: str) -> str | None:
        """Return who a pseudonym is, or None where this workspace does not know.

        Raises:
            IntegrityError: The row is altered.
        """
        rows = self._rows("SELECT holder, wrapped FROM pseudonyms WHERE pseudonym = ?", (pseudonym,))
        secrets = self._secrets_held
        if not rows or secrets is None or rows[0][0] != secrets.holder:
            return None
        name = _decrypt(secrets.wrap, rows[0][1], pseudonym, f"the pseudonym {pseudonym} in {self._path}")
        return name.decode("utf-8", "surrogateescape")

    def verify(self) -> Iterator[Finding]:
        """Yield every key and pseudonym that is altered; nothing is written."""
        name = self._path.name
        try:
            problems = [row[0] for row in self._rows("PRAGMA integrity_check(20)", ()) if row[0] != "ok"]
            keys = self._rows("SELECT id, holder, wrapped FROM keys", ())
            people = self._rows("SELECT pseudonym, holder, wrapped, tag FROM pseudonyms", ())
            odd = self._odd_schema()
        except IntegrityError as error:
            yield Finding(level="altered", what=name, message=error.message)
            return
        if odd:
            yield Finding(level="altered", what=name, message=f"its schema is not this format's: {', '.join(odd)}")
        for problem in problems:
            yield Finding(level="altered", what=name, message=f"SQLite says: {problem}")
        secrets = self._secrets_held
        strange = 0
        for bound_to, holder, wrapped, *tag in [*keys, *people]:
            if secrets is None:
                strange += 1
                continue
            what = f"{name}: {bound_to}"
            try:
                value = _decrypt(secrets.wrap, wrapped, bound_to, what)
            except IntegrityError as error:
                if holder != secrets.holder:
                    strange += 1
                else:
                    yield Finding(level="altered", what=what, message=error.message)
                continue
            if holder != secrets.holder:
                yield Finding(
                    level="altered", what=what, message="it is filed under a wrapping key that is not its own"
                )
            if tag and hmac.digest(secrets.tag, value, "sha256") != tag[0]:
                yield Finding(level="altered", what=what, message="the pseudonym is filed under another person")
        if strange:
            message = (
                f"{strange} keys or pseudonyms need another wrapping key than the one here, so they are not checked"
            )
            yield Finding(level="note", what=name, message=message)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _secrets(self) -> _Secrets:
        if self._secrets_held is None:
            raise StateDirectoryError("there is no wrapping key here, so nothing can be sealed and nobody named")
        return self._secrets_held

    def _encrypt(self, key: bytes, plaintext: bytes, bound_to: str) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 10 to 40 ms

        nonce = self._clock.random_bytes(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, plaintext, bound_to.encode())

    def _connect(self) -> apsw.Connection | None:
        """Return the connection, or None where there is no file yet. The lock is held."""
        if self._db is None and self._path.exists():
            flags = apsw.SQLITE_OPEN_READONLY if self._read_only else apsw.SQLITE_OPEN_READWRITE
            self._db = apsw.Connection(self._uri, flags=flags | apsw.SQLITE_OPEN_URI)
            self._db.set_busy_timeout(_BUSY_TIMEOUT_MS)
        return self._db

    def _rows(self, query: str, values: tuple[str | bytes, ...]) -> list[tuple[Any, ...]]:
        with self._lock, self._translated():
            db = self._connect()
            if db is None or not self._is_made(db):
                return []
            return db.execute(query, values).fetchall()

    def _odd_schema(self) -> list[str]:
        with self._lock, self._translated():
            db = self._connect()
            if db is None or not self._is_made(db):
                return []
            true = apsw.Connection(":memory:")
            true.execute(_SCHEMA)
            return schema.differences(schema.describe(db), schema.describe(true))

    def _is_made(self, db: apsw.Connection) -> bool:
        # Another process may have made the file and not yet, in one transaction, its tables.
        self._made = self._made or bool(db.execute("SELECT 1 FROM sqlite_schema").fetchall())
        return self._made

    @contextlib.contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        if self._read_only:
            raise ReadOnlyStoreError(str(self._path))
        with self._lock, self._translated():
            if self._connect() is None:
                flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
                apsw.Connection(self._uri, flags=flags).close()
            db = self._connect()
            assert db is not None
            # EXTRA: the journal's removal, which is the commit, is durable too.
            db.execute("PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA; PRAGMA secure_delete=ON").fetchall()
            db.execute("BEGIN IMMEDIATE")
            try:
                db.execute(_SCHEMA)
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise IntegrityError(f"{self._path} is damaged: {error}") from error
        except (apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise ReadOnlyStoreError(str(self._path)) from error
        except apsw.Error as error:
            raise UnavailableError(f"{self._path} cannot be used: {error}") from error


def _decrypt(key: bytes, ciphertext: bytes, bound_to: str, what: str) -> bytes:
    from cryptography.exceptions import InvalidTag  # 10 to 40 ms
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], bound_to.encode())
    except (InvalidTag, ValueError, TypeError, AttributeError) as error:  # a damaged row may hold any type
        raise IntegrityError(f"{what} is altered: it does not open") from error
