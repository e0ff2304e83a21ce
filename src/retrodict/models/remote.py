"""Third parties: models behind somebody else's HTTP end-point, which nobody here can version.

A question goes through `current_exchange`: a service sends it and puts both sides on record, a replay plays the
recorded answer back. Secrets travel in headers and are never part of what is recorded: of headers only the names are,
of an address neither user, password nor the values of parameters that are named like secrets.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from retrodict.kernel.errors import MissingExtraError, UnavailableError, UsageError
from retrodict.models.errors import first_line

TIMEOUT_S: Final = 30.0
LIMIT_BYTES: Final = 64 * 1024 * 1024  # of a response
_HIDDEN: Final = "hidden"
_SECRET: Final = re.compile(r"key|token|secret|passw|signature|\bsig\b|auth|credential|session", re.IGNORECASE)
_OPEN_HEADERS: Final = {"accept", "content-type", "user-agent"}
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_METHODS: Final = {"GET", "POST", "PUT", "PATCH"}


class ThirdPartyError(UnavailableError):
    """A third party that did not answer, or answered with an error."""

    slug = "third-party"
    hint = "What was sent, and what came back, is on record as a part of the prediction."

    def __init__(self, name: str, endpoint: str, cause: str) -> None:
        super().__init__(f"{name} ({endpoint}) did not answer: {cause}")
        self.name = name
        self.endpoint = endpoint
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is sent.

    Attributes:
        name: What the step is called here.
        url: With everything that it takes to reach it; `endpoint` is what may be shown.
        version: What the third party says it is; None: it says nothing.
        value: What is asked, as the model gave it.
        content: The bytes that are sent: the body, or the query of a GET.
        headers: With secrets; `${NAME}` stands for an environment variable where `is_expanded`.
    """

    name: str
    url: str = field(repr=False)
    method: str
    version: str | None
    value: Any
    content: bytes
    content_type: str | None
    headers: Mapping[str, str] = field(repr=False)
    timeout_s: float
    is_expanded: bool = False

    @property
    def endpoint(self) -> str:
        """The address without what may be a secret."""
        return public_address(self.url)

    @property
    def host(self) -> str:
        """The address without path and query, which may name whom a question is about."""
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came back.

    Attributes:
        status: HTTP's, 200 to 599.
        content: At most `LIMIT_BYTES`, decompressed.
    """

    status: int
    content: bytes
    content_type: str | None

    @property
    def is_ok(self) -> bool:
        """Whether it is an answer."""
        return 200 <= self.status < 300

    @property
    def value(self) -> Any:
        """The answer as Python's own: of JSON what it says, of text the text, else the bytes."""
        kind = (self.content_type or "").partition(";")[0].strip().lower()
        try:
            if kind.endswith(("/json", "+json")):
                return json.loads(self.content)
            if kind.startswith("text/"):
                return self.content.decode()
        except ValueError:
            pass  # it is not what it says: its bytes are what there is
        return self.content


Exchange = Callable[[Question], Response]
current_exchange: ContextVar[Exchange | None] = ContextVar("retrodict_exchange", default=None)
"""Answers questions to third parties, while a prediction is being made."""


def question(
    name: str,
    url: str,
    request: Any,
    *,
    version: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    method: str = "POST",
    is_expanded: bool = False,
) -> Question:
    """Return what is to be sent.

    Args:
        request: Bytes and text go as they are, everything else as JSON; in a GET a mapping becomes the query.

    Raises:
        UsageError: The address is none of HTTP, the method is not known, or the request cannot be written as JSON.
    """
    method = method.upper()
    if method not in _METHODS:
        raise UsageError(f"{method!r} is no method to ask with", hint=f"Use {', '.join(sorted(_METHODS))}.")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"{public_address(url)!r} is no address of a third party", hint="It begins with https://.")
    if timeout_s <= 0:
        raise UsageError(f"a timeout of {timeout_s} s lets nobody answer")
    given = {name.lower(): value for name, value in (headers or {}).items()}
    content, content_type = _content(name, request, method)
    return Question(
        name=name,
        url=url,
        method=method,
        version=version,
        value=request,
        content=content,
        content_type=given.get("content-type", content_type),
        headers=dict(headers or {}),
        timeout_s=timeout_s,
        is_expanded=is_expanded,
    )


def _content(name: str, request: Any, method: str) -> tuple[bytes, str | None]:
    if method == "GET":
        if not isinstance(request, Mapping) and request is not None:
            raise UsageError(f"{name} is asked by GET: the request must be a dict of the query")
        return urlencode(request or {}, doseq=True).encode(), None
    if isinstance(request, bytes):
        return request, "application/octet-stream"
    if isinstance(request, str):
        return request.encode(), "text/plain; charset=utf-8"
    try:
        return json.dumps(request, ensure_ascii=False, allow_nan=False).encode(), "application/json"
    except (TypeError, ValueError) as error:
        hint = (
            "Send bytes, text, or what JSON has: of a frame `frame.to_dict('records')`, of an array `array.tolist()`."
        )
        raise UsageError(f"the request to {name} cannot be written as JSON: {first_line(error)}", hint=hint) from error


def ask(exchange: Exchange, asked: Question) -> Any:
    """Return the answer to a question.

    Raises:
        ThirdPartyError: There was none, or it is an error.
    """
    response = exchange(asked)
    if not response.is_ok:
        raise ThirdPartyError(asked.name, asked.endpoint, f"HTTP status {response.status}")
    return response.value


def send(asked: Question, variables: Mapping[str, str]) -> Response:
    """Send a question, and return what came back, whatever its status. Redirections are not followed.

    Args:
        variables: The environment variables, for headers that name some.

    Raises:
        ThirdPartyError: Nothing came back, or too much, or too late.
        MissingExtraError: httpx is not installed.
    """
    try:
        import httpx  # 150 ms
    except ModuleNotFoundError as error:
        raise MissingExtraError("asking a third party", "remote") from error

    headers = {name: _expanded(asked, value, variables) for name, value in asked.headers.items()}
    if asked.content_type is not None and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = asked.content_type
    url, body = asked.url, asked.content
    if asked.method == "GET":
        url, body = f"{url}{'&' if urlsplit(url).query else '?'}{body.decode()}" if body else url, b""
    ends = time.monotonic() + asked.timeout_s
    received = bytearray()
    try:
        with (
            httpx.Client(timeout=asked.timeout_s, follow_redirects=False) as client,
            client.stream(asked.method, url, headers=headers, content=body) as answer,
        ):
            for part in answer.iter_bytes():
                received += part
                if len(received) > LIMIT_BYTES:
                    raise ThirdPartyError(asked.name, asked.endpoint, f"more than {LIMIT_BYTES:,} bytes came back")
                if time.monotonic() > ends:
                    raise ThirdPartyError(asked.name, asked.endpoint, f"not within {asked.timeout_s:g} s")
            return Response(
                status=answer.status_code,
                content=bytes(received),
                content_type=answer.headers.get("content-type"),
            )
    except httpx.TimeoutException as error:
        raise ThirdPartyError(asked.name, asked.endpoint, f"not within {asked.timeout_s:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError, ValueError) as error:
        cause = f"{type(error).__name__}: {first_line(error)}"
        # `from None`: a library's own traceback may quote what it was given.
        raise ThirdPartyError(asked.name, asked.endpoint, _without(cause, asked, headers)) from None


def _expanded(asked: Question, value: str, variables: Mapping[str, str]) -> str:
    if not asked.is_expanded:
        return value

    def found(match: re.Match[str]) -> str:
        if match[1] not in variables:
            cause = f"the environment variable {match[1]}, which a header needs, is not set"
            raise ThirdPartyError(asked.name, asked.endpoint, cause)
        return variables[match[1]]

    return _VARIABLE.sub(found, value)


def _without(text: str, asked: Question, headers: Mapping[str, str]) -> str:
    parts = urlsplit(asked.url)
    words = [word for value in headers.values() for word in value.split() if len(word) > 6]
    secrets = [*headers.values(), *words, asked.url, parts.password or "", parts.username or ""]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)" if len(secret) < 5 else re.escape(secret), _HIDDEN, text)
    return text


def public_address(url: str) -> str:
    """Return an address without user, password, fragment, and the values of parameters that are named like secrets."""
    parts = urlsplit(url)
    query = [(name, _HIDDEN if _SECRET.search(name) else value) for name, value in parse_qsl(parts.query, True)]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(query), ""))


# ---- a registered one ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a registered third party answers.

    Attributes:
        version: What it calls what answers there; None: it says nothing.
        headers: To be sent; secrets as `${VARIABLE}`, which the asking process takes from its environment.
    """

    url: str = field(repr=False)
    version: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = TIMEOUT_S
    method: str = "POST"


def remote_flavors(name: str, address: Address) -> dict[str, object]:
    """Return the flavors of a model that only passes its question on.

    Raises:
        UsageError: The address or a header would put a secret on record.
    """
    url, headers = address.url, address.headers
    question(name, url, {}, timeout_s=address.timeout_s, method=address.method)
    if public_address(url) != urlunsplit((*urlsplit(url)[:3], urlencode(parse_qsl(urlsplit(url).query, True)), "")):
        hint = "Give it in a header: --header 'Authorization: Bearer ${VARIABLE}'."
        raise UsageError("the address holds what may be a secret, and would be on record", hint=hint)
    for header, value in headers.items():
        if header.lower() not in _OPEN_HEADERS and not _VARIABLE.search(value):
            hint = f"Let it stand in an environment variable: --header '{header}: ${{VARIABLE}}'."
            raise UsageError(f"the value of the header {header} would be on record", hint=hint)
    own = {
        "loader": "remote",
        "name": name,
        "url": url,
        "method": address.method.upper(),
        "version": address.version,
        "headers": dict(headers),
        "timeout_s": address.timeout_s,
    }
    return {"retrodict": own}


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A registered third party: the rows of its question go out as JSON, its answer comes back as it is."""

    about: Mapping[str, Any]

    def predict(self, data: Any) -> Any:
        """Return what it answers now.

        Raises:
            ThirdPartyError: Nothing, or an error.
        """
        exchange = current_exchange.get()
        asked = question(
            str(self.about["name"]),
            str(self.about["url"]),
            _jsonable(data),
            version=self.about.get("version"),
            headers=self.about.get("headers") or {},
            timeout_s=float(self.about.get("timeout_s", TIMEOUT_S)),
            method=str(self.about.get("method", "POST")),
            is_expanded=True,
        )
        if exchange is None:
            raise ThirdPartyError(asked.name, asked.endpoint, "nobody is there to put it on record")
        return ask(exchange, asked)


def load_remote(folder: Path, about: Mapping[str, Any]) -> RemoteModel:
    """Return the third party that an MLmodel file in `folder` describes."""
    for name in ("name", "url"):
        if not isinstance(about.get(name), str):
            raise UsageError(f"{folder / 'MLmodel'}: its flavor has no {name}")
    return RemoteModel(about)


def _jsonable(data: Any) -> Any:
    """Return a frame as rows, an array as lists, and everything else as it is."""
    if hasattr(data, "to_dict") and hasattr(data, "columns"):
        return [{str(name): _plain(cell) for name, cell in row.items()} for row in data.to_dict("records")]
    if hasattr(data, "tolist"):
        return data.tolist()
    if isinstance(data, Mapping):
        return {str(name): _jsonable(item) for name, item in data.items()}
    if isinstance(data, (list, tuple)):
        return [_jsonable(item) for item in data]
    return data


def _plain(cell: Any) -> Any:
    """Return a cell of a frame as JSON has it: nothing for what is missing, dates as text."""
    if cell is None or cell != cell or type(cell).__name__ in {"NAType", "NaTType"}:
        return None
    if hasattr(cell, "item"):
        return cell.item()
    return cell.isoformat() if hasattr(cell, "isoformat") else cell
