"""Who asks which model when, and which questions are scored together.

Questions wait in a lane for each name that is served. A lane of a row-wise model has one thread: whatever queued while
it scored is scored by the next call, without a timer, and recorded as the call that it was. Other models are asked
question by question. As long as each answer takes less than `QUICK_S`, one thread asks them too: threads that compute
in Python only take the interpreter from each other. For the same reason it asks all that wait, for a turn, before it
puts that on record in one append: meanwhile those who asked wait, and leave it the interpreter. The event loop is woken
as rarely as can be until then: whatever it wants, it gets the interpreter late, and each time that a call gives it up
for an instant it is woken to find it taken again. A model that is slower, since it waits for others or computes outside
Python, is asked by several threads at once.

A call of several questions that fails, or whose answer does not have a row for each row asked, stays on record as what
happened; each of its questions is then asked alone, so that nobody's row can spoil another's answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.types import EventId
from retrodict.models.subjects import take_subjects
from retrodict.server import tensors
from retrodict.server.errors import FieldError
from retrodict.server.tensors import Outputs
from retrodict.serving import Answer, Asked, Asker, ModelFailedError, Ready, Service

if TYPE_CHECKING:
    import numpy as np

MOST_ROWS = 4096  # of questions that are scored together
MOST_QUESTIONS = 128  # likewise; an entry holds what is to be said of each
TURN_S = 0.05  # how long one thread asks before it puts on record what was answered
THREADS = 8
QUICK_S = 0.002  # a call that takes longer is worth a thread beside it; twice what small models and their record take
HELD_UP_S = 0.005  # a call that takes longer keeps others waiting; the processor is not taken from a thread for so long
WATCH_S = 0.1  # the longest between two looks whether one does: each takes the interpreter from the calls
_FORGETS = 1.1  # by how much what the quickest of the last calls took grows with each call


@dataclass(slots=True, kw_only=True, eq=False)
class Question:
    """A question that waits for its answer.

    Attributes:
        inputs: Its tensors; their first axis is rows.
        form: What another question must have in common to be scored with it; None: it is asked alone.
        answer: Done, in the event loop, when the answer is durable.
        number: How many had come to its lane when it did.
    """

    inputs: Mapping[str, np.ndarray[Any, Any]] = field(repr=False)  # values are never logged
    asker: Asker
    form: Hashable
    answer: asyncio.Future[Reply]
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer as one of those who asked gets it.

    Attributes:
        answer: Of the call.
        outputs: Of the call; `rows` are theirs, None: all.
        reference: What to paste: `12`, `12.0`, or `12.3` where others were asked in the same call.
        trace, span: Of their question.
    """

    answer: Answer
    outputs: Outputs
    rows: slice | None
    reference: str
    trace: str
    span: str


_Call = tuple[Asked, list[Question]]


@dataclass(slots=True, kw_only=True, eq=False)
class _Turn:
    """What one thread was answered and has yet to put on record.

    Attributes:
        calls: With the questions of each; the lane's lock is held by who takes or adds some.
        since: When the call began that is under way (0: the thread waits for the disk); None: there is none.
        arrived: How many questions had come before it was looked up which version answers.
    """

    ready: Ready
    arrived: int
    calls: list[_Call] = field(default_factory=list)
    since: float | None = None

    @property
    def is_held_up(self) -> bool:
        """Say whether the thread has been in a call that is not quick, or waits for the disk."""
        since = self.since
        return since is not None and time.perf_counter() - since > HELD_UP_S


@dataclass(slots=True, kw_only=True)
class _Lane:
    """The questions that wait for one name."""

    reference: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: deque[Question] = field(default_factory=deque)
    arrived: int = 0  # how many questions have come
    threads: int = 0
    is_row_wise: bool = False
    not_row_wise: set[EventId] = field(default_factory=set)  # versions that did not keep what they promised
    quickest_s: float = 0.0  # of the last calls; 0 where there was none
    turns: set[_Turn] = field(default_factory=set)  # that are under way
    is_watched: bool = False
    watch_s: float = HELD_UP_S  # from one look to the next

    def may_start(self) -> bool:
        """Say whether another thread would help what waits; the lock is held."""
        return self.threads < (1 if self.is_row_wise else THREADS) and self._at_work() < self.most_threads

    def has_too_many(self) -> bool:
        """Say whether the thread that asks is one too many; the lock is held."""
        return self.threads > 1 if self.is_row_wise else self._at_work() > self.most_threads

    @property
    def most_threads(self) -> int:
        """How many threads may ask at once."""
        return 1 if self.is_row_wise or self.quickest_s < QUICK_S else THREADS

    def _at_work(self) -> int:
        """Return how many threads there are beside those that are held up."""
        return self.threads - sum(turn.is_held_up for turn in self.turns)

    @contextlib.contextmanager
    def turn(self, ready: Ready, arrived: int) -> Iterator[_Turn]:
        """A turn of the thread that asks."""
        turn = _Turn(ready=ready, arrived=arrived)
        with self.lock:
            self.turns.add(turn)
        try:
            yield turn
        finally:
            with self.lock:
                self.turns.discard(turn)

    def keeps_thread(self) -> bool:
        """Say whether the thread that asks has more to do; otherwise it is no longer counted."""
        with self.lock:
            keeps = bool(self.waiting) and not self.has_too_many()
            self.threads -= not keeps
            return keeps

    def took(self, seconds: float) -> None:
        """Note how long a call took.

        The quickest of the last calls counts, since any may have had to wait for the processor.
        """
        self.quickest_s = min(seconds, self.quickest_s * _FORGETS or seconds)

    def take(self) -> list[Question]:
        """Return the next questions that are to be scored together: where the model is not row-wise, one at most."""
        together: list[Question] = []
        others: list[Question] = []
        rows = 0
        with self.lock:
            while self.waiting and len(together) < MOST_QUESTIONS and not self.has_too_many():
                question = self.waiting.popleft()
                if question.answer.done():
                    continue  # whoever asked has gone
                if not together:
                    together.append(question)
                    if not self.is_row_wise or question.form is None:
                        break
                elif question.form == together[0].form and rows + question.asker.rows <= MOST_ROWS:
                    together.append(question)
                else:
                    others.append(question)
                    continue
                rows += question.asker.rows
            self.waiting.extendleft(reversed(others))
        return together


class Scheduler:
    """Gives questions to models and answers to those who asked."""

    def __init__(
        self, service: Service, pool: Executor, scored: Callable[[str, int, int], None] = lambda *_: None
    ) -> None:
        """`scored` is told, for each call: what was asked for, how many questions and how many rows it had."""
        self._service = service
        self._pool = pool
        self._scored = scored
        self._lanes: dict[str, _Lane] = {}
        self._done: list[tuple[Question, Any]] = []
        self._done_lock = threading.Lock()
        self._is_waking = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def ask(self, reference: str, inputs: Mapping[str, np.ndarray[Any, Any]], asker: Asker) -> asyncio.Future[Reply]:
        """Queue a question; to be called in the event loop."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        lane = self._lanes.get(reference)
        if lane is None:
            lane = self._lanes[reference] = _Lane(reference=reference)
        question = Question(inputs=inputs, asker=asker, form=tensors.form(inputs), answer=self._loop.create_future())
        self._queue(lane, [question], self._loop.call_soon)
        return question.answer

    def forget(self, reference: str) -> None:
        """Drop the lane of a name that nobody waits for; names with versions come from outside."""
        lane = self._lanes.get(reference)
        if lane is not None and not lane.threads and not lane.waiting:
            del self._lanes[reference]

    def _queue(self, lane: _Lane, questions: list[Question], call_soon: Callable[..., object]) -> None:
        """Let questions wait in a lane, and see to it that a thread asks them.

        Args:
            call_soon: Has the event loop call something; may be called in this thread.
        """
        with lane.lock:
            for question in questions:
                lane.arrived += 1
                question.number = lane.arrived
            lane.waiting.extend(questions)
            starts = lane.may_start()
            # A thread of its own keeps nobody waiting.
            watches = not (starts or lane.is_watched or lane.is_row_wise)
            lane.threads += starts
            lane.is_watched |= watches
        if starts or watches:
            call_soon(self._see_to, lane, starts, len(lane.waiting))

    def _see_to(self, lane: _Lane, starts: bool, waiting: int) -> None:
        """Start a thread, after what else has arrived was queued so that it is asked in the same turn; or a watch."""
        assert self._loop is not None
        if starts and waiting < len(lane.waiting) < MOST_QUESTIONS:
            self._loop.call_soon(self._see_to, lane, starts, len(lane.waiting))
        elif starts:
            self._pool.submit(self._work, lane)
        else:
            self._loop.call_later(lane.watch_s, self._watch, lane)

    def _watch(self, lane: _Lane) -> None:
        """See again and again to those who wait for a call that is not quick, while there are any.

        Another thread asks what waits, and what was answered in the same turn is put on record. The longer no call was
        found that holds others up, the longer until the next look.
        """
        answered: list[tuple[Ready, list[_Call]]] = []
        with lane.lock:
            starts = bool(lane.waiting) and lane.may_start()
            lane.threads += starts
            for turn in lane.turns:
                if turn.calls and turn.is_held_up:
                    answered.append((turn.ready, turn.calls))
                    turn.calls = []
            lane.watch_s = HELD_UP_S if starts or answered else min(2 * lane.watch_s, WATCH_S)
            lane.is_watched = not lane.is_row_wise and bool(lane.waiting or lane.turns)
        if starts:
            self._pool.submit(self._work, lane)
        for ready, calls in answered:
            self._pool.submit(self._record, lane, ready, calls)
        if lane.is_watched:
            assert self._loop is not None
            self._loop.call_later(lane.watch_s, self._watch, lane)

    def _work(self, lane: _Lane) -> None:
        """Answer what waits in a lane, until nothing does."""
        while lane.keeps_thread():
            arrived = lane.arrived
            try:
                ready = self._service.ready(lane.reference)  # a new version is loaded before it answers
            except BaseException as error:  # noqa: BLE001 - handed to who asked
                self._deliver([(question, error) for question in lane.take()])
                continue
            lane.is_row_wise = ready.is_row_wise and ready.version.event not in lane.not_row_wise
            with lane.turn(ready, arrived) as turn:
                self._ask_all(lane, turn)
                with lane.lock:
                    calls, turn.calls = turn.calls, []
                    # To change the thread would cost more than to wait for the disk: whoever waits now is asked
                    # afterwards, together with those who come back with another question. What is scored together
                    # takes so little that it is worth it.
                    is_lone = lane.threads == 1 and not (lane.is_row_wise and lane.waiting)
                    if is_lone:
                        turn.since = 0.0  # whoever comes meanwhile needs another thread
                if calls:
                    self._record(lane, ready, calls, here=is_lone)

    def _ask_all(self, lane: _Lane, turn: _Turn) -> None:
        """Let the model answer what waits, as long as it is quick and the turn lasts."""
        until = time.perf_counter() + TURN_S
        while questions := lane.take():
            if not self._is_for(lane, turn, questions):
                with lane.lock:
                    lane.waiting.extendleft(reversed(questions))
                break
            is_alone = not lane.is_row_wise or questions[0].form is None
            began = turn.since = time.perf_counter()
            try:
                asked = self._ask(turn.ready, questions)
            except BaseException as error:  # noqa: BLE001 - handed to who asked
                if len(questions) == 1:
                    self._deliver([(questions[0], error)])
                else:  # one of them does not fit; which one shows when each is asked alone
                    self._again_alone(lane, questions)
            else:
                with lane.lock:
                    turn.calls.append((asked, questions))
            turn.since = None
            ended = time.perf_counter()
            lane.took(ended - began)
            if not is_alone or ended - began > HELD_UP_S or ended > until:
                break

    def _is_for(self, lane: _Lane, turn: _Turn, questions: list[Question]) -> bool:
        """Say whether questions are for the version that answers: an alias may have moved before one of them came."""
        if max(question.number for question in questions) <= turn.arrived:
            return True
        arrived = lane.arrived
        try:
            version = self._service.resolve(lane.reference)
        except RetrodictError:
            return False  # the next turn says so
        if version.event != turn.ready.version.event:
            return False
        turn.arrived = arrived
        return True

    def _record(self, lane: _Lane, ready: Ready, calls: list[_Call], *, here: bool = False) -> None:
        """Put calls on record in one append, which this thread commits itself if `here`, and hand out the answers."""
        asked = [one for one, _ in calls]
        outcomes: list[Answer | ModelFailedError] | BaseException
        try:
            if not here:
                self._service.submit(asked, lambda outcomes: self._recorded(lane, ready, calls, outcomes))
                return
            outcomes = self._service.record(asked)
        except UsageError as error:
            if len(calls) > 1:  # one of them cannot be written
                for call in calls:
                    self._record(lane, ready, [call], here=here)
                return
            outcomes = error
        except BaseException as error:  # noqa: BLE001 - handed to who asked
            outcomes = error
        self._recorded(lane, ready, calls, outcomes)

    def _ask(self, ready: Ready, questions: list[Question]) -> Asked:
        first = questions[0].inputs
        inputs = first if len(questions) == 1 else tensors.join([question.inputs for question in questions])
        inputs, subject = _take_subjects(ready, inputs)
        data = tensors.as_input(inputs, ready.signature)
        # A single array that became a frame is kept as it was sent, too.
        raw = inputs if len(inputs) == 1 and next(iter(inputs.values())).ndim == 2 and _is_frame(data) else None
        asked = self._service.ask(ready, data, [question.asker for question in questions], raw=raw, subject=subject)
        self._scored(ready.reference, len(questions), sum(question.asker.rows for question in questions))
        return asked

    def _recorded(
        self,
        lane: _Lane,
        ready: Ready,
        calls: list[_Call],
        outcomes: list[Answer | ModelFailedError] | BaseException,
    ) -> None:
        """Hand out answers that are durable now, or why there are none; in the thread that committed them."""
        if isinstance(outcomes, BaseException):
            self._deliver([(question, outcomes) for _, questions in calls for question in questions])
            return
        results: list[tuple[Question, Any]] = []
        for (_, questions), outcome in zip(calls, outcomes, strict=True):
            try:
                results += self._outcome(lane, ready, questions, outcome)
            except BaseException as failure:  # noqa: BLE001 - handed to who asked
                results += [(question, failure) for question in questions]
        self._deliver(results)

    def _outcome(
        self, lane: _Lane, ready: Ready, questions: list[Question], outcome: Answer | ModelFailedError
    ) -> list[tuple[Question, Any]]:
        """Return what each of those who asked gets; nothing where each is asked again, alone."""
        if isinstance(outcome, ModelFailedError):
            if len(questions) == 1:
                return [(questions[0], outcome)]
            self._again_alone(lane, questions)
            return []
        signature = ready.signature
        outputs = Outputs(outcome.output, tensors.names(None if signature is None else signature.outputs))
        if len(questions) > 1 and not outputs.has_rows(sum(question.asker.rows for question in questions)):
            lane.not_row_wise.add(ready.version.event)
            self._again_alone(lane, questions)
            return []
        return list(zip(questions, _replies(outcome, outputs, questions), strict=True))

    def _again_alone(self, lane: _Lane, questions: list[Question]) -> None:
        for question in questions:
            question.form = None
        assert self._loop is not None
        self._queue(lane, questions, self._loop.call_soon_threadsafe)

    def _deliver(self, results: list[tuple[Question, Any]]) -> None:
        """Wake those who asked, in the event loop: once for all that became durable together."""
        with self._done_lock:
            self._done.extend(results)
            if self._is_waking:
                return  # a wake-up that has yet to look is under way
            self._is_waking = True
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        with self._done_lock:
            done, self._done, self._is_waking = self._done, [], False
        for question, result in done:
            if question.answer.done():
                continue
            if isinstance(result, BaseException):
                question.answer.set_exception(result)
            else:
                question.answer.set_result(result)


def _replies(answer: Answer, outputs: Outputs, questions: list[Question]) -> list[Reply]:
    if len(questions) == 1:
        reference = f"{answer.index}.0" if questions[0].asker.rows == 1 else str(answer.index)
        return [
            Reply(answer=answer, outputs=outputs, rows=None, reference=reference, trace=answer.trace, span=answer.span)
        ]
    return [
        Reply(
            answer=answer,
            outputs=outputs,
            rows=slice(part.first_row, part.first_row + part.rows),
            reference=f"{answer.index}.{part.first_row}",
            trace=part.trace,
            span=part.span,
        )
        for part in answer.parts
    ]


def _take_subjects(
    ready: Ready, inputs: Mapping[str, np.ndarray[Any, Any]]
) -> tuple[Mapping[str, np.ndarray[Any, Any]], list[str] | None]:
    """Return the model's own tensors, and whom the rows are about, where a tensor beside them says it."""
    personal, signature = ready.version.personal, ready.signature
    if personal is None or (signature is not None and any(s.name == personal.subject for s in signature.inputs)):
        return inputs, None
    taken = take_subjects(inputs, personal.subject, signature)
    if taken is None:
        return inputs, None  # the service says what is missing
    rest = {name: tensor for name, tensor in inputs.items() if name != personal.subject}
    if not rest:
        raise FieldError("inputs", f"the model's inputs beside {personal.subject}", personal.subject)
    return rest, taken[1]


def _is_frame(data: Any) -> bool:
    return hasattr(data, "columns")
