"""`keys`: this workspace's exchange key; keys of subjects and texts for another clone, and from one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retrodict.actions.people import found
from retrodict.kernel.durable import write_file
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import EventId
from retrodict.keys import KeyRing, exchange
from retrodict.workspace import Batch, UnwritableStateError, Workspace, forgotten_by


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The public key by which others share keys with this workspace."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Keys that were given away.

    Attributes:
        to: The public key of who can open the file.
        subjects: How many are of people; `texts` of texts.
    """

    to: str
    file: str
    subjects: int
    texts: int
    event: EventId
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Keys that were taken in.

    Attributes:
        sender: The public key of who gave them.
        new: How many were not held before.
        refused: How many the log calls forgotten: they were not taken.
    """

    sender: str
    keys: int
    new: int
    refused: int
    event: EventId
    index: int


def identity(workspace: Workspace) -> Identity:
    """Return this workspace's public exchange key; a clone without keys gets a wrapping key for what it will receive.

    Raises:
        UnwritableStateError, StateDirectoryError: The state directory is out of reach.
    """
    ring = _ring(workspace)
    if workspace.state is not None:
        ring.wrap_with(workspace.state.make_wrapping_key(workspace.clock))
    return Identity(key=exchange.public_text(ring.exchange_key))


def share(workspace: Workspace, to: str, out: Path, *, subjects: Sequence[str] = ()) -> Shared:
    """Write a file by which the holder of `to` can open what this workspace can; recorded before it is written.

    Args:
        to: Their public key, as `keys identity` prints it.
        out: The file; does not exist yet.
        subjects: Only the keys of these people; none: every key, those of texts too.

    Raises:
        UsageError: A person is not known here, there is a file already, or `to` is this workspace itself.
        SharedKeysError: `to` is no public key.
    """
    ring = _ring(workspace)
    if out.exists():
        raise UsageError(f"{out} exists already")
    if to == identity(workspace).key:
        raise UsageError("that is the key of this workspace itself", hint="`keys identity` is typed in the other one.")
    wanted = [subject.key for name in subjects for subject in found(workspace, name)] if subjects else None
    keys = ring.export(wanted)
    if not keys:
        raise UsageError("there are no keys to share")
    data = exchange.seal_for(to, keys, ring.exchange_key, workspace.clock)
    people = sum(item.subject is not None for item in keys)
    batch = Batch(workspace)
    listed = batch.blob(json.dumps([item.key for item in keys]).encode())
    event = batch.event(
        "keys.shared",
        uses=(),
        makes=(),
        body={"to": to, "keys": listed, "subjects": people, "texts": len(keys) - people},
    )
    index = batch.append()[-1].index
    try:
        write_file(out, data, mode=0o600)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error
    return Shared(to=to, file=str(out), subjects=people, texts=len(keys) - people, event=event.id, index=index)


def receive(workspace: Workspace, path: Path) -> Received:
    """Take in the keys of a file that another workspace made for this one; not those that the log calls forgotten.

    Raises:
        UsageError: There is no such file.
        SharedKeysError: It is no such file, is altered, or is for somebody else.
    """
    ring = _ring(workspace)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    given = exchange.open_shared(data, ring.exchange_key)
    wanted = [item for item in given.keys if forgotten_by(workspace, item.key) is None]
    new = ring.take(wanted)
    batch = Batch(workspace)
    listed = batch.blob(json.dumps([item.key for item in wanted]).encode())
    event = batch.event(
        "keys.received",
        uses=(),
        makes=(),
        body={"from": given.sender, "keys": listed, "new": new, "refused": len(given.keys) - len(wanted)},
    )
    index = batch.append()[-1].index
    return Received(
        sender=given.sender,
        keys=len(wanted),
        new=new,
        refused=len(given.keys) - len(wanted),
        event=event.id,
        index=index,
    )


def _ring(workspace: Workspace) -> KeyRing:
    if workspace.keys is None:
        raise UnwritableStateError("the keys of this workspace are out of reach")
    return workspace.keys
