"""Looking at personal values: each look is an event, and where none can be recorded the values stay sealed. No verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from retrodict import exposure, predictions
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.ledger import Sequenced
from retrodict.predictions import Kept, Payload, SealedPayload, Segment, payload, personal
from retrodict.predictions.errors import SealedValuesError
from retrodict.predictions.payload import Encoded
from retrodict.workspace import Batch, Workspace, edges_or_list, open_text, sealed_text

NOT_POSSIBLE: Final = "sealed: looking at personal values is recorded, and nothing can be recorded here"
What = Literal["disputes", "explain", "export", "predictions", "server", "show", "stream", "table"]
_IN_AN_EVENT: Final = 500  # pseudonyms; more are told in further events
_NAMED_CALLS: Final = 1000  # a look at more says only whose they are, by which `forget` finds it


class Look:
    """One look: opens what is to be shown, and takes note of whose it is.

    Attributes:
        how: Why what is personal is not shown where no look was asked for, and how to see it.
        is_possible: A look can be recorded.
    """

    def __init__(self, workspace: Workspace, what: What, *, caller: str | None = None) -> None:
        """Begin; `what` is it that shows them, and `caller` who looks, as they say, where it is not the agent."""
        self._caller = caller
        self._workspace = workspace
        self._what = what
        self._subjects: dict[str, None] = {}
        self.how = "personal: " + (
            "shown to whose token has the right `personal`" if what == "server" else "--subject or --unseal shows it"
        )
        self.is_possible = not workspace.read_only and bool(workspace.agent)

    def encoded_row(self, kept: Kept, row: int) -> tuple[Encoded, int]:
        """Return a payload that holds row `row` of a call, and which of its rows that is.

        Raises:
            SealedValuesError: No look can be recorded here; or a key is not held.
            ErasedError: It was about somebody who was forgotten.
            MissingObjectError, AlteredObjectError: The bytes are not held as they were.
        """
        self._open(kept, row)
        found = personal.encoded_row(self._workspace, kept, row)
        self._note(kept, row)
        return found

    def row(self, kept: Kept, row: int) -> dict[str, object]:
        """Return one row of logged values; raises as `encoded_row` does."""
        found, place = self.encoded_row(kept, row)
        return payload.row(payload.decode(found.codec, found.schema, found.batch, found.meta), place)

    def value(self, kept: Kept) -> Any:
        """Return logged values, whole; raises as `encoded_row` does."""
        self._open(kept, None)
        found = personal.value(self._workspace, kept)
        self._note(kept, None)
        return found

    def text_of(self, subjects: set[str]) -> bool:
        """Say whether a text about these people may be shown, and take note of it."""
        if subjects and not self.is_possible:
            return False
        self._subjects.update(dict.fromkeys(sorted(subjects)))
        return True

    def record(self, predictions: tuple[EventId, ...] = (), *, uses: Sequence[Edge] = ()) -> None:
        """Record what was looked at; before it is shown.

        Args:
            predictions: The calls; they are named where they are not too many.
            uses: What else was looked at.
        """
        subjects = list(self._subjects)
        if not subjects:
            return
        named = predictions if len(predictions) <= _NAMED_CALLS else ()
        batch = Batch(self._workspace)
        run = _run(self._workspace)
        is_read_here = bool(run) or self._what != "server"  # a server shows values to others
        more = exposure.before(self._workspace) if is_read_here and not run else []
        for start in range(0, len(subjects), _IN_AN_EVENT):
            batch.event(
                "personal.viewed",
                uses=edges_or_list(
                    batch,
                    [*(Edge(ref=Ref(e), role="prediction", evidence="observed") for e in named), *uses, *more],
                ),
                makes=(),
                body={
                    "subjects": subjects[start : start + _IN_AN_EVENT],
                    "by": self._what,
                    "caller": None if self._caller is None else batch.agent(self._caller),
                    **run,
                },
            )
        looked = batch.append()[-1].event.id
        if is_read_here:
            exposure.note(self._workspace, looked)
        self._subjects.clear()

    def _open(self, kept: Kept, row: int | None) -> None:
        if isinstance(kept, Payload) or self.is_possible:
            return
        for segment in kept.parts(self._workspace.objects.get):  # what is gone is said to be gone to everybody
            if _holds(segment, row) and personal.erased_by(self._workspace, segment) is not None:
                raise personal.unopened(self._workspace, segment)
        raise SealedValuesError(NOT_POSSIBLE, hint="Open the workspace where it can be written.")

    def _note(self, kept: Kept, row: int | None) -> None:
        if isinstance(kept, SealedPayload):
            found = personal.row_subjects(kept, self._workspace.objects.get, row)
            self._subjects.update(dict.fromkeys(sorted(found)))


def people_in(workspace: Workspace, sequenced: Sequenced, row: int | None = None) -> set[str]:
    """Return whom the texts of an entry may be about: of a call (one row of it), a dispute, its end, or a replay.

    An error's text is about everybody in the call; so is what was found when it was made again.
    """
    event, body = sequenced.event, sequenced.event.body
    match event.kind:
        case "prediction.made" | "prediction.declared" | "prediction.fetched":
            about, objects = predictions.payloads(event), workspace.objects
            row = None if body.get("status") == "error" else row
            return {subject for kept in about for subject in personal.row_subjects(kept, objects.get, row)}
        case "prediction.disputed" | "replay.finished":
            call, of = workspace.logs.find(EventId(str(body["prediction"]))), body.get("row")
            return set() if call is None else people_in(workspace, call, of if isinstance(of, int) else None)
        case "dispute.resolved":
            dispute = workspace.logs.find(EventId(str(body["dispute"])))
            return set() if dispute is None else people_in(workspace, dispute)
    return set()


def reason(workspace: Workspace, look: Look, sequenced: Sequenced) -> str | None:
    """Return the reason of an entry, to be shown; where it may not be, why."""
    if sequenced.event.reason is None:
        return None
    may_read = look.text_of(people_in(workspace, sequenced))
    return open_text(workspace, sequenced.event.reason) if may_read else NOT_POSSIBLE


def record_file(workspace: Workspace, content: Digest, *, by: Literal["checkout", "tensor"] = "checkout") -> None:
    """Record that a personal file is looked at; before it is.

    Raises:
        SealedValuesError: That cannot be recorded here.
    """
    if workspace.read_only or not workspace.agent:
        raise SealedValuesError(NOT_POSSIBLE, hint="Open the workspace where it can be written.")
    batch = Batch(workspace)
    run = _run(workspace)
    batch.event(
        "personal.viewed",
        uses=(
            Edge(ref=Ref(content), role="dataset", evidence="observed"),
            *([] if run else exposure.before(workspace)),
        ),
        makes=(),
        body={"subjects": [], "by": by, "caller": None, **run},
    )
    exposure.note(workspace, batch.append()[-1].event.id)


def _run(workspace: Workspace) -> dict[str, str]:
    """Return what says in which run somebody looks: what it makes is personal then."""
    named = workspace.run()
    return {} if not named or workspace.logs.find(EventId(named)) is None else {"run": named}


def is_only_about(workspace: Workspace, kept: Kept, row: int, names: set[str]) -> bool:
    """Say whether a row of a payload is about nobody but these people."""
    return personal.row_subjects(kept, workspace.objects.get, row) <= names


def error_text(workspace: Workspace, sequenced: Sequenced) -> str | None:
    """Return the text of a failed call's error."""
    return open_text(workspace, sealed_text(sequenced.event.body.get("error")))


def _holds(segment: Segment, row: int | None) -> bool:
    return row is None or any(first <= row < first + count for first, count in segment.rows)
