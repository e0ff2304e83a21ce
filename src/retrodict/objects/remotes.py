"""Places outside a workspace that keep bytes under names: a folder, or a bucket of S3, Google Cloud or Azure."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from retrodict.kernel.durable import REAL_DISK, Disk, parts_of, remove_abandoned, sync_folder, write_parts
from retrodict.kernel.errors import MissingExtraError, UnavailableError, UsageError
from retrodict.kernel.protocols import Remote

_SCHEMES = ("s3", "s3a", "gs", "az", "adl", "abfs", "abfss")
_NAME = re.compile(r"[0-9a-z][0-9a-z.-]*(/[0-9a-z][0-9a-z.-]*)*\Z")
T = TypeVar("T")

_TIMEOUT_S = 60  # a connection on which nothing comes for so long is given up, and tried again
_PART = (
    5 << 20
)  # what one request carries of a long file (S3 takes no less): some 6 Mbit/s are enough for the time above
_PARTS = 10_000  # which S3 takes at most
_RETRIES = 3
_RETRY_S = 60
_ABANDONED_S = 86400  # an upload that was begun so long ago was cut off


class RemoteError(UnavailableError):
    """A place outside the workspace does not take or give bytes."""

    slug = "remote"
    hint = "Look at the address, the credentials and the network; what was copied so far is used the next time."

    def __init__(self, place: str, problem: object) -> None:
        super().__init__(f"{place} cannot be used: {problem}")
        self.place = place


def open_remote(destination: str, *, disk: Disk = REAL_DISK, timeout_s: float = _TIMEOUT_S) -> Remote:
    """Return the place that a person names: a folder, or `s3://BUCKET/PATH`, `gs://BUCKET/PATH`, `az://CONTAINER/PATH`.

    Credentials of a bucket come from where its own tools look for them (`AWS_ACCESS_KEY_ID` and the like).

    Raises:
        UsageError: It is neither.
        MissingExtraError: Buckets need the extra `backup`.
    """
    scheme, found, rest = destination.partition("://")
    if not found:
        return DirectoryRemote(Path(os.path.abspath(destination)), disk)
    if scheme == "file":
        return DirectoryRemote(Path(os.path.abspath(rest)), disk)
    if scheme not in _SCHEMES:
        raise UsageError(
            f"{destination} is no place for bytes", hint="Give a folder, or s3://, gs:// or az:// and so on."
        )
    return BucketRemote(destination, timeout_s)


class DirectoryRemote:
    """A folder, which may be another disk or a share. See `kernel.protocols.Remote`."""

    def __init__(self, folder: Path, disk: Disk = REAL_DISK) -> None:
        self._folder = folder
        self._disk = disk

    @property
    def place(self) -> str:
        """See `Remote.place`."""
        return str(self._folder)

    def put(self, name: str, data: bytes) -> None:
        """See `Remote.put`."""
        self.put_parts(name, len(data), lambda: (memoryview(data),))

    def put_parts(self, name: str, size_bytes: int, parts: Callable[[], Iterable[memoryview]]) -> None:
        """See `Remote.put_parts`."""
        del size_bytes
        path = self._path(name)
        with self._translated():
            made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            for folder in reversed(made):
                sync_folder(folder.parent, self._disk)
            write_parts(path, parts(), disk=self._disk)

    def get(self, name: str) -> bytes | None:
        """See `Remote.get`."""
        with self._translated():
            try:
                return self._path(name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def parts(self, name: str) -> Iterator[memoryview] | None:
        """See `Remote.parts`."""
        with self._translated():
            try:
                parts = parts_of(self._path(name))
            except (FileNotFoundError, NotADirectoryError):
                return None

        def read() -> Iterator[memoryview]:
            with self._translated():
                yield from parts

        return read()

    def list(self, prefix: str) -> dict[str, int]:
        """See `Remote.list`. What a writer that was killed left is removed."""
        found = {}
        with self._translated(), contextlib.suppress(FileNotFoundError), os.scandir(self._folder / prefix) as entries:
            for entry in entries:
                if entry.name.startswith(".tmp-"):
                    with contextlib.suppress(OSError):
                        remove_abandoned(entry.path)
                elif _NAME.match(entry.name) and entry.is_file():
                    found[prefix + entry.name] = entry.stat().st_size
        return found

    def delete(self, name: str) -> None:
        """See `Remote.delete`."""
        with self._translated(), contextlib.suppress(FileNotFoundError):
            path = self._path(name)
            self._disk.unlink(path)
            sync_folder(path.parent, self._disk)

    def _path(self, name: str) -> Path:
        if not _NAME.match(name):  # names come from manifests, which nobody needs to trust
            raise UsageError(f"{name!r} cannot be a name in {self.place}")
        return self._folder / name

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RemoteError(self.place, error.strerror or error) from error


class BucketRemote:
    """A bucket of an object store, through `obstore`. See `kernel.protocols.Remote`."""

    def __init__(self, url: str, timeout_s: float) -> None:
        from datetime import timedelta

        try:
            import obstore  # an extra
            from obstore.store import from_url
        except ImportError as error:
            raise MissingExtraError("a place in a bucket", "backup") from error
        self._obstore = obstore
        parts = urlsplit(url)
        host = parts.hostname or ""
        self._place = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        # Plain HTTP is spoken only where somebody has named an end-point that speaks it.
        client: Any = {"timeout": f"{timeout_s:g}s", "connect_timeout": f"{min(timeout_s, 10):g}s", "allow_http": True}
        retry: Any = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=min(_RETRY_S, 3 * timeout_s))}
        with self._translated():
            self._store: Any = from_url(url, client_options=client, retry_config=retry)
        self._looking = threading.Lock()
        self._cut_off: _CutOff | None = None

    @property
    def place(self) -> str:
        """See `Remote.place`."""
        return self._place

    def put(self, name: str, data: bytes) -> None:
        """See `Remote.put`."""
        self._tried(lambda: self._obstore.put(self._store, name, data))

    def put_parts(self, name: str, size_bytes: int, parts: Callable[[], Iterable[memoryview]]) -> None:
        """See `Remote.put_parts`. Of a long file two parts travel at once."""
        if size_bytes <= _PART:
            self.put(name, b"".join(map(bytes, parts())))
            return
        if self._place.startswith("s3"):
            with self._looking:
                if self._cut_off is None:
                    self._cut_off = _CutOff(self._obstore, self._store)
            self._cut_off.remove(name)
        part = max(_PART, -(-size_bytes // _PARTS))
        # It holds on to what it is given, so each part is copied.
        self._tried(
            lambda: self._obstore.put(
                self._store, name, map(bytes, parts()), use_multipart=True, chunk_size=part, max_concurrency=2
            )
        )

    def get(self, name: str) -> bytes | None:
        """See `Remote.get`."""

        def read() -> bytes | None:
            try:
                return bytes(self._obstore.get(self._store, name).bytes())
            except FileNotFoundError:
                return None

        return self._tried(read)

    def parts(self, name: str) -> Iterator[memoryview] | None:
        """See `Remote.parts`. While one is used, the next one comes; each is asked for again by itself."""
        from concurrent.futures import ThreadPoolExecutor  # 10 ms, with the logging that it brings

        def size() -> int | None:
            try:
                return int(self._obstore.head(self._store, name)["size"])
            except FileNotFoundError:
                return None

        def read(start: int, end: int) -> bytes:
            return self._tried(lambda: bytes(self._obstore.get_range(self._store, name, start=start, end=end)))

        def following(total: int) -> Iterator[memoryview]:
            with ThreadPoolExecutor(1) as pool:
                ahead = pool.submit(read, 0, min(_PART, total)) if total else None
                for start in range(0, total, _PART):
                    assert ahead is not None
                    part = ahead.result()
                    after = start + _PART
                    if after < total:
                        ahead = pool.submit(read, after, min(after + _PART, total))
                    yield memoryview(part)

        total = self._tried(size)
        return None if total is None else following(total)

    def list(self, prefix: str) -> dict[str, int]:
        """See `Remote.list`."""
        return self._tried(
            lambda: {item["path"]: item["size"] for page in self._obstore.list(self._store, prefix) for item in page}
        )

    def delete(self, name: str) -> None:
        """See `Remote.delete`."""

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._obstore.delete(self._store, name)

        self._tried(remove)

    def _tried(self, operation: Callable[[], T]) -> T:
        """Do it again where an answer ended early, which the library does not; everything here may be done twice."""
        with self._translated():
            for _ in range(_RETRIES):
                with contextlib.suppress(self._obstore.exceptions.GenericError):
                    return operation()
            return operation()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
            # The first line says what happened; the rest is the library's own state, and a URL in it may bear a token.
            problem = (str(error).splitlines() or [type(error).__name__])[0].partition(" in ")
            raise RemoteError(self.place, problem[0]) from error


class _CutOff:
    """Uploads in parts, in a bucket of S3, that were begun below a prefix and not ended: their parts cost, unseen.

    obstore cannot list them. Whoever may not, or has no boto3, leaves them to a rule of the bucket's.
    """

    def __init__(self, obstore: Any, store: Any) -> None:
        """Find what there is, and abort what began over a day ago, by the bucket's own clock."""
        from email.utils import parsedate_to_datetime  # 10 ms

        self._uploads: dict[str, list[str]] = {}
        self._prefix = f"{store.prefix}/" if store.prefix else ""
        try:
            import boto3  # an extra, 250 ms
            import botocore.exceptions
            from botocore.config import Config
        except ImportError:
            return
        self._errors: Any = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
        self._bucket = store.config["bucket"]
        try:
            endpoint, region, style = _end_point(obstore, store, self._bucket)
        except (obstore.exceptions.BaseError, KeyError, ValueError):
            return  # nothing is signed: an open bucket
        config = Config(
            connect_timeout=10,
            read_timeout=_TIMEOUT_S,
            retries={"total_max_attempts": 2},
            s3={"addressing_style": style},
        )
        with contextlib.suppress(*self._errors):
            self._client = boto3.client("s3", endpoint_url=endpoint, region_name=region, config=config)
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                for upload in page.get("Uploads", ()):
                    self._uploads.setdefault(upload["Key"], []).append(upload["UploadId"])
                    if (now - upload["Initiated"]).total_seconds() > _ABANDONED_S:
                        self.remove(upload["Key"].removeprefix(self._prefix))

    def remove(self, name: str) -> None:
        """Abort what had been begun under a name before."""
        key = self._prefix + name
        for upload in self._uploads.pop(key, ()):
            with contextlib.suppress(*self._errors):
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)


def _end_point(obstore: Any, store: Any, bucket: str) -> tuple[str, str, str]:
    """Return where a store's requests go, its region, and how the bucket is addressed, as a signed request says."""
    from datetime import timedelta

    url = urlsplit(obstore.sign(store, "GET", "x", timedelta(minutes=1)))
    region = dict(parse_qsl(url.query))["X-Amz-Credential"].split("/")[-3]
    if url.path.startswith(f"/{bucket}/"):
        return f"{url.scheme}://{url.netloc}", region, "path"
    return f"{url.scheme}://{url.netloc.removeprefix(bucket + '.')}", region, "virtual"
