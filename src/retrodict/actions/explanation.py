"""What `explain` answers, as one frozen record: text, JSON and HTML are three renderings of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrodict.actions.authorship import How
from retrodict.diagnose.attribution import Attribution
from retrodict.diagnose.versus import Contrast
from retrodict.kernel.types import Digest, EventId, Evidence

State = Literal["held", "missing", "altered", "erased", "sealed"]
QUESTIONS = (
    "Can it be replicated?",
    "What were the inputs?",
    "Which model versions answered?",
    "What were they trained on?",
    "What code trained them?",
    "Where does that data come from?",
    "Which other models were involved?",
    "Which inputs carried the answer?",
    "How can it be fixed?",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line: what is known, how it is known, and whether its bytes are there.

    Attributes:
        says: A sentence without a full stop.
        evidence: How it is known. Of a gap: "inferred", from what is not on record.
        state: Of the bytes that it rests on; of a fact that an entry states, of the entry.
        rehashed: The bytes were read and had their digest, just now; False: the index lists them, nobody looked.
        ref: What to paste to see it: `12`, `12.3`, `credit@v2`, `b3-...`.
        digest: The object that it is about, in full.
        kind: A gap says what should be known and is not; a command can be pasted.
        lines: Verbatim text that belongs to it, such as lines that differ.
        facts: What stands below it.
    """

    says: str
    evidence: Evidence
    state: State
    rehashed: bool = True
    ref: str | None = None
    digest: Digest | None = None
    kind: Literal["fact", "gap", "command"] = "fact"
    lines: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Named values, with the evidence that they share; `note` is a sentence about all of them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    evidence: Evidence
    state: State
    ref: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """Which inputs carried one part of the answer of one model.

    Attributes:
        of: The model, or "the whole chain".
        ref: The call, as a person pastes it.
        background: Where the rows come from that it was compared with; the result says how many were taken.
        result: The values.
    """

    of: str
    ref: str
    background: str
    result: Attribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """What would be answered if other versions stood in place, and how many other answers would change.

    Attributes:
        change: What is exchanged, in words: "decision@v2 in place of decision@v1".
        models: The versions that differ from those that answered, by name.
        commands: What brings it about.
        answer: What it says to this input: named values; empty where it could not be asked.
        differs: Whether that is another answer than the one given; None: it could not be asked.
        sampled: How many other logged answers (rows) were asked again, in `calls` of `population` calls, which were
            drawn evenly with the seed `seed`.
        decisions: How many of them would be another decision; None: these answers hold no decision.
        values: How many of them would differ in anything.
        intervals: 95 % intervals of the two shares: decisions, values. Rows of one call are alike, so that each call
            counts once; where all calls were asked, the shares themselves.
        problem: Why it could not be asked.
    """

    change: str
    models: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]
    answer: tuple[tuple[str, object], ...] = ()
    differs: bool | None = None
    sampled: int = 0
    calls: int = 0
    population: int = 0
    seed: int = 0
    decisions: int | None = None
    values: int = 0
    intervals: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 1.0), (0.0, 1.0))
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Another model that took part, with questions 3 to 6 (and 7, where it is composed itself) about it."""

    of: str
    ref: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One of the nine.

    Attributes:
        number: 1 to 9.
        verdict: Of a question that asks for one.
        says: The answer in a sentence.
        needs_replay: A model must be run for the rest of it, which was not asked for.
        parts: Of question 7.
        attributions: Of question 8.
        alternatives: Of question 9.
    """

    number: int
    question: str
    says: str
    verdict: str | None = None
    needs_replay: bool = False
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()
    parts: tuple[Part, ...] = ()
    attributions: tuple[Attributed, ...] = ()
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The prediction that is explained.

    Attributes:
        ref: `12.3`: the entry and the row.
        row: Of `rows` that were scored together.
        leaf_hash: Of the entry, hex.
        kind: "made" here, "declared" by another system, or "fetched" from a third party.
        caller: Who asked; how that is known, `Explanation.named` says.
        answer: What was answered for this row: named values.
        error: What went wrong, where it failed.
        disputes: Complaints about it, and what became of them.
    """

    ref: str
    event: EventId
    entry: int
    row: int
    rows: int
    leaf_hash: str
    kind: Literal["made", "declared", "fetched"]
    at: str
    received: str
    duration_ns: int
    model: str
    requested: str
    caller: str | None
    trace: str | None
    status: Literal["ok", "error"]
    answer: tuple[tuple[str, object], ...]
    error: str | None
    disputes: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Versus:
    """Two predictions side by side.

    Attributes:
        other: The second prediction.
        inputs: Name, first value, second value, of every input; `differing` names those that differ.
        facts: Model versions, serving code and environment: the same or not.
        contrasts: What each difference is worth, for each part of the answer.
        problem: Why the worth could not be found, where it could not.
    """

    other: Subject
    inputs: tuple[tuple[str, object, object], ...]
    differing: tuple[str, ...]
    facts: tuple[Fact, ...]
    contrasts: tuple[Contrast, ...]
    needs_replay: bool
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Somebody whom the explanation names, and how it is known that it was them.

    Attributes:
        entry: The entry that names them.
        authorship: "authenticated": their own key has signed that entry; "claimed": nothing proves it.
    """

    name: str
    entry: int
    authorship: How


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """From one prediction back to everything that caused it.

    Attributes:
        subject: The prediction.
        summary: The whole in a few sentences.
        answers: The nine, in order.
        replayed: Whether models were run for it.
        written: When this explanation was made, RFC 3339.
        origin: The log that it is taken from.
        checkpoint: The signed note that covers the entry, as text; "" where none does yet.
        named: Everybody who is named in it, once for each entry; in sentences "(authenticated)" follows the name.
    """

    subject: Subject
    summary: tuple[str, ...]
    answers: tuple[Answer, ...]
    versus: Versus | None
    replayed: bool
    written: str
    origin: str
    checkpoint: str
    named: tuple[Named, ...]
