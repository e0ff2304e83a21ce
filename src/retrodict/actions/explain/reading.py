"""What an explanation reads: entries, their edges, words for them, and whether bytes are there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from retrodict import datasets, provenance
from retrodict.actions import contents, looks, names
from retrodict.actions.authorship import Authors
from retrodict.actions.contents import Row
from retrodict.actions.explanation import Fact, Named, State
from retrodict.actions.forgetting import find_forgetting
from retrodict.actions.looks import Look
from retrodict.kernel.errors import IntegrityError, RetrodictError, UnavailableError
from retrodict.kernel.types import Digest, Edge, EventId, Evidence, is_digest
from retrodict.ledger import Sequenced
from retrodict.models import records as models
from retrodict.models.records import ModelVersion
from retrodict.predictions import Kept, Payload, SealedPayload, Segment, personal
from retrodict.predictions.glance import read_row
from retrodict.workspace import Workspace, agent_name, forgotten_by, open_text, sealed_key, sealed_text

_SMALL_BYTES: Final = 256 * 1024  # smaller objects are read again in any case,
_ALLOWANCE_BYTES: Final = 4 * 1024 * 1024  # as long as all of them together are not more than this


class Reader:
    """The workspace as an explanation sees it.

    Attributes:
        workspace: What is read.
        look: Takes note of whose personal values are shown.
        database: Its views, caught up.
    """

    def __init__(self, workspace: Workspace, look: Look, *, rehash: bool) -> None:
        """Begin; with `rehash` every object is read and hashed before it is called held."""
        self.workspace = workspace
        self.look = look
        self.database = workspace.views.database()
        self._rehash = rehash
        self._allowance = _ALLOWANCE_BYTES
        self._states: dict[Digest, tuple[State, bool]] = {}
        self._events: dict[str, Sequenced | None] = {}
        self._edges: dict[tuple[EventId, str], tuple[Edge, ...]] = {}
        self._names: dict[str, str] = {}
        self._authors = Authors(workspace)
        self._named: dict[tuple[str, int], Named] = {}
        self._released = datasets.released(self.database)

    # ---- entries

    def find(self, event: str | None) -> Sequenced | None:
        """Return an entry by its event's id."""
        if event is None:
            return None
        if event not in self._events:
            self._events[event] = self.workspace.logs.find(EventId(event))
        return self._events[event]

    def edges(self, sequenced: Sequenced, which: Literal["uses", "makes"] = "uses") -> tuple[Edge, ...]:
        """Return an event's edges, those of edge lists too; without the lists that are not held."""
        key = (sequenced.event.id, which)
        if key not in self._edges:
            own = sequenced.event.uses if which == "uses" else sequenced.event.makes
            try:
                self._edges[key] = tuple(provenance.edges(own, self.workspace.objects.get))
            except RetrodictError:
                self._edges[key] = tuple(edge for edge in own if isinstance(edge, Edge))
        return self._edges[key]

    def who(self, pseudonym: str, sequenced: Sequenced) -> str:
        """Return the name of somebody whom an entry names, with "(authenticated)" where they have signed it."""
        named = self.named(pseudonym, sequenced)
        return named.name if named.authorship == "claimed" else f"{named.name} ({named.authorship})"

    def named(self, pseudonym: str, sequenced: Sequenced) -> Named:
        """Return somebody whom an entry names; what others say about them is claimed."""
        key = (pseudonym, sequenced.index)
        if key not in self._named:
            if pseudonym not in self._names:
                self._names[pseudonym] = agent_name(self.workspace, pseudonym)
            how = self._authors.of(sequenced).how if pseudonym == sequenced.event.agent else "claimed"
            self._named[key] = Named(name=self._names[pseudonym], entry=sequenced.index, authorship=how)
        return self._named[key]

    def everybody(self) -> tuple[Named, ...]:
        """Return everybody who has been named so far, by entry."""
        return tuple(sorted(self._named.values(), key=lambda named: (named.entry, named.name)))

    def reason(self, sequenced: Sequenced) -> str | None:
        """Return why, where a person said it."""
        return self._opened(lambda: open_text(self.workspace, sequenced.event.reason))

    def text(self, sealed: object) -> str | None:
        """Return a sealed text of a body."""
        return self._opened(lambda: open_text(self.workspace, sealed_text(sealed)))

    @staticmethod
    def _opened(read: object) -> str | None:
        try:
            return read()  # type: ignore[operator, no-any-return]
        except UnavailableError:
            return "(not held)"
        except IntegrityError:
            return "(altered)"

    def signed(self, sequenced: Sequenced, *, with_reason: bool = True) -> str:
        """Return by whom and when an entry was made, and why where that is known."""
        event = sequenced.event
        reason = self.reason(sequenced) if with_reason else None
        return f"by {self.who(event.agent, sequenced)}, {moment(event.at)}" + (f': "{reason}"' if reason else "")

    # ---- objects

    def state(self, digest: Digest) -> tuple[State, bool]:
        """Return whether an object (a tree: everything below it) is held, and whether its bytes were read for that."""
        if digest not in self._states:
            self._states[digest] = self._state(digest)
        return self._states[digest]

    def _state(self, digest: Digest) -> tuple[State, bool]:
        objects = self.workspace.objects
        if not objects.has(digest):
            return "missing", True
        key = sealed_key(self.workspace, digest)
        if key is not None and (self.workspace.keys is None or not self.workspace.keys.holds(key)):
            return ("sealed" if forgotten_by(self.workspace, key) is None else "erased"), True
        if self._rehash:
            return objects.state(digest), True
        try:
            if self.is_tree(digest):
                below = [self.state(entry.digest) for entry in objects.list_tree(digest)]
                for bad in ("missing", "altered"):
                    if any(state == bad for state, _ in below):
                        return bad, True
                return "held", all(rehashed for _, rehashed in below)
            size = objects.size(digest)
        except RetrodictError as error:
            return ("missing" if isinstance(error, UnavailableError) else "altered"), True
        if size > min(_SMALL_BYTES, self._allowance):
            return "held", False
        self._allowance -= size
        return objects.state(digest), True

    def is_tree(self, digest: Digest) -> bool:
        """Say whether an object is a folder."""
        return contents.is_tree(self.workspace, digest)

    def blob(self, digest: Digest | None, limit: int | None = None) -> bytes | None:
        """Return an object's bytes; None where it is not held as it was, personal, or larger than `limit` bytes."""
        return None if digest is None else contents.blob(self.workspace, digest, limit)

    def json(self, digest: object) -> Mapping[str, object]:
        """Return what a JSON object says; nothing where it is not held."""
        data = self.blob(Digest(digest)) if isinstance(digest, str) and is_digest(digest) else None
        try:
            value = {} if data is None else json.loads(data)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def files(self, tree: Digest | None) -> Iterator[tuple[str, Digest]]:
        """Yield path and digest of every file below a tree that is held."""
        return iter(()) if tree is None else contents.files(self.workspace, tree)

    def row(self, kept: Kept, row: int) -> Row | None:
        """Return one row of logged values, to be shown; None where they are not held, or cannot be opened."""
        try:
            found, place = self.look.encoded_row(kept, row)
        except (RetrodictError, IndexError):  # an answer may have fewer rows than the question
            return None
        return tuple(read_row(found.codec, found.schema, found.batch, found.meta, place).items())

    def value(self, kept: Kept) -> Any:
        """Return logged values whole, to be shown.

        Raises:
            RetrodictError: They are not held, or cannot be opened.
        """
        return self.look.value(kept)

    def payload_state(self, kept: Kept, row: int | None = None) -> State:
        """Return whether logged values (those of a row) are held, and can be opened."""
        if isinstance(kept, Payload):
            states = [self.state(kept.schema)[0], self.state(kept.batch)[0]]
            return next((bad for bad in ("missing", "altered") if bad in states), "held")
        try:
            return worst_state(self._segment_state(segment) for segment in self._segments(kept, row))
        except RetrodictError as error:
            return "missing" if isinstance(error, UnavailableError) else "altered"

    def _segments(self, kept: SealedPayload, row: int | None) -> list[Segment]:
        parts = kept.parts(self.workspace.objects.get)
        return [part for part in parts if row is None or any(first <= row < first + n for first, n in part.rows)]

    def _segment_state(self, segment: Segment) -> State:
        state, _ = self.state(segment.sealed)
        if state != "held":
            return state
        keys = self.workspace.keys
        if keys is not None and all(keys.holds(key) for key in segment.keys):
            return "held"
        return "sealed" if personal.erased_by(self.workspace, segment) is None else "erased"

    def unread(self, kept: Kept, row: int | None) -> str:
        """Return why logged values (those of a row) cannot be shown."""
        if isinstance(kept, SealedPayload):
            try:
                for segment in self._segments(kept, row):
                    if self._segment_state(segment) in {"erased", "sealed"}:
                        return personal.unopened(self.workspace, segment).message
            except RetrodictError as error:
                return error.message
            if self.payload_state(kept, row) == "held" and not self.look.is_possible:
                return looks.NOT_POSSIBLE
        return "the values cannot be read"

    # ---- lines

    def object_fact(
        self,
        says: str,
        digest: Digest,
        evidence: Evidence,
        *,
        facts: tuple[Fact, ...] = (),
        lines: tuple[str, ...] = (),
    ) -> Fact:
        """Return a line about an object."""
        state, rehashed = self.state(digest)
        key = sealed_key(self.workspace, digest) if state == "erased" else None
        forgotten = None if key is None else find_forgetting(self.workspace, key)
        if state == "missing" and digest in self._released:
            says += f", let go (entry {self._released[digest]})"
        return Fact(
            says=says if forgotten is None else f"{says}; {forgotten}",
            evidence=evidence,
            state=state,
            rehashed=rehashed,
            ref=names.short(digest),
            digest=digest,
            facts=facts,
            lines=lines,
        )

    @staticmethod
    def entry_fact(
        says: str,
        sequenced: Sequenced,
        evidence: Evidence,
        *,
        ref: str | None = None,
        facts: tuple[Fact, ...] = (),
    ) -> Fact:
        """Return a line about what an entry says; the entry had its leaf hash when it was read."""
        return Fact(says=says, evidence=evidence, state="held", ref=ref or str(sequenced.index), facts=facts)

    def model(self, event: str | None) -> ModelVersion | None:
        """Return the model version that an event registered."""
        found = [] if event is None else models.find(self.database, event=EventId(event))
        return found[0] if found else None

    def dataset_of(self, event: str | None) -> datasets.DatasetVersion | None:
        """Return the dataset version that an event added, or from which it fetched something."""
        sequenced = self.find(event)
        if sequenced is not None and sequenced.event.kind == "bucket.fetched":
            event = str(sequenced.event.body["version"])
        found = [] if event is None else datasets.find(self.database, event=EventId(event))
        return found[0] if found else None


def worst(facts: Sequence[Fact]) -> State:
    """Return the state of lines taken together; gaps do not count."""
    return worst_state(fact.state for fact in facts if fact.kind == "fact")


def worst_state(states: Iterable[State]) -> State:
    """Return the state of things taken together."""
    found = set(states)
    order: tuple[State, ...] = ("altered", "missing", "erased", "sealed")
    return next((bad for bad in order if bad in found), "held")


def gap(says: str, facts: tuple[Fact, ...] = ()) -> Fact:
    """Return a line about something that should be known and is not on record."""
    return Fact(says=says, evidence="inferred", state="missing", kind="gap", facts=facts)


def command(line: str, says: str = "") -> Fact:
    """Return a line that can be pasted."""
    return Fact(says=line, evidence="inferred", state="held", kind="command", lines=(says,) if says else ())


def moment(at: str | None) -> str:
    """Return an instant to the second.

    >>> moment("2019-11-07T20:34:00.000000001Z")
    '2019-11-07 20:34:00 UTC'
    """
    return "at an unknown time" if at is None else f"{at[:10]} {at[11:19]} UTC"


def listed(words: list[str] | tuple[str, ...], limit: int = 6) -> str:
    """Return words as an enumeration, at most `limit` of them.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    words = list(words)
    if len(words) > limit:
        return f"{', '.join(words[:limit])} and {len(words) - limit} more"
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
