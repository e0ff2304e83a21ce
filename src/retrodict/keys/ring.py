"""Keys of texts and subjects, and pseudonyms: `keys.db`, of no use without the wrapping key in the state directory.

Every sealed text has a random key of its own, and everything about one subject (a person whose values are sealed) has
one: destroying a key erases what it sealed, wherever the ciphertext was copied to. A sealed value is nonce (12 bytes),
AES-256-GCM ciphertext, tag (16), with the key's id authenticated.
"""

from __future__ import annotations

import base64
import functools
import hmac
import json
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from retrodict.kernel.errors import IntegrityError, UnavailableError
from retrodict.kernel.protocols import Clock
from retrodict.kernel.types import Finding
from retrodict.keys.database import RingFile
from retrodict.keys.errors import StateDirectoryError
from retrodict.keys.files import PREFIX_BYTES, open_chunks, seal_chunks
from retrodict.keys.state import StateDirectory

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_ASKED = 1_000  # that one query names
_Item = TypeVar("_Item", str, bytes)
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A sealed value: `key` is the random id of the key that opens `ciphertext`."""

    key: str
    ciphertext: bytes


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NewKey:
    """A key that only this process has yet: nothing that it sealed is recorded before `KeyRing.keep` returns."""

    row: tuple[str, bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A person whose values are sealed.

    Attributes:
        subject: Their random pseudonym, `s-...`: what entries and views hold.
        key: The id of the key that seals everything about them.
    """

    subject: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SharedKey:
    """A key as it goes from one key ring to another, and whose it is.

    Attributes:
        key: Its id.
        secret: The key itself, 32 bytes.
        subject: The pseudonym of the person whose values it seals; None for the key of a text.
        identity: Who that is.
    """

    key: str
    secret: bytes
    subject: str | None = None
    identity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """A file that was sealed, as `keys.db` knows it again.

    Attributes:
        tag: The keyed hash of its name in the clear (`KeyRing.file_tag`).
        size: Of the file in the clear, in bytes.
        sealed: The object that it was sealed as; `key` opens it.
    """

    tag: bytes
    size: int
    sealed: str
    key: str


class KeyNotHeldError(UnavailableError):
    """A value is to be sealed under a key that is not held: destroyed meanwhile, or another's."""

    slug = "key-not-held"
    hint = "Ask again: who was forgotten gets a new key."

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key} is not held here")
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Secrets:
    """What follows from the wrapping key: one key for each purpose, so that no use tells anything about another.

    Attributes:
        wrap: Wraps keys and names.
        tag: Finds a name without showing it.
        exchange: The X25519 key by which others share keys with this workspace.
        holder: Says under which wrapping key a row was written; no secret.
    """

    wrap: bytes
    tag: bytes
    exchange: bytes
    holder: bytes

    @classmethod
    def derive(cls, wrapping: bytes) -> _Secrets:
        uses = (b"wrap", b"tag", b"exchange", b"id")
        wrap, tag, exchange, holder = (hmac.digest(wrapping, b"retrodict " + use, "sha256") for use in uses)
        return cls(wrap=wrap, tag=tag, exchange=exchange, holder=holder)


class KeyRing:
    """The keys that this workspace holds. Threads and processes may share it."""

    def __init__(self, path: Path, state: StateDirectory | None, clock: Clock, *, read_only: bool) -> None:
        """For `open`."""
        self._path = path
        self._clock = clock
        self._file = RingFile(path, read_only=read_only)
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
        made = [self.seal_unkept(plaintext) for plaintext in plaintexts]
        self.keep([key for _, key in made])
        return [sealed for sealed, _ in made]

    def seal_unkept(self, plaintext: bytes) -> tuple[Sealed, NewKey]:
        """Seal a value under a new key, which `keep` makes durable, so that many cost one write to the disk.

        Raises:
            StateDirectoryError: There is no wrapping key.
        """
        identifier, key, row = self._new_key(self._secrets())
        return Sealed(key=identifier, ciphertext=self._encrypt(key, plaintext, identifier)), NewKey(row=row)

    def keep(self, made: Sequence[NewKey]) -> None:
        """Keep new keys: they are durable when this returns.

        Raises:
            ReadOnlyStoreError: The keys cannot be written.
        """
        if made:
            with self._file.writing() as db:
                db.executemany("INSERT INTO keys VALUES (?, ?, ?)", [key.row for key in made])

    def seal_under(self, key: str, plaintext: bytes) -> bytes:
        """Return `plaintext` sealed under a key that is held.

        Raises:
            KeyNotHeldError: It is not, or no longer.
            IntegrityError: The key is altered.
        """
        secret = self._secret(key)
        if secret is None:
            raise KeyNotHeldError(key)
        return self._encrypt(secret, plaintext, key)

    def seal_rows(self, rows: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """Return values, each sealed under the key that it comes with. Raises as `seal_under` does."""
        ciphers = self._ciphers(key for key, _ in rows)
        missing = next((key for key, _ in rows if key not in ciphers), None)
        if missing is not None:
            raise KeyNotHeldError(missing)
        nonces = self._clock.random_bytes(_NONCE_BYTES * len(rows))
        sealed = []
        for number, (key, plaintext) in enumerate(rows):
            nonce = nonces[_NONCE_BYTES * number : _NONCE_BYTES * (number + 1)]
            sealed.append(nonce + ciphers[key].encrypt(nonce, plaintext, key.encode()))
        return sealed

    def open_rows(self, rows: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """Return values that were sealed under the key that each comes with; None where that is not held.

        Raises:
            IntegrityError: A key or a value is altered.
        """
        ciphers = self._ciphers(key for key, _ in rows)
        return [
            None if key not in ciphers else _decrypt_with(ciphers[key], data, key, "a value sealed under key")
            for key, data in rows
        ]

    def seal_jointly(self, keys: Sequence[str], plaintext: bytes) -> bytes:
        """Return `plaintext` sealed so that all of several keys are needed to open it: any one destroyed erases it.

        Written as: the length of the list of shares (4 bytes, big-endian), the list (JSON: base64 of a share sealed
        under each key), and the plaintext sealed under the exclusive or of the shares.

        Raises:
            KeyNotHeldError: One of them is not held.
        """
        shares = [self._clock.random_bytes(_KEY_BYTES) for _ in keys]
        sealed = [self.seal_under(key, share) for key, share in zip(keys, shares, strict=True)]
        listed = json.dumps([base64.b64encode(item).decode() for item in sealed]).encode()
        return len(listed).to_bytes(4, "big") + listed + self._encrypt(_xor(shares), plaintext, " ".join(keys))

    def open_jointly(self, keys: Sequence[str], ciphertext: bytes) -> bytes | None:
        """Return what `seal_jointly` sealed, or None where one of the keys is not held.

        Raises:
            IntegrityError: A key or the ciphertext is altered.
        """
        what = f"the value sealed under the keys {', '.join(keys)}"
        start = 4 + int.from_bytes(ciphertext[:4], "big")
        try:
            sealed = [base64.b64decode(item) for item in json.loads(ciphertext[4:start])]
            shares = [self.open_sealed(key, item) for key, item in zip(keys, sealed, strict=True)]
        except (ValueError, TypeError) as error:
            raise IntegrityError(f"{what} is altered: it does not open") from error
        held = [share for share in shares if share is not None]
        if len(held) < len(shares):
            return None
        return _decrypt(_xor(held), ciphertext[start:], " ".join(keys), what)

    def open_sealed(self, key: str, ciphertext: bytes) -> bytes | None:
        """Return the value, or None where its key is not held: destroyed, or another's.

        Raises:
            IntegrityError: The key or the ciphertext is altered.
        """
        secret = self._secret(key)
        return None if secret is None else _decrypt(secret, ciphertext, key, f"the value sealed under key {key}")

    def destroy(self, *keys: str) -> int:
        """Destroy keys, and the identities of the subjects that they sealed for; return how many were still held.

        What they sealed can never be read again, here. Files that they sealed are known as forgotten from now on.
        Durable when it returns; once more is no harm.
        """
        listed = (json.dumps(keys),)
        among = "IN (SELECT value FROM json_each(?))"
        held = self._file.rows(f"SELECT id FROM keys WHERE id {among}", listed)  # noqa: S608
        named = self._file.rows(f"SELECT key FROM subjects WHERE key {among}", listed, table="subjects")  # noqa: S608
        if held or named:
            with self._file.writing() as db:
                db.executemany("DELETE FROM keys WHERE id = ?", held)
                db.executemany("DELETE FROM subjects WHERE key = ?", named)
                files = f"FROM files WHERE key {among}"
                db.execute(f"INSERT OR REPLACE INTO forgotten_files SELECT tag, size, key {files}", listed)
                db.execute(f"DELETE {files}", listed)
        return len(held)

    def holds(self, key: str) -> bool | None:
        """Say whether the key is here, under the wrapping key that is here; None where it needs another one."""
        return self._is_held("SELECT holder FROM keys WHERE id = ?", key)

    # People whose values are sealed

    def subjects(self, identities: Sequence[str]) -> list[Subject]:
        """Return the subject for each identity, made the first time, all with one write to the disk.

        Raises:
            StateDirectoryError: There is no wrapping key.
            ReadOnlyStoreError: One is new, and the keys cannot be written.
        """
        secrets = self._secrets()
        found = self._found_subjects(secrets, list(dict.fromkeys(identities)))
        missing = [identity for identity, subjects in found.items() if not subjects]
        if missing:
            with self._file.writing() as db:
                for identity in missing:
                    name, tag = _name(identity), _tag(secrets, identity)
                    rows = db.execute("SELECT subject, key FROM subjects WHERE tag = ?", (tag,)).fetchall()
                    if rows:  # another process was first
                        found[identity] = [Subject(subject=str(rows[0][0]), key=str(rows[0][1]))]
                        continue
                    subject = f"s-{self._clock.random_bytes(10).hex()}"
                    key, _, row = self._new_key(secrets)
                    wrapped = self._encrypt(secrets.wrap, name, subject)
                    db.execute("INSERT INTO keys VALUES (?, ?, ?)", row)
                    db.execute(
                        "INSERT INTO subjects VALUES (?, ?, ?, ?, ?)", (subject, tag, key, secrets.holder, wrapped)
                    )
                    found[identity] = [Subject(subject=subject, key=key)]
        return [found[identity][0] for identity in identities]

    def find_subjects(self, identity: str) -> list[Subject]:
        """Return the pseudonyms that a person has here: one of their own, and those that other clones gave them.

        Raises:
            StateDirectoryError: There is no wrapping key.
        """
        query = "SELECT subject, key FROM subjects WHERE tag = ? ORDER BY subject"
        rows = self._file.rows(query, (_tag(self._secrets(), identity),), table="subjects")
        return [Subject(subject=row[0], key=row[1]) for row in rows]

    def known_subjects(self) -> set[str]:
        """Return the pseudonyms of everybody whom the wrapping key can name; nobody where there is none."""
        if self._secrets_held is None:
            return set()
        query = "SELECT subject FROM subjects WHERE holder = ?"
        return {str(row[0]) for row in self._file.rows(query, (self._secrets_held.holder,), table="subjects")}

    def _found_subjects(self, secrets: _Secrets, identities: Sequence[str]) -> dict[str, list[Subject]]:
        """Return what `find_subjects` does for each of them."""
        of = {_tag(secrets, identity): identity for identity in identities}
        found: dict[str, list[Subject]] = {identity: [] for identity in identities}
        for tags in _parts(list(of)):
            query = f"SELECT tag, subject, key FROM subjects WHERE tag IN ({_places(tags)}) ORDER BY subject"  # noqa: S608
            for tag, subject, key in self._file.rows(query, tuple(tags), table="subjects"):
                found[of[tag]].append(Subject(subject=subject, key=key))
        return found

    def subject_key(self, subject: str) -> str | None:
        """Return the id of the key that seals everything about a subject, or None where this workspace has none."""
        rows = self._file.rows("SELECT key FROM subjects WHERE subject = ?", (subject,), table="subjects")
        return str(rows[0][0]) if rows else None

    def subject_identity(self, subject: str) -> str | None:
        """Return who a subject is, or None where this workspace does not know, or no longer.

        Raises:
            IntegrityError: The row is altered.
        """
        rows = self._file.rows("SELECT holder, wrapped FROM subjects WHERE subject = ?", (subject,), table="subjects")
        secrets = self._secrets_held
        if not rows or secrets is None or rows[0][0] != secrets.holder:
            return None
        name = _decrypt(secrets.wrap, rows[0][1], subject, f"the subject {subject} in {self._path}")
        return name.decode("utf-8", "surrogateescape")

    def knows(self, pseudonym: str) -> bool | None:
        """Say whether it is known here whose pseudonym this is; None where there is no wrapping key."""
        return self._is_held("SELECT holder FROM pseudonyms WHERE pseudonym = ?", pseudonym)

    def _is_held(self, query: str, name: str) -> bool | None:
        if self._secrets_held is None:
            return None
        rows = self._file.rows(query, (name,))
        return bool(rows) if not rows or rows[0][0] == self._secrets_held.holder else None

    # For another workspace

    def wrap_with(self, wrapping: bytes) -> None:
        """Use a wrapping key that was made after this was opened."""
        self._secrets_held = _Secrets.derive(wrapping)

    def export(self, keys: Sequence[str] | None = None) -> list[SharedKey]:
        """Return keys (all that are held) with whose they are; only to be sealed for somebody.

        Raises:
            StateDirectoryError: There is no wrapping key.
            IntegrityError: One is altered.
        """
        secrets = self._secrets()
        owners = {row[1]: row[0] for row in self._file.rows("SELECT subject, key FROM subjects", (), table="subjects")}
        if keys is None:
            rows = self._file.rows("SELECT id FROM keys WHERE holder = ? ORDER BY id", (secrets.holder,))
            keys = [row[0] for row in rows]
        result = []
        for key in keys:
            secret = self._secret(key)
            if secret is not None:
                subject = owners.get(key)
                identity = None if subject is None else self.subject_identity(subject)
                result.append(SharedKey(key=key, secret=secret, subject=subject, identity=identity))
        return result

    def take(self, shared: Sequence[SharedKey]) -> int:
        """Keep keys that another workspace gave; return how many are new. Durable when it returns.

        Raises:
            StateDirectoryError: There is no wrapping key.
            ReadOnlyStoreError: The keys cannot be written.
        """
        secrets = self._secrets()
        new = [item for item in shared if not self.holds(item.key)]
        with self._file.writing() as db:
            for item in new:  # in a copy of the store, the same key may lie wrapped for who made it
                row = (item.key, secrets.holder, self._encrypt(secrets.wrap, item.secret, item.key))
                db.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", row)
                if item.subject is not None and item.identity is not None:
                    tag, name = _tag(secrets, item.identity), _name(item.identity)
                    wrapped = self._encrypt(secrets.wrap, name, item.subject)
                    db.execute(
                        "INSERT OR REPLACE INTO subjects VALUES (?, ?, ?, ?, ?)",
                        (item.subject, tag, item.key, secrets.holder, wrapped),
                    )
        return len(new)

    @property
    def exchange_key(self) -> bytes:
        """The private X25519 key (32 bytes) by which other workspaces share keys with this one.

        It follows from the wrapping key, so that nothing more must be kept.

        Raises:
            StateDirectoryError: There is no wrapping key.
        """
        return self._secrets().exchange

    # Files

    def make_keys(self, count: int) -> list[str]:
        """Return the ids of new keys, durable when this returns, with one write to the disk.

        Raises:
            StateDirectoryError: There is no wrapping key.
            ReadOnlyStoreError: The keys cannot be written.
        """
        made = [self._new_key(self._secrets()) for _ in range(count)]
        if made:
            with self._file.writing() as db:
                db.executemany("INSERT INTO keys VALUES (?, ?, ?)", [row for _, _, row in made])
        return [key for key, _, _ in made]

    def seal_file(self, key: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the sealed form of a file that comes in pieces, under a key that seals no other file.

        Raises:
            KeyNotHeldError: The key is not held.
        """
        secret = self._secret(key)
        if secret is None:
            raise KeyNotHeldError(key)
        return seal_chunks(secret, key, self._clock.random_bytes(PREFIX_BYTES), pieces)

    def open_file(self, key: str, pieces: Iterable[bytes]) -> Iterator[bytes] | None:
        """Return the pieces of a file, or None where its key is not held.

        Raises:
            IntegrityError: While it is read: it is altered.
        """
        secret = self._secret(key)
        return None if secret is None else open_chunks(secret, key, pieces)

    def remember_files(self, files: Iterable[KnownFile]) -> None:
        """Know files again, with one write to the disk."""
        rows = [(file.tag, file.size, file.sealed, file.key) for file in files]
        if rows:
            with self._file.writing() as db:
                db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)

    def known_files(self) -> list[KnownFile]:
        """Return every file that is known, in no order."""
        rows = self._file.rows("SELECT tag, size, sealed, key FROM files", (), table="files")
        return [KnownFile(tag=row[0], size=row[1], sealed=row[2], key=row[3]) for row in rows]

    def find_file(self, name: bytes) -> str | None:
        """Return what a file was sealed as, by its name in the clear."""
        if self._secrets_held is None:
            return None
        rows = self._file.rows("SELECT sealed FROM files WHERE tag = ?", (self.file_tag(name),), table="files")
        return str(rows[0][0]) if rows else None

    def find_forgotten_file(self, name: bytes) -> str | None:
        """Return the key, destroyed since, that had sealed a file, by its name in the clear; None: it had none."""
        if self._secrets_held is None:
            return None
        query = "SELECT key FROM forgotten_files WHERE tag = ?"
        rows = self._file.rows(query, (self.file_tag(name),), table="forgotten_files")
        return str(rows[0][0]) if rows else None

    def drop_files(self, names: Iterable[bytes]) -> None:
        """Know files no longer, neither as personal nor as forgotten."""
        tags = [(self.file_tag(name),) for name in names]  # before the lock is held: the names may be looked up here
        if tags:
            with self._file.writing() as db:
                db.executemany("DELETE FROM files WHERE tag = ?", tags)
                db.executemany("DELETE FROM forgotten_files WHERE tag = ?", tags)

    def version(self) -> tuple[int, int]:
        """Return what changes whenever a key or a file is made known or unknown, by any process; cheap to ask."""
        return self._file.version()

    def file_sizes(self) -> frozenset[int]:
        """Return the sizes, in bytes, of the files that are known: others need not be hashed to know them."""
        tables = ("files", "forgotten_files")
        return frozenset(
            row[0]
            for table in tables
            for row in self._file.rows(f"SELECT DISTINCT size FROM {table}", (), table=table)  # noqa: S608
        )

    def file_tag(self, name: bytes) -> bytes:
        """Return the keyed hash by which a file is known, of its name in the clear.

        Raises:
            StateDirectoryError: There is no wrapping key.
        """
        return hmac.digest(self._secrets().tag, b"file\0" + name, "sha256")

    def pseudonym(self, identity: str) -> str:
        """Return the random pseudonym of a person, made the first time; durable when it returns.

        Raises:
            StateDirectoryError: There is no wrapping key.
            ReadOnlyStoreError: There is none yet, and the keys cannot be written.
        """
        secrets = self._secrets()
        name, tag = _name(identity), _tag(secrets, identity)
        query = "SELECT pseudonym FROM pseudonyms WHERE tag = ?"
        rows = self._file.rows(query, (tag,))
        if not rows:
            with self._file.writing() as db:
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
        rows = self._file.rows("SELECT holder, wrapped FROM pseudonyms WHERE pseudonym = ?", (pseudonym,))
        secrets = self._secrets_held
        if not rows or secrets is None or rows[0][0] != secrets.holder:
            return None
        name = _decrypt(secrets.wrap, rows[0][1], pseudonym, f"the pseudonym {pseudonym} in {self._path}")
        return name.decode("utf-8", "surrogateescape")

    def verify(self) -> Iterator[Finding]:
        """Yield every key and pseudonym that is altered; nothing is written."""
        name = self._path.name
        try:
            problems = [row[0] for row in self._file.rows("PRAGMA integrity_check(20)", ()) if row[0] != "ok"]
            keys = self._file.rows("SELECT id, holder, wrapped FROM keys", ())
            people = self._file.rows("SELECT pseudonym, holder, wrapped, tag FROM pseudonyms", ())
            query = "SELECT subject, holder, wrapped, tag FROM subjects"
            people += self._file.rows(query, (), table="subjects")
            odd = self._file.odd_schema()
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

    def copy(self) -> bytes:
        """Return the database as it is at one instant, byte for byte; b"" where no key was made yet."""
        return self._file.copy()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _new_key(self, secrets: _Secrets) -> tuple[str, bytes, tuple[str, bytes, bytes]]:
        """Return the id of a new random key, the key, and its row."""
        key, secret = self._clock.random_bytes(16).hex(), self._clock.random_bytes(_KEY_BYTES)
        return key, secret, (key, secrets.holder, self._encrypt(secrets.wrap, secret, key))

    def _secret(self, key: str) -> bytes | None:
        """Return a key that is held, or None."""
        rows = self._file.rows("SELECT holder, wrapped FROM keys WHERE id = ?", (key,))
        secrets = self._secrets_held
        if not rows or secrets is None or rows[0][0] != secrets.holder:
            return None
        return _decrypt(secrets.wrap, rows[0][1], key, f"the key {key} in {self._path}")

    def _ciphers(self, keys: Iterable[str]) -> dict[str, AESGCM]:
        """Return what opens and seals under each of these keys that is held: for many values, looked up once."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 10 to 40 ms

        secrets = self._secrets_held
        if secrets is None:
            return {}
        wrap = AESGCM(secrets.wrap)
        found: dict[str, AESGCM] = {}
        for part in _parts(list(dict.fromkeys(keys))):
            query = f"SELECT id, holder, wrapped FROM keys WHERE id IN ({_places(part)})"  # noqa: S608
            for key, holder, wrapped in self._file.rows(query, tuple(part)):
                if holder == secrets.holder:
                    found[key] = AESGCM(_decrypt_with(wrap, wrapped, key, "the key", f" in {self._path}"))
        return found

    def _secrets(self) -> _Secrets:
        if self._secrets_held is None:
            raise StateDirectoryError("there is no wrapping key here, so nothing can be sealed and nobody named")
        return self._secrets_held

    def _encrypt(self, key: bytes, plaintext: bytes, bound_to: str) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 10 to 40 ms

        nonce = self._clock.random_bytes(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, plaintext, bound_to.encode())


def _xor(shares: Sequence[bytes]) -> bytes:
    return bytes(functools.reduce(operator.xor, column) for column in zip(*shares, strict=True))


def _name(identity: str) -> bytes:
    return identity.encode("utf-8", "surrogateescape")


def _tag(secrets: _Secrets, identity: str) -> bytes:
    return hmac.digest(secrets.tag, _name(identity), "sha256")


def _parts(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """Yield items so many at a time as one query may name."""
    yield from (items[start : start + _ASKED] for start in range(0, len(items), _ASKED))


def _places(items: Sequence[object]) -> str:
    return ",".join("?" * len(items))


def _decrypt_with(cipher: AESGCM, ciphertext: bytes, key: str, what: str, where: str = "") -> bytes:
    """Return what was sealed, and bound to a key's id, which stands between `what` and `where` in an error."""
    from cryptography.exceptions import InvalidTag  # 10 to 40 ms

    try:
        return cipher.decrypt(ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], key.encode())
    except (InvalidTag, ValueError, TypeError, AttributeError) as error:  # a damaged row may hold any type
        raise IntegrityError(f"{what} {key}{where} is altered: it does not open") from error


def _decrypt(key: bytes, ciphertext: bytes, bound_to: str, what: str) -> bytes:
    from cryptography.exceptions import InvalidTag  # 10 to 40 ms
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], bound_to.encode())
    except (InvalidTag, ValueError, TypeError, AttributeError) as error:  # a damaged row may hold any type
        raise IntegrityError(f"{what} is altered: it does not open") from error
