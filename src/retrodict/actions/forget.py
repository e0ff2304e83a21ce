"""`forget`: destroy a person's keys, so that nothing that was sealed with them can be read again; proofs stay whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from retrodict.actions import people, replaying
from retrodict.actions.holding import Holder, Holders, confirm_destroyed, listed_or_blob
from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.reached import Reached
from retrodict.actions.stream_people import files_about, records_about
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.objects import display
from retrodict.replay import replay_prediction
from retrodict.tables import queries
from retrodict.workspace import (
    Batch,
    Workspace,
    destroy_forgotten,
    edges_or_list,
    sealed_key,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRows:
    """A person's rows in one version of a dataset.

    Attributes:
        reference: `dataset:NAME@vN`; `event` is what added it.
        rows: How many there are.
        shared_rows: How many of them stand in files with rows of others: their keys stay, and so do these rows.
    """

    reference: str
    event: EventId
    rows: int
    shared_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What forgetting a person reaches.

    Attributes:
        subjects: The person's pseudonyms.
        keys: How many keys will be destroyed: the person's, those of texts about them, those of files of theirs alone.
        calls: The predictions that are about the person, by entry.
        shared: Those of them that are about others, too: they are made again first.
        joint: Those of them whose values cannot be parted from those of others: they are erased for all.
        models: The versions that used the values.
        disputes: Entries of complaints and their ends whose texts are erased.
        texts: How many texts are erased: errors, complaints, findings of replays.
        streams: The records of streams that are about the person: `clicks: 3 records`.
        tables: The changes in tables that are: `loans: 3 changes`.
        sources: The tables of databases that these are captured from: what stands there comes in again once it changes.
        files: Sealed files that such records were written to (by entry, with others' records): erased as a whole.
        own_files: How many files hold rows of nobody else: they are erased.
        datasets: The versions that hold the person's rows.
        to_forget: Those of them that have to be forgotten before no row of the person can be read any more.
        copies: Where files with the person's rows lie in the project, in the clear: those are the user's to delete.
        unknown: The personal datasets of which it is not known whose rows they hold, wholly or in part.
        runs: The runs that read the person's records, files with rows of theirs, or what was made of these, or that
            looked at values of theirs, by entry.
        derived: How many files they made that can be read; values of the person may stand in them.
        asked: The predictions that those runs asked, or processes that had read such rows and records, by entry.
        derived_keys: How many keys of those files and predictions, and of what the runs printed, are destroyed too,
            where that is asked for; the values of others in them go with them.
        made: The versions of datasets that are, or hold, what they made.
        trained: The model versions that were made of all that, through any chain of runs; what they learned stays.
        answers: How many predictions these have made.
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
    tables: tuple[str, ...]
    sources: tuple[str, ...]
    files: tuple[int, ...]
    own_files: int
    datasets: tuple[HeldRows, ...]
    to_forget: tuple[str, ...]
    copies: tuple[str, ...]
    unknown: tuple[str, ...]
    runs: tuple[int, ...]
    derived: int
    asked: tuple[int, ...]
    derived_keys: int
    made: tuple[str, ...]
    trained: tuple[str, ...]
    answers: int
    holders: tuple[Holder, ...]

    @property
    def is_whole(self) -> bool:
        """No row of the person stays readable in a file that is known to hold it."""
        return not self.to_forget


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """A person who is forgotten, but for the rows that stay in files (`reach.is_whole`).

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
    records: int
    changes: int
    made: tuple[EventId, ...]
    trained: tuple[EventId, ...]
    runs: tuple[EventId, ...]
    asked: tuple[EventId, ...]


def reach(workspace: Workspace, identity: str, *, derived: bool = False) -> Reach:
    """Say what forgetting a person would reach; changes nothing.

    Args:
        identity, derived: As `forget`.

    Raises:
        UnknownSubjectError: Nobody here is called so.
    """
    return _find(workspace, identity, derived).reach


def forget(
    workspace: Workspace,
    identity: str,
    *,
    reason: str | None = None,
    derived: bool = False,
    variables: Mapping[str, str] | None = None,
    uv_cache: Path | None = None,
    progress: Progress | None = None,
) -> Forgotten:
    """Forget a person: make the calls shared with others again, record what is forgotten, then destroy the keys.

    Args:
        identity: Who, as it stands in the field that models and files were declared with.
        reason: Why; sealed under a key of its own, so it should not name the person.
        derived: Also what runs made of the person's rows and records and sealed, and what those runs printed: whole,
            whoever else it is about.
        variables: The environment variables, for the replays; `uv_cache` where environments are built and kept.

    Raises:
        UnknownSubjectError: Nobody here is called so.
    """
    found = _find(workspace, identity, derived)
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
        *(Edge(ref=Ref(held.event), role="dataset-version", evidence="observed") for held in found.reach.datasets),
        *(Edge(ref=Ref(event), role="run", evidence="observed") for event in found.runs),
        *(Edge(ref=Ref(event), role="asked-prediction", evidence="observed") for event in found.asked),
        *(Edge(ref=Ref(event), role="made-dataset-version", evidence="observed") for event in found.made),
        *(Edge(ref=Ref(event), role="trained-model-version", evidence="observed") for event in found.trained),
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
            "records": found.records,
            "changes": found.changes,
            "rows": sum(held.rows for held in found.reach.datasets),
            "shared_rows": sum(held.shared_rows for held in found.reach.datasets),
            "answers": found.reach.answers,
            "derived": derived,
            "holders": [holder.as_body() for holder in found.reach.holders],
        },
        reason=reason,
    )
    index = batch.append()[-1].index
    # A crash before the next line leaves keys that the log calls destroyed: whoever opens the workspace next ends it.
    destroyed = destroy_forgotten(workspace, keys)
    confirm_destroyed(workspace)
    return Forgotten(reach=found.reach, verdicts=verdicts, destroyed=destroyed, event=event.id, index=index)


def _find(workspace: Workspace, identity: str, with_derived: bool) -> _Found:
    subjects, held = people.found_anywhere(workspace, identity)
    names = {subject.subject for subject in subjects}
    calls = tuple(people.calls_about(workspace, names))
    texts = {sequenced.index: sequenced for about in calls for sequenced in about.texts}
    keys = [subject.key for subject in subjects]
    for sequenced in texts.values():
        keys += sorted(people.text_keys(sequenced) - set(keys))
    in_streams = list(records_about(workspace, names))
    files = list(files_about(workspace, in_streams))
    counts: dict[str, int] = {}
    in_tables: dict[str, int] = {}
    for found in in_streams:
        counted = in_tables if found.line.stream.format == "changes" else counts
        counted[found.line.stream.name] = counted.get(found.line.stream.name, 0) + len(found.offsets)
    about = {found.line.stream.event for found in in_streams}
    texts_of = len(keys) - len(subjects)
    standing = {file.content: file for version in held.versions for file in version.files}
    alone = {file.key for file in standing.values() if file.is_alone}
    keys += [file.key for file in files]
    keys += sorted(alone - set(keys))
    # Who read the listing of a folder may have read every file in it.
    listings = {version.version.content for version in held.versions}
    to_forget: list[str] = []
    shared: set[str] = set()
    for version in held.versions:  # others hold the same files: forgetting one of them is enough
        if more := {file.key for file in version.files if not file.is_alone} - shared:
            shared |= more
            to_forget.append(version.version.label)
    written = [file.content for file in files]
    made = Reached(workspace, [*standing, *(listings - set(standing)), *written], in_streams, names)
    made_of_it = list(made.derived(with_derived))
    derived_keys = dict.fromkeys(
        sealed_key(workspace, item.ref) or "" for item in made_of_it if item.state == "destroyed"
    )
    if with_derived:
        derived_keys |= dict.fromkeys([*made.printed, *made.asked_keys])
    keys += [key for key in derived_keys if key not in keys]
    holding = {version.version.event for version in held.versions}
    made_versions = [version for version in made.versions if version.event not in holding]
    versions = {str(about.sequenced.event.body.get("model")): about.sequenced.event.body for about in calls}
    since = [about.sequenced.index for about in calls] + [version.version.index for version in held.versions]
    since += [found.append.index for found in in_streams]
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
        texts=texts_of,
        streams=tuple(f"{name}: {count} record{'s' * (count != 1)}" for name, count in sorted(counts.items())),
        tables=tuple(f"{name}: {count} change{'s' * (count != 1)}" for name, count in sorted(in_tables.items())),
        sources=tuple(source for source, stream in queries.sources(workspace.views.database()) if stream in about),
        files=tuple(file.entry for file in files),
        own_files=len(alone),
        datasets=tuple(
            HeldRows(
                reference=version.version.label,
                event=version.version.event,
                rows=version.rows,
                shared_rows=sum(file.rows for file in version.files if not file.is_alone),
            )
            for version in held.versions
        ),
        to_forget=tuple(to_forget),
        copies=tuple(_copies(workspace, set(standing))),
        unknown=held.unknown,
        runs=tuple(run.index for run in made.runs),
        derived=sum(item.state in ("sealed", "in the clear") for item in made_of_it),
        asked=tuple(sequenced.index for sequenced in made.asked),
        derived_keys=len(derived_keys),
        made=tuple(version.label for version in made_versions),
        trained=tuple(version.label for version in made.models),
        answers=made.predictions,
        holders=Holders(workspace).before(set(keys), subjects=names, since=min(since, default=0)),
    )
    registered = tuple(EventId(event) for event in versions if event != "None")
    return _Found(
        reach=reached,
        names=reached.subjects,
        keys=tuple(keys),
        calls=calls,
        models=registered,
        appends=tuple(found.append.event for found in in_streams),
        records=sum(counts.values()),
        changes=sum(in_tables.values()),
        made=tuple(version.event for version in made_versions),
        trained=tuple(version.event for version in made.models),
        runs=tuple(run.event.id for run in made.runs),
        asked=tuple(sequenced.event.id for sequenced in made.asked) if with_derived else (),
    )


def _copies(workspace: Workspace, contents: set[Digest]) -> Iterator[str]:
    for path, found in PersonalFiles(workspace).copies(workspace.root) if contents else ():
        if found in contents:
            yield display(path.relative_to(workspace.root))
