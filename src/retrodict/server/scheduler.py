"""Who asks which model when, and which questions are scored together.

Questions wait in a lane for each name that is served. A lane of a row-wise model has one thread: whatever queued while
it scored is scored by the next call, without a timer, and recorded as the call that it was. Other models are asked
question by question. As long as each answer takes less than `QUICK_S`, one thread asks them too: threads that compute
in Python only take the interpreter from each other. A model that is slower, since it waits for others or computes
outside Python, is asked by several threads at once.

A call of several questions that fails, or whose answer does not have a row for each row asked, stays on record as what
happened; each of its questions is then asked alone, so that nobody's row can spoil another's answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retrodict.kernel.errors import UsageError
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
MOST_APPENDED = 16  # calls that one thread makes before it puts them on record
THREADS = 8
QUICK_S = 0.002  # a call that takes longer is worth a thread beside it; twice what small models and their record take
_FORGETS = 1.1  # by how much what the quickest of the last calls took grows with each call


@dataclass(slots=True, kw_only=True, eq=False)
class Question:
    """A question that waits for its answer.

    Attributes:
        inputs: Its tensors; their first axis is rows.
        form: What another question must have in common to be scored with it; None: it is asked alone.
        answer: Done, in the event loop, when the answer is durable.
    """

    inputs: Mapping[str, np.ndarray[Any, Any]] = field(repr=False)  # values are never logged
    asker: Asker
    form: Hashable
    answer: asyncio.Future[Reply]


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


@dataclass(slots=True, kw_only=True)
class _Lane:
    """The questions that wait for one name."""

    reference: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: deque[Question] = field(default_factory=deque)
    threads: int = 0
    is_row_wise: bool = False
    not_row_wise: set[EventId] = field(default_factory=set)  # versions that did not keep what they promised
    quickest_s: float = 0.0  # of the last calls; 0 where there was none
    began: dict[int, float] = field(default_factory=dict)  # thread -> since when its call is under way
    is_watched: bool = False

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
        """Return how many threads there are beside those that wait: in a call that is not quick, or for the disk."""
        long_ago = time.perf_counter() - QUICK_S
        return self.threads - sum(since < long_ago for since in list(self.began.values()))

    def begin(self) -> float:
        """Note that this thread's call begins."""
        now = self.began[threading.get_ident()] = time.perf_counter()
        return now

    def end(self, since: float) -> float:
        """Note that the call ended, and return how long it took.

        The quickest of the last calls counts, since any may have had to wait for the processor.
        """
        self.began.pop(threading.get_ident(), None)
        took = time.perf_counter() - since
        self.quickest_s = min(took, self.quickest_s * _FORGETS or took)
        return took

    def take(self) -> list[list[Question]]:
        """Return the next questions, those of one list to be scored together; the lock is held.

        Of questions that are asked one by one a thread takes half of what waits, and puts them on record in one append:
        so many commits are saved. Of those that may take long it takes one: the others would wait behind it.
        """
        if self.is_row_wise:
            share = MOST_QUESTIONS
        elif 0 < self.quickest_s < QUICK_S:
            share = min(len(self.waiting) // 2 + 1, MOST_APPENDED)
        else:
            share = 1
        calls: list[list[Question]] = []
        rows = 0
        others: list[Question] = []
        taken = 0
        while self.waiting and taken < share:
            question = self.waiting.popleft()
            if question.answer.done():
                continue  # whoever asked has gone
            if not self.is_row_wise or question.form is None:
                calls.append([question])
                taken += 1
            elif rows == 0:
                together = [question]
                calls.append(together)
                rows, taken = question.asker.rows, taken + 1
            elif question.form == together[0].form and rows + question.asker.rows <= MOST_ROWS:
                together.append(question)
                rows, taken = rows + question.asker.rows, taken + 1
            else:
                others.append(question)
        self.waiting.extendleft(reversed(others))
        return calls


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
        self._queue(lane, [question])
        return question.answer

    def forget(self, reference: str) -> None:
        """Drop the lane of a name that nobody waits for; names with versions come from outside."""
        lane = self._lanes.get(reference)
        if lane is not None and not lane.threads and not lane.waiting:
            del self._lanes[reference]

    def _queue(self, lane: _Lane, questions: list[Question]) -> None:
        with lane.lock:
            lane.waiting.extend(questions)
            starts = lane.may_start()
            lane.threads += starts
            watches = not starts and not lane.is_row_wise and not lane.is_watched
            lane.is_watched |= watches
        if starts:
            self._pool.submit(self._work, lane)
        if watches:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._loop.call_later, QUICK_S, self._watch, lane)

    def _watch(self, lane: _Lane) -> None:
        """Start another thread where those that there are wait; again and again, while questions wait for them."""
        with lane.lock:
            lane.is_watched = bool(lane.waiting) and not lane.is_row_wise
            starts = lane.is_watched and lane.may_start()
            lane.threads += starts
        if starts:
            self._pool.submit(self._work, lane)
        if lane.is_watched:
            assert self._loop is not None
            self._loop.call_later(QUICK_S, self._watch, lane)

    def _work(self, lane: _Lane) -> None:
        """Answer what waits in a lane, until nothing does."""
        while True:
            with lane.lock:
                if not lane.waiting or lane.has_too_many():
                    lane.threads -= 1
                    return
            failure, ready = None, None
            try:
                ready = self._service.ready(lane.reference)  # a new version is loaded before it answers
                lane.is_row_wise = ready.is_row_wise and ready.version.event not in lane.not_row_wise
            except BaseException as error:  # noqa: BLE001 - handed to who asked
                failure = error
            with lane.lock:
                calls = [] if lane.has_too_many() else lane.take()
                if not calls:
                    lane.threads -= 1
                    return
            if ready is None:
                assert failure is not None
                self._deliver([(question, failure) for questions in calls for question in questions])
            else:
                self._answer(lane, ready, calls)

    def _answer(self, lane: _Lane, ready: Ready, calls: list[list[Question]]) -> None:
        """Let the model answer each call, and put them on record together."""
        asked: list[Asked] = []
        askers: list[list[Question]] = []
        for number, questions in enumerate(calls, 1):
            began = lane.begin()
            try:
                asked.append(self._ask(ready, questions))
                askers.append(questions)
            except BaseException as error:  # noqa: BLE001 - handed to who asked
                if len(questions) > 1:  # one of them does not fit; which one shows when each is asked alone
                    self._answer(lane, ready, [[question] for question in questions])
                else:
                    self._deliver([(questions[0], error)])
            if lane.end(began) > QUICK_S and not lane.is_row_wise and number < len(calls):
                with lane.lock:  # those who are answered need not wait for the others
                    lane.waiting.extendleft(reversed([question for later in calls[number:] for question in later]))
                break
        if not asked:
            return
        # Nobody waits: then a change of thread would only cost. Else the next are scored while these are committed.
        is_lone = not lane.waiting and lane.threads == 1
        if is_lone:
            lane.began[threading.get_ident()] = 0.0  # whoever comes meanwhile needs another thread
        outcomes: list[Answer | ModelFailedError] | BaseException
        try:
            if not is_lone:
                self._service.submit(asked, lambda outcomes: self._recorded(lane, ready, askers, outcomes))
                return
            outcomes = self._service.record(asked)
        except UsageError as error:
            if len(asked) > 1:  # one of them cannot be written
                for questions in askers:
                    self._answer(lane, ready, [questions])
                return
            outcomes = error
        except BaseException as error:  # noqa: BLE001 - handed to who asked
            outcomes = error
        finally:
            lane.began.pop(threading.get_ident(), None)
        self._recorded(lane, ready, askers, outcomes)

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
        calls: list[list[Question]],
        outcomes: list[Answer | ModelFailedError] | BaseException,
    ) -> None:
        """Hand out answers that are durable now, or why there are none; in the thread that committed them."""
        if isinstance(outcomes, BaseException):
            self._deliver([(question, outcomes) for questions in calls for question in questions])
            return
        results: list[tuple[Question, Any]] = []
        for questions, outcome in zip(calls, outcomes, strict=True):
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
        self._queue(lane, questions)

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
