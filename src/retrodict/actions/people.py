"""People in the record: who is meant, which calls are about them, and which texts may be. No verb."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from retrodict import predictions, provenance
from retrodict.actions import dataset_subjects, looks
from retrodict.actions.dataset_subjects import PersonRows
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Ref
from retrodict.keys import Subject
from retrodict.ledger import Sequenced
from retrodict.predictions import personal
from retrodict.workspace import Workspace, sealed_text


class UnknownSubjectError(UsageError):
    """Nobody of that name is known here, or no longer."""

    slug = "unknown-subject"
    hint = (
        "Write it as it stands in the field that models and files were declared with; who was forgotten is not known, "
        "and whose keys other clones hold, only after `retrodict keys receive`."
    )

    def __init__(self, identity: str) -> None:
        super().__init__(f"nobody here is called {identity!r}")
        self.identity = identity


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """One call that is about a person.

    Attributes:
        others: Whether it is about others, too.
        texts: The entries that hold texts about it: the call itself where it failed, disputes, their ends, replays.
    """

    sequenced: Sequenced
    others: bool
    texts: tuple[Sequenced, ...]


def found(workspace: Workspace, identity: str) -> list[Subject]:
    """Return the pseudonyms and keys that a person has here.

    Raises:
        UnknownSubjectError: There are none.
        StateDirectoryError: The keys are out of reach.
    """
    subjects = [] if workspace.keys is None else workspace.keys.find_subjects(identity)
    if not subjects:
        raise UnknownSubjectError(identity)
    return subjects


def strangers(workspace: Workspace) -> int:
    """Return how many people of the record nobody here can name: no key of theirs was given to this clone."""
    database = workspace.views.database()
    gone: set[str] = set()
    for entry in database.execute("SELECT DISTINCT entry FROM personal_forgotten").fetchall():
        body = workspace.logs.event(entry[0]).event.body  # type: ignore[arg-type]
        gone |= {str(name) for name in body.get("subjects", ())}  # type: ignore[attr-defined]
    known = set() if workspace.keys is None else workspace.keys.known_subjects()
    return len(predictions.people(database) - known - gone)


def found_anywhere(workspace: Workspace, identity: str) -> tuple[list[Subject], PersonRows]:
    """Return a person's pseudonyms and keys, and their rows in personal files; either may be none.

    Raises:
        UnknownSubjectError: Both are.
        StateDirectoryError: The keys are out of reach.
    """
    rows = dataset_subjects.rows_of(workspace, identity)
    try:
        return found(workspace, identity), rows
    except UnknownSubjectError:
        if not rows.versions:
            raise
        return [], rows


def calls_about(workspace: Workspace, names: set[str]) -> Iterator[About]:
    """Yield the calls that are about these pseudonyms, oldest first."""
    database = workspace.views.database()
    entries = sorted({entry for name in names for entry in predictions.entries_about(database, name)})
    for entry in entries:
        sequenced = workspace.logs.event(entry)
        everybody = set(predictions.subjects(database, entry))
        texts = [sequenced] if sequenced.event.body.get("error") is not None else []
        for other in _that_use(workspace, sequenced):
            if other.event.kind in {"prediction.disputed", "replay.finished"} and (
                names & looks.people_in(workspace, other)
            ):
                texts.append(other)
                texts += [end for end in _that_use(workspace, other) if end.event.kind == "dispute.resolved"]
        yield About(sequenced=sequenced, others=bool(everybody - names), texts=tuple(texts))


def text_keys(sequenced: Sequenced) -> set[str]:
    """Return the keys of the texts that an entry holds."""
    body = sequenced.event.body
    texts = [sequenced.event.reason, sealed_text(body.get("error")), sealed_text(body.get("found"))]
    return {text.key for text in texts if text is not None}


def rows_of(workspace: Workspace, sequenced: Sequenced, names: set[str]) -> list[int]:
    """Return which rows of a call are theirs alone."""
    rows: dict[int, None] = {}
    for segment in personal.segments(predictions.payloads(sequenced.event)[0], workspace.objects.get):
        if set(segment.subjects) <= names:
            rows |= dict.fromkeys(row for first, count in segment.rows for row in range(first, first + count))
    return sorted(rows)


def is_joint(workspace: Workspace, sequenced: Sequenced, names: set[str]) -> bool:
    """Say whether something of a call is kept together for them and for others."""
    return any(
        names & set(segment.subjects) and not set(segment.subjects) <= names
        for kept in predictions.payloads(sequenced.event)
        for segment in personal.segments(kept, workspace.objects.get)
    )


def _that_use(workspace: Workspace, sequenced: Sequenced) -> list[Sequenced]:
    near = provenance.neighbours(workspace.views.database(), Ref(sequenced.event.id), limit=1_000_000)
    return [workspace.logs.event(entry) for how, entry in near if how == "depends on it"]
