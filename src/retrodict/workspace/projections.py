"""What every workspace folds: agents and their keys, cosigned checkpoints, what was forgotten and given away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from retrodict.kernel.errors import FormatError
from retrodict.kernel.types import Digest, EntryNumber
from retrodict.ledger import Sequenced
from retrodict.views import Projection
from retrodict.workspace.texts import sealed_text

if TYPE_CHECKING:
    import apsw


class WorkspaceProjection:
    """Who is behind a pseudonym, with which keys they sign, and where checkpoints with cosignatures are kept.

    A name stays sealed, and a person's key too; a service's key stands in `plain`.
    """

    name = "workspace"
    version = 3
    tables: Mapping[str, str] = {
        "workspace_agents": "CREATE TABLE workspace_agents (pseudonym TEXT PRIMARY KEY, digest TEXT NOT NULL, "
        "key TEXT NOT NULL, log INTEGER NOT NULL) WITHOUT ROWID",
        "workspace_witnessed": "CREATE TABLE workspace_witnessed (idx INTEGER PRIMARY KEY, size INTEGER NOT NULL)",
        "workspace_signers": "CREATE TABLE workspace_signers (event TEXT PRIMARY KEY, idx INTEGER NOT NULL, "
        "agent TEXT NOT NULL, plain TEXT, digest TEXT, key TEXT, revoked_idx INTEGER, since TEXT)",
    }
    indexes: Sequence[str] = ()

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold agents' names, of which the last one wins, their keys, and cosigned checkpoints."""
        del blob
        event, body = entry.event, entry.event.body
        match event.kind:
            case "agent.named":
                name = sealed_text(body["name"])
                assert name is not None
                tag = EntryNumber(entry.index).tag
                values = (str(body["agent"]), name.digest, name.key, -1 if tag is None else tag)
                query = (  # another log cannot rename those of this one, nor of a third one
                    "INSERT INTO workspace_agents VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET digest = "
                    "excluded.digest, key = excluded.key, log = excluded.log WHERE excluded.log IN (-1, log)"
                )
                db.execute(query, values)
            case "checkpoint.witnessed" if not EntryNumber(entry.index).is_of_another_log:
                size = body["size"]
                assert isinstance(size, int)
                db.execute("INSERT INTO workspace_witnessed VALUES (?, ?)", (entry.index, size))
            case "signer.added":
                plain = body["key"] if isinstance(body["key"], str) else None
                key = None if plain is not None else sealed_text(body["key"])
                place = (None, None) if key is None else (key.digest, key.key)
                signer = (event.id, entry.index, str(body["agent"]), plain, *place)
                db.execute("INSERT INTO workspace_signers VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)", signer)
            case "signer.revoked":
                since = None if body["since"] is None else str(body["since"])
                query = (
                    "UPDATE workspace_signers SET revoked_idx = ?, since = ? WHERE event = ? AND revoked_idx IS NULL"
                )
                db.execute(query, (entry.index, since, str(body["signer"])))


_FORGETTING = frozenset({"subject.forgotten", "file.forgotten"})
# Kinds of events after which keys, or personal values, lie in another place too, and those that say where they no
# longer do.
_GIVING = frozenset(
    {"keys.shared", "keys.received", "subject.exported", "backup.made", "workspace.copied", "keys.destroyed"}
)


class PersonalProjection:
    """Which keys which entry destroyed, which objects are personal files, who was looked at, what was given away."""

    name = "personal"
    version = 5
    tables: Mapping[str, str] = {
        "personal_forgotten": "CREATE TABLE personal_forgotten (key TEXT PRIMARY KEY, entry INTEGER NOT NULL) "
        "WITHOUT ROWID",
        "personal_forgettings": "CREATE TABLE personal_forgettings (entry INTEGER PRIMARY KEY)",
        "personal_files": "CREATE TABLE personal_files (ref TEXT PRIMARY KEY, key TEXT NOT NULL) WITHOUT ROWID",
        "personal_viewed": "CREATE TABLE personal_viewed (subject TEXT NOT NULL, entry INTEGER NOT NULL, "
        "PRIMARY KEY (subject, entry)) WITHOUT ROWID",
        "personal_given": "CREATE TABLE personal_given (entry INTEGER PRIMARY KEY, kind TEXT NOT NULL)",
    }
    indexes: Sequence[str] = ()

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        body = entry.event.body
        for ref, key in sealed_objects(body, blob):
            db.execute("INSERT OR IGNORE INTO personal_files VALUES (?, ?)", (ref, key))
        if entry.event.kind in _GIVING and body.get("what") != "store":  # a backup of that holds no keys
            db.execute("INSERT INTO personal_given VALUES (?, ?)", (entry.index, entry.event.kind))
        subjects = body.get("subjects") if entry.event.kind == "personal.viewed" else None
        if isinstance(subjects, list | tuple):
            db.executemany("INSERT OR IGNORE INTO personal_viewed VALUES (?, ?)", [(s, entry.index) for s in subjects])
        if entry.event.kind in _FORGETTING:
            db.execute("INSERT INTO personal_forgettings VALUES (?)", (entry.index,))
            rows = [(key, entry.index) for key in forgotten_keys(body, blob)]
            db.executemany("INSERT OR IGNORE INTO personal_forgotten VALUES (?, ?)", rows)


PROJECTION: Projection = WorkspaceProjection()
PERSONAL: Projection = PersonalProjection()


def forgotten_keys(body: Mapping[str, object], blob: Callable[[Digest], bytes]) -> list[str]:
    """Return the keys that a `subject.forgotten` or `file.forgotten` says are destroyed.

    Raises:
        FormatError: It does not say so.
    """
    listed = body.get("keys")
    if isinstance(listed, str):
        listed = json.loads(blob(Digest(listed)))
    if not isinstance(listed, list | tuple) or not all(isinstance(key, str) for key in listed):
        raise FormatError("a forgetting that names no keys")
    return [str(key) for key in listed]


def sealed_objects(body: Mapping[str, object], blob: Callable[[Digest], bytes]) -> Iterator[tuple[str, str]]:
    """Yield the personal files that an entry names (of a folder: its listing and its files), and the key of each."""
    match body.get("sealed"):
        case {"key": str(key), **more} if "content" in body:
            yield str(body["content"]), key
            listed = more.get("files")
        case listed:
            pass
    yield from ((str(item["ref"]), str(item["key"])) for item in _listed(listed, blob))


def subject_indexes(body: Mapping[str, object], blob: Callable[[Digest], bytes]) -> Iterator[tuple[str, str]]:
    """Yield the personal files of an entry that say whom their rows are about, and the sealed index of each."""
    match body.get("sealed"):
        case {"subjects": {"indexes": listed}}:
            yield from ((str(item["ref"]), str(item["index"])) for item in _listed(listed, blob))


def _listed(listed: object, blob: Callable[[Digest], bytes]) -> Iterator[Mapping[str, object]]:
    """Yield what a list in an object of its own holds; nothing where there is none."""
    pending = [listed] if isinstance(listed, str) else []
    while pending:
        for item in json.loads(blob(Digest(pending.pop()))):
            if isinstance(item, str):  # a list in several pieces
                pending.append(item)
            else:
                yield item
