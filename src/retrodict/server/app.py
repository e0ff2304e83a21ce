"""The endpoints: Open Inference Protocol v2, and `POST /v1/predictions` for answers given elsewhere.

Raw ASGI, since real clients send no Content-Type and expect `{"error": ...}` with every refusal (`docs/http.md`).
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import retrodict
from retrodict.actions.predictions import read_prediction
from retrodict.actions.record import record_prediction
from retrodict.kernel.errors import (
    AmbiguousReferenceError,
    RetrodictError,
    UnavailableError,
    UnknownReferenceError,
    UsageError,
)
from retrodict.models import records
from retrodict.render.json import plain
from retrodict.server import openapi, tensors
from retrodict.server.errors import HIDDEN, FieldError, RequestError, reason, reason_of_status
from retrodict.server.exchange import (
    Body,
    Disconnected,
    Receive,
    Room,
    Scope,
    Send,
    header,
    is_bare,
    read_json,
    send_bytes,
    send_json,
    split,
)
from retrodict.server.measures import CONTENT_TYPE, Measures, described
from retrodict.server.scheduler import Reply, Scheduler
from retrodict.server.tensors import Wanted
from retrodict.server.tokens import Tokens
from retrodict.serving import Asker, ModelFailedError, Service, format_traceparent, parse_traceparent

_log = logging.getLogger("retrodict.server")
_MODEL: Final = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<rest>/ready|/infer)?\Z")
_LOGGED: Final = re.compile(r"/v1/predictions/([A-Za-z0-9:.-]{1,80})\Z")
_REQUEST_ID: Final = re.compile(
    r"[A-Za-z0-9._:/+=-]{1,128}\Z"
)  # what is no identifier may be anything, and is not kept
_LONGEST_CALLER: Final = 200  # characters
_BIG_BYTES: Final = 256 * 1024  # a body that is parsed elsewhere than in the event loop

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one server takes on at once.

    Attributes:
        body_bytes: Of one request, inflated. `JSON_BYTES` of it at most are JSON.
        bodies_bytes: Of all requests under way.
        rows: Of one request.
        requests: Under way at once.
        answer_s: How long a question may wait for its answer.
        request_s: How long a request may take to arrive, from the first byte to the last.
    """

    body_bytes: int = 64 * 1024 * 1024
    bodies_bytes: int = 256 * 1024 * 1024
    rows: int = 100_000
    requests: int = 1024
    answer_s: float = 60.0
    request_s: float = 30.0


class _Reply(NamedTuple):
    status: int
    value: object
    headers: tuple[tuple[bytes, bytes], ...] = ()
    tails: list[bytes] | None = None
    kind: bytes | None = None  # of a value that is bytes already


class App:
    """An ASGI application over one service."""

    def __init__(
        self, service: Service, references: Mapping[str, str], *, pool: Executor, tokens: Tokens, limits: Limits
    ) -> None:
        """Serve `references`: name in the URL -> what it means (`credit` -> `credit@champion`).

        Args:
            pool: Where models run.
            tokens: What a caller must present (`Authorization: Bearer`), and what that lets them do.
            limits: See there.
        """
        self._service = service
        self._references = dict(references)
        self._pool = pool
        self._tokens = tokens
        self._limits = limits
        self._room = Room(limits.bodies_bytes)
        self._under_way = 0
        self._answers: dict[asyncio.Future[Reply], float] = {}  # that are waited for -> until when, the first one first
        self.is_stopping = False
        self.measures = Measures(waiting=lambda: self._under_way, log_entries=service.workspace.ledger.size)
        self._scheduler = Scheduler(service, pool, self.measures.scored)

    def give_up(self) -> None:
        """Wait no longer for answers that take too long; to be called now and then, in the event loop."""
        now = time.perf_counter()
        for answer, until in list(self._answers.items()):
            if until > now:
                break
            if not answer.done():
                says = f"no answer within {self._limits.answer_s:g} s; if the model has begun, it will be on record"
                answer.set_exception(RequestError(says, status=504))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        path = scope["path"].rstrip("/") or "/"
        found = _MODEL.match(path)
        endpoint = _endpoint(path, found)
        try:
            if self._under_way >= self._limits.requests:
                raise RequestError("too many requests are under way", status=503)
            self._under_way += 1
            try:
                reply = await self._reply(scope, receive, path, found)
            finally:
                self._under_way -= 1
        except Disconnected:
            self.measures.request(endpoint, "disconnected")
            return
        except RetrodictError as error:
            reply = _refusal(error)
            self._note(error, endpoint, reply.status)
        except RecursionError:
            deep = RequestError("the body is nested too deeply")
            reply = _refusal(deep)
            self._note(deep, endpoint, reply.status)
        except Exception as error:  # noqa: BLE001 - the last door: a defect must not end the connection without a word
            fields = {"method": scope["method"], "endpoint": endpoint, **described(error)}
            _log.error("internal error", extra={"fields": fields})
            reply = _Reply(500, {"error": "internal error; the server's log tells more"})
        self.measures.request(endpoint, str(reply.status))
        bare = scope["method"] == "HEAD"
        if reply.kind is None:
            await send_json(send, reply.status, reply.value, reply.headers, tails=reply.tails, bare=bare)
        else:
            assert isinstance(reply.value, bytes)
            await send_bytes(send, reply.status, reply.kind, reply.value, reply.headers, bare=bare)

    def _note(self, error: RetrodictError, endpoint: str, status: int) -> None:
        """Count and log a refusal: why, never what. Messages name values, so they are the caller's alone."""
        why = reason(error)
        self.measures.refusals.labels(why).inc()
        fields: dict[str, object] = {"endpoint": endpoint, "status": status, "reason": why}
        if isinstance(error, ModelFailedError):
            fields |= {"model": error.model, "prediction": error.prediction}
        _log.log(logging.ERROR if status >= 500 else logging.WARNING, "refused", extra={"fields": fields})

    def note_early(self, status: int) -> None:
        """Count and log what was refused before it was a request: no HTTP, too long a head, too slow."""
        why = reason_of_status(status)
        self.measures.request("none", str(status))
        self.measures.refusals.labels(why).inc()
        _log.warning("refused", extra={"fields": {"endpoint": "none", "status": status, "reason": why}})

    async def _reply(self, scope: Scope, receive: Receive, path: str, found: re.Match[str] | None) -> _Reply:
        method = scope["method"]
        if found is not None and found["rest"] == "/infer":
            self._check_right(scope, "predict")
            _allow(method, "POST")
            name, version = found["name"], found["version"]
            return await self._infer(scope, receive, name, self._reference(name, version), version is not None)
        if path in {"/v2/health/live", "/v2/health/ready"}:
            _allow(method, "GET")
            word = path.rpartition("/")[2]
            says = word == "live" or not self.is_stopping
            return _Reply(200 if says else 503, {word: says})
        rights = self._rights(scope)
        match path:
            case "/v2":
                _allow(method, "GET")
                extensions = ["binary_tensor_data", "traceparent"]
                about = {"name": "retrodict", "version": retrodict.__version__, "extensions": extensions}
                return _Reply(200, about)
            case "/v2/models":
                _allow(method, "GET")
                return _Reply(200, {"models": sorted(self._references)})
            case "/openapi.json":
                _allow(method, "GET")
                return _Reply(200, openapi.description(sorted(self._references), with_token=bool(self._tokens)))
            case "/metrics":
                _allow(method, "GET")
                return _Reply(200, await self._in_pool(self.measures.text), kind=CONTENT_TYPE)
            case "/v1/predictions":
                self._check_right(scope, "record")
                _allow(method, "POST")
                with Body(self._room) as body:
                    content = await body.read(scope, receive, self._limits.body_bytes)
                    request = await self._parsed(content, read_json, content)
                    return await self._in_pool(self._record, request, header(scope, b"traceparent"), _caller(scope))
        logged = _LOGGED.match(path)
        if logged is not None:
            if not rights & {"read", "personal"}:
                raise RequestError("this token has no right to read", status=403)
            _allow(method, "GET")
            return await self._in_pool(self._logged, logged[1], "personal" in rights, _caller(scope))
        if found is None:
            raise RequestError("there is nothing here; `GET /openapi.json` lists what there is", status=404)
        reference = self._reference(found["name"], found["version"])
        _allow(method, "GET")
        if found["rest"] == "/ready":
            await self._in_pool(self._service.load, reference)
            return _Reply(200, {"name": found["name"], "ready": True})
        return await self._in_pool(self._metadata, found["name"], reference)

    def _rights(self, scope: Scope) -> frozenset[str]:
        rights = self._tokens.rights(header(scope, b"authorization"))
        if rights is None:
            raise RequestError("a token is needed: send `Authorization: Bearer ...`", status=401)
        return rights

    def _check_right(self, scope: Scope, right: str) -> None:
        if right not in self._rights(scope):
            raise RequestError(f"this token has no right to {right}", status=403)

    def _logged(self, reference: str, is_open: bool, caller: str) -> _Reply:
        """Return one prediction; personal values only where they may be seen: that is a look, and recorded."""
        found = read_prediction(self._service.workspace, reference, unseal=is_open, caller=caller if is_open else None)
        return _Reply(200, {"rows": [plain(row) for row in found.rows]})

    def _reference(self, name: str, version: str | None) -> str:
        reference = self._references.get(name)
        if reference is None:
            served = ", ".join(sorted(self._references))
            raise RequestError(f"no model {_shown(name)} is served here; served: {served}", status=404)
        return reference if version is None else f"{name}@{version}"

    async def _in_pool(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _parsed(self, content: bytes, parse: Callable[..., T], *arguments: Any) -> T:
        """Parse here what is short, and elsewhere what would keep others waiting."""
        return parse(*arguments) if len(content) < _BIG_BYTES else await self._in_pool(parse, *arguments)

    def _metadata(self, name: str, reference: str) -> _Reply:
        ready = self._service.ready(reference)
        signature = ready.signature
        versions = records.versions(self._service.workspace.views.database(), ready.version.name)
        inputs = tensors.describe(None if signature is None else signature.inputs, "input")
        personal = ready.version.personal
        if personal is not None and personal.subject not in [tensor["name"] for tensor in inputs]:
            inputs.append({"name": personal.subject, "datatype": "BYTES", "shape": [-1]})  # whom each row is about
        return _Reply(
            200,
            {
                "name": name,
                "versions": [str(v.version) for v in versions],
                "platform": ready.version.flavor,
                "inputs": inputs,
                "outputs": tensors.describe(None if signature is None else signature.outputs, "output"),
                "parameters": {"answers": ready.version.label, "row_wise": ready.is_row_wise},
            },
        )

    async def _infer(self, scope: Scope, receive: Receive, name: str, reference: str, is_versioned: bool) -> _Reply:
        started = time.perf_counter()
        with Body(self._room) as body:
            content = await body.read(scope, receive, self._limits.body_bytes)
            try:
                request = await self._parsed(content, _read_request, scope, content, self._limits.rows)
            except RequestError as error:
                version = await self._in_pool(self._service.resolve, reference)  # that there is none is said first
                if is_bare(scope):
                    request = await self._in_pool(self._bare_request, reference, content)
                elif isinstance(error, FieldError) and version.personal is not None:
                    raise error.without_value() from None
                else:
                    raise
            trace, span = parse_traceparent(header(scope, b"traceparent"))
            asker = Asker(
                rows=request.rows,
                caller=_caller(scope),
                trace=trace,
                parent_span=span,
                request_id=request.id if request.id is not None and _REQUEST_ID.match(request.id) else None,
            )
            try:
                answer = self._scheduler.ask(reference, request.inputs, asker)
                self._answers[answer] = started + self._limits.answer_s
                reply = await answer
            except ModelFailedError as error:
                if request.rows:
                    raise
                self._note(error, "infer", 400)
                return _refusal(error)._replace(status=400)  # it was asked about nothing, and takes no such question
            finally:
                self._answers.pop(answer, None)
                if is_versioned:
                    self._scheduler.forget(reference)
        try:
            value, tails = _answer(name, request, reply)
        except FieldError as error:  # an output that there is not: which ones there are, only the answer shows
            self._note(error, "infer", 400)
            return _Reply(400, {"error": error.message, "parameters": _record_of(reply)})
        self.measures.answered(name, time.perf_counter() - started)
        return _Reply(200, value, (_traceparent(reply.trace, reply.span),), tails)

    def _bare_request(self, reference: str, content: bytes) -> _Request:
        """Read a body without JSON: the model's only input."""
        signature = self._service.ready(reference).signature
        inputs = tensors.read_bare(None if signature is None else signature.inputs, memoryview(content))
        rows = len(next(iter(inputs.values())))
        if rows > self._limits.rows:
            raise RequestError(f"{rows:,} rows in one request; at most {self._limits.rows:,}", status=413)
        return _Request(None, inputs, rows, Wanted(names=None, binary={}, binary_otherwise=True))

    def _record(self, request: dict[str, Any], traceparent: str | None, caller: str) -> _Reply:
        trace, _ = parse_traceparent(traceparent)
        needed = {"system": "the name of what answered", "model": "the model's name there", "inputs": "what was asked"}
        for field, expected in needed.items():
            if field not in request:
                raise FieldError(field, expected, None)
        for field in ("system", "model", "model_version", "caller", "at"):
            if not isinstance(request.get(field), str | None):
                raise FieldError(field, "a string", request[field])
        if len(request.get("caller") or "") > _LONGEST_CALLER:
            raise FieldError("caller", f"at most {_LONGEST_CALLER} characters", request["caller"])
        subject = request.get("subject")
        if not isinstance(subject, str | None) and not (
            isinstance(subject, list) and all(isinstance(item, str) for item in subject)
        ):
            raise FieldError("subject", "a string, or one for each row", HIDDEN)
        recorded = record_prediction(
            self._service.workspace,
            system=request["system"],
            model=request["model"],
            model_version=request.get("model_version"),
            inputs=request["inputs"],
            outputs=request.get("outputs"),
            caller=request.get("caller") or caller,
            at=request.get("at"),
            trace=trace,
            subject=subject,
        )
        return _Reply(
            201,
            {
                "prediction": recorded.reference,
                "prediction_id": recorded.event,
                "leaf_hash": recorded.leaf_hash,
                "trace": recorded.trace,
            },
        )


class _Request(NamedTuple):
    """An inference request, read."""

    id: str | None
    inputs: dict[str, Any]
    rows: int
    wanted: Wanted


def _read_request(scope: Scope, content: bytes, most_rows: int) -> _Request:
    text, binary = split(scope, content)
    request = read_json(text, quickly=True)
    name = request.get("id")
    if name is not None and not isinstance(name, str):
        raise FieldError("id", "a string", name)
    parameters = tensors.read_parameters("parameters", request)
    wanted = tensors.read_wanted(request.get("outputs"), parameters)
    inputs = tensors.read_tensors(request.get("inputs"), binary)
    rows = len(next(iter(inputs.values())))
    if rows > most_rows:
        raise RequestError(f"{rows:,} rows in one request; at most {most_rows:,}", status=413)
    return _Request(name, inputs, rows, wanted)


def _answer(name: str, request: _Request, reply: Reply) -> tuple[dict[str, object], list[bytes] | None]:
    outputs, tails = reply.outputs.write(request.wanted, reply.rows)
    parameters = _record_of(reply)
    if reply.rows is not None:
        parameters["rows"] = request.rows
    value: dict[str, object] = {"model_name": name, "model_version": str(reply.answer.version.version)}
    if request.id is not None:
        value["id"] = request.id
    return value | {"parameters": parameters, "outputs": outputs}, tails


def _record_of(reply: Reply) -> dict[str, object]:
    """Return what names the record of an answer: the `parameters` of an inference response."""
    assert reply.answer.leaf_hash is not None
    return {
        "prediction": reply.reference,
        "prediction_id": reply.answer.prediction,
        "leaf_hash": reply.answer.leaf_hash.hex(),
        "trace": reply.trace,
    }


def _allow(method: str, allowed: str) -> None:
    if method != allowed and not (method == "HEAD" and allowed == "GET"):
        raise RequestError(f"this method is not allowed here; use {allowed}", status=405, allow=allowed)


def _endpoint(path: str, found: re.Match[str] | None) -> str:
    """Return what a path is for, from a fixed list: a count must not grow with what callers make up."""
    if found is not None:
        return (found["rest"] or "/metadata")[1:]
    known = {"/v2", "/v2/models", "/v2/health/live", "/v2/health/ready", "/v1/predictions", "/metrics", "/openapi.json"}
    return path if path in known else "/v1/predictions/REFERENCE" if _LOGGED.match(path) else "other"


def _caller(scope: Scope) -> str:
    """Return who asks: as they say, else the address that they ask from."""
    client = scope.get("client")
    named = header(scope, b"x-caller")
    if named is not None and len(named) > _LONGEST_CALLER:
        raise RequestError(f"X-Caller is longer than {_LONGEST_CALLER} characters")
    return named or (str(client[0]) if client else "unknown")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:77] + "...")


def _traceparent(trace: str, span: str) -> tuple[bytes, bytes]:
    return b"traceparent", format_traceparent(trace, span).encode()


def _refusal(error: RetrodictError) -> _Reply:
    """Return how an error is answered: 4xx where the caller must change something, 5xx where the operator must."""
    value: dict[str, object] = {"error": error.message}
    headers: Sequence[tuple[bytes, bytes]] = ()
    match error:
        case RequestError():
            status, headers = error.status, error.headers
        case UnknownReferenceError() | AmbiguousReferenceError():
            status = 404
            if isinstance(error, UnknownReferenceError) and error.near:
                value["error"] = f"{error.message}. {error.hint}"
        case UsageError():
            status = 400
        case ModelFailedError():
            status = 500
            value["parameters"] = {"prediction": str(error.index), "prediction_id": error.prediction}
        case UnavailableError():
            status, headers = 503, ((b"retry-after", b"1"),)
        case _:
            status = 500
    return _Reply(status, value, tuple(headers))
