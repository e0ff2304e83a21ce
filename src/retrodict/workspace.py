"""Opens the parts of a workspace and wires them; makes the events that the rooms above record.

On disk, below `.retrodict/`: `format.json` (random id, version of the layout), `ledger.db`, `objects/`, `views.db`,
`keys.db`. What must survive a restored store (signing key, last checkpoint, the key that wraps the others) lies in a
state directory outside, which the door passes in.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrodict.kernel import clock as clocks
from retrodict.kernel.durable import write_file
from retrodict.kernel.entry import SIGNATURE, authored_bytes, encode_edge_list
from retrodict.kernel.errors import (
    FormatError,
    IntegrityError,
    NewerFormatError,
    NoWorkspaceError,
    ReadOnlyStoreError,
    RetrodictError,
    UnavailableError,
    UsageError,
)
from retrodict.kernel.protocols import Clock
from retrodict.kernel.types import MAX_EDGES, Digest, Edge, EdgeList, Event, EventId, SealedText
from retrodict.keys import KeyRing, LogVerifier, SshPublicKey, SshSigner, Standing, StateDirectory, StateDirectoryError
from retrodict.ledger import Ledger, ReplacedKeyError, Sequenced
from retrodict.objects import ObjectStore, digest_of
from retrodict.views import Projection, Views

if TYPE_CHECKING:
    import apsw

FOLDER = ".retrodict"
FORMAT = 1


class UnwritableStateError(UnavailableError):
    """The keys of the workspace, in a state directory or a key file, are not to be had."""

    slug = "no-keys"
    hint = "Work as the user who made the workspace, set RETRODICT_STATE to where its keys are, or give --key-file."


class ForeignKeyFileError(UsageError):
    """A key file of another workspace."""

    slug = "foreign-key-file"
    hint = "`retrodict keys export-signing` writes one where this workspace's own keys are."

    def __init__(self, path: str, origin: str, expected: str) -> None:
        super().__init__(f"the key file {path} is of {origin}, and this workspace's log is {expected}")


class CopiedWorkspaceError(UsageError):
    """A write to a copy of a workspace whose original still stands in its place."""

    slug = "copied-workspace"
    hint = "Write to the original; or remove it, and this one takes its place. Reading works in both."

    def __init__(self, folder: str) -> None:
        super().__init__(f"{folder} is a copy of a workspace that is still there: two histories would fork its log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The opened parts; it has no verbs.

    Attributes:
        root: The project's folder; paths in the record are relative to it.
        folder: `.retrodict` below it.
        id: Random name of this workspace, 32 hex digits.
        keys: None where the keys are out of reach: texts stay sealed then.
        agent: Name of who acts, as claimed; "" for a reader.
        signer: With what the agent signs its events; None: they stay claimed.
        read_only: Nothing can be recorded.
        is_copy: Another store stands where this one's key was made, so this is a copy of it: it is read, and its log
            is not continued, since two histories under one key would be a fork.
        keyless: Why nothing can be opened, sealed or signed; None where something can.
    """

    root: Path
    folder: Path
    id: str
    objects: ObjectStore
    ledger: Ledger
    views: Views
    keys: KeyRing | None
    state: StateDirectory | None
    clock: Clock
    agent: str
    read_only: bool
    is_copy: bool
    signer: SshSigner | None = None
    keyless: str | None = None

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        close(self)


class WorkspaceProjection:
    """Who is behind a pseudonym, with which keys they sign, and where checkpoints with cosignatures are kept.

    A name stays sealed, and a person's key too; a service's key stands in `plain`.
    """

    name = "workspace"
    version = 2
    tables: Mapping[str, str] = {
        "workspace_agents": "CREATE TABLE workspace_agents (pseudonym TEXT PRIMARY KEY, digest TEXT NOT NULL, "
        "key TEXT NOT NULL) WITHOUT ROWID",
        "workspace_witnessed": "CREATE TABLE workspace_witnessed (idx INTEGER PRIMARY KEY, size INTEGER NOT NULL)",
        "workspace_signers": "CREATE TABLE workspace_signers (event TEXT PRIMARY KEY, idx INTEGER NOT NULL, "
        "agent TEXT NOT NULL, plain TEXT, digest TEXT, key TEXT, revoked_idx INTEGER, since TEXT) WITHOUT ROWID",
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
                values = (str(body["agent"]), name.digest, name.key)
                db.execute("INSERT OR REPLACE INTO workspace_agents VALUES (?, ?, ?)", values)
            case "checkpoint.witnessed":
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


# Kinds of events after which keys, or personal values, lie in another place too.
_GIVING = frozenset({"keys.shared", "keys.received", "subject.exported", "backup.made"})


class PersonalProjection:
    """Which keys were destroyed by which entry, which objects are personal files, and what was given away."""

    name = "personal"
    version = 2
    tables: Mapping[str, str] = {
        "personal_forgotten": "CREATE TABLE personal_forgotten (key TEXT PRIMARY KEY, entry INTEGER NOT NULL) "
        "WITHOUT ROWID",
        "personal_files": "CREATE TABLE personal_files (ref TEXT PRIMARY KEY, key TEXT NOT NULL) WITHOUT ROWID",
        "personal_given": "CREATE TABLE personal_given (entry INTEGER PRIMARY KEY)",
    }
    indexes: Sequence[str] = ()

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        body = entry.event.body
        for ref, key in sealed_objects(body, blob):
            db.execute("INSERT OR IGNORE INTO personal_files VALUES (?, ?)", (ref, key))
        if entry.event.kind in _GIVING:
            db.execute("INSERT INTO personal_given VALUES (?)", (entry.index,))
        if entry.event.kind == "subject.forgotten":
            rows = [(key, entry.index) for key in forgotten_keys(body, blob)]
            db.executemany("INSERT OR IGNORE INTO personal_forgotten VALUES (?, ?)", rows)


PROJECTION: Projection = WorkspaceProjection()
PERSONAL: Projection = PersonalProjection()


def forgotten_keys(body: Mapping[str, object], blob: Callable[[Digest], bytes]) -> list[str]:
    """Return the keys that a `subject.forgotten` says are destroyed.

    Raises:
        FormatError: It does not say so.
    """
    listed = body.get("keys")
    if isinstance(listed, str):
        listed = json.loads(blob(Digest(listed)))
    if not isinstance(listed, list | tuple) or not all(isinstance(key, str) for key in listed):
        raise FormatError("a subject.forgotten that names no keys")
    return [str(key) for key in listed]


def forgotten_by(workspace: Workspace, key: str) -> int | None:
    """Return the entry that says a key is destroyed, or None."""
    query = "SELECT entry FROM personal_forgotten WHERE key = ?"
    row = workspace.views.database().execute(query, (key,)).fetchone()
    return None if row is None else int(row[0])


def sealed_objects(body: Mapping[str, object], blob: Callable[[Digest], bytes]) -> Iterator[tuple[str, str]]:
    """Yield the personal files that an entry names (of a folder: its listing and its files), and the key of each."""
    match body.get("sealed"):
        case {"key": str(key), **more} if "content" in body:
            yield str(body["content"]), key
            listed = more.get("files")
        case listed:
            pass
    for item in json.loads(blob(Digest(listed))) if isinstance(listed, str) else ():
        yield str(item["ref"]), str(item["key"])


def sealed_key(workspace: Workspace, content: Digest) -> str | None:
    """Return the key of a personal file; None where an object is none."""
    query = "SELECT key FROM personal_files WHERE ref = ?"
    row = workspace.views.database().execute(query, (content,)).fetchone()
    return None if row is None else str(row[0])


def holders(workspace: Workspace) -> list[int]:
    """Return the entries that say that keys, or personal values, went to another place or came from one."""
    query = "SELECT entry FROM personal_given ORDER BY entry"
    return [int(str(row[0])) for row in workspace.views.database().execute(query).fetchall()]


def destroy_forgotten(workspace: Workspace) -> int:
    """Destroy again every key that the log calls forgotten; return how many were held.

    The event comes before the destruction, so a crash in between leaves a key behind, and so does a store that was put
    back from a copy: whoever opens the workspace next ends it.
    """
    if workspace.keys is None or workspace.read_only:
        return 0
    rows = workspace.views.database().execute("SELECT key FROM personal_forgotten").fetchall()
    return workspace.keys.destroy(*(str(row[0]) for row in rows)) if rows else 0


def find_root(start: Path) -> Path:
    """Return the nearest folder from `start` upwards that holds a workspace.

    Raises:
        NoWorkspaceError: There is none.
    """
    start = Path(os.path.abspath(start))
    for folder in (start, *start.parents):
        if (folder / FOLDER / "format.json").is_file():
            return folder
    raise NoWorkspaceError(str(start))


def create(root: Path, state_root: Path, clock: Clock, projections: Sequence[Projection], *, agent: str) -> Workspace:
    """Make a workspace in `root` and open it.

    `format.json` is written last: a folder without it is no workspace, and a second try begins anew.

    Raises:
        UsageError: There is one already.
        UnavailableError: `root` or the state directory cannot be written; what was made for it is removed.
    """
    folder = root / FOLDER
    if (folder / "format.json").exists():
        raise UsageError(f"{root} is a workspace already", hint="Nothing needs to be done.")
    made = [path for path in (folder, root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm", "keys.db", "views.db"):
            (folder / name).unlink(missing_ok=True)
        workspace_id = clock.random_bytes(16).hex()
        write_file(folder / ".gitignore", b"*\n")
    except OSError as error:
        _remove_empty(made)
        raise UnavailableError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        state = StateDirectory.create(state_root / workspace_id, workspace_id, folder, clock)
    except UnavailableError:
        (folder / ".gitignore").unlink()
        _remove_empty(made)
        raise
    Ledger.create(folder / "ledger.db", state.origin, clock).close()
    if not (folder / "objects" / "format.json").exists():
        ObjectStore.create(folder / "objects", clock).close()
    try:
        write_file(folder / "format.json", format_file(workspace_id))
    except OSError as error:
        raise UnavailableError(f"{folder} cannot be written: {error.strerror}") from error
    workspace = open_workspace(root, state_root, clock, projections, agent=agent)
    batch = Batch(workspace)
    batch.event("workspace.created", uses=(), makes=(), body={"workspace": workspace_id, "format": FORMAT})
    batch.append()
    return workspace


def format_file(workspace_id: str) -> bytes:
    """Return what `format.json` of a workspace holds."""
    return json.dumps({"format": FORMAT, "workspace": workspace_id}).encode() + b"\n"


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove the folders that were made for nothing, innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def open_workspace(
    root: Path,
    state_root: Path,
    clock: Clock,
    projections: Sequence[Projection],
    *,
    agent: str = "",
    signer: SshSigner | None = None,
    read_only: bool = False,
    key_file: Path | None = None,
) -> Workspace:
    """Open the workspace in `root`; read-only where it cannot be written, or where that is asked for.

    Args:
        key_file: A key file, in place of the state directory.

    Raises:
        NoWorkspaceError: There is none in `root`.
        StateDirectoryError, ForeignKeyFileError: The key file cannot be read, or is another workspace's.
        NewerFormatError: It was written by a release that this one cannot read.
    """
    try:
        opened = _open(root, state_root, clock, projections, agent=agent, read_only=read_only, key_file=key_file)
    except UnavailableError:
        if read_only or agent:
            raise
        # Who only reads needs no room on the disk.
        opened = _open(root, state_root, clock, projections, agent=agent, read_only=True, key_file=key_file)
    return replace(opened, signer=signer)


def _open(
    root: Path,
    state_root: Path,
    clock: Clock,
    projections: Sequence[Projection],
    *,
    agent: str,
    read_only: bool,
    key_file: Path | None,
) -> Workspace:
    folder = root / FOLDER
    try:
        layout = json.loads((folder / "format.json").read_bytes())
        workspace_id, version = layout["workspace"], layout["format"]
        if not re.fullmatch("[0-9a-f]{32}", workspace_id):
            raise ValueError(f"{workspace_id!r} is no workspace's id")
    except FileNotFoundError:
        raise NoWorkspaceError(str(root)) from None
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{folder / 'format.json'} is not a workspace's format file: {error}") from error
    if version != FORMAT:
        if type(version) is int and version > FORMAT:
            raise NewerFormatError(str(folder), version, FORMAT)
        raise FormatError(f"{folder} has format {version!r}; this release reads {FORMAT}")
    read_only = read_only or not os.access(folder, os.W_OK) or not os.access(folder / "ledger.db", os.W_OK)
    state: StateDirectory | None = None
    keyless = None
    standing: Standing = "absent"
    try:
        if key_file is not None:
            state = StateDirectory.from_key_file(key_file, workspace_id, folder)
        else:
            state = StateDirectory.open(state_root / workspace_id, workspace_id, folder, clock)
        standing = state.standing(folder)
        if standing == "absent" and state.wrapping_key is None:  # a clone may open what others share with it, unsigned
            keyless = f"there is no key in {state_root / workspace_id}"
    except StateDirectoryError as error:
        if key_file is not None:
            raise
        state, keyless = None, error.message  # who reads needs no key
    is_copy = standing == "copy"
    ledger = Ledger.open(folder / "ledger.db", clock, read_only=read_only or is_copy)
    if key_file is not None and state is not None and state.origin != ledger.origin:
        origin = ledger.origin
        ledger.close()
        raise ForeignKeyFileError(str(key_file), state.origin, origin)
    if state is not None and standing == "moved" and not read_only:
        state.settle(folder)
    read_only = read_only or is_copy
    cache_key = None if state is None else state.cache_key
    objects = ObjectStore.open(folder / "objects", clock, sources=[ledger], read_only=read_only, cache_key=cache_key)
    keys = KeyRing.open(folder / "keys.db", state, clock, read_only=read_only)
    views = Views.open(
        folder / "views.db", ledger, objects.get, (PROJECTION, PERSONAL, *projections), read_only=read_only
    )
    workspace = Workspace(
        root=root,
        folder=folder,
        id=workspace_id,
        objects=objects,
        ledger=ledger,
        views=views,
        keys=keys,
        state=state,
        clock=clock,
        agent=agent,
        read_only=read_only,
        is_copy=is_copy,
        keyless=keyless,
    )
    if (folder / "keys.db").exists():
        with contextlib.suppress(IntegrityError, UnavailableError):  # `verify` must open what is damaged, to say so
            destroy_forgotten(workspace)
    return workspace


def close(workspace: Workspace) -> None:
    """Publish what was recorded, where the key is here, and close the parts."""
    try:
        publish(workspace)
    finally:
        workspace.views.close()
        workspace.ledger.close()
        workspace.objects.close()
        if workspace.keys is not None:
            workspace.keys.close()


def publish(workspace: Workspace) -> None:
    """Sign a checkpoint over everything sequenced, where there is something new and the key is here.

    Raises:
        ReplacedKeyError: Another key has taken the place of the one that is here.
    """
    state = workspace.state
    if workspace.read_only or state is None or state.signer is None or workspace.ledger.size() == 0:
        return
    try:
        workspace.ledger.publish(state.signer, state, follow=LogVerifier.from_text)
    except ReplacedKeyError:
        state.reload()  # another process has replaced the key since this one read it
        workspace.ledger.publish(state.signer, state, follow=LogVerifier.from_text)


def refuse_writing(workspace: Workspace) -> None:
    """Do nothing where the workspace can be written.

    Raises:
        CopiedWorkspaceError, ReadOnlyStoreError: It cannot.
        OldStoreError, ForkError: It is not the store that was signed last: writing to it would fork its log.
    """
    if workspace.is_copy:
        raise CopiedWorkspaceError(str(workspace.folder))
    if workspace.read_only:
        raise ReadOnlyStoreError(str(workspace.folder))
    state = workspace.state
    if state is not None and state.signer is not None:
        workspace.ledger.refuse_another_history(state.checkpoint(), state.signer, LogVerifier.from_text)


def refuse_without_keys(workspace: Workspace) -> None:
    """Do nothing where texts and names can be sealed.

    Raises:
        UnwritableStateError: The keys are not to be had.
    """
    if workspace.keyless is not None:
        raise UnwritableStateError(f"nothing can be sealed or signed: {workspace.keyless}")


class Batch:
    """Events and their small payloads (`blobs`, by digest), gathered for one atomic append.

    Raises:
        CopiedWorkspaceError, ReadOnlyStoreError: The workspace cannot be written.
        UnwritableStateError: There is no key to seal a text with.
    """

    def __init__(self, workspace: Workspace) -> None:
        refuse_writing(workspace)
        refuse_without_keys(workspace)
        self._workspace = workspace
        self._events: list[Event] = []
        self.blobs: dict[Digest, bytes] = {}

    def blob(self, data: bytes) -> Digest:
        """Let `data` ride in the same transaction; return its name."""
        digest = digest_of(data)
        self.blobs[digest] = data
        return digest

    def seal(self, text: str | None) -> dict[str, str] | None:
        """Seal a text under a key of its own; return what an entry holds of it."""
        if text is None:
            return None
        keys = self._workspace.keys
        if keys is None:
            raise UnwritableStateError("a text cannot be sealed: the keys of this workspace are out of reach")
        sealed = keys.seal(text.encode("utf-8", "surrogateescape"))
        return {"sealed": self.blob(sealed.ciphertext), "key": sealed.key}

    def agent(self, name: str) -> str:
        """Return the pseudonym of `name`; the first time an event records it, with the name sealed."""
        keys = self._workspace.keys
        if keys is None:
            raise UnwritableStateError("nobody can be named: the keys of this workspace are out of reach")
        pseudonym = keys.pseudonym(name)
        database = self._workspace.views.database()
        known = database.execute("SELECT 1 FROM workspace_agents WHERE pseudonym = ?", (pseudonym,)).fetchone()
        if known is None and not any(e.kind == "agent.named" and e.body["agent"] == pseudonym for e in self._events):
            body = {"agent": pseudonym, "name": self.seal(name), "how": "claimed"}
            self._events.append(self._draft("agent.named", pseudonym, (), (), body, None, (), None))
        return pseudonym

    def event(
        self,
        kind: str,
        *,
        uses: Sequence[Edge | EdgeList],
        makes: Sequence[Edge | EdgeList],
        body: Mapping[str, object],
        reason: str | None = None,
        replaces: Sequence[EventId] = (),
        id: EventId | None = None,  # noqa: A002 - the envelope's word
    ) -> Event:
        """Add one event by the workspace's agent, now; a blank reason is none."""
        reason = reason if reason and reason.strip() else None
        agent = self.agent(self._workspace.agent or "unknown")
        event = self._draft(kind, agent, uses, makes, body, reason, replaces, id)
        self._events.append(event)
        return event

    def _draft(
        self,
        kind: str,
        agent: str,
        uses: Sequence[Edge | EdgeList],
        makes: Sequence[Edge | EdgeList],
        body: Mapping[str, object],
        reason: str | None,
        replaces: Sequence[EventId],
        id_: EventId | None,
    ) -> Event:
        sealed = sealed_text(self.seal(reason))
        clock = self._workspace.clock
        return Event(
            id=id_ or clocks.event_id(clock),
            kind=kind,
            at=clocks.rfc3339(clock.now_ns()),
            agent=agent,
            uses=tuple(uses),
            makes=tuple(makes),
            body=body,
            reason=sealed,
            replaces=tuple(replaces),
        )

    def append(self) -> list[Sequenced]:
        """Record everything gathered; it is durable when this returns. In the order in which it was added."""
        return self._workspace.ledger.append(signed(self._workspace, self._events, self.blobs), self.blobs)


def edges_or_list(batch: Batch, edges: Sequence[Edge]) -> Sequence[Edge | EdgeList]:
    """Return edges as an entry holds them: in a list of their own where they are many."""
    return edges if len(edges) <= MAX_EDGES else (EdgeList(digest=batch.blob(encode_edge_list(edges))),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSigner:
    """A key that is recorded for an agent.

    Attributes:
        event, index: Of the `signer.added`.
        agent: The pseudonym.
        key: None where it is sealed and cannot be opened here, or is not held as it was recorded.
        is_service: The key is a service's: it and its signatures stand in the clear.
        revoked: The entry that revoked it, or None.
        until: The first entry for which it does not count, or None while it is in force.
    """

    event: EventId
    index: int
    agent: str
    key: SshPublicKey | None
    is_service: bool
    revoked: int | None
    until: int | None


def recorded_signers(workspace: Workspace) -> list[RecordedSigner]:
    """Return the keys that are recorded for agents, in their order."""
    found = []
    query = "SELECT event, idx, agent, plain, digest, key, revoked_idx, since FROM workspace_signers ORDER BY idx"
    rows: list[tuple[Any, ...]] = workspace.views.database().execute(query).fetchall()
    for event, index, agent, plain, digest, key, revoked, since in rows:
        public = None
        with contextlib.suppress(RetrodictError, UnicodeDecodeError):  # what is lost or altered is for `verify` to name
            text = plain
            if plain is None and workspace.keys is not None:
                opened = workspace.keys.open_sealed(key, workspace.objects.get(Digest(digest)))
                text = None if opened is None else opened.decode()
            public = None if text is None else SshPublicKey.from_text(text)
        until = revoked
        if since is not None:
            until = 0  # of an entry that cannot be found, nothing is known to come before it
            with contextlib.suppress(IntegrityError):
                first = workspace.ledger.find(EventId(since))
                until = 0 if first is None else min(revoked, first.index)
        found.append(
            RecordedSigner(
                event=EventId(event),
                index=index,
                agent=agent,
                key=public,
                is_service=plain is not None,
                revoked=revoked,
                until=until,
            )
        )
    return found


def signed(workspace: Workspace, events: Sequence[Event], blobs: dict[Digest, bytes]) -> list[Event]:
    """Return the events, those of the workspace's own agent signed with the key that it was opened with, if any.

    A signature goes to `blobs`: sealed, since it shows whose it is to everybody who has that person's public key; in
    the clear where the key is recorded as a service's.

    Raises:
        SigningKeyError: The key does not sign.
    """
    signer, keys = workspace.signer, workspace.keys
    if signer is None or keys is None:
        return list(events)
    own = keys.pseudonym(workspace.agent or "unknown")
    if not signer.is_service:  # a server that answers cannot wait for the views every time
        query = "SELECT 1 FROM workspace_signers WHERE plain = ? AND agent = ? AND revoked_idx IS NULL"
        found = workspace.views.database().execute(query, (signer.public_key.text, own)).fetchone()
        signer.is_service = found is not None
    result = []
    for event in events:
        if event.agent != own:
            result.append(event)
            continue
        signature = signer.sign(authored_bytes(event))
        where: object
        if signer.is_service:
            where = digest_of(signature)
            blobs[digest_of(signature)] = signature
        else:
            sealed = keys.seal(signature)
            blobs[digest_of(sealed.ciphertext)] = sealed.ciphertext
            where = {"sealed": digest_of(sealed.ciphertext), "key": sealed.key}
        result.append(replace(event, extra={**event.extra, SIGNATURE: where}))
    return result


def sealed_text(value: object) -> SealedText | None:
    """Read what an entry holds of a sealed text (None stays None).

    Raises:
        FormatError: It is something else.
    """
    match value:
        case None:
            return None
        case {"sealed": str(digest), "key": str(key)}:
            return SealedText(digest=Digest(digest), key=key)
        case _:
            raise FormatError(f"not a sealed text: {value!r}")


def open_text(workspace: Workspace, text: SealedText | None) -> str | None:
    """Return the text, or "(erased by entry N)" or "(sealed: its key is not held)"; None stays None."""
    if text is None:
        return None
    plain = None
    if workspace.keys is not None:
        plain = workspace.keys.open_sealed(text.key, workspace.objects.get(text.digest))
    if plain is not None:
        return plain.decode("utf-8", "surrogateescape")
    entry = forgotten_by(workspace, text.key)
    return "(sealed: its key is not held)" if entry is None else f"(erased by entry {entry})"


def agent_name(workspace: Workspace, pseudonym: str) -> str:
    """Return the name behind a pseudonym, or the pseudonym where the name is out of reach."""
    row = (
        workspace.views.database()
        .execute("SELECT digest, key FROM workspace_agents WHERE pseudonym = ?", (pseudonym,))
        .fetchone()
    )
    if row is None or workspace.keys is None:
        return pseudonym
    plain = workspace.keys.open_sealed(row[1], workspace.objects.get(Digest(row[0])))
    return pseudonym if plain is None else plain.decode("utf-8", "surrogateescape")
