"""`forget`: destroy a person's keys, so that nothing that was sealed with them can be read again; proofs stay whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from retrodict.actions import people, replaying
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.replay import replay_prediction
from retrodict.workspace import (
    Batch,
    Workspace,
    destroy_forgotten,
    edges_or_list,
    holders,
    open_text,
    sealed_text,
)

_KEYS_IN_ENTRY: Final = 200  # more of them are listed in an object


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A place that held the keys, or the values.

    Attributes:
        kind: "workspace": here; "clone": another workspace that was given keys, or gave them; "export": the person's
            data in a file; "backup".
        where: In words: a public key, a file, an address.
        event: What says so, and its entry; None for here.
        state: Whether the destruction is known there.
    """

    kind: Literal["workspace", "clone", "export", "backup"]
    where: str
    event: EventId | None
    entry: int | None
    state: Literal["confirmed", "not confirmed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What forgetting a person reaches.

    Attributes:
        subjects: The person's pseudonyms.
        keys: How many keys will be destroyed: the person's, and those of texts about them.
        calls: The predictions that are about the person, by entry.
        shared: Those of them that are about others, too: they are made again first.
        joint: Those of them whose values cannot be parted from those of others: they are erased for all.
        models: The versions that used the values.
        disputes: Entries of complaints and their ends whose texts are erased.
        texts: How many texts are erased: errors, complaints, findings of replays.
    """

    subjects: tuple[str, ...]
    keys: int
    calls: tuple[int, ...]
    shared: tuple[int, ...]
    joint: tuple[int, ...]
    models: tuple[str, ...]
    disputes: tuple[int, ...]
    texts: int
    holders: tuple[Holder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """A person who is forgotten.

    Attributes:
        verdicts: How the shared calls were replayed, by entry.
        destroyed: How many keys this workspace held, and no longer does.
    """

    reach: Reach
    verdicts: Mapping[int, str]
    destroyed: int
    event: EventId
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    reach: Reach
    names: tuple[str, ...]
    keys: tuple[str, ...]
    calls: tuple[people.About, ...]
    models: tuple[EventId, ...]


def reach(workspace: Workspace, identity: str) -> Reach:
    """Say what forgetting a person would reach; changes nothing.

    Raises:
        UnknownSubjectError: Nobody here is called so.
    """
    return _find(workspace, identity).reach


def forget(
    workspace: Workspace,
    identity: str,
    *,
    reason: str | None = None,
    variables: Mapping[str, str] | None = None,
    uv_cache: Path | None = None,
    progress: Progress | None = None,
) -> Forgotten:
    """Forget a person: make the calls shared with others again, record what is forgotten, then destroy the keys.

    Args:
        identity: Who, as it stands in the field that models were registered with.
        reason: Why; sealed under a key of its own, so it should not name the person.
        variables: The environment variables, for the replays; `uv_cache` where environments are built and kept.

    Raises:
        UnknownSubjectError: Nobody here is called so.
    """
    found = _find(workspace, identity)
    verdicts: dict[int, str] = {}
    replays: list[EventId] = []
    first = Batch(workspace)
    for done, index in enumerate(found.reach.shared):
        if progress is not None:
            progress(done, len(found.reach.shared), "shared predictions made again")
        about = workspace.logs.event(index)
        again = replay_prediction(workspace, about.event.id, variables=variables, uv_cache=uv_cache)
        verdicts[index] = again.verdict
        replays.append(replaying.record(first, again))
    keys = list(found.keys)
    for sequenced in first.append() if replays else ():
        keys += sorted(people.text_keys(sequenced) - set(keys))
    batch = Batch(workspace)
    edges = [
        *(Edge(ref=Ref(about.sequenced.event.id), role="prediction", evidence="observed") for about in found.calls),
        *(Edge(ref=Ref(event), role="model-version", evidence="observed") for event in found.models),
        *(Edge(ref=Ref(event), role="replay", evidence="observed") for event in replays),
    ]
    listed = json.dumps(keys).encode()
    event = batch.event(
        "subject.forgotten",
        uses=edges_or_list(batch, edges),
        makes=(),
        body={
            "subjects": list(found.names),
            "keys": keys if len(keys) <= _KEYS_IN_ENTRY else batch.blob(listed),
            "calls": len(found.calls),
            "shared": len(found.reach.shared),
            "holders": [
                {"kind": holder.kind, "event": holder.event, "state": holder.state} for holder in found.reach.holders
            ],
        },
        reason=reason,
    )
    index = batch.append()[-1].index
    # A crash before the next line leaves keys that the log calls destroyed: whoever opens the workspace next ends it.
    destroyed = destroy_forgotten(workspace)
    return Forgotten(reach=found.reach, verdicts=verdicts, destroyed=destroyed, event=event.id, index=index)


def _find(workspace: Workspace, identity: str) -> _Found:
    subjects = people.found(workspace, identity)
    names = {subject.subject for subject in subjects}
    calls = tuple(people.calls_about(workspace, names))
    texts = {sequenced.index: sequenced for about in calls for sequenced in about.texts}
    keys = [subject.key for subject in subjects]
    for sequenced in texts.values():
        keys += sorted(people.text_keys(sequenced) - set(keys))
    versions = {str(about.sequenced.event.body.get("model")): about.sequenced.event.body for about in calls}
    own = Holder(kind="workspace", where=str(workspace.folder), event=None, entry=None, state="confirmed")
    reached = Reach(
        subjects=tuple(sorted(names)),
        keys=len(keys),
        calls=tuple(about.sequenced.index for about in calls),
        shared=tuple(
            about.sequenced.index
            for about in calls
            if about.others and about.sequenced.event.body.get("parent") is None
        ),
        joint=tuple(a.sequenced.index for a in calls if a.others and people.is_joint(workspace, a.sequenced, names)),
        models=tuple(sorted({f"{body.get('model_name')}@v{body.get('model_version')}" for body in versions.values()})),
        disputes=tuple(
            index
            for index, item in sorted(texts.items())
            if item.event.kind in ("prediction.disputed", "dispute.resolved")
        ),
        texts=len(keys) - len(subjects),
        holders=(own, *_holders(workspace, names, set(keys), min((a.sequenced.index for a in calls), default=0))),
    )
    registered = tuple(EventId(event) for event in versions if event != "None")
    return _Found(reach=reached, names=reached.subjects, keys=tuple(keys), calls=calls, models=registered)


def _holders(workspace: Workspace, names: set[str], keys: set[str], since: int) -> Iterator[Holder]:
    """Yield the places outside that held one of the keys, or the person's values; there were none before `since`."""
    for index in holders(workspace):
        sequenced = workspace.logs.event(index)
        event, body = sequenced.event, sequenced.event.body
        match event.kind:
            case "keys.shared" | "keys.received":
                if keys & _listed(workspace, body.get("keys")):
                    where = str(body.get("to") or body.get("from"))
                    yield Holder(kind="clone", where=where, event=event.id, entry=index, state="not confirmed")
            case "subject.exported":
                if names & {str(name) for name in body.get("subjects", ())}:  # type: ignore[attr-defined]
                    where = f"the file that was written then ({body.get('rows')} rows)"
                    yield Holder(kind="export", where=where, event=event.id, entry=index, state="not confirmed")
            case "backup.made" if body.get("what") != "store" and index > since:  # that of a store holds no keys
                where = open_text(workspace, sealed_text(body.get("destination"))) or "a backup"
                yield Holder(kind="backup", where=where, event=event.id, entry=index, state="not confirmed")


def _listed(workspace: Workspace, digest: object) -> set[str]:
    try:
        return {str(key) for key in json.loads(workspace.objects.get(Digest(str(digest))))}
    except (RetrodictError, ValueError):
        return set()
