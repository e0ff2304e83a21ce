"""Where a table's files lie: a folder here, or one in a bucket, through obstore."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from retrodict.kernel.errors import MissingExtraError, UnavailableError, UsageError

BUCKETS: Final = ("s3", "s3a", "gs", "az", "adl", "abfs", "abfss")
_BLOCK: Final = 1 << 20


class LakeError(UnavailableError):
    """A table's folder or its log cannot be read."""

    slug = "lake"
    hint = "Look at the address, the credentials and the network; and whether another program reads the table."

    def __init__(self, place: str, problem: object) -> None:
        super().__init__(f"{place} cannot be read as a table: {problem}")


@dataclass(frozen=True, slots=True)
class Found:
    """A file, as its store has it.

    Attributes:
        name: Below the table's folder.
        stamp: What changes when it is written again.
        modified: RFC 3339.
    """

    name: str
    size_bytes: int
    stamp: str
    modified: str


class Store:
    """The files below a folder.

    Attributes:
        url: Its address, or its path.
        endpoint: Of a bucket, where it is, if not at its provider.
        root: Of a folder here; None: it is a bucket.
    """

    def __init__(self, url: str, environment: Mapping[str, str], *, endpoint: str | None = None) -> None:
        """Open it; nothing is read yet.

        Raises:
            UsageError: It is no such address.
            MissingExtraError: It is a bucket, and the extra `urls` is not installed.
        """
        self.url, self.endpoint, self.root = url, None, None
        parts = urlsplit(url)
        if "://" not in url:
            self.root = Path(url)
            return
        if parts.scheme not in BUCKETS or not parts.netloc or parts.username:
            raise UsageError(f"{url} is no folder of a table", hint=f"There are paths, and {'://, '.join(BUCKETS)}://.")
        try:
            import obstore  # an extra
            from obstore.store import from_url
        except ImportError as error:
            raise MissingExtraError("a table in a bucket", "urls") from error
        options: dict[str, Any] = {}
        if parts.scheme.startswith("s3"):
            names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
            self.endpoint = endpoint or next((environment[name] for name in names if environment.get(name)), None)
            options = {} if self.endpoint is None else {"endpoint": self.endpoint}
        self._obstore: Any = obstore
        with self._translated():
            client: Any = {"allow_http": True}  # plain HTTP only where the end-point is such
            self._store: Any = from_url(url.rstrip("/"), client_options=client, **options)

    def list(self, folder: str) -> list[Found]:
        """Return the files that lie in a folder, or below it."""
        if self.root is not None:
            found = []
            with self._translated():
                for inside, _, names in os.walk(self.root / folder):
                    paths = [os.path.relpath(os.path.join(inside, name), self.root) for name in names]
                    found += [one for path in paths if (one := self.look(path)) is not None]
            return sorted(found, key=lambda one: one.name)
        with self._translated():
            rows = [meta for page in self._obstore.list(self._store, f"{folder}/") for meta in page]
        return sorted((_found(meta) for meta in rows), key=lambda one: one.name)

    def look(self, name: str) -> Found | None:
        """Return a file; None: there is none of that name."""
        if self.root is not None:
            try:
                status = (self.root / name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise LakeError(self.url, error.strerror) from error
            at = datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            return Found(name, status.st_size, str(status.st_mtime_ns), at)
        try:
            with self._translated():
                return _found(self._obstore.head(self._store, name))
        except FileNotFoundError:
            return None

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a file.

        Raises:
            FileNotFoundError: There is none.
            LakeError: It cannot be read.
        """
        with self._translated():
            if self.root is not None:
                with (self.root / name).open("rb") as file:
                    while block := file.read(_BLOCK):
                        yield block
                return
            for piece in self._obstore.get(self._store, name).stream(min_chunk_size=_BLOCK):
                yield bytes(piece)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        errors: tuple[type[Exception], ...] = (OSError, ValueError)
        if self.root is None:
            errors = (*errors, self._obstore.exceptions.BaseError)
        try:
            yield
        except FileNotFoundError:
            raise
        except errors as error:
            raise LakeError(self.url, (str(error).splitlines() or [type(error).__name__])[0]) from error


def _found(meta: Mapping[str, Any]) -> Found:
    at = meta["last_modified"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return Found(str(meta["path"]), int(meta["size"]), str(meta.get("e_tag") or at), at)
