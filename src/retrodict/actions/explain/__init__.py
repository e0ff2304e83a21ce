"""`explain`: from one prediction back to everything that caused it, in nine answers.

Without `replay` no model is run, nothing heavy is imported and large objects are not hashed again: it reads one call,
the entries that it leads to, and small files. With it, models are run in this process, from verified bytes, and the
verdict of question 1 comes from a separate interpreter.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from retrodict import predictions
from retrodict.actions import looks, names
from retrodict.actions.contents import Row
from retrodict.actions.explain import code, compared, fixes, served, upstream
from retrodict.actions.explain.code import FeatureCode
from retrodict.actions.explain.reading import Reader, gap, listed
from retrodict.actions.explain.served import Served
from retrodict.actions.explain.upstream import Source, Upstream
from retrodict.actions.explanation import QUESTIONS, Answer, Explanation, Fact, Part, Subject, Versus
from retrodict.actions.looks import Look
from retrodict.kernel import clock as clocks
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
from retrodict.kernel.words import count
from retrodict.predictions import Call, SealedPayload
from retrodict.workspace import Workspace

if TYPE_CHECKING:
    from retrodict.actions.explain.rerun import Cast
    from retrodict.diagnose.versus import Contrast

SAMPLE = 200


def explain(
    workspace: Workspace,
    reference: str,
    *,
    versus: str | None = None,
    replay: bool = False,
    sample: int = SAMPLE,
    seed: int = 0,
    environment: Mapping[str, object] | None = None,
    variables: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Explain one prediction.

    Args:
        workspace: Where it is on record.
        reference: The prediction: `12.3`, or `12` where the call has one row or one of its rows is disputed; or the
            dispute about it.
        versus: Another prediction, to set beside it.
        replay: Run the models: for the verdict of question 1 and the figures of 8 and 9, and of `versus`.
        sample: How many other logged calls each way to fix it is tried on.
        seed: Of every sampling; not negative.
        environment: The present environment, as `capture.snapshot_environment` gives it; None: a quick look at the
            libraries of this interpreter.
        variables: The environment variables, for the replay.
        progress: Told how far the running of models has come.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: The reference is no prediction, or leaves open which row; `sample` or `seed` is negative.
    """
    if sample < 0:
        raise UsageError(f"a sample of {sample} calls", hint="Give 0 or more.")
    if seed < 0:
        raise UsageError(f"a seed of {seed}", hint="Give 0 or more.")
    reader = Reader(workspace, Look(workspace, "explain"), rehash=replay)
    top = _subject(reader, reference)
    other = None if versus is None else _subject(reader, versus)
    with tempfile.TemporaryDirectory(prefix="retrodict-explain-") as folder:
        models = _models(reader, Path(folder)) if replay else None
        found = _Explainer(reader, top, models, sample, seed, environment, variables, progress).explain(other)
    reader.look.record(tuple(part.call.event for part in (top, other) if part is not None))
    return found


def _models(reader: Reader, folder: Path) -> Cast:
    from retrodict.actions.explain.rerun import Cast  # with serving and capture, 100 ms

    return Cast(reader, folder)


def _subject(reader: Reader, reference: str) -> Served:
    workspace = reader.workspace
    resolved = names.resolve(workspace, reference)
    disputed = None if resolved.event is None else predictions.disputes(reader.database, event=resolved.event)
    if disputed:
        about = reader.find(disputed[0].prediction)
        if about is None:
            raise UsageError(f"{reference} is a dispute about a prediction that is not on record")
        reference = str(about.index) if disputed[0].row is None else f"{about.index}.{disputed[0].row}"
    call, row = names.call(workspace, reference)
    return served.served(reader, call, _row(reader, call, row))


def _row(reader: Reader, call: Call, row: int | None) -> int:
    if row is not None:
        return row
    if call.rows == 1:
        return 0
    rows = {d.row for d in predictions.disputes(reader.database, prediction=call.event) if d.row is not None}
    if len(rows) == 1:
        return rows.pop()
    if not call.rows:
        raise UsageError(f"call {call.index} has no rows", hint="Nothing was asked, so there is nothing to explain.")
    raise UsageError(
        f"call {call.index} has {call.rows:,} rows",
        hint=f"Name one of them: {call.index}.0 to {call.index}.{call.rows - 1}",
    )


class _Explainer:
    def __init__(
        self,
        reader: Reader,
        top: Served,
        cast: Cast | None,
        sample: int,
        seed: int,
        environment: Mapping[str, object] | None,
        variables: Mapping[str, str] | None,
        progress: Progress | None,
    ) -> None:
        self._reader = reader
        self._top = top
        self._cast = cast
        self._sample = sample
        self._seed = seed
        self._now = environment
        self._variables = variables
        self._progress = progress
        self._behind: dict[str, Upstream] = {}

    def explain(self, other: Served | None) -> Explanation:
        reader, top = self._reader, self._top
        protected, checkpoint = served.protection(reader, top.sequenced)
        three, four, five, six, newer, features = self._three_to_six(top)
        answers = (
            self._one(protected),
            self._two(),
            three,
            four,
            five,
            six,
            self._seven(),
            self._eight(),
            self._nine(newer),
        )
        subject = _described(reader, top)
        summary = tuple(self._summary(subject, answers[0], newer, features))
        versus = None if other is None else self._versus(other)
        return Explanation(
            subject=subject,
            summary=summary,
            answers=answers,
            versus=versus,
            replayed=self._cast is not None,
            written=clocks.rfc3339(reader.workspace.clock.now_ns()),
            origin=reader.workspace.logs.place(top.call.index)[0].ledger.origin,
            checkpoint=checkpoint,
            named=reader.everybody(),
        )

    def _values(self) -> Row:
        top = self._top
        return () if top.row is None else self._reader.row(top.raw or top.inputs, top.row) or ()

    def _upstream(self, part: Served) -> Upstream:
        if part.model is None:
            return Upstream(trained_by=(), earlier=(), sources=())
        if part.model.event not in self._behind:
            self._behind[part.model.event] = upstream.upstream(self._reader, part.model)
        return self._behind[part.model.event]

    # ---- one by one

    def _one(self, protected: Fact) -> Answer:
        reader, top = self._reader, self._top
        facts = served.needed(reader, top)
        bad = [fact.says for fact in facts if fact.kind == "gap" or fact.state != "held"]
        if self._cast is None:
            if bad:
                says, verdict = f"no: {listed(bad, 3)}", "could not tell"
            else:
                says, verdict = "everything that is needed to answer it again is held", None
            if protected.kind == "gap":
                says += "; no signed checkpoint covers it yet"
            return _answer(1, says, verdict=verdict, needs_replay=True, facts=(protected, *facts))
        verdict, says, shown = self._replayed()
        return _answer(1, says, verdict=verdict, facts=(*shown, protected, *facts))

    def _replayed(self) -> tuple[str, str, tuple[Fact, ...]]:
        from retrodict.replay import replay_prediction  # brings uv and the rebuilding of environments

        try:
            if isinstance(self._top.inputs, SealedPayload):
                self._reader.value(self._top.inputs)  # what differs is shown with its values: a look at the whole call
            found = replay_prediction(self._reader.workspace, self._top.call.event, variables=self._variables)
        except RetrodictError as error:
            return "could not tell", error.message, ()
        return found.verdict, found.reason, served.replayed_facts(found)

    def _two(self) -> Answer:
        says, facts, tables = served.inputs(self._reader, self._top)
        return _answer(2, says, facts=facts, tables=tables)

    def _three_to_six(
        self, part: Served, within: str | None = None
    ) -> tuple[Answer, Answer, Answer, Answer, tuple[Source, ...], FeatureCode | None]:
        reader, up = self._reader, self._upstream(part)
        says, facts = served.versions(reader, part, is_part=within is not None)
        three = _answer(3, says, facts=facts)
        if part.model is None:
            whose = "a third party" if part.is_third_party else "another system"
            nothing = (gap(f"{whose} answered: what is behind its model is not on record here"),)
            four, five, six = (_answer(n, "not on record", facts=nothing) for n in (4, 5, 6))
            return three, four, five, six, (), None
        says, facts = upstream.trained_on(reader, up)
        four = _answer(4, says, facts=facts)
        beside = None if within is not None else part.digest("serving_code")
        says, facts, features = code.trained_by(reader, up, part.model, beside, self._now, within)
        five = _answer(5, says, verdict=features.verdict, facts=facts)
        says, facts, newer = upstream.origins(reader, up, self._values())
        return three, four, five, _answer(6, says, facts=facts), newer, features

    def _seven(self) -> Answer:
        parts = self._parts(self._top, {self._upstream(self._top).key: self._top.label})
        inside = [part.label for child in self._top.children for part in child.family()]
        facts = self._read_models()
        if not inside:
            says = "none took part in the answer"
            if self._top.is_third_party:
                says = "not on record: a third party answered"
                facts = (gap("whether it asked others is not on record: a third party answered"),)
            elif self._top.call.kind == "declared":
                says = "not on record: another system answered"
                facts = (gap("whether other models took part is not on record: another system answered"),)
            return _answer(7, says, facts=facts)
        return _answer(7, f"{count(len(inside), 'other model')}: {listed(inside)}", facts=facts, parts=parts)

    def _parts(self, above: Served, told: dict[tuple[str, ...], str]) -> tuple[Part, ...]:
        """Return questions 3 to 6 about each child, and 7 where it has children; nothing is told twice."""
        parts = []
        for child in above.children:
            key = self._upstream(child).key
            if key and key in told:
                answers = self._as_for(child, told[key], above.label)
            else:
                answers = list(self._three_to_six(child, within=above.label)[:4])
                told[key] = child.label
            inner = self._parts(child, told)
            if inner:
                answers.append(_answer(7, count(len(inner), "other model"), parts=inner))
            parts.append(Part(of=child.label, ref=child.ref, answers=tuple(answers)))
        return tuple(parts)

    def _as_for(self, part: Served, other: str, within: str) -> list[Answer]:
        """Return questions 3 to 6 about a model that the same run made as another: only what is its own."""
        assert part.model is not None
        says, facts = served.versions(self._reader, part, is_part=True)
        features = code.feature_code(self._reader, self._upstream(part), part.model, None, within)
        same = f"as for {other}: the same run made both"
        return [
            _answer(3, says, facts=facts),
            _answer(4, same),
            _answer(5, f"{same}; {features.fact.says}", verdict=features.verdict, facts=(features.fact,)),
            _answer(6, same),
        ]

    def _read_models(self) -> tuple[Fact, ...]:
        """Return the models among the files that the training read."""
        facts = []
        for part in self._top.family():
            for run, sequenced in self._upstream(part).runs:
                for edge in self._reader.edges(sequenced):
                    if edge.role == "input" and edge.ref.startswith("b3-"):
                        facts += [
                            self._reader.object_fact(
                                f"run {run.name} read {upstream.path_of(self._reader, edge)}, which is {label}",
                                Digest(edge.ref),
                                "observed",
                            )
                            for label in upstream.registered_as(self._reader, edge)
                        ]
        return tuple(dict.fromkeys(facts))

    def _eight(self) -> Answer:
        if self._top.model is None:
            nothing = gap("another system answered, and its model is not here to be asked")
            return _answer(8, "not on record", facts=(nothing,))
        if self._top.call.status == "error":
            return _answer(8, "it failed: there is no answer that inputs could have carried")
        if self._cast is None:
            return _answer(8, "models must be run for that", needs_replay=True)
        for part in self._top.family():
            self._upstream(part)
        from retrodict.actions.explain import carried  # 50 ms

        says, facts, found = carried.carried(
            self._reader, self._top, self._cast, self._behind, seed=self._seed, progress=self._progress
        )
        return _answer(8, says, facts=facts, attributions=found)

    def _nine(self, newer: tuple[Source, ...]) -> Answer:
        facts = fixes.plans(self._reader, self._top, self._behind, newer)
        if self._top.model is None:
            return _answer(9, "in the system that answered: no version of its model is registered here", facts=facts)
        other = len(fixes.ways(self._reader, self._top))
        if self._cast is None:
            says = (
                f"{count(other, 'way')} to let another version answer; what they would answer takes running them"
                if other
                else "no other version is registered yet; the steps that make one are below"
            )
            return _answer(9, says, needs_replay=other > 0, facts=facts)
        from retrodict.actions.explain import others  # 50 ms

        says, found, problems = others.alternatives(
            self._reader, self._top, self._cast, sample=self._sample, seed=self._seed, progress=self._progress
        )
        return _answer(9, says, facts=(*problems, *facts), alternatives=found)

    # ---- the whole

    def _versus(self, other: Served) -> Versus:
        reader = self._reader
        inputs, differing, facts = compared.compared(reader, self._top, other)
        contrasts: tuple[Contrast, ...] = ()
        problem = ""
        if self._cast is not None:
            try:
                contrasts = compared.contrasts(reader, self._top, other, self._cast, seed=self._seed)
            except RetrodictError as error:
                problem = error.message
        return Versus(
            other=_described(reader, other),
            inputs=inputs,
            differing=differing,
            facts=facts,
            contrasts=contrasts,
            needs_replay=self._cast is None,
            problem=problem,
        )

    def _summary(
        self, subject: Subject, one: Answer, newer: tuple[Source, ...], features: FeatureCode | None
    ) -> list[str]:
        said = [f"{subject.model} answered {_said(subject)}" if subject.status == "ok" else f"{subject.model} failed"]
        if not one.needs_replay:
            said.append(f"Answered again: {one.verdict}: {one.says}")
        elif one.verdict is None:
            said.append("Everything needed to replicate it is held")
        else:
            said.append(f"Can it be replicated? {one.says}")
        for source in newer:
            assert source.current is not None
            sequenced = self._reader.find(source.current.event)
            if sequenced is not None:
                path = upstream.path_of(self._reader, source.edge)
                said.append(
                    f"It rests on {path}, of which there is a newer version since: v{source.current.version}, "
                    f"{self._reader.signed(sequenced)}"
                )
        if features is not None and features.verdict == "changed":
            said.append("Feature extraction has changed since the model was trained")
        return said


def _said(subject: Subject) -> str:
    return listed([f"{name} {value}" for name, value in subject.answer], 8) or "nothing that can be read"


def _answer(number: int, says: str, **rest: object) -> Answer:
    return Answer(number=number, question=QUESTIONS[number - 1], says=says, **rest)  # type: ignore[arg-type]


def _described(reader: Reader, part: Served) -> Subject:
    call, event = part.call, part.sequenced.event
    about = predictions.disputes(reader.database, prediction=call.event)
    has_texts = bool(about) or event.body.get("error") is not None
    may_read = not has_texts or reader.look.text_of(looks.people_in(reader.workspace, part.sequenced, part.row))
    complaints = []
    for dispute in about:
        if dispute.row is not None and dispute.row != part.row:
            continue
        sequenced = reader.find(dispute.event)
        assert sequenced is not None
        outcome = None if dispute.resolution is None else reader.find(dispute.resolution)
        end = (
            gap("still open")
            if outcome is None
            else reader.entry_fact(f"resolved {reader.signed(outcome, with_reason=may_read)}", outcome, "declared")
        )
        said = reader.signed(sequenced, with_reason=may_read)
        complaints.append(reader.entry_fact(f"disputed {said}", sequenced, "declared", facts=(end,)))
    asker = call.caller_of(part.row or 0)
    return Subject(
        ref=part.ref,
        event=call.event,
        entry=call.index,
        row=part.row or 0,
        rows=call.rows,
        leaf_hash=part.sequenced.leaf_hash.hex(),
        kind=call.kind,
        at=event.at,
        received=call.received,
        duration_ns=call.duration_ns,
        model=part.label,
        requested=call.requested,
        caller=None if asker is None else reader.named(asker, part.sequenced).name,
        trace=call.trace_of(part.row or 0),
        status=call.status,
        answer=served.answer_of(reader, part),
        error=reader.text(event.body.get("error")) if may_read else looks.NOT_POSSIBLE,
        disputes=tuple(complaints),
    )
