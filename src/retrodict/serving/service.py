"""Answers questions with registered models. An answer is given only after its record is durable.

A model may ask others while it answers (`retrodict.load(...).predict(...)`): their answers become its children. The
family, children first, is one append. A child that runs in a thread which knows nothing of its parent (threads that do
not copy the context), or that comes after its parent's answer, is recorded by itself.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrodict import capture
from retrodict.kernel import clock as clocks
from retrodict.kernel import entry
from retrodict.kernel.errors import ReadOnlyStoreError
from retrodict.kernel.types import MAX_EDGES, Digest, Edge, EdgeList, Event, EventId, Ref
from retrodict.keys import KeyNotHeldError, Subject
from retrodict.ledger import Sequenced
from retrodict.models import remote
from retrodict.models.errors import InputError, UnloadableModelError
from retrodict.models.loading import LoadedModel, called, load_model
from retrodict.models.records import ModelVersion
from retrodict.models.session import current_loader
from retrodict.models.signature import Signature
from retrodict.models.subjects import as_identities, missing, take_subjects
from retrodict.objects import digest_of
from retrodict.predictions import Kept, Part, Payload, fetched_body, made_body, payload, personal
from retrodict.predictions.payload import Encoded
from retrodict.predictions.personal import Owners
from retrodict.serving.code import ServingCode
from retrodict.serving.errors import ModelFailedError
from retrodict.serving.materialize import materialize
from retrodict.serving.resolution import Resolver
from retrodict.workspace import Batch, Workspace, signed

ERROR_CHARACTERS = 20_000  # of a failure's traceback that are kept
_KNOWN_CALLERS = 10_000  # whose pseudonyms are remembered
_KNOWN_PEOPLE = 100_000  # whom questions are about, likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks one of several questions that are scored together.

    Attributes:
        rows: How many rows of the call are theirs.
        caller: As they say; recorded under a pseudonym.
        trace: W3C trace that the question is part of; None: a new one. `parent_span`: the span that sent it.
        request_id: What they call the question.
    """

    rows: int
    caller: str | None = None
    trace: str | None = None
    parent_span: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A version that is loaded, and how it wants to be asked."""

    reference: str
    version: ModelVersion
    signature: Signature | None
    is_row_wise: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model answered, and where that is on record.

    Attributes:
        output: As the model returned it.
        prediction: The `prediction.made` event.
        index: Its entry; None for a child, whose family is recorded when its parent has answered.
        leaf_hash: Of the entry, 32 bytes; None likewise.
        version: Who answered.
        trace, span: W3C trace context, hex.
        parts: Where several questions were scored together: whose rows are whose, as recorded.
    """

    output: Any
    prediction: EventId
    index: int | None
    leaf_hash: bytes | None
    version: ModelVersion
    trace: str
    span: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """The edges of all calls of a deployment, for as long as the serving code is this."""

    edges: EdgeList
    serving_code: Digest | None


@dataclass(slots=True, kw_only=True)
class _Deployment:
    """A model version in this process."""

    version: ModelVersion
    model: LoadedModel
    shared: _Shared | None = None


@dataclass(slots=True, kw_only=True)
class _Call:
    """A call under way; its descendants gather here until it is recorded."""

    service: Service
    id: EventId
    trace: str
    span: str
    caller: str | None
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_open: bool = True
    children: list[EventId] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    schemas: set[Digest] = field(default_factory=set)  # of its payloads
    owners: Owners | None = None  # whom it is about
    touched: dict[str, Subject] = field(default_factory=dict)  # whom its parts are about


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call that has answered or failed, and is not on record yet; its family of events ends with itself."""

    call: _Call
    version: ModelVersion
    output: Any
    failure: BaseException | None
    parts: tuple[Part, ...]


_running: ContextVar[_Call | None] = ContextVar("retrodict_running_call", default=None)


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
        self._cache = workspace.folder / "tmp" / "models"
        self._lock = threading.Lock()
        self._loading: dict[EventId, tuple[int, Future[_Deployment]]] = {}  # by whom: a thread
        self._agents: dict[str, str] = {}
        self._people: dict[str, Subject] = {}
        self._stored: set[Digest] = set()  # schemas that are durable: they are sent once
        self._environment: Digest | None = None
        self._code = ServingCode(workspace.objects, self._cache)
        self._agent = self._pseudonym(workspace.agent or "unknown")

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
        self._deployment(self.resolve(reference))
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
        deployment = self._deployment(self.resolve(reference))
        return Ready(
            reference=reference,
            version=deployment.version,
            signature=deployment.model.signature,
            is_row_wise=deployment.model.is_row_wise,
        )

    def signature(self, reference: str) -> Any:
        """Return the signature of the version that `reference` means now."""
        return self._deployment(self.resolve(reference)).model.signature

    @property
    def environment(self) -> Digest:
        """The environment of this process, recorded as an object."""
        with self._lock:
            if self._environment is None:
                facts = capture.snapshot_environment(None, variables=self._variables).as_json()
                text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
                self._environment = self.workspace.objects.put(text.encode())
            return self._environment

    @property
    def serving_code(self) -> Digest | None:
        """The tree of the code that runs beside the models, as it is loaded now."""
        return self._code.tree()

    def shared_edges(self, reference: str) -> Digest:
        """Return the edge list that the calls of a version share now."""
        return self._shared(self._deployment(self.resolve(reference))).edges.digest

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
        finished = self._ask(reference, self._deployment(self.resolve(reference)), data, (asker,), raw, subject)
        sequenced = None
        if not self._is_adopted(finished.call):
            family = finished.call
            sequenced = self.workspace.ledger.append(family.events, family.blobs)[-1]
            self._stored |= family.schemas
        return _answer(finished, sequenced)

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

        Args:
            ready: The version that answers.
            data: The rows of all askers, in their order.
            raw: What they sent, where `data` was made from it.
            subject: Whom the rows are about, where `data` does not say it.

        Raises:
            InputError: As `predict`; a failure of the model is an outcome, which `record` returns.
        """
        return self._ask(ready.reference, self._deployment(ready.version), data, askers, raw, subject)

    def record(self, asked: Sequence[Asked]) -> list[Answer | ModelFailedError]:
        """Put calls on record in one append; return their answers, in order: they are durable.

        Raises:
            UsageError: One of them cannot be written; none is.
            RetrodictError: They could not be recorded, and are withheld.
        """
        return self._outcomes(asked, self.workspace.ledger.append(*_joined(asked)))

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

        self.workspace.ledger.submit(*_joined(asked)).add_done_callback(appended)

    def _outcomes(self, asked: Sequence[Asked], sequenced: Sequence[Sequenced]) -> list[Answer | ModelFailedError]:
        """Return what became of calls whose events are in the log, each family's after the other's."""
        outcomes, end = [], -1
        for one in asked:
            end += len(one.call.events)
            self._stored |= one.call.schemas
            outcomes.append(_outcome(one, sequenced[end]))
        return outcomes

    def fetch(self, asked: remote.Question) -> remote.Response:
        """Ask a third party, and put both sides on record: as a part of the answer under way, else by itself.

        Raises:
            ThirdPartyError: It did not answer; that is on record.
            MissingExtraError: httpx is not installed.
        """
        clock, outer = self.workspace.clock, _running.get()
        call = _Call(
            service=self,
            id=clocks.event_id(clock),
            trace=outer.trace if outer else clock.random_bytes(16).hex(),
            span=clock.random_bytes(8).hex(),
            caller=outer.caller if outer else None,
            owners=_everybody(outer) if outer is not None and outer.service is self else None,
        )
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
            endpoint=asked.endpoint,
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
            uses=tuple(Edge(ref=Ref(str(digest)), role=role, evidence="observed") for digest, role in kept),
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
        deployment: _Deployment,
        data: Any,
        askers: Sequence[Asker],
        raw: Any,
        subject: str | Sequence[str] | None = None,
    ) -> Asked:
        """Let the model answer, and make the events of its family."""
        version = deployment.version
        clock = self.workspace.clock
        outer = _running.get()
        seen, was_changed, owners = self._people_of(version, deployment.model.signature, data, subject, outer)
        if raw is None and was_changed:
            raw = data
        asker, parts = self._parts(askers)
        call = _Call(
            service=self,
            id=clocks.event_id(clock),
            trace=asker.trace or (outer.trace if outer else clock.random_bytes(16).hex()),
            span=clock.random_bytes(8).hex(),
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
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a failure of any kind is an outcome to record
            output, failure = None, error
        finally:
            _running.reset(token)
        duration = time.perf_counter_ns() - started
        with call.lock:
            call.is_open = False
        if call.owners is None and call.touched:  # a part of the answer was about somebody, so all of it is
            call.owners = Owners(rows=tuple(call.touched.values()), is_aligned=False)
        inputs = self._payload(call, given, rows)
        raw_inputs = None if sent is None else self._payload(call, *sent)
        outputs = None if answered is None else self._payload(call, *answered, is_derived=True)
        shared = self._shared(deployment)
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
            error=None if failure is None else self._sealed(call, _describe(failure)),
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
        uses: list[Edge | EdgeList] = [shared.edges]
        asked = [Edge(ref=Ref(child), role="prediction", evidence="observed") for child in call.children]
        if len(asked) < MAX_EDGES:
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
        clock, first_row, parts = self.workspace.clock, 0, []
        for asker in askers:
            part = Part(
                first_row=first_row,
                rows=asker.rows,
                caller=self._caller(asker.caller),
                trace=asker.trace or clock.random_bytes(16).hex(),
                span=clock.random_bytes(8).hex(),
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

    def _is_adopted(self, family: _Call) -> bool:
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

    def _kept(self, call: _Call, data: bytes) -> Digest:
        """Let bytes ride with a call, sealed where it is about people, or store them where they are large."""
        owners = () if call.owners is None else call.owners.rows
        if owners:
            assert self.workspace.keys is not None
            data = personal.seal_bytes(self.workspace.keys, owners, data)
        return personal.keep(self.workspace.objects, call.blobs, data)

    def _people_of(
        self,
        version: ModelVersion,
        signature: Signature | None,
        data: Any,
        subject: str | Sequence[str] | None,
        outer: _Call | None,
    ) -> tuple[Any, bool, Owners | None]:
        """Return what the model sees of `data`, whether that was changed, and whom it is about (None: nobody).

        That the field is taken out which says whom a row is about is no change: the pseudonym says it on record.

        Raises:
            InputError: It is not what the model takes, or does not say whom it is about; no personal value is shown.
        """
        declared = version.personal
        # A part of an answer may not be told whom it is about: then it is about everybody whom the whole is.
        above = None if outer is None or outer.service is not self else outer.owners
        if declared is None and above is None:
            seen = data if signature is None else signature.check(data)
            return seen, seen is not data, None
        found, names = data, None
        if declared is not None:
            taken = take_subjects(data, declared.subject, signature)
            if taken is not None:
                found, names = taken
            elif subject is not None:
                names = as_identities(subject, payload.rows(data))
            elif above is None:
                raise missing(declared.subject)
        try:
            seen = found if signature is None else signature.check(found)
        except InputError as error:
            raise error.without_value() from None
        if declared is None or names is None:
            assert outer is not None
            return seen, seen is not found, _everybody(outer)
        columns = None if declared.columns is None else frozenset({*declared.columns, declared.subject})
        return seen, seen is not found, Owners(rows=self._subjects(names), personal=columns)

    def _subjects(self, names: Sequence[str]) -> tuple[Subject, ...]:
        """Return people by name; those who are new get their keys with one write to the disk."""
        unknown = [name for name in dict.fromkeys(names) if name not in self._people]
        if unknown:
            keys = self.workspace.keys
            assert keys is not None  # else the agent would have no pseudonym
            if len(self._people) > _KNOWN_PEOPLE:
                self._people.clear()
                unknown = list(dict.fromkeys(names))
            self._people.update(zip(unknown, keys.subjects(unknown), strict=True))
        return tuple(self._people[name] for name in names)

    def _payload(self, call: _Call, encoded: Encoded, rows: int, *, is_derived: bool = False) -> Kept:
        """Keep a payload, sealed where the call is about people.

        Raises:
            KeyNotHeldError: One of them was forgotten at this moment.
        """
        blobs: dict[Digest, bytes] = {}
        objects, keys = self.workspace.objects, self.workspace.keys
        try:
            kept = personal.store(objects, keys, blobs, encoded, rows, call.owners, is_derived=is_derived)
        except KeyNotHeldError:
            self._people.clear()
            raise
        if isinstance(kept, Payload):
            call.schemas.add(kept.schema)
            if kept.schema in self._stored:
                del blobs[kept.schema]
        call.blobs.update(blobs)
        return kept

    def _sealed(self, call: _Call, text: str) -> dict[str, str]:
        keys = self.workspace.keys
        assert keys is not None  # else the agent would have no pseudonym
        sealed = keys.seal(text.encode("utf-8", "surrogateescape"))
        digest = digest_of(sealed.ciphertext)
        call.blobs[digest] = sealed.ciphertext
        return {"sealed": digest, "key": sealed.key}

    def _caller(self, name: str | None) -> str | None:
        return None if name is None else self._pseudonym(name)

    def _pseudonym(self, name: str) -> str:
        known = self._agents.get(name)
        if known is None:
            with self._lock:
                batch = Batch(self.workspace)
                known = batch.agent(name)
                batch.append()
                if len(self._agents) >= _KNOWN_CALLERS:
                    self._agents.clear()
                self._agents[name] = known
        return known

    # One model

    def _deployment(self, version: ModelVersion) -> _Deployment:
        """Return the loaded model; the first who asks loads it, the others wait."""
        with self._lock:
            loader, waiting = self._loading.get(version.event, (0, None))
            if waiting is None:
                mine = Future[_Deployment]()
                self._loading[version.event] = threading.get_ident(), mine
        if waiting is not None:
            if loader == threading.get_ident() and not waiting.done():
                raise UnloadableModelError(version.label, "it asks itself while it is being loaded")
            return waiting.result()
        try:
            folder = self._folder(version)
            with (
                self._answering(),
                called(lambda place: f"{version.label}{f' ({place})' if place.parts else ''}", folder),
            ):
                mine.set_result(_Deployment(version=version, model=load_model(folder)))
        except BaseException as error:
            with self._lock:
                del self._loading[version.event]  # so that the next one tries again
            mine.set_exception(error)
            raise
        return mine.result()

    def _folder(self, version: ModelVersion) -> Path:
        token = self.workspace.clock.random_bytes(8).hex()
        return materialize(self.workspace.objects, version.content, self._cache, token)

    def _shared(self, deployment: _Deployment) -> _Shared:
        tree, shared = self._code.tree(), deployment.shared
        if shared is None or tree != shared.serving_code:
            version = deployment.version
            edges = [
                Edge(ref=Ref(version.content), role="model", evidence="observed", made_by=version.event),
                Edge(ref=Ref(self.environment), role="environment", evidence="observed"),
            ]
            if tree is not None:
                edges.append(Edge(ref=Ref(tree), role="serving-code", evidence="observed"))
            digest = self.workspace.objects.put(entry.encode_edge_list(edges))
            shared = deployment.shared = _Shared(edges=EdgeList(digest=digest), serving_code=tree)
        return shared


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


def _joined(asked: Sequence[Asked]) -> tuple[list[Event], dict[Digest, bytes]]:
    """Return the events and payloads of calls, family after family."""
    events: list[Event] = []
    blobs: dict[Digest, bytes] = {}
    for one in asked:
        events += one.call.events
        blobs |= one.call.blobs
    return events, blobs


def _answer(finished: Asked, sequenced: Sequenced | None) -> Answer:
    """Return the answer of a recorded call, or raise for a failed one."""
    outcome = _outcome(finished, sequenced)
    if isinstance(outcome, ModelFailedError):
        raise outcome from (None if finished.call.owners is not None else finished.failure)
    return outcome


def _outcome(finished: Asked, sequenced: Sequenced | None) -> Answer | ModelFailedError:
    call, version = finished.call, finished.version
    index = None if sequenced is None else sequenced.index
    if finished.failure is not None:
        return ModelFailedError(version.label, call.id, index, finished.failure, is_personal=call.owners is not None)
    return Answer(
        output=finished.output,
        prediction=call.id,
        index=index,
        leaf_hash=None if sequenced is None else sequenced.leaf_hash,
        version=version,
        trace=call.trace,
        span=call.span,
        parts=finished.parts,
    )


def _everybody(call: _Call) -> Owners | None:
    """Return all whom a call is about: what it asks of others is about them, in no order that is known."""
    if call.owners is None:
        return None
    return Owners(rows=tuple({owner.subject: owner for owner in call.owners.rows}.values()), is_aligned=False)


def _describe(failure: BaseException) -> str:
    """Return the traceback, its end if it is long."""
    return "".join(traceback.format_exception(failure))[-ERROR_CHARACTERS:]
