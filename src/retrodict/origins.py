"""Bytes from a URL, with what the origin says of them: HTTP(S), and buckets through obstore.

A transfer that breaks goes on where it was, in this command or the next, and only if the origin says that its bytes are
still the same ones (`If-Range`, `If-Match`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from retrodict.kernel.errors import MissingExtraError, UnavailableError, UsageError
from retrodict.kernel.protocols import Progress

if TYPE_CHECKING:
    import httpx

BUCKETS: Final = ("s3", "s3a", "gs", "az", "adl", "abfs", "abfss")
_ATTEMPTS: Final = 6
_TIMEOUT_S: Final = 60.0
_LONGEST_WAIT_S: Final = 60.0
_BLOCK: Final = 1 << 20


class OriginError(UnavailableError):
    """An origin does not give its bytes."""

    slug = "origin"
    hint = "Look at the address and the network; what has come so far is used the next time."

    def __init__(self, url: str, problem: object) -> None:
        super().__init__(f"{public(url)} cannot be fetched: {problem}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an origin gave.

    Attributes:
        etag, last_modified: As it says them; None where it does not.
        date: When it answered, by its own clock.
    """

    size_bytes: int
    etag: str | None
    last_modified: str | None
    date: str | None


class _PassingError(Exception):
    """A failure that may not come again; `wait_s`: not before so many seconds."""

    def __init__(self, problem: object, wait_s: float | None = None) -> None:
        super().__init__(str(problem))
        self.wait_s = wait_s


def public(url: str) -> str:
    """Return a URL without what authenticates: no user, no password, no query.

    >>> public("https://ann:secret@example.org/a.csv?token=1")
    'https://example.org/a.csv'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def without_login(url: str) -> str:
    """Return a URL without user and password: what is kept of it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def file_name(url: str) -> str:
    """Return what a file from there may be called: the last part of the path, if it can be a name.

    Raises:
        UsageError: It cannot.
    """
    name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    if name in ("", ".", "..") or "/" in name or any(ord(letter) < 32 for letter in name):
        raise UsageError(f"{public(url)} does not say what the file is called", hint="Say where to write it.")
    return name


def fetch(
    url: str,
    part: Path,
    *,
    etag: str | None,
    last_modified: str | None,
    sleep: Callable[[float], None],
    progress: Progress | None = None,
) -> Answer | None:
    """Write what lies at `url` to the file `part`; return None where it is still what it was.

    Args:
        url: http, https, s3, gs or az.
        part: Where the bytes go; what an earlier, broken transfer left there is continued.
        etag, last_modified: Of the bytes that are held; None asks for them unconditionally.
        sleep: Waits so many seconds before the next try.
        progress: Told of bytes.

    Raises:
        UsageError: A URL of another kind.
        OriginError: It is not to be had.
        MissingExtraError: The extra `urls` is not installed.
    """
    try:
        import tenacity  # an extra
    except ImportError as error:
        raise MissingExtraError("fetching from a URL", "urls") from error
    scheme = urlsplit(url).scheme.lower()
    if scheme not in ("http", "https", *BUCKETS):
        raise UsageError(f"{url} is no URL that can be fetched", hint="Give http://, https://, s3://, gs:// or az://.")
    once = _bucket if scheme in BUCKETS else _http
    backoff = tenacity.wait_exponential_jitter(initial=0.5, max=_LONGEST_WAIT_S)

    def wait(state: Any) -> float:
        problem = state.outcome.exception()
        asked = problem.wait_s if isinstance(problem, _PassingError) else None
        return float(backoff(state)) if asked is None else min(asked, _LONGEST_WAIT_S)

    trying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_PassingError),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=wait,
        sleep=sleep,
        reraise=True,
    )
    try:
        return trying(once, url, part, etag, last_modified, progress)
    except _PassingError as error:
        raise OriginError(url, error) from error
    except OSError as error:
        raise OriginError(url, error.strerror or error) from error


def forget_part(part: Path) -> None:
    """Remove what a transfer wrote."""
    for path in (part, _note(part)):
        path.unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _so_far(url: str, part: Path) -> tuple[int, str]:
    """Return how many bytes an earlier transfer left, and what they must still be; 0 and "" where none can be used."""
    try:
        noted = json.loads(_note(part).read_bytes())
        if noted["url"] == without_login(url) and isinstance(noted["validator"], str) and noted["validator"]:
            return part.stat().st_size, noted["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ""


def _write(
    url: str, part: Path, start: int, validator: str, total: int | None, pieces: Iterable[bytes], tell: Progress | None
) -> int:
    """Write pieces behind the first `start` bytes; return how many bytes there are then, all of them on the disk."""
    if not start:
        forget_part(part)
        _note(part).write_text(json.dumps({"url": without_login(url), "validator": validator}))
    with part.open("ab") as file:
        done = start
        for piece in pieces:
            file.write(piece)
            done += len(piece)
            if tell is not None:
                tell(done, total, "bytes")
        file.flush()
        os.fsync(file.fileno())
    return done


def _http(url: str, part: Path, etag: str | None, last_modified: str | None, tell: Progress | None) -> Answer | None:
    try:
        import httpx  # an extra, 100 ms
    except ImportError as error:
        raise MissingExtraError("fetching from a URL", "urls") from error
    start, validator = _so_far(url, part)
    headers = {"Accept-Encoding": "identity"}  # the bytes as they are, so that ranges and lengths are theirs
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    elif etag is not None:
        headers["If-None-Match"] = etag
    elif last_modified is not None:
        headers["If-Modified-Since"] = last_modified
    try:
        with (
            httpx.Client(follow_redirects=True, timeout=_TIMEOUT_S) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            return _take(url, part, start, response, tell)
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise _PassingError(str(error) or type(error).__name__) from error
    except (httpx.InvalidURL, httpx.HTTPError, UnicodeError) as error:
        raise OriginError(url, error) from error


def _take(url: str, part: Path, start: int, response: httpx.Response, tell: Progress | None) -> Answer | None:
    status, got = response.status_code, response.headers
    hops = [*response.history, response]
    if any(a.url.scheme == "https" and b.url.scheme != "https" for a, b in pairwise(hops)):
        raise OriginError(url, "it leads from https to an address without")
    if status == 304:
        return None
    if status == 416:  # what is there is not a beginning of what the origin has now
        forget_part(part)
        raise _PassingError("it has fewer bytes than were there")
    if status == 429 or status >= 500:
        after = got.get("Retry-After", "")
        raise _PassingError(f"it answers {status}", float(after) if after.isdigit() else None)
    if status not in (200, 206):
        raise OriginError(url, f"it answers {status} {response.reason_phrase}")
    total = int(got["Content-Length"]) if got.get("Content-Length", "").isdigit() else None
    if status == 206:
        found = re.match(r"bytes (\d+)-\d+/(\d+|\*)", got.get("Content-Range", ""))
        if not start or found is None or int(found[1]) != start:
            forget_part(part)
            raise _PassingError("it gave another part than was asked for")
        total = int(found[2]) if found[2].isdigit() else None
    else:
        start = 0
    etag, last_modified = got.get("ETag"), got.get("Last-Modified")
    # A weak tag says that the bytes mean the same, not that they are the same.
    validator = etag if etag and not etag.startswith("W/") else last_modified or ""
    is_encoded = got.get("Content-Encoding", "identity").lower() != "identity"
    if is_encoded:
        total = None
    pieces = response.iter_bytes(_BLOCK) if is_encoded else response.iter_raw(_BLOCK)
    done = _write(url, part, start, "" if is_encoded else validator, total, pieces, tell)
    if total is not None and done != total:
        raise _PassingError(f"{done} of {total} bytes came")
    return Answer(size_bytes=done, etag=etag, last_modified=last_modified, date=got.get("Date"))


def _bucket(url: str, part: Path, etag: str | None, last_modified: str | None, tell: Progress | None) -> Answer | None:
    del last_modified  # buckets have tags
    try:
        import obstore  # an extra
        from obstore.store import from_url
    except ImportError as error:
        raise MissingExtraError("fetching from a bucket", "urls") from error
    parts = urlsplit(url)
    start, validator = _so_far(url, part)
    options: Any = {}
    if start:
        options = {"range": {"offset": start}, "if_match": validator}
    elif etag is not None:
        options = {"if_none_match": etag}
    client: Any = {"timeout": f"{_TIMEOUT_S:g}s", "allow_http": True}  # plain HTTP only where the end-point is such
    try:
        store: Any = from_url(urlunsplit((parts.scheme, parts.netloc, "", "", "")), client_options=client)
        result = obstore.get(store, unquote(parts.path.lstrip("/")), options=options)
        meta = result.meta
        total, tag = int(meta["size"]), meta.get("e_tag")
        modified = meta["last_modified"].strftime("%a, %d %b %Y %H:%M:%S GMT")
        done = _write(url, part, start, tag or "", total, _pieces(result), tell)
    except obstore.exceptions.NotModifiedError:
        return None
    except obstore.exceptions.PreconditionError as error:
        forget_part(part)
        raise _PassingError("it has changed since a part of it came") from error
    except FileNotFoundError as error:
        raise OriginError(url, "there is nothing of that name") from error
    except obstore.exceptions.GenericError as error:
        raise _PassingError(str(error).splitlines()[0]) from error
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise OriginError(url, (str(error).splitlines() or [""])[0].partition(" in ")[0]) from error
    if done != total:
        raise _PassingError(f"{done} of {total} bytes came")
    return Answer(size_bytes=done, etag=tag, last_modified=modified, date=None)


def _pieces(result: Any) -> Iterator[bytes]:
    for piece in result.stream(min_chunk_size=_BLOCK):
        yield bytes(piece)
