"""One HTTP exchange over raw ASGI: the body in within limits, JSON (and binary tensors) out."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any, Final

import orjson

from retrodict.server.errors import RequestError

JSON_BYTES: Final = 16 * 1024 * 1024  # parsed, it takes up to ten times as much; binary tensors may be longer
_PIECE: Final = 1 << 20
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # making one takes longer than using it

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Disconnected(Exception):  # noqa: N818 - not an error of ours: nobody waits for the answer any more
    """The client went away before its request was whole."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of this (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found.decode("latin-1")
    return None


class Room:
    """Bytes of bodies that may be held at once, by all requests together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0

    def take(self, size_bytes: int) -> None:
        """Take room for more bytes.

        Raises:
            RequestError: There is none left (503): the client may try again.
        """
        if self._held + size_bytes > self._limit:
            raise RequestError("too much is being asked at once", status=503)
        self._held += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Give room back that was taken."""
        self._held -= size_bytes


class Body:
    """A request's body; use it as a context manager: the room that it takes is given back at the end."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.give_back(self._size)

    def _take(self, size_bytes: int) -> None:
        self._room.take(size_bytes)
        self._size += size_bytes

    async def read(self, scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
        """Return the whole body, inflated where it came compressed.

        Raises:
            RequestError: It is longer than `limit_bytes` (413), finds no room (503), or cannot be inflated.
            Disconnected: See there.
        """
        announced = header(scope, b"content-length") or ""
        if announced.isascii() and announced.isdigit() and (len(announced) > 18 or int(announced) > limit_bytes):
            raise _too_large(limit_bytes)
        body = await self._receive(receive, limit_bytes)
        match (header(scope, b"content-encoding") or "identity").strip().lower():
            case "identity" | "":
                return body
            case "gzip" | "x-gzip" | "deflate":
                return self._inflate(body, limit_bytes)
            case _:
                raise RequestError("this Content-Encoding is not supported; send gzip, deflate or none", status=415)

    async def _receive(self, receive: Receive, limit_bytes: int) -> bytes:
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            part = message.get("body", b"")
            if self._size + len(part) > limit_bytes:
                raise _too_large(limit_bytes)
            self._take(len(part))
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _inflate(self, body: bytes, limit_bytes: int) -> bytes:
        """Return gzip, zlib or bare deflate inflated, a piece at a time: a bomb gets no further than the limit."""
        is_wrapped = body[:2] == b"\x1f\x8b" or (
            len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
        )
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32 if is_wrapped else -zlib.MAX_WBITS)
        parts: list[bytes] = []
        size, rest = 0, body
        try:
            while not inflater.eof:
                part = inflater.decompress(rest, _PIECE)
                size, rest = size + len(part), inflater.unconsumed_tail
                if size > limit_bytes:
                    raise _too_large(limit_bytes)
                if not part and not rest:
                    raise RequestError("the compressed body is cut short")
                self._take(len(part))
                parts.append(part)
        except zlib.error:
            raise RequestError("the body cannot be decompressed") from None
        if inflater.unused_data:
            raise RequestError("something follows the compressed body")
        return b"".join(parts)


def _too_large(limit_bytes: int) -> RequestError:
    return RequestError(f"the body is longer than {limit_bytes:,} bytes", status=413)


def read_json(body: bytes, *, quickly: bool = False) -> dict[str, Any]:
    """Return the JSON object of a body, whatever its Content-Type said.

    Args:
        quickly: Whole numbers over 64 bits may become floats.

    Raises:
        RequestError: It is none, or longer than JSON may be here (413).
    """
    if len(body) > JSON_BYTES:
        raise RequestError(
            f"JSON of {len(body):,} bytes; at most {JSON_BYTES:,}: send long tensors as binary data", status=413
        )
    try:
        value = _parse_quickly(body) if quickly else json.loads(body, parse_float=_float)
    except RecursionError:
        raise RequestError("the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    except ValueError as error:  # not UTF-8; a number of more than 4,300 digits
        text = "a number is too long" if "digits" in str(error) else "it is not text in UTF-8"
        raise RequestError(f"the body is not JSON: {text}") from None
    if not isinstance(value, dict):
        raise RequestError(f"the body is not a JSON object but a {type(value).__name__}")
    return value


def _parse_quickly(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except (
        orjson.JSONDecodeError
    ):  # NaN, text in UTF-16, what is no JSON: the standard library takes it, or says why not
        return json.loads(body, parse_float=_float)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise RequestError(f"the number {text[:40]} is too large for a double")
    return value


def split(scope: Scope, body: bytes) -> tuple[bytes, memoryview | None]:
    """Return the JSON of a body and the binary tensors after it; None where the header says of none.

    Raises:
        RequestError: The header is no length, or a longer one than the body has.
    """
    text = header(scope, b"inference-header-content-length")
    if text is None:
        return body, None
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) <= len(body)):
        raise RequestError("Inference-Header-Content-Length is not the length of the JSON at the start of the body")
    return body[: int(text)], memoryview(body)[int(text) :]


def is_bare(scope: Scope) -> bool:
    """Say whether a body is one tensor, without JSON (Triton's raw binary request)."""
    return (header(scope, b"inference-header-content-length") or "").strip() == "0"


async def send_json(
    send: Send,
    status: int,
    value: object,
    headers: Iterable[tuple[bytes, bytes]] = (),
    *,
    tails: Sequence[bytes] | None = None,
    bare: bool = False,
) -> None:
    """Answer with JSON.

    Args:
        tails: Binary tensors that follow the JSON; None: none do.
        bare: Leave the body out (HEAD).
    """
    try:
        body = orjson.dumps(value)
    except TypeError:  # half a surrogate pair, or a whole number over 64 bits, echoed
        body = _ENCODER.encode(value).encode("utf-8", "backslashreplace")
    kind = b"application/json"
    if tails is not None:
        headers = [*headers, (b"inference-header-content-length", b"%d" % len(body))]
        kind, body = b"application/octet-stream", b"".join([body, *tails])
    await send_bytes(send, status, kind, body, headers, bare=bare)


async def send_bytes(
    send: Send,
    status: int,
    kind: bytes,
    body: bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
    *,
    bare: bool = False,
) -> None:
    """Answer with bytes of a Content-Type."""
    start = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": b"" if bare else body})
