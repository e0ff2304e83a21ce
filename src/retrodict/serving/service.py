"""Answers questions with registered models. An answer is given only after its record is durable.

A model may ask others while it answers (`retrodict.load(...).predict(...)`): their answers become its children. The
family, children first, is one append. A child that runs in a thread which knows nothing of its parent (threads that do
not copy the context), or that comes after its parent's answer, is recorded by itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from retrodict import exposure
from retrodict.kernel import clock as clocks
from retrodict.kernel import entry
from retrodict.kernel.errors import ReadOnlyStoreError
from retrodict.kernel.types import MAX_EDGES, Digest, Edge, EdgeList, Event, Ref
from retrodict.keys import KeyNotHeldError
from retrodict.ledger import Sequenced
from retrodict.models import remote
from retrodict.models.records import ModelVersion
from retrodict.models.session import current_loader
from retrodict.models.signature import Signature
from retrodict.objects import digest_of
from retrodict.predictions import Kept, Part, Payload, fetched_body, made_body, payload, personal
from retrodict.predictions.payload import Encoded
from retrodict.predictions.personal import Owners
from retrodict.serving import call as calls
from retrodict.serving.call import Answer, Asked, Asker, Call
from retrodict.serving.deployment import Deployment, Deployments
from retrodict.serving.errors import ModelFailedError
from retrodict.serving.people import People
from retrodict.serving.resolution import Resolver
from retrodict.workspace import Workspace, signed


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A version that is loaded, and how it wants to be asked."""

    reference: str
    version: ModelVersion
    signature: Signature | None
    is_row_wise: bool


_running: ContextVar[Call | None] = ContextVar("retrodict_running_call", default=None)


class Service:
    """The models of a workspace, for one process; any number of threads may ask at once."""

    def __init__(self, workspace: Workspace, variables: Mapping[str, str] | None = None) -> None:
        """Take the workspace, which stays the caller's to close.

        Args:
            variables: The environment variables, of which those that can change an answer are recorded.

        Raises:
            ReadOnlyStoreError: Answers could not be recorded.
        """
        if workspace.read_only:
            raise ReadOnlyStoreError(str(workspace.folder))
        self.workspace = workspace
        self._variables = variables or {}
        self._resolver = Resolver(workspace)
        self._deployments = Deployments(workspace, self._variables, self._answering)
        self._people = People(workspace)
        self._stored: set[Digest] = set()  # schemas that are durable: they are sent once
        self._agent = self._people.pseudonym(workspace.agent or "unknown")

    def resolve(self, reference: str) -> ModelVersion:
        """Return the version that `reference` (`credit`, `credit@v2`, `credit@champion`, an event id) means now.

        Raises:
            UnknownReferenceError, AmbiguousReferenceError: See there.
        """
        return self._resolver.resolve(reference)

    def load(self, reference: str) -> ServedModel:
        """Load the version that `reference` means now; the name is looked up again for each question.

        Raises:
            UnknownReferenceError, AmbiguousReferenceError: See there.
            MissingObjectError, AlteredObjectError: The model is not held as it was registered.
            UnloadableModelError: It cannot be loaded here.
        """
        self._deployments.of(self.resolve(reference))
        return ServedModel(self, reference)

    def member(self, reference: str) -> Member:
        """Return the version that `reference` means now as another model sees it; loaded when it is asked.

        Raises:
            UnknownReferenceError, AmbiguousReferenceError: See there.
        """
        self.resolve(reference)
        return Member(self, reference)

    def ready(self, reference: str) -> Ready:
        """Load the version that `reference` means now, and return how it wants to be asked; raises as `load`."""
        deployment = self._deployments.of(self.resolve(reference))
        return Ready(
            reference=reference,
            version=deployment.version,
            signature=deployment.model.signature,
            is_row_wise=deployment.model.is_row_wise,
        )

    def signature(self, reference: str) -> Any:
        """Return the signature of the version that `reference` means now."""
        return self._deployments.of(self.resolve(reference)).model.signature

    @property
    def environment(self) -> Digest:
        """The environment of this process, recorded as an object."""
        return self._deployments.environment

    @property
    def serving_code(self) -> Digest | None:
        """The tree of the code that runs beside the models, as it is loaded now."""
        return self._deployments.serving_code

    def shared_edges(self, reference: str) -> Digest:
        """Return the edge list that the calls of a version share now."""
        return self._deployments.shared(self._deployments.of(self.resolve(reference))).edges.digest

    def predict(
        self,
        reference: str,
        data: Any,
        *,
        caller: str | None = None,
        trace: str | None = None,
        parent_span: str | None = None,
        raw: Any = None,
        subject: str | Sequence[str] | None = None,
    ) -> Answer:
        """See `ServedModel.predict`."""
        asker = Asker(rows=payload.rows(data), caller=caller, trace=trace, parent_span=parent_span)
        deployment, outer = self._deployments.of(self.resolve(reference)), _running.get()
        # A part of an answer gets the output itself, as in a replay: a copy may be laid out otherwise in memory.
        copies = outer is None or outer.service is not self
        finished = self._ask(reference, deployment, data, (asker,), raw, subject, copies=copies)
        sequenced = None
        if not self._is_adopted(finished.call):
            family = finished.call
            sequenced = self.workspace.ledger.append(family.events, family.blobs)[-1]
            self._stored |= family.schemas
        return calls.answer(finished, sequenced)

    def ask(
        self,
        ready: Ready,
        data: Any,
        askers: Sequence[Asker],
        *,
        raw: Any = None,
        subject: str | Sequence[str] | None = None,
    ) -> Asked:
        """Let a model answer once for all `askers`; nobody may be told before `record` has.

        The output is a copy: until then the model may have used again what it returned.

        Args:
            ready: The version that answers.
            data: The rows of all askers, in their order.
            raw: What they sent, where `data` was made from it.
            subject: Whom the rows are about, where `data` does not say it.

        Raises:
            InputError: As `predict`; a failure of the model is an outcome, which `record` returns.
        """
        deployment = self._deployments.of(ready.version)
        return self._ask(ready.reference, deployment, data, askers, raw, subject, copies=True)

    def record(self, asked: Sequence[Asked]) -> list[Answer | ModelFailedError]:
        """Put calls on record in one append; return their answers, in order: they are durable.

        Raises:
            UsageError: One of them cannot be written; none is.
            RetrodictError: They could not be recorded, and are withheld.
        """
        return self._outcomes(asked, self.workspace.ledger.append(*calls.joined(asked)))

    def submit(
        self, asked: Sequence[Asked], tell: Callable[[list[Answer | ModelFailedError] | BaseException], None]
    ) -> None:
        """Put calls on record as `record` does, in another thread, which tells the answers or why there are none.

        Raises:
            UsageError: One of them cannot be written; none is.
        """

        def appended(done: Future[list[Sequenced]]) -> None:
            outcomes: list[Answer | ModelFailedError] | BaseException
            try:
                outcomes = self._outcomes(asked, done.result())
            except BaseException as error:  # noqa: BLE001 - handed to who waits
                outcomes = error
            tell(outcomes)

        self.workspace.ledger.submit(*calls.joined(asked)).add_done_callback(appended)

    def _outcomes(self, asked: Sequence[Asked], sequenced: Sequence[Sequenced]) -> list[Answer | ModelFailedError]:
        """Return what became of calls whose events are in the log, each family's after the other's."""
        outcomes, end = [], -1
        for one in asked:
            end += len(one.call.events)
            self._stored |= one.call.schemas
            outcomes.append(calls.outcome(one, sequenced[end]))
        return outcomes

    def fetch(self, asked: remote.Question) -> remote.Response:
        """Ask a third party, and put both sides on record: as a part of the answer under way, else by itself.

        Raises:
            ThirdPartyError: It did not answer; that is on record.
            MissingExtraError: httpx is not installed.
        """
        clock, outer = self.workspace.clock, _running.get()
        call = Call(
            service=self,
            id=clocks.event_id(clock),
            trace=outer.trace if outer else clock.random_bytes(16).hex(),
            span=clock.random_bytes(8).hex(),
            caller=outer.caller if outer else None,
            owners=calls.everybody(outer) if outer is not None and outer.service is self else None,
        )
        if call.owners is None:
            call.owners = exposure.owners(self.workspace)
        inputs = self._payload(call, payload.encode(asked.value), payload.rows(asked.value))
        request = self._kept(call, asked.content)
        received, started = clock.now_ns(), time.perf_counter_ns()
        response, failure = None, None
        try:
            response = remote.send(asked, self._variables)
        except remote.ThirdPartyError as error:
            failure = error
        duration = time.perf_counter_ns() - started
        is_ok = response is not None and response.is_ok
        rows = payload.rows(asked.value)
        if response is not None and is_ok and payload.rows(response.value) != rows:
            rows = 1  # one question, one answer, whatever is in them
        body = fetched_body(
            name=asked.name,
            endpoint=asked.endpoint if call.owners is None else asked.host,
            address=None if call.owners is None else self._kept(call, asked.endpoint.encode()),
            method=asked.method,
            claimed_version=asked.version,
            header_names=sorted({name.lower() for name in asked.headers}),
            request=request,
            request_type=asked.content_type,
            response=None if response is None else self._kept(call, response.content),
            response_type=None if response is None else response.content_type,
            http_status=None if response is None else response.status,
            rows=rows,
            inputs=inputs,
            outputs=self._payload(call, payload.encode(response.value), payload.rows(response.value), is_derived=True)
            if response is not None and is_ok
            else None,
            keys=None if call.owners is None else [owner.key for owner in call.owners.rows],
            error=None if failure is None else self._sealed(call, failure.message),
            caller=call.caller,
            trace=call.trace,
            span=call.span,
            parent_span=outer.span if outer else None,
            parent=outer.id if outer and outer.service is self else None,
            received=clocks.rfc3339(received),
            duration_ns=duration,
        )
        kept = [(body[role], role) for role in ("request", "response") if body[role] is not None]
        event = Event(
            id=call.id,
            kind="prediction.fetched",
            at=clocks.rfc3339(clock.now_ns()),
            agent=self._agent,
            uses=(
                *(Edge(ref=Ref(str(digest)), role=role, evidence="observed") for digest, role in kept),
                *exposure.edges(call.owners),
            ),
            makes=(),
            body=body,
        )
        call.events += signed(self.workspace, [event], call.blobs)
        if not self._is_adopted(call):
            self.workspace.ledger.append(call.events, call.blobs)
            self._stored |= call.schemas
        if failure is not None:
            raise failure
        assert response is not None
        return response

    # One call

    def _ask(
        self,
        reference: str,
        deployment: Deployment,
        data: Any,
        askers: Sequence[Asker],
        raw: Any,
        subject: str | Sequence[str] | None = None,
        *,
        copies: bool = False,
    ) -> Asked:
        """Let the model answer, and make the events of its family."""
        version = deployment.version
        clock = self.workspace.clock
        outer = _running.get()
        seen, was_changed, owners = self._people.seen_and_owners(
            version,
            deployment.model.signature,
            data,
            subject,
            outer if outer is not None and outer.service is self else None,
        )
        if raw is None and was_changed:
            raw = data
        asker, parts = self._parts(askers)
        # At once: while it is drawn, another thread may take the interpreter.
        random = clock.random_bytes(34)
        call = Call(
            service=self,
            id=clocks.event_id(clock, random[:10]),
            trace=asker.trace or (outer.trace if outer else random[10:26].hex()),
            span=random[26:].hex(),
            caller=outer.caller if outer and asker.caller is None else self._caller(asker.caller),
            owners=owners,
        )
        # Before the model runs: it may change what it is given.
        given = payload.encode(seen)
        sent = None if raw is None else (payload.encode(raw), payload.rows(raw))
        rows = payload.rows(seen)
        received, started = clock.now_ns(), time.perf_counter_ns()
        token = _running.set(call)
        output, failure, answered = None, None, None
        try:
            with self._answering():
                output = deployment.model.predict(seen)
            answered = payload.encode(output), payload.rows(output)
            if copies:
                output = payload.copied(output)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a failure of any kind is an outcome to record
            output, failure = None, error
        finally:
            _running.reset(token)
        duration = time.perf_counter_ns() - started
        with call.lock:
            call.is_open = False
        if call.owners is None and call.touched:  # a part of the answer was about somebody, so all of it is
            call.owners = Owners(rows=tuple(call.touched.values()), is_aligned=False)
        if call.owners is None:  # asked now: the model may have read something, too
            call.owners = exposure.owners(self.workspace)
        if call.owners is not None:  # a question may be named after whom it is about
            asker, parts = replace(asker, request_id=None), tuple(replace(part, request_id=None) for part in parts)
        inputs = self._payload(call, given, rows)
        raw_inputs = None if sent is None else self._payload(call, *sent)
        outputs = None if answered is None else self._payload(call, *answered, is_derived=True)
        shared = self._deployments.shared(deployment)
        body = made_body(
            model=version.event,
            model_name=version.name,
            model_version=version.version,
            requested=reference,
            rows=rows,
            status="ok" if failure is None else "error",
            inputs=inputs,
            outputs=outputs,
            raw=raw_inputs,
            error=None if failure is None else self._sealed(call, calls.describe(failure)),
            caller=call.caller,
            trace=call.trace,
            span=call.span,
            parent_span=outer.span if outer else asker.parent_span,
            parent=outer.id if outer and outer.service is self else None,
            received=clocks.rfc3339(received),
            duration_ns=duration,
            environment=self.environment,
            serving_code=shared.serving_code,
            request_id=asker.request_id,
            parts=parts,
        )
        uses: list[Edge | EdgeList] = [shared.edges, *exposure.edges(call.owners)]
        asked = [Edge(ref=Ref(child), role="prediction", evidence="observed") for child in call.children]
        if len(uses) + len(asked) <= MAX_EDGES:
            uses += asked
        else:
            listing = entry.encode_edge_list(asked)
            uses.append(EdgeList(digest=digest_of(listing)))
            call.blobs[digest_of(listing)] = listing
        event = Event(
            id=call.id,
            kind="prediction.made",
            at=clocks.rfc3339(clock.now_ns()),
            agent=self._agent,
            uses=tuple(uses),
            makes=(),
            body=body,
        )
        call.events += signed(self.workspace, [event], call.blobs)
        return Asked(call=call, version=version, output=output, failure=failure, parts=parts)

    def _parts(self, askers: Sequence[Asker]) -> tuple[Asker, tuple[Part, ...]]:
        """Return who asks the call as a whole, and the parts of it where several do."""
        if len(askers) == 1:
            return askers[0], ()
        first_row, parts = 0, []
        random = self.workspace.clock.random_bytes(24 * len(askers)).hex()
        for number, asker in enumerate(askers):
            own = random[48 * number : 48 * number + 48]
            part = Part(
                first_row=first_row,
                rows=asker.rows,
                caller=self._caller(asker.caller),
                trace=asker.trace or own[:32],
                span=own[32:],
                parent_span=asker.parent_span,
                request_id=asker.request_id,
            )
            parts.append(part)
            first_row += asker.rows
        names = {asker.caller for asker in askers}
        # The call as a whole is nobody's question: a trace of its own, in which the models that it asks join it.
        return Asker(rows=first_row, caller=names.pop() if len(names) == 1 else None), tuple(parts)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """While this lasts, `retrodict.load` and `retrodict.remote_step` in this context lead here."""
        token, exchange = current_loader.set(self.member), remote.current_exchange.set(self.fetch)
        try:
            yield
        finally:
            current_loader.reset(token)
            remote.current_exchange.reset(exchange)

    def _is_adopted(self, family: Call) -> bool:
        """Hand a family over to the call it is part of, if that still runs."""
        outer = _running.get()
        if outer is None or outer.service is not self:
            return False
        with outer.lock:
            if not outer.is_open:
                return False
            outer.children.append(family.id)
            outer.events.extend(family.events)
            outer.blobs.update(family.blobs)
            outer.schemas |= family.schemas
            if family.owners is not None:
                outer.touched.update({owner.subject: owner for owner in family.owners.rows})
            return True

    def _kept(self, call: Call, data: bytes) -> Digest:
        """Let bytes ride with a call, sealed where it is about people, or store them where they are large."""
        owners = () if call.owners is None else call.owners.rows
        if owners:
            assert self.workspace.keys is not None
            data = personal.seal_bytes(self.workspace.keys, owners, data)
        return personal.keep(self.workspace.objects, call.blobs, data)

    def _payload(self, call: Call, encoded: Encoded, rows: int, *, is_derived: bool = False) -> Kept:
        """Keep a payload, sealed where the call is about people.

        Raises:
            KeyNotHeldError: One of them was forgotten at this moment.
        """
        blobs: dict[Digest, bytes] = {}
        objects, keys = self.workspace.objects, self.workspace.keys
        try:
            kept = personal.store(objects, keys, blobs, encoded, rows, call.owners, is_derived=is_derived)
        except KeyNotHeldError:
            self._people.forget()
            raise
        if isinstance(kept, Payload):
            call.schemas.add(kept.schema)
            if kept.schema in self._stored:
                del blobs[kept.schema]
        call.blobs.update(blobs)
        return kept

    def _sealed(self, call: Call, text: str) -> dict[str, str]:
        keys = self.workspace.keys
        assert keys is not None  # else the agent would have no pseudonym
        sealed = keys.seal(text.encode("utf-8", "surrogateescape"))
        digest = digest_of(sealed.ciphertext)
        call.blobs[digest] = sealed.ciphertext
        return {"sealed": digest, "key": sealed.key}

    def _caller(self, name: str | None) -> str | None:
        return None if name is None else self._people.pseudonym(name)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model by the name it was asked for; the name is looked up for each question."""

    service: Service
    reference: str

    @property
    def version(self) -> ModelVersion:
        """The version that answers now."""
        return self.service.resolve(self.reference)

    @property
    def signature(self) -> Any:
        """What that version takes and gives; None where it is not known."""
        return self.service.signature(self.reference)

    def predict(
        self,
        data: Any,
        *,
        caller: str | None = None,
        trace: str | None = None,
        parent_span: str | None = None,
        raw: Any = None,
        subject: str | Sequence[str] | None = None,
    ) -> Answer:
        """Answer, once the answer is durably on record.

        Args:
            data: n rows as the model takes them; checked against its signature. For a model that was registered with
                a subject, with that field in addition: whom each row is about.
            caller: Who asks, as they say; recorded under a pseudonym.
            trace: The W3C trace that the question is part of, 32 hex digits; `parent_span` the span that sent it.
            raw: The question as it was sent, where `data` was made from it.
            subject: Whom the rows are about (one person, or one for each), where `data` has no place for it.

        Raises:
            InputError: `data` is not what the model takes; nothing is recorded.
            ModelFailedError: The model raised; that is on record.
            RetrodictError: The answer could not be recorded, and is withheld.
        """
        return self.service.predict(
            self.reference, data, caller=caller, trace=trace, parent_span=parent_span, raw=raw, subject=subject
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A model as another model sees it: its answer is the bare output."""

    service: Service
    reference: str

    def predict(self, data: Any) -> Any:
        """Return what the model answers; recorded as a part of the answer that is under way."""
        return self.service.predict(self.reference, data).output
