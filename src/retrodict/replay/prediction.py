"""A prediction made again: the models, inputs, serving code and environment on record, in an interpreter of its own.

The verdict is over the answer of the prediction and of every prediction that it was composed of. What the record needs
is taken from verified entries and objects, never from a view.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from retrodict import environments, provenance
from retrodict.environments import Chosen, Difference, Mode
from retrodict.kernel.errors import FormatError, RetrodictError, UnavailableError, UsageError
from retrodict.kernel.merkle import verify_inclusion
from retrodict.kernel.note import decode_checkpoint, verify_note
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, EventId
from retrodict.ledger import Sequenced
from retrodict.models import remote
from retrodict.predictions import SealedPayload, media, payload, payloads, personal
from retrodict.predictions.payload import Encoded
from retrodict.replay import worker
from retrodict.replay.compare import Comparison, Tolerance, compare
from retrodict.replay.worker import CallRun, CallSpec, Exchange
from retrodict.serving import materialize
from retrodict.workspace import Workspace, open_text, sealed_text, signed_log

_MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory; what is made in it is private to its maker

Verdict = Literal["replicated", "reproduced", "differs", "nondeterministic", "could not tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThirdParty:
    """What a third party answered, and what it answers now; whether it is the same one, nobody can tell.

    Attributes:
        endpoint: Its address.
        claimed_version: What it says it is; None: it says nothing.
        then: What it answered, on a line.
        now: What it answers now, or what keeps it from answering; None where it was not asked.
        found: How that stands to what it answered then; None where there is no answer on one of the sides.
    """

    endpoint: str
    claimed_version: str | None
    then: str
    now: str | None = None
    found: Comparison | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedCall:
    """One model of the prediction, then and now.

    Attributes:
        reference: The entry of its call.
        model: `credit@v2`; `requested` is what it was asked for by.
        depth: 0 for the prediction itself, 1 for those that it asked, ...
        recorded: How it went: "ok", "failed" (the model raised), or "not asked": it is new.
        status: How it goes now; "could not run": the model cannot be loaded, or is not on record. `message` says why.
            "played back": it is a third party, and its answer on record was given again.
        outputs: How its answer stands to the recorded one; None where there is no answer on one of the sides.
        inputs: The same for what it saw; None for the prediction itself, whose inputs are the recorded ones.
        third_party: What can be said of a third party; its own verdict is always `could not tell`.
    """

    reference: str
    model: str
    requested: str
    depth: int
    recorded: Literal["ok", "failed", "not asked"]
    status: Literal["ok", "failed", "could not run", "not asked", "played back"]
    message: str | None
    outputs: Comparison | None
    inputs: Comparison | None
    third_party: ThirdParty | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of making a prediction again.

    Attributes:
        verdict: "replicated": the same bits; "reproduced": within `tolerance`; "differs"; "nondeterministic": it
            differs from one repetition to the next; "could not tell".
        reason: One sentence that goes with it.
        reference: The entry of the prediction.
        environment: Where it ran: in the interpreter that asked, or in one rebuilt from the record; None: nowhere.
        environment_differences: How that one differs from the record, as far as it could matter.
        missing: What of the recorded environment was not to be had.
        calls: The prediction, then those that it was composed of; of the first repetition.
        differences: One sentence for each thing that is not as it was.
        repetitions: How often it ran.
        printed: What the models printed.
        entry: The entry that records this replay; None where it was not recorded.
        unrecorded: Why it was not; None where it was, or where nobody asked for it.
    """

    verdict: Verdict
    reason: str
    reference: str
    prediction: EventId
    environment: Literal["present", "rebuilt"] | None = None
    environment_differences: tuple[Difference, ...] = ()
    missing: tuple[str, ...] = ()
    calls: tuple[ReplayedCall, ...] = ()
    differences: tuple[str, ...] = ()
    repetitions: int = 0
    tolerance: Tolerance | None = None
    duration_ns: int = 0
    printed: str = ""
    entry: int | None = None
    unrecorded: str | None = None


class NotReplayableError(UnavailableError):
    """A prediction that cannot be made again: what that takes is not on record or not held."""

    slug = "not-replayable"
    hint = "`retrodict show` on the prediction tells what is held of it."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """One call on record, with everything that making it again takes."""

    sequenced: Sequenced
    model: str
    folder: Path | None
    inputs: Encoded
    outputs: Encoded | None
    error: str | None
    children: tuple[_Recorded, ...]
    exchange: Exchange | None = None
    address: str | None = None  # of the third party that was asked, as far as it is on record
    is_remote: bool = False  # a registered third party: all that is here is its address

    @property
    def requested(self) -> str:
        return str(self.sequenced.event.body["requested"])

    def spec(self, *, is_root: bool) -> CallSpec:
        return CallSpec(
            requested=self.requested,
            model=self.folder,
            inputs=self.inputs if is_root else None,
            children=tuple(child.spec(is_root=False) for child in self.children),
            third_party=self.exchange,
        )

    def third_party(self) -> ThirdParty | None:
        """Return what can be said of the third party that this call asked, where it is one."""
        if self.exchange is None:
            return None
        body = self.sequenced.event.body
        claimed = body.get("claimed_version")
        said = self.error or f"HTTP status {self.exchange.http_status}"
        return ThirdParty(
            endpoint=str(body.get("endpoint")),
            claimed_version=None if claimed is None else str(claimed),
            then=said if self.outputs is None else media.brief(_decoded(self.outputs)),
        )


def replay_prediction(
    workspace: Workspace,
    event_id: EventId,
    *,
    environment: Mode = "auto",
    tolerance: Tolerance | None = None,
    repeat: int = 1,
    variables: Mapping[str, str] | None = None,
    uv_cache: Path | None = None,
    timeout_s: float | None = None,
    ask_third_parties: bool = False,
    progress: Progress | None = None,
) -> Replay:
    """Make a prediction again, and compare every bit; records nothing.

    Args:
        event_id: A `prediction.made` event, of a composed prediction or of a part of one.
        environment: "present": in the interpreter that asks; "rebuild": in one built from the record; "auto": the
            latter where the two differ in what could matter, and where it is not to be had the former, whose answer
            then counts only if it is the same.
        tolerance: What counts as `reproduced`.
        repeat: How often it is made, each time in a new process. One that differs is made once more by itself, to
            tell whether it is nondeterministic.
        variables: The environment variables; those that change results are set as they are on record.
        uv_cache: Where environments are built and kept; None: in the workspace.
        timeout_s: When to give up on one repetition.
        ask_third_parties: Ask third parties too, to say what they answer now; models get what is on record.

    Raises:
        UsageError: It is no prediction.
    """
    started = time.perf_counter_ns()
    sequenced = workspace.logs.find(event_id)
    if sequenced is None or not sequenced.event.kind.startswith("prediction."):
        raise UsageError(f"event {event_id} is no prediction", hint="`retrodict predictions` lists them.")
    result = Replay(
        verdict="could not tell",
        reason="",
        reference=str(sequenced.index),
        prediction=event_id,
        tolerance=tolerance,
    )
    with (
        tempfile.TemporaryDirectory(prefix="retrodict-replay-") as name,
        tempfile.TemporaryDirectory(prefix="retrodict-replay-", dir=_for_values(sequenced)) as values,
    ):
        again = _Again(
            workspace=workspace,
            folder=Path(name),
            values=Path(values),
            mode=environment,
            tolerance=tolerance,
            repeat=max(1, repeat),
            variables=variables or {},
            uv_cache=uv_cache,
            timeout_s=timeout_s,
            ask_third_parties=ask_third_parties,
            progress=progress,
        )
        try:
            result = again.replay(sequenced, result)
        except RetrodictError as error:
            result = replace(result, reason=error.message)
    return replace(result, duration_ns=time.perf_counter_ns() - started)


def _for_values(sequenced: Sequenced) -> str | None:
    """Return where the values of a call may lie meanwhile: personal ones in memory, never on a disk."""
    is_personal = any(isinstance(kept, SealedPayload) for kept in payloads(sequenced.event))
    return str(_MEMORY) if is_personal and os.access(_MEMORY, os.W_OK) else None


@dataclass(slots=True, kw_only=True)
class _Again:
    """One replay under way."""

    workspace: Workspace
    folder: Path
    values: Path  # where what is asked and answered lies meanwhile
    mode: Mode
    tolerance: Tolerance | None
    repeat: int
    variables: Mapping[str, str]
    uv_cache: Path | None
    timeout_s: float | None
    ask_third_parties: bool
    progress: Progress | None
    recorded_environment: Mapping[str, Any] = field(default_factory=dict)
    path: tuple[Path, ...] = ()
    runs: int = 0

    def replay(self, sequenced: Sequenced, result: Replay) -> Replay:
        if sequenced.event.kind == "prediction.declared":
            system = sequenced.event.body.get("system")
            raise NotReplayableError(f"it was answered by another system ({system}): its model is not on record")
        self._prove(sequenced)
        recorded = self._recorded(sequenced)
        if recorded.exchange is not None:
            return self._third_party(recorded, result)
        self._prepare(sequenced)
        chosen = self._choose()
        differences, excuse = chosen.differences, chosen.excuse
        result = replace(result, environment=chosen.place, environment_differences=differences, missing=chosen.missing)
        spec = recorded.spec(is_root=True)
        runs = [self._run(spec, chosen) for _ in range(self.repeat)]
        calls = tuple(self._compared(recorded, runs[0][0], 0))
        verdict, reason = self._verdict(recorded, runs[0][0], calls)
        if verdict == "differs" and self.repeat == 1:
            runs.append(self._run(spec, chosen))
        changed = _changed([run for run, _ in runs])
        if changed is not None:
            verdict, reason = "nondeterministic", f"it answers differently each time: {changed}"
        elif verdict in {"differs", "could not tell"} and excuse:
            verdict, reason = "could not tell", f"{excuse}; where it could be run, {reason}"
        return replace(
            result,
            verdict=verdict,
            reason=reason,
            calls=calls,
            differences=(*_sentences(calls), *(_said(difference) for difference in differences)),
            repetitions=len(runs),
            printed=runs[0][1],
        )

    # What is on record

    def _prove(self, sequenced: Sequenced) -> None:
        """Hold the entry against the signed checkpoint, where one covers it.

        Raises:
            FormatError, SignatureError, NotReplayableError: It is not what was signed.
        """
        log, index, verifiers = signed_log(self.workspace, sequenced.index)
        note = log.ledger.checkpoint()
        if note is None:
            return
        checkpoint = decode_checkpoint(note)
        if verifiers:
            verify_note(checkpoint, verifiers)
        if index >= checkpoint.size:
            return
        proof = log.ledger.inclusion_proof(index, checkpoint.size)
        if not verify_inclusion(index, checkpoint.size, sequenced.leaf_hash, proof, checkpoint.root):
            raise NotReplayableError(f"entry {sequenced.index} is altered: it is not what the signed checkpoint covers")

    def _recorded(self, sequenced: Sequenced) -> _Recorded:
        """Return a call and those that it was composed of, all their bytes verified.

        Raises:
            MissingObjectError, AlteredObjectError: Something is not held as it was.
        """
        workspace, body = self.workspace, sequenced.event.body
        if sequenced.event.kind == "prediction.fetched":
            return self._fetched(sequenced)
        registered = workspace.logs.find(EventId(str(body.get("model"))))
        if registered is None or registered.event.kind != "model.registered":
            raise NotReplayableError(
                f"entry {sequenced.index} names a model that is not on record: {body.get('model')}"
            )
        about = registered.event.body
        inputs, outputs, _ = payloads(sequenced.event)
        error = None
        if body.get("status") == "error":
            text = open_text(workspace, sealed_text(body.get("error")))
            error = text or ""
        cache = self.folder / "models" if workspace.read_only else workspace.folder / "tmp" / "models"
        return _Recorded(
            sequenced=sequenced,
            model=f"{about.get('name')}@v{about.get('version')}",
            folder=materialize(workspace.objects, Digest(str(about["content"])), cache, self._token()),
            inputs=personal.encoded(workspace, inputs),
            outputs=None if outputs is None else personal.encoded(workspace, outputs),
            error=error,
            children=tuple(self._recorded(child) for child in self._children(sequenced)),
            is_remote=about.get("flavor") == "remote",
        )

    def _fetched(self, sequenced: Sequenced) -> _Recorded:
        """Return what went to a third party and what came back."""
        workspace, body = self.workspace, sequenced.event.body
        inputs, outputs, _ = payloads(sequenced.event)
        error = None
        if body.get("error") is not None:
            error = open_text(self.workspace, sealed_text(body["error"])) or "why is sealed"
        response, status, kind = body.get("response"), body.get("http_status"), body.get("response_type")
        return _Recorded(
            sequenced=sequenced,
            model=str(body.get("model_name")),
            folder=None,
            inputs=personal.encoded(self.workspace, inputs),
            outputs=None if outputs is None else personal.encoded(self.workspace, outputs),
            error=error,
            children=(),
            exchange=Exchange(
                request=personal.exchanged(workspace, body, "request"),
                response=None if response is None else personal.exchanged(workspace, body, "response"),
                content_type=None if kind is None else str(kind),
                http_status=status if isinstance(status, int) else None,
                error=error,
            ),
            address=str(body.get("endpoint"))
            if body.get("address") is None
            else personal.exchanged(workspace, body, "address").decode(),
        )

    def _third_party(self, recorded: _Recorded, result: Replay) -> Replay:
        """Return the answer about a prediction that a third party made: nobody can tell.

        Asked again, it gets no headers: their values are not on record.
        """
        party, body = recorded.third_party(), recorded.sequenced.event.body
        assert party is not None
        assert recorded.exchange is not None
        if self.ask_third_parties:
            asked = remote.Question(
                name=recorded.model,
                url=recorded.address or party.endpoint,
                method=str(body["method"]),
                version=party.claimed_version,
                value=None,
                content=recorded.exchange.request,
                content_type=None if body.get("request_type") is None else str(body["request_type"]),
                headers={},
                timeout_s=self.timeout_s or remote.TIMEOUT_S,
            )
            try:
                response = remote.send(asked, self.variables)
                now = payload.encode(response.value)
                party = self._asked_now(
                    party, recorded, now, None if response.is_ok else f"HTTP status {response.status}"
                )
            except RetrodictError as error:
                party = replace(party, now=error.message)
        call = ReplayedCall(
            reference=str(recorded.sequenced.index),
            model=recorded.model,
            requested=recorded.requested,
            depth=0,
            recorded="ok" if recorded.outputs is not None else "failed",
            status="not asked",
            message=None,
            outputs=None,
            inputs=None,
            third_party=party,
        )
        return replace(
            result, reason=_said_party(recorded.model, party), calls=(call,), differences=_sentences((call,))
        )

    def _asked_now(
        self, party: ThirdParty, recorded: _Recorded, now: Encoded | None, message: str | None
    ) -> ThirdParty:
        if now is None or message is not None:
            return replace(party, now=message)
        return replace(party, now=media.brief(_decoded(now)), found=self._comparison(recorded.outputs, now))

    def _children(self, sequenced: Sequenced) -> Iterator[Sequenced]:
        for edge in provenance.edges(sequenced.event.uses, self.workspace.objects.get):
            if edge.role == "prediction":
                child = self.workspace.logs.find(EventId(edge.ref))
                if child is None:
                    raise NotReplayableError(f"a part of entry {sequenced.index} is not on record: {edge.ref}")
                yield child

    def _prepare(self, sequenced: Sequenced) -> None:
        """Take the recorded environment and serving code out of the store."""
        body, objects = sequenced.event.body, self.workspace.objects
        if body.get("environment") is not None:
            try:
                self.recorded_environment = json.loads(objects.get(Digest(str(body["environment"]))))
            except ValueError as error:
                raise FormatError(f"the environment {body['environment']} is not JSON: {error}") from error
        if body.get("serving_code") is not None:
            code = self.folder / "code"
            objects.checkout(Digest(str(body["serving_code"])), code)
            self.path = (code,)

    def _token(self) -> str:
        return self.workspace.clock.random_bytes(8).hex()

    # Where to run it

    def _choose(self) -> Chosen:
        cache = self.uv_cache
        if cache is None:
            workspace = self.workspace
            cache = self.folder / "environments" if workspace.read_only else workspace.folder / "tmp" / "environments"
        return environments.choose(
            self.recorded_environment,
            cache,
            variables=self.variables,
            mode=self.mode,
            needs=environments.WORKER_NEEDS,
            progress=self.progress,
        )

    # Running and comparing

    def _run(self, spec: CallSpec, chosen: Chosen) -> tuple[CallRun, str]:
        folder = self.values / f"run-{self.runs}"
        self.runs += 1
        worker.prepare(folder, spec, path=self.path, ask_third_parties=self.ask_third_parties)
        result = worker.start(folder, python=chosen.python, variables=chosen.variables, timeout_s=self.timeout_s)
        return result.runs[0], result.output

    def _compared(self, recorded: _Recorded, run: CallRun | None, depth: int) -> Iterator[ReplayedCall]:
        """Yield how a call went and how its parts did, each part beside the one on record that it stands for."""
        if recorded.exchange is not None:
            yield self._played_back(recorded, run, depth)
            return
        yield ReplayedCall(
            reference=str(recorded.sequenced.index),
            model=recorded.model,
            requested=recorded.requested,
            depth=depth,
            recorded="ok" if recorded.error is None else "failed",
            status="not asked" if run is None else run.status,
            message=None if run is None else run.message,
            outputs=None if run is None else self._comparison(recorded.outputs, run.outputs),
            inputs=None if run is None or depth == 0 else self._comparison(recorded.inputs, run.inputs),
        )
        waiting = [] if run is None else list(run.children)
        for child in recorded.children:
            own = next((r for r in waiting if r.is_expected and _is_of(r, child)), None)
            if own is not None:
                waiting.remove(own)
            yield from self._compared(child, own, depth + 1)
        for extra in waiting:
            yield ReplayedCall(
                reference="",
                model=extra.requested,
                requested=extra.requested,
                depth=depth + 1,
                recorded="not asked",
                status=extra.status,
                message=extra.message,
                outputs=None,
                inputs=None,
            )

    def _played_back(self, recorded: _Recorded, run: CallRun | None, depth: int) -> ReplayedCall:
        party = recorded.third_party()
        assert party is not None
        if run is not None and self.ask_third_parties:
            party = self._asked_now(party, recorded, run.now, run.message)
        return ReplayedCall(
            reference=str(recorded.sequenced.index),
            model=recorded.model,
            requested=recorded.requested,
            depth=depth,
            recorded="ok" if recorded.outputs is not None else "failed",
            status="not asked" if run is None else run.status,
            message=None,
            outputs=None,
            inputs=None,
            third_party=party,
        )

    def _comparison(self, recorded: Encoded | None, replayed: Encoded | None) -> Comparison | None:
        if recorded is None or replayed is None:
            return None
        return compare(_decoded(recorded), _decoded(replayed), self.tolerance)

    def _verdict(self, recorded: _Recorded, run: CallRun, calls: Sequence[ReplayedCall]) -> tuple[Verdict, str]:
        """Return the verdict of one repetition."""
        strange = next((r for r in _flat(run) if r.is_third_party and r.status == "could not run"), None)
        if strange is not None:
            return "could not tell", f"a third party would have to be asked: {strange.message}"
        parties = [call for call in calls if call.third_party is not None]
        if recorded.is_remote and parties:
            first = parties[0]
            assert first.third_party is not None
            return "could not tell", _said_party(recorded.model, first.third_party)
        if recorded.error is not None and run.status != "could not run":
            return _failed_verdict(recorded, run)
        unable = next((call for call in calls if call.status == "could not run" and call.recorded != "not asked"), None)
        if unable is not None:
            return "could not tell", f"{unable.model} cannot be run: {unable.message}"
        if run.status == "failed":
            return "differs", f"{recorded.model} answered then and fails now: {run.message}"
        sentences = _sentences(calls)
        verdicts = {call.outputs.verdict for call in calls if call.outputs is not None}
        if "differs" in verdicts or any(_went_otherwise(call) for call in calls):
            return "differs", sentences[0]
        if "reproduced" in verdicts:
            return "reproduced", f"within the tolerance asked for ({_tolerance(self.tolerance)}): {sentences[0]}"
        cells = sum(call.outputs.of for call in calls if call.outputs is not None)
        own = len(calls) - len(parties)
        parts = f" of {own} models" if own > 1 else ""
        played = f"; {_answers(len(parties))} of third parties taken from the record" if parties else ""
        return "replicated", f"every bit of the {_values(cells)} answered{parts} is the same{played}"


def _is_of(run: CallRun, recorded: _Recorded) -> bool:
    """Say whether a call that went now can stand for one on record."""
    is_party = recorded.exchange is not None
    if run.is_third_party != is_party or run.requested != recorded.requested:
        return False
    # Questions to one third party are told apart by what they ask: they may come in any order.
    return not is_party or run.inputs == recorded.inputs


def _went_otherwise(call: ReplayedCall) -> bool:
    return call.status != "played back" if call.third_party is not None else call.recorded != call.status


def _failed_verdict(recorded: _Recorded, run: CallRun) -> tuple[Verdict, str]:
    """Return the verdict over a call whose model raised, when it was made first."""
    if run.status != "failed":
        return "differs", f"{recorded.model} failed then and answers now"
    kind, _, text = (run.message or "").partition(": ")
    # The texts of a failure that came from a part name the part in different words.
    is_own = all(child.error is None for child in recorded.children)
    if is_own and recorded.error and not (kind in recorded.error and text in recorded.error):
        return "differs", f"{recorded.model} fails now as it did then, but in another way: {run.message}"
    return "replicated", f"it fails as it did: {run.message}"


def _changed(runs: Sequence[CallRun]) -> str | None:
    """Return what differs between repetitions, None if nothing does."""
    first = list(_flat(runs[0]))
    for number, run in enumerate(runs[1:], 2):
        other = list(_flat(run))
        if [(r.requested, r.status) for r in first] != [(r.requested, r.status) for r in other]:
            return f"repetition {number} went another way than the first"
        for one, two in zip(first, other, strict=True):
            if one.outputs is None or two.outputs is None or one.outputs == two.outputs:
                continue
            found = compare(_decoded(one.outputs), _decoded(two.outputs))
            if found.verdict != "replicated":
                return f"{one.requested}, repetition {number} against the first: {_said_comparison(found)}"
    return None


def _flat(run: CallRun) -> Iterator[CallRun]:
    yield run
    for child in run.children:
        yield from _flat(child)


def _decoded(encoded: Encoded) -> Any:
    return payload.decode(encoded.codec, encoded.schema, encoded.batch, encoded.meta)


# ---- in words --------------------------------------------------------------------------------------------------------


_STATES = {
    "ok": "it answered",
    "failed": "it failed",
    "not asked": "it was not asked",
    "could not run": "it cannot be run",
    "played back": "its answer was played back",
}


def _sentences(calls: Sequence[ReplayedCall]) -> tuple[str, ...]:
    """Return what is not as it was, the prediction's own answer first, then by depth."""
    found = []
    for call in calls:
        name = f"{call.model} (entry {call.reference})" if call.reference else call.model
        if call.inputs is not None and call.inputs.verdict != "replicated":
            found.append(f"{name} was asked with something else: {_said_comparison(call.inputs)}")
        if call.outputs is not None and call.outputs.verdict != "replicated":
            found.append(f"{name}: {_said_comparison(call.outputs)}")
        party = call.third_party
        if party is not None and party.found is not None and party.found.verdict != "replicated":
            found.append(f"{name}, a third party, asked now: {_said_comparison(party.found)}")
        elif party is not None and party.now is not None and party.found is None:
            found.append(f"{name}, a third party, asked now: {party.now}; then: {party.then}")
        if party is not None and call.depth == 0:
            continue
        if _went_otherwise(call):
            says = "" if call.message is None else f" ({call.message})"
            found.append(f"{name}: {_STATES[call.recorded]} then, {_STATES[call.status]} now{says}")
    return tuple(found)


def _answers(count: int) -> str:
    return "the answer" if count == 1 else f"{count} answers"


def _said_party(name: str, party: ThirdParty) -> str:
    version = "" if party.claimed_version is None else f", which calls itself {party.claimed_version},"
    text = f"third party: {name} answers at {party.endpoint}{version} and cannot be made again; then: {party.then}"
    if party.now is None:
        return text
    if party.found is None:
        return f"{text}; now: {party.now}"
    same = "the same" if party.found.verdict == "replicated" else "something else"
    return f"{text}; asked now, it answers {same}: {party.now}"


def _said_comparison(found: Comparison) -> str:
    if found.structure is not None:
        return found.structure
    text = f"{found.cells} of {_values(found.of)} differ{'' if found.cells != 1 else 's'}"
    if found.max_ulp is not None:
        text += f", by at most {found.max_ulp} ulp"
    if found.max_abs is not None:
        text += f", largest difference {found.max_abs!r}"
    if found.first is not None:
        row = "" if found.first.row is None else f"row {found.first.row}, "
        text += f"; first {row}{found.first.column}: {found.first.recorded!r} then, {found.first.replayed!r} now"
    if found.decision_changed is not None:
        text += "; a decision changed" if found.decision_changed else "; no decision changed"
    return text


def _values(count: int) -> str:
    return f"{count:,} value{'' if count == 1 else 's'}"


def _said(difference: Difference) -> str:
    names = {"distribution": "the library {}", "files": "the files of {}", "cpu": "the processor ({})"}
    name = names.get(difference.what, "{}").format(difference.name)
    return f"{name}: {difference.recorded or 'none'} then, {difference.present or 'none'} now"


def _tolerance(tolerance: Tolerance | None) -> str:
    asked = tolerance or Tolerance()
    parts = [
        f"{value!r} {word}" for value, word in ((asked.absolute, "absolute"), (asked.relative, "relative")) if value
    ]
    return ", ".join([*parts, *([f"{asked.ulp} ulp"] if asked.ulp else [])]) or "none"
