"""The endpoints: Open Inference Protocol v2 (JSON), and `POST /v1/predictions` for answers given elsewhere.

Raw ASGI, since real clients send no Content-Type and expect `{"error": ...}` with every refusal (`docs/http.md`).
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, TypeVar

import retrodict
from retrodict.actions.record import record_prediction
from retrodict.kernel.errors import (
    AmbiguousReferenceError,
    RetrodictError,
    UnavailableError,
    UnknownReferenceError,
    UsageError,
)
from retrodict.models import records
from retrodict.server import tensors
from retrodict.server.errors import FieldError, RequestError
from retrodict.server.exchange import Disconnected, Receive, Scope, Send, header, read_body, read_json, send_json
from retrodict.serving import (
    Answer,
    ModelFailedError,
    Service,
    TraceContext,
    format_traceparent,
    parse_traceparent,
)

_log = logging.getLogger("retrodict.server")
_MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<rest>/ready|/infer)?\Z")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    status: int
    value: object
    headers: tuple[tuple[bytes, bytes], ...] = ()


class App:
    """An ASGI application over one service."""

    def __init__(
        self, service: Service, references: Mapping[str, str], *, pool: Executor, token: str | None, limit_bytes: int
    ) -> None:
        """Serve `references`: name in the URL -> what it means (`credit` -> `credit@champion`).

        Args:
            pool: Where models run.
            token: What a caller must present (`Authorization: Bearer`); None: nothing.
            limit_bytes: Longest body that is read.
        """
        self._service = service
        self._references = dict(references)
        self._pool = pool
        self._token = None if token is None else token.encode()
        self._limit = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        try:
            reply = await self._reply(scope, receive)
        except Disconnected:
            return
        except RetrodictError as error:
            reply = _refusal(error)
        except RecursionError:
            reply = _Reply(status=400, value={"error": "the body is nested too deeply"})
        except Exception:  # noqa: BLE001 - the last door: a defect of ours must not end the connection without a word
            _log.exception("%s %s", scope["method"], scope["path"])
            reply = _Reply(status=500, value={"error": "internal error; the server's log tells more"})
        await send_json(send, reply.status, reply.value, reply.headers, bare=scope["method"] == "HEAD")

    async def _reply(self, scope: Scope, receive: Receive) -> _Reply:
        path, method = scope["path"].rstrip("/") or "/", scope["method"]
        if path in {"/v2/health/live", "/v2/health/ready"}:
            _allow(method, "GET")
            word = path.rpartition("/")[2]
            return _Reply(status=200, value={word: True})
        self._check_token(scope)
        if path == "/v2":
            _allow(method, "GET")
            return _Reply(
                status=200, value={"name": "retrodict", "version": retrodict.__version__, "extensions": ["traceparent"]}
            )
        if path == "/v1/predictions":
            _allow(method, "POST")
            request = read_json(await read_body(scope, receive, self._limit))
            return await self._in_pool(self._record, request, header(scope, b"traceparent"), _caller(scope))
        found = _MODEL.match(path)
        if found is None:
            raise RequestError(f"there is nothing at {path}", status=404)
        reference = self._reference(found["name"], found["version"])
        if found["rest"] == "/infer":
            _allow(method, "POST")
            return await self._infer(scope, receive, found["name"], reference)
        _allow(method, "GET")
        if found["rest"] == "/ready":
            await self._in_pool(self._service.load, reference)
            return _Reply(status=200, value={"name": found["name"], "ready": True})
        return await self._in_pool(self._metadata, found["name"], reference)

    def _check_token(self, scope: Scope) -> None:
        if self._token is None:
            return
        scheme, _, given = (header(scope, b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            raise RequestError("a token is needed: send `Authorization: Bearer ...`", status=401)

    def _reference(self, name: str, version: str | None) -> str:
        reference = self._references.get(name)
        if reference is None:
            served = ", ".join(sorted(self._references))
            raise RequestError(f"no model {name!r} is served here; served: {served}", status=404)
        return reference if version is None else f"{name}@{version}"

    async def _in_pool(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def _metadata(self, name: str, reference: str) -> _Reply:
        version = self._service.resolve(reference)
        signature = self._service.signature(reference)
        versions = records.versions(self._service.workspace.views.database(), version.name)
        return _Reply(
            status=200,
            value={
                "name": name,
                "versions": [str(v.version) for v in versions],
                "platform": version.flavor,
                "inputs": tensors.describe(None if signature is None else signature.inputs),
                "outputs": tensors.describe(None if signature is None else signature.outputs),
                "parameters": {"answers": version.label},
            },
        )

    async def _infer(self, scope: Scope, receive: Receive, name: str, reference: str) -> _Reply:
        body = await read_body(scope, receive, self._limit)
        question = await self._in_pool(
            self._ask, reference, body, parse_traceparent(header(scope, b"traceparent")), _caller(scope)
        )
        # The model has run; what is waited for is the disk.
        answer = await asyncio.wrap_future(question.answer)
        value = {
            "model_name": name,
            "model_version": str(answer.version.version),
            **({} if question.id is None else {"id": question.id}),
            "parameters": _parameters(answer, question.rows),
            "outputs": tensors.write_tensors(answer.output, question.output_names, question.wanted),
        }
        return _Reply(status=200, value=value, headers=(_traceparent(answer.trace, answer.span),))

    def _ask(self, reference: str, body: bytes, context: TraceContext | None, caller: str | None) -> _Question:
        request = read_json(body)
        question_id = request.get("id")
        if question_id is not None and not isinstance(question_id, str):
            raise FieldError("id", "a string", question_id)
        parameters = request.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise FieldError("parameters", "an object", parameters)
        wanted = _wanted(request.get("outputs"))
        signature = self._service.signature(reference)
        inputs = tensors.read_tensors(request.get("inputs"))
        data = tensors.as_input(inputs, signature)
        # A single array that became a frame is kept as it was sent, too.
        raw = (
            inputs if len(inputs) == 1 and next(iter(inputs.values())).ndim == 2 and hasattr(data, "columns") else None
        )
        answer = self._service.submit(
            reference,
            data,
            caller=caller,
            trace=None if context is None else context.trace,
            parent_span=None if context is None else context.span,
            raw=raw,
        )
        return _Question(
            answer=answer,
            id=question_id,
            rows=len(next(iter(inputs.values()))),
            wanted=wanted,
            output_names=tensors.names(None if signature is None else signature.outputs),
        )

    def _record(self, request: dict[str, Any], traceparent: str | None, caller: str) -> _Reply:
        context = parse_traceparent(traceparent)
        for field in ("system", "model", "inputs"):
            if field not in request:
                raise FieldError(field, "to be given", None)
        for field in ("system", "model", "model_version", "caller", "at"):
            if not isinstance(request.get(field), str | None):
                raise FieldError(field, "a string", request[field])
        recorded = record_prediction(
            self._service.workspace,
            system=request["system"],
            model=request["model"],
            model_version=request.get("model_version"),
            inputs=request["inputs"],
            outputs=request.get("outputs"),
            caller=request.get("caller") or caller,
            at=request.get("at"),
            trace=None if context is None else context.trace,
        )
        return _Reply(
            status=201,
            value={
                "prediction": recorded.reference,
                "prediction_id": recorded.event,
                "leaf_hash": recorded.leaf_hash,
                "trace": recorded.trace,
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A question whose answer becomes durable: what the reply needs beside it."""

    answer: Future[Answer]
    id: str | None
    rows: int
    wanted: list[str] | None
    output_names: tuple[str, ...]


def _allow(method: str, allowed: str) -> None:
    if method != allowed and not (method == "HEAD" and allowed == "GET"):
        raise RequestError(f"{method} is not allowed here; use {allowed}", status=405)


def _caller(scope: Scope) -> str:
    """Return who asks: as they say, else the address that they ask from."""
    client = scope.get("client")
    return header(scope, b"x-caller") or (str(client[0]) if client else "unknown")


def _wanted(items: object) -> list[str] | None:
    if items is None or items == []:
        return None
    if not isinstance(items, list):
        raise FieldError("outputs", "a list of outputs", items)
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise FieldError("outputs", "objects with a name", item)
    return [item["name"] for item in items]


def _parameters(answer: Answer, rows: int) -> dict[str, str]:
    assert answer.index is not None
    assert answer.leaf_hash is not None
    return {
        "prediction": f"{answer.index}.0" if rows == 1 else str(answer.index),
        "prediction_id": answer.prediction,
        "leaf_hash": answer.leaf_hash.hex(),
        "trace": answer.trace,
    }


def _traceparent(trace: str, span: str) -> tuple[bytes, bytes]:
    return b"traceparent", format_traceparent(TraceContext(trace, span)).encode()


def _refusal(error: RetrodictError) -> _Reply:
    """Return how an error is answered: 4xx where the caller must change something, 5xx where the operator must."""
    value: dict[str, object] = {"error": error.message}
    headers: tuple[tuple[bytes, bytes], ...] = ()
    match error:
        case RequestError():
            status = error.status
            if status == 401:
                headers = ((b"www-authenticate", b"Bearer"),)
        case UnknownReferenceError() | AmbiguousReferenceError():
            status = 404
        case UsageError():
            status = 400
        case ModelFailedError():
            status = 500
            value["parameters"] = {"prediction": str(error.index), "prediction_id": error.prediction}
        case UnavailableError():
            status = 503
        case _:
            status = 500
    return _Reply(status=status, value=value, headers=headers)
