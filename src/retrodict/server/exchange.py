"""One HTTP exchange over raw ASGI: the body in, JSON out."""

from __future__ import annotations

import json
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from retrodict.server.errors import RequestError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Disconnected(Exception):  # noqa: N818 - not an error of ours: nobody waits for the answer any more
    """The client went away before its request was whole."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of this (lower-case) name."""
    found = next((value for key, value in scope["headers"] if key == name), None)
    return None if found is None else found.decode("latin-1")


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """Return the whole body, inflated where it came as gzip.

    Raises:
        RequestError: It is longer than `limit_bytes` (413), or cannot be inflated.
        Disconnected: See there.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            break
    body = b"".join(parts)
    match (header(scope, b"content-encoding") or "identity").strip().lower():
        case "identity" | "":
            return body
        case "gzip" | "deflate":
            return _inflate(body, limit_bytes)
        case other:
            raise RequestError(f"Content-Encoding {other} is not supported; send gzip or none", status=415)


def _inflate(body: bytes, limit_bytes: int) -> bytes:
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by its first bytes
    try:
        data = inflater.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise RequestError(f"the body cannot be decompressed: {error}") from error
    if len(data) > limit_bytes:
        raise _too_large(limit_bytes)
    if not inflater.eof:
        raise RequestError("the compressed body is cut short")
    return data


def _too_large(limit_bytes: int) -> RequestError:
    return RequestError(f"the body is longer than {limit_bytes:,} bytes", status=413)


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body, whatever its Content-Type said.

    Raises:
        RequestError: It is none.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestError(f"the body is not a JSON object but a {type(value).__name__}")
    return value


async def send_json(
    send: Send, status: int, value: object, headers: Iterable[tuple[bytes, bytes]] = (), *, bare: bool = False
) -> None:
    """Answer with JSON; `bare` leaves the body out (HEAD)."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": b"" if bare else body})
