"""`forget`: destroy a person's keys, so that nothing that was sealed with them can be read again; proofs stay whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from retrodict.actions import people, replaying
from retrodict.actions.holding import Holder, holders_of, listed_or_blob
from retrodict.actions.stream_people import files_about, records_about
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Edge, EventId, Ref
from retrodict.replay import replay_prediction
from retrodict.workspace import (
    Batch,
    Workspace,
    destroy_forgotten,
    edges_or_list,
)


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
        streams: The records of streams that are about the person: `clicks: 3 records`.
        files: Sealed files that such records were written to (by entry, with others' records): erased as a whole.
    """

    subjects: tuple[str, ...]
    keys: int
    calls: tuple[int, ...]
    shared: tuple[int, ...]
    joint: tuple[int, ...]
    models: tuple[str, ...]
    disputes: tuple[int, ...]
    texts: int
    streams: tuple[str, ...]
    files: tuple[int, ...]
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
    appends: tuple[EventId, ...]
    records: Mapping[str, int]


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
        *(Edge(ref=Ref(event), role="stream", evidence="observed") for event in found.appends),
    ]
    event = batch.event(
        "subject.forgotten",
        uses=edges_or_list(batch, edges),
        makes=(),
        body={
            "subjects": list(found.names),
            "keys": listed_or_blob(batch, keys),
            "calls": len(found.calls),
            "shared": len(found.reach.shared),
            "records": sum(found.records.values()),
            "holders": [holder.as_body() for holder in found.reach.holders],
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
    in_streams = list(records_about(workspace, names))
    files = list(files_about(workspace, in_streams))
    keys += [file.key for file in files]
    counts: dict[str, int] = {}
    for held in in_streams:
        counts[held.line.stream.name] = counts.get(held.line.stream.name, 0) + len(held.offsets)
    entries = [about.sequenced.index for about in calls] + [held.append.index for held in in_streams]
    versions = {str(about.sequenced.event.body.get("model")): about.sequenced.event.body for about in calls}
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
        texts=len(keys) - len(subjects) - len(files),
        streams=tuple(f"{name}: {count} record{'s' * (count != 1)}" for name, count in sorted(counts.items())),
        files=tuple(file.entry for file in files),
        holders=holders_of(workspace, set(keys), subjects=names, since=min(entries, default=0)),
    )
    registered = tuple(EventId(event) for event in versions if event != "None")
    return _Found(
        reach=reached,
        names=reached.subjects,
        keys=tuple(keys),
        calls=calls,
        models=registered,
        appends=tuple(held.append.event for held in in_streams),
        records=counts,
    )
