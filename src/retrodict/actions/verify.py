"""`verify`: re-derive every claim, and name what is altered, missing or not yet protected. Never signs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from retrodict import backups, keys, predictions, provenance
from retrodict.actions import names
from retrodict.actions.approvals import unapproved
from retrodict.actions.authorship import Authors
from retrodict.actions.cosigned import kept_checkpoints
from retrodict.actions.holding import Holders
from retrodict.actions.public_keys import log_key, witness_keys
from retrodict.actions.references import References, unheld
from retrodict.kernel import merkle
from retrodict.kernel.clock import rfc3339
from retrodict.kernel.entry import SIGNATURE
from retrodict.kernel.errors import (
    FormatError,
    IntegrityError,
    NewerFormatError,
    RetrodictError,
    UsageError,
)
from retrodict.kernel.note import Checkpoint, SignatureError, decode_checkpoint, read_rotation, verify_note
from retrodict.kernel.protocols import Progress, Verifier
from retrodict.kernel.receipt import decode_kept
from retrodict.kernel.types import EntryNumber, EventId, Finding, Ref, is_event_id
from retrodict.kernel.words import count
from retrodict.ledger import Sequenced
from retrodict.objects import digest_of
from retrodict.predictions import personal
from retrodict.tables.keys import KeyIndex
from retrodict.workspace import Layout, Workspace, forgotten_by, forgotten_keys, sealed_objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """A checkpoint that somebody kept, and the proof that the log goes on from it.

    Attributes:
        size, root: What it covers; 64 hex digits.
        to_size, to_root: The log as it is now.
        proof: The consistency proof (RFC 9162) between the two, hashes of 64 hex digits; None where the log does not go
            on from it.
    """

    size: int
    root: str
    to_size: int
    to_root: str
    proof: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A witness that was asked for: the newest state of the log that it has cosigned, and when it did (RFC 3339)."""

    name: str
    size: int
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedLog:
    """A log of others that lies here, checked as this workspace's own.

    Attributes:
        name: What stands before its entries' numbers.
        entries: How many are held; `unprotected` of them are not under a checkpoint that its key has signed.
    """

    name: str
    origin: str
    entries: int
    unprotected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found.

    Attributes:
        answer: "yes": everything is as the record says, against an anchor; "no": something is altered or missing;
            "could not tell": the record agrees with itself, and nothing says who made it.
        anchor: What the log was checked against, in words.
        entries: How many entries were read; `unprotected` of them are not under a signed checkpoint yet.
        objects: How many objects were re-hashed.
        findings: Everything that is altered, missing or not yet protected.
        since: Where a checkpoint was given.
        witnesses: Those that were asked for and have cosigned.
        logs: The logs of others.
        signed: How many entries bear their author's own signature; `authenticated` of them by a key that counts.
    """

    answer: Literal["yes", "no", "could not tell"]
    anchor: str
    entries: int
    unprotected: int
    objects: int
    findings: tuple[Finding, ...]
    since: Since | None = None
    witnesses: tuple[Witness, ...] = ()
    logs: tuple[ReceivedLog, ...] = ()
    signed: int = 0
    authenticated: int = 0


def verify(
    workspace: Workspace,
    reference: str | None = None,
    *,
    key: str | None = None,
    since: bytes | None = None,
    witnesses: Sequence[str] = (),
    signers: str | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Re-derive every claim of the workspace, or of everything that `reference` depends on.

    Args:
        key: The log's public key (as `init` printed it) or a file that holds it: the anchor, instead of the key in the
            state directory.
        since: A checkpoint that the caller has kept (a signed note), or a receipt: nothing before it may have changed.
            It is an anchor too.
        witnesses: Public keys of witnesses, or files that hold them: each must have cosigned a state of this log. They
            are anchors too.
        signers: An allowed_signers file (its text): whose key may sign for whom, instead of what the log has recorded.

    Raises:
        UsageError: `key` or one of `witnesses` is no key, `since` no checkpoint of this log, `signers` not such a file.
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    verifier, anchor, words = _anchor(workspace, key)
    findings: list[Finding] = []
    objects = 0
    follow = keys.LogVerifier.from_text
    kept: list[tuple[str, Checkpoint]] = []
    if since is not None:
        given = _checkpoint_given(workspace, since)
        findings += _who_signed(workspace, given, verifier)
        kept.append(("checkpoint given", given))
    seen, unseen = _witnessed(workspace, witness_keys(witnesses))
    kept += [(f"checkpoint cosigned by {witness.name}", checkpoint) for witness, checkpoint in seen]
    findings += unseen
    others = [(what, checkpoint.encode()) for what, checkpoint in kept]
    signatures = _Signatures(Authors(workspace, None if signers is None else _allowed(signers)))
    findings += workspace.ledger.verify(
        verifier, anchor=anchor, others=others, follow=follow, digest_of=digest_of, progress=progress
    )
    received, about = _received(workspace, progress)
    findings += about
    if reference is None:
        is_sound = not any(finding.level == "altered" for finding in findings)
        views = list(workspace.views.verify(progress=progress))
        if is_sound and any(finding.level == "altered" for finding in views):
            workspace.views.set_aside()  # what follows is looked up in them
        findings += workspace.objects.verify(progress=progress)
        findings += views
        findings += () if workspace.keys is None else workspace.keys.verify()
        with KeyIndex(workspace) as index:
            findings += index.verify()
        with contextlib.suppress(IntegrityError):  # named by the log's own check
            findings += unapproved(workspace)
        objects, not_held = _referenced(workspace, _entries(workspace), signatures, progress, rehash=False)
        findings += [*not_held, *_layout(workspace), *_erased(workspace)]
    else:
        resolved = names.resolve(workspace, reference)
        start = Ref(resolved.event or resolved.object or "")
        events = [
            sequenced
            for node in provenance.upstream(workspace.views.database(), start).nodes
            if not node.ref.startswith("b3-") and (sequenced := _found(workspace, EventId(node.ref))) is not None
        ]
        restored = backups.restored_size(workspace.views.database())
        objects, not_held = _referenced(workspace, events, signatures, progress, rehash=True, restored=restored)
        findings += not_held
        if resolved.object is not None:
            objects += 1
            findings += unheld(workspace, resolved.object, reference, set(), rehash=True)
    entries = _size(workspace)
    protected = min(entries, max([_protected(workspace, verifier, anchor), *(kept_one.size for _, kept_one in kept)]))
    answer: Literal["yes", "no", "could not tell"] = "yes"
    if any(finding.level in ("altered", "missing") for finding in findings):
        answer = "no"
    elif (verifier is None and not kept) or (entries and not protected):
        answer = "could not tell"  # a key under which nothing is signed says nothing about the entries
    return Verification(
        answer=answer,
        anchor=" and ".join([*([] if verifier is None and kept else [words]), *(f"the {what}" for what, _ in kept)]),
        entries=entries,
        unprotected=entries - protected,
        objects=objects,
        findings=tuple(dict.fromkeys(findings)),
        since=None if since is None else _since(workspace, given),
        witnesses=tuple(witness for witness, _ in seen),
        logs=received,
        signed=signatures.signed,
        authenticated=signatures.authenticated,
    )


def _received(workspace: Workspace, progress: Progress | None) -> tuple[tuple[ReceivedLog, ...], list[Finding]]:
    """Check the logs of others: each by its own key, and by what this log says of it from when it came."""
    listed = Layout.read(workspace.folder).others
    said = [*workspace.ledger.entries_of("log.pulled"), *workspace.ledger.entries_of("workspace.copied")]
    found: list[ReceivedLog] = []
    findings: list[Finding] = []
    origins = {file.origin for file in listed}
    for origin in dict.fromkeys(str(s.event.body["origin"]) for s in said):
        if origin not in origins:
            message = f"the log {origin} was received, as entry {_first(said, origin)} says, and is not listed"
            findings.append(Finding(level="missing", what="format.json", message=message))
    held = {log.hash: log for log in workspace.logs.held()}
    for file in listed:
        log = held.get(file.hash)
        if log is None:
            message = f"the log {file.origin} was received, and cannot be opened"
            findings.append(Finding(level="missing", what=file.file, message=message))
            continue
        anchors: list[tuple[str, bytes]] = []
        keys_said = {str(key) for s in said if s.event.body["origin"] == file.origin and (key := s.event.body["key"])}
        if file.key is not None and keys_said and file.key not in keys_said:
            message = f"its key for {file.origin} is not the one that the log says it had when it came"
            findings.append(Finding(level="altered", what="format.json", message=message))
        for sequenced in said:
            body = sequenced.event.body
            if body["origin"] == file.origin and body["note"] is not None:
                anchors.append((f"checkpoint in entry {sequenced.index}", str(body["note"]).encode()))
            with contextlib.suppress(UsageError, IntegrityError):  # shorter, or damaged: its own check says so
                if body["origin"] == file.origin and log.ledger.root(int(str(body["size"]))).hex() != body["root"]:
                    message = f"its first {body['size']} entries are not those that entry {sequenced.index} has seen"
                    findings.append(Finding(level="altered", what=file.file, message=message))
        key = next(iter(sorted(keys_said)), file.key)
        verifier = None if key is None else keys.LogVerifier.from_text(key)
        about = log.ledger.verify(
            verifier, others=anchors, follow=keys.LogVerifier.from_text, digest_of=digest_of, progress=progress
        )
        findings += [replace(one, what=f"{file.file}: {one.what}") for one in about if one.level != "unprotected"]
        with contextlib.suppress(IntegrityError):  # named by the log's own check
            note, size = log.ledger.checkpoint(), log.ledger.size()
            signed = 0 if note is None else decode_checkpoint(note).size
            unprotected = max(0, size - signed)
            found.append(ReceivedLog(name=log.name, origin=file.origin, entries=size, unprotected=unprotected))
    return tuple(found), findings


def _first(said: Sequence[Sequenced], origin: str) -> int:
    return min(sequenced.index for sequenced in said if sequenced.event.body["origin"] == origin)


def _entries(workspace: Workspace) -> Iterator[Sequenced]:
    """Yield the entries of all logs that are as they were logged."""
    for log in workspace.logs.held():
        for sequenced in log.ledger.sound():
            yield log.numbered(sequenced)


def unreadable(error: IntegrityError) -> Verification:
    """Return the answer about a store that cannot even be opened: no, unless a newer release has written it."""
    if isinstance(error, NewerFormatError):
        unknown = Finding(level="note", what="workspace", message=f"{error.message}; nothing was checked")
        return Verification(
            answer="could not tell",
            anchor="nothing: it was written by a newer release",
            entries=0,
            unprotected=0,
            objects=0,
            findings=(unknown,),
        )
    finding = Finding(level="altered", what="workspace", message=error.message)
    return Verification(
        answer="no", anchor="nothing: it cannot be opened", entries=0, unprotected=0, objects=0, findings=(finding,)
    )


def _found(workspace: Workspace, event: EventId) -> Sequenced | None:
    try:
        return workspace.logs.find(event)
    except IntegrityError:
        return None  # named by the log's own check


def _size(workspace: Workspace) -> int:
    try:
        return workspace.ledger.size()
    except IntegrityError:
        return 0  # named by the log's own check


def _protected(workspace: Workspace, verifier: Verifier | None, anchor: bytes | None) -> int:
    """Return how many entries are under a checkpoint that `verifier`, or a key that took its place, signed."""
    sizes = [0]
    if verifier is not None:
        chain = [verifier]
        with contextlib.suppress(IntegrityError):
            chain = workspace.ledger.key_chain(verifier, keys.LogVerifier.from_text)
        for read in (workspace.ledger.checkpoint, lambda: anchor):
            with contextlib.suppress(IntegrityError):  # named by the log's own check
                note = read()
                if note is not None:
                    checkpoint = decode_checkpoint(note)
                    verify_note(checkpoint, chain)
                    sizes.append(checkpoint.size)
    return max(sizes)


def _anchor(workspace: Workspace, key: str | None) -> tuple[Verifier | None, bytes | None, str]:
    if key is not None:
        return log_key(key), None, "the key that was given"
    state = workspace.state
    if state is None or state.verifier is None:
        return None, None, "nothing outside the store: no key was given, and the state directory has none"
    return state.verifier, state.checkpoint(), "the key and the last checkpoint in the state directory"


class _Signatures:
    """Looks at the authors' own signatures, and counts them."""

    def __init__(self, authors: Authors) -> None:
        self._authors = authors
        self.signed = self.authenticated = 0

    def look(self, sequenced: Sequenced) -> Iterator[Finding]:
        """Yield what there is to say about one entry's signature."""
        if SIGNATURE not in sequenced.event.extra:
            return
        self.signed += 1
        authorship = self._authors.of(sequenced)
        self.authenticated += authorship.how == "authenticated"
        if authorship.because is not None:
            yield Finding(
                level="altered" if authorship.is_altered else "note",
                what=f"entry {sequenced.index}",
                message=f"who did it is claimed: {authorship.because}",
            )


def _allowed(text: str) -> list[keys.AllowedSigner]:
    try:
        return keys.read_allowed_signers(text)
    except FormatError as error:
        raise UsageError(error.message, hint="It is laid out as ssh-keygen's manual says, ALLOWED SIGNERS.") from error


def _checkpoint_given(workspace: Workspace, data: bytes) -> Checkpoint:
    try:
        checkpoint = decode_kept(data)
    except FormatError as error:
        raise UsageError(
            f"what was given is no checkpoint and no receipt: {error.message}",
            hint="`retrodict log checkpoint` prints the newest checkpoint.",
        ) from error
    if checkpoint.origin != workspace.ledger.origin:
        raise UsageError(
            f"the checkpoint that was given is of the log {checkpoint.origin}; this one is {workspace.ledger.origin}",
            hint="Give one of this log, or verify the workspace that it is of.",
        )
    return checkpoint


def _who_signed(workspace: Workspace, given: Checkpoint, verifier: Verifier | None) -> Iterator[Finding]:
    """Say whether the log's key, or one before or after it, has signed the checkpoint that was given."""
    if verifier is None:
        return
    known: list[Verifier] = [verifier]
    with contextlib.suppress(IntegrityError):
        known = [*workspace.ledger.key_chain(verifier, keys.LogVerifier.from_text)]
    for sequenced in workspace.ledger.entries_of("key.rotated"):  # newest first, so that chains are followed back
        with contextlib.suppress(IntegrityError, KeyError):
            body = sequenced.event.body
            before = keys.LogVerifier.from_text(str(body["before"]))
            successor = read_rotation(str(body["note"]).encode(), workspace.ledger.origin, [before])
            if successor in {str(key) for key in known}:
                known.append(before)
    try:
        verify_note(given, known)
    except SignatureError as error:
        ids = {key.key_id for key in known}
        level: Literal["altered", "note"] = "altered" if any(s.key_id in ids for s in given.signatures) else "note"
        yield Finding(
            level=level, what="checkpoint given", message=f"nothing says that this log signed it: {error.message}"
        )


def _witnessed(
    workspace: Workspace, verifiers: Sequence[keys.WitnessVerifier]
) -> tuple[list[tuple[Witness, Checkpoint]], list[Finding]]:
    """Return the newest checkpoint that each witness has cosigned; name the witnesses that have cosigned none."""
    found: list[tuple[Witness, Checkpoint]] = []
    findings: list[Finding] = []
    for verifier in verifiers:
        because = f"no checkpoint in the log bears a cosignature by {verifier}"
        for checkpoint in kept_checkpoints(workspace):
            try:
                signature = verify_note(checkpoint, [verifier])[0]
            except SignatureError as error:
                if any(s.key_id == verifier.key_id and s.name == verifier.name for s in checkpoint.signatures):
                    because = error.message
                continue
            at = rfc3339(keys.time_of(signature.signature) * 1_000_000_000)
            found.append((Witness(name=verifier.name, size=checkpoint.size, at=at), checkpoint))
            break
        else:
            findings.append(Finding(level="missing", what=f"cosignature by {verifier.name}", message=because))
    return found, findings


def _since(workspace: Workspace, checkpoint: Checkpoint) -> Since | None:
    size = _size(workspace)
    proof: tuple[str, ...] | None = None
    try:
        root = workspace.ledger.root(size)
        if checkpoint.size <= size:
            hashes = workspace.ledger.consistency_proof(checkpoint.size, size)
            if merkle.verify_consistency(checkpoint.size, size, checkpoint.root, root, hashes):
                proof = tuple(item.hex() for item in hashes)
    except IntegrityError:
        return None  # named by the log's own check
    return Since(size=checkpoint.size, root=checkpoint.root.hex(), to_size=size, to_root=root.hex(), proof=proof)


def _erased(workspace: Workspace) -> Iterator[Finding]:
    """Yield what was erased; and every key that the log calls destroyed and that is here.

    The log is asked and not the view, which who can write the store can edit.
    """
    said = [
        log.numbered(sequenced)
        for log in workspace.logs.held()
        for kind in ("subject.forgotten", "file.forgotten")
        for sequenced in log.ledger.entries_of(kind)
    ]
    known: set[str] = set()
    holders = Holders(workspace)
    for sequenced in sorted(said, key=lambda found: found.event.tick):
        number = EntryNumber(sequenced.index)
        try:
            keys_said = dict.fromkeys(forgotten_keys(sequenced.event.body, workspace.objects.get))
        except RetrodictError:
            continue  # what it names was looked for, and is named as missing or altered
        new = [key for key in keys_said if key not in known]
        for key in new:
            if workspace.keys is not None and workspace.keys.holds(key):
                message = f"entry {number} says that it is destroyed, and it is held here"
                yield Finding(level="altered", what=f"key {key}", message=message)
        if new:
            message = (
                f"erased: what {count(len(new), 'key')} had sealed cannot be read any more; nothing of it is missing"
            )
            message += _unconfirmed(workspace, holders, sequenced)
            yield Finding(level="note", what=f"entry {number}", message=message)
        known.update(new)


def _unconfirmed(workspace: Workspace, holders: Holders, forgetting: Sequenced) -> str:
    """Return by whom it is not confirmed that keys are destroyed; without keys nobody's word can be checked here."""
    if workspace.state is None or workspace.state.wrapping_key is None:
        return ""
    with contextlib.suppress(RetrodictError, ValueError, KeyError, TypeError):  # what is altered is named elsewhere
        held_by = holders.now(forgetting)
        if unsure := sum(holder.state == "not confirmed" for holder in held_by):
            who = f"{unsure} of {count(len(held_by), 'place')} that held them"
            return f"; not confirmed by {who}: `retrodict forget --status` names them"
    return ""


def _referenced(
    workspace: Workspace,
    entries: Iterable[Sequenced],
    signatures: _Signatures,
    progress: Progress | None,
    *,
    rehash: bool,
    restored: int = 0,
) -> tuple[int, list[Finding]]:
    """Check that every object that the entries name is held, down to the last file of a tree.

    Args:
        rehash: Read every byte again; without it what is held was verified before.
        restored: How many entries came from a backup, where that is not among the entries.
    """
    findings: list[Finding] = []
    lost: list[tuple[int, Finding]] = []
    references = References(workspace, rehash=rehash)
    for done, sequenced in enumerate(entries):
        is_own = not EntryNumber(sequenced.index).is_of_another_log
        findings += references.look(sequenced)
        if is_own:
            lost += [(sequenced.index, finding) for finding in _lost_texts(workspace, sequenced)]
            restored = max(restored, backups.restored_entries(sequenced.event))
        findings += signatures.look(sequenced)
        if progress is not None and done % 100 == 0:
            progress(done, None, "entries whose objects were looked up")
    findings += references.unfetched()
    # The first entries came from a backup, as the log says, and its keys may have been older: that is no news.
    findings += [replace(finding, level="note") if index < restored else finding for index, finding in lost]
    return references.objects, findings


def _layout(workspace: Workspace) -> Iterator[Finding]:
    """Check that the folder bears the id that the log says was given to it."""
    said: tuple[object, int] | None = None
    for sequenced in workspace.ledger.sound():
        if sequenced.event.kind in ("workspace.created", "workspace.copied", "log.restored"):
            said = (sequenced.event.body.get("workspace"), sequenced.index)
            if said[0] == workspace.id:
                return  # a restored copy that began a log of its own has another one later
    if said is not None:
        message = f"it says that this is the workspace {workspace.id}, entry {said[1]} says {said[0]}"
        yield Finding(level="altered", what="format.json", message=message)


def _lost_texts(workspace: Workspace, sequenced: Sequenced) -> Iterator[Finding]:
    """Check that the keys of what an entry has sealed are held, or called destroyed; where the wrapping key is."""
    ring, event, entry = workspace.keys, sequenced.event, f"entry {sequenced.index}"
    if ring is None:
        return
    texts = [("reason", event.reason.key)] if event.reason is not None else []
    with contextlib.suppress(IntegrityError):  # named by the keys' own check
        sealed = [*_sealed(event.body, "body"), *_sealed(event.extra, "envelope"), *_personal(workspace, sequenced)]
        for role, key in [*texts, *sealed]:
            if ring.holds(key) is False and forgotten_by(workspace, key) is None:
                message = f"the key of its {role} is not held, so that it cannot be read"
                yield Finding(level="missing", what=entry, message=message)
        for subject, key in _subjects(workspace, sequenced):
            known, what = ring.subject_key(subject), f"keys.db: {subject}"
            if known is None and ring.holds(key):
                message = f"whose pseudonym this is is not held, so that they could not be forgotten: the key is {key}"
                yield Finding(level="missing", what=what, message=message)
            elif known not in (None, key):
                message = f"to forget them would destroy another key than the log says, which is {key}"
                yield Finding(level="altered", what=what, message=message)
        if event.kind == "agent.named" and ring.knows(str(event.body.get("agent"))) is False:
            message = "the row of its pseudonym is not held, so the same person would get another one"
            yield Finding(level="missing", what=entry, message=message)


def _personal(workspace: Workspace, sequenced: Sequenced) -> Iterator[tuple[str, str]]:
    """Yield the keys of personal values and files."""
    body = sequenced.event.body
    with contextlib.suppress(RetrodictError, ValueError, KeyError, TypeError):  # what is altered is named elsewhere
        for name in ("inputs", "outputs", "raw"):
            for segment in personal.segments(predictions.kept(body.get(name)), workspace.objects.get):
                yield from ((name, key) for key in segment.keys)
        for ref, key in sealed_objects(body, workspace.objects.get):
            yield ("content" if ref == body.get("content") else "files"), key


def _subjects(workspace: Workspace, sequenced: Sequenced) -> Iterator[tuple[str, str]]:
    """Yield whom personal values are about, and the key that sealed them."""
    for name in ("inputs", "outputs", "raw"):
        with contextlib.suppress(RetrodictError, ValueError, KeyError, TypeError):  # what is altered is named elsewhere
            for segment in personal.segments(predictions.kept(sequenced.event.body.get(name)), workspace.objects.get):
                pairs = zip(segment.subjects, segment.keys, strict=True)
                yield from ((subject, key) for subject, key in pairs if not is_event_id(subject))


def _sealed(value: object, name: str) -> Iterator[tuple[str, str]]:
    match value:
        case {"sealed": str(), "key": str(key)}:
            yield name, key
        case dict():
            for inner, item in value.items():
                yield from _sealed(item, str(inner))
        case list() | tuple():
            for item in value:
                yield from _sealed(item, name)
        case _:
            return
