"""A versioned bucket of S3, through boto3: which versions of its objects there are, and the bytes of any of them.

obstore, which the remotes speak through, cannot list versions.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from retrodict.buckets.listing import Change, Pin
from retrodict.kernel.errors import IntegrityError, MissingExtraError, UnavailableError, UsageError

_BLOCK: Final = 1 << 20
_TIMEOUT_S: Final = 60
_ATTEMPTS: Final = 6
_PARALLEL: Final = 16
_MD5: Final = re.compile(r"[0-9a-f]{32}\Z")


class BucketError(UnavailableError):
    """A bucket does not answer, or refuses to."""

    slug = "bucket"
    hint = "Look at the address, the credentials (`AWS_PROFILE`, `AWS_ACCESS_KEY_ID`, ...) and the network."

    def __init__(self, place: str, problem: object) -> None:
        super().__init__(f"{place} cannot be read: {problem}")


class UnversionedBucketError(UsageError):
    """A bucket that keeps no versions: what is pinned in it today can be overwritten tomorrow."""

    slug = "unversioned-bucket"

    def __init__(self, place: str, bucket: str, state: str) -> None:
        super().__init__(
            f"the versioning of {place} is {state}, so nothing in it can be pinned",
            hint=f"Switch it on (`aws s3api put-bucket-versioning --bucket {bucket} "
            "--versioning-configuration Status=Enabled`), or version its files with import-url.",
        )


class PinGoneError(UnavailableError):
    """A bucket no longer has a version of an object that is pinned."""

    slug = "pin-gone"
    hint = (
        "Somebody, or a rule of the bucket, removed it; what was fetched before is held. Look in backups and replicas."
    )

    def __init__(self, place: str, pin: Pin) -> None:
        super().__init__(f"{place} no longer has {pin.key}, {pin.stamp}")
        self.pin = pin


class PinAlteredError(IntegrityError):
    """A bucket gives other bytes under a VersionId than those that were pinned."""

    slug = "pin-altered"
    hint = "Nothing was kept. What was pinned never means other bytes: ask who keeps it, or its copy, what was done."

    def __init__(self, place: str, pin: Pin, problem: str) -> None:
        super().__init__(f"{place} gives other bytes than were pinned for {pin.key}, {pin.stamp}: {problem}")
        self.pin = pin


class Bucket:
    """What lies in a bucket below a prefix.

    Attributes:
        url: `s3://BUCKET` or `s3://BUCKET/PREFIX`.
        prefix: Of the keys; "" or it ends with "/".
        endpoint: Where it is, if not at Amazon.
    """

    def __init__(self, url: str, environment: Mapping[str, str], *, endpoint: str | None = None) -> None:
        """Open it; nothing is asked yet.

        Args:
            url: s3://BUCKET[/PREFIX].
            environment: For `AWS_ENDPOINT` and `AWS_REGION`, which boto3 does not know; it finds the rest itself.
            endpoint: Where it was the last time, in place of what the environment says.

        Raises:
            UsageError: It is no such address.
            MissingExtraError: The extra `s3` is not installed.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("s3", "s3a") or not parts.netloc or parts.query or parts.username:
            raise UsageError(f"{url} is no bucket of S3", hint="Give s3://BUCKET or s3://BUCKET/PREFIX.")
        try:
            import boto3  # an extra, 250 ms
            import botocore.exceptions
            from botocore.config import Config
        except ImportError as error:
            raise MissingExtraError("a versioned bucket", "s3") from error
        self._errors: Any = botocore.exceptions
        self._bucket, path = parts.netloc, parts.path.strip("/")
        self.prefix = f"{path}/" if path else ""
        self.url = f"s3://{self._bucket}" + (f"/{path}" if path else "")
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
        self.endpoint = endpoint or next((environment[name] for name in names if environment.get(name)), None)
        config = Config(
            connect_timeout=_TIMEOUT_S,
            read_timeout=_TIMEOUT_S,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            max_pool_connections=_PARALLEL,
            # Servers that are not Amazon's seldom have a name for every bucket.
            s3={"addressing_style": "path"} if self.endpoint else {},
        )
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        with self._translated():
            self._client: Any = boto3.client("s3", endpoint_url=self.endpoint, region_name=region, config=config)

    def check(self) -> None:
        """Do nothing, unless the bucket keeps no versions.

        Raises:
            UnversionedBucketError: It does not, or no longer.
            BucketError: It does not answer.
        """
        with self._translated():
            state = self._client.get_bucket_versioning(Bucket=self._bucket).get("Status")
        if state != "Enabled":
            raise UnversionedBucketError(self.url, self._bucket, "suspended" if state else "off")

    def changes(self) -> Iterator[Change]:
        """Yield every version of every key that the bucket has, and every removal; of one key the oldest first.

        Raises:
            BucketError: It does not answer.
        """
        key, found = "", list[tuple[Change, bool]]()
        with self._translated():
            pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=self.prefix)
            for page in pages:
                # The bucket gives the newest version of a key first, in two lists that are one.
                listed = [(item, True) for item in page.get("Versions", ())]
                listed += [(item, False) for item in page.get("DeleteMarkers", ())]
                for item, is_set in sorted(listed, key=lambda pair: pair[0]["Key"].encode()):
                    if item["Key"] != key:
                        yield from _in_order(found)
                        key, found = item["Key"], []
                    found.append((_change(item, is_set=is_set), item["IsLatest"]))
        yield from _in_order(found)

    def read(self, pin: Pin) -> Iterator[bytes]:
        """Yield the bytes of a pinned object; at the end they are known to be those.

        Raises:
            PinGoneError: The bucket no longer has that version.
            PinAlteredError: It gives others: of another size or tag, or of another MD5 where the tag is one.
            BucketError: It does not answer.
        """
        with self._translated(pin):
            answer = self._client.get_object(Bucket=self._bucket, Key=pin.key, VersionId=pin.version_id)
            etag = answer["ETag"].strip('"')
            if etag != pin.etag:
                raise PinAlteredError(self.url, pin, f"the tag {etag} instead of {pin.etag}")
            size, md5 = 0, hashlib.md5(usedforsecurity=False)
            for block in answer["Body"].iter_chunks(_BLOCK):
                size += len(block)
                md5.update(block)
                if size <= pin.size_bytes:
                    yield block
        if size != pin.size_bytes:
            raise PinAlteredError(self.url, pin, f"{size} bytes instead of {pin.size_bytes}")
        is_encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
        if _MD5.match(pin.etag) and not is_encrypted and md5.hexdigest() != pin.etag:
            raise PinAlteredError(self.url, pin, f"the MD5 {md5.hexdigest()} instead of {pin.etag}")

    @contextlib.contextmanager
    def _translated(self, pin: Pin | None = None) -> Iterator[None]:
        try:
            yield
        except self._errors.ClientError as error:
            said = error.response.get("Error", {})
            code = str(said.get("Code", ""))
            if pin is not None and code in ("NoSuchVersion", "NoSuchKey", "404", "405", "MethodNotAllowed"):
                raise PinGoneError(self.url, pin) from error
            raise BucketError(self.url, said.get("Message") or code or "it refuses") from error
        except self._errors.FlexibleChecksumError as error:
            assert pin is not None
            raise PinAlteredError(self.url, pin, str(error)) from error
        except (self._errors.BotoCoreError, self._errors.HTTPClientError, OSError, ValueError) as error:
            raise BucketError(self.url, (str(error).splitlines() or [type(error).__name__])[0]) from error


def _change(item: Mapping[str, Any], *, is_set: bool) -> Change:
    modified = item["LastModified"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if not is_set:
        return Change(key=item["Key"], modified=modified, pin=None)
    pin = Pin(
        key=item["Key"],
        version_id=item["VersionId"],
        etag=item["ETag"].strip('"'),
        size_bytes=item["Size"],
        modified=modified,
    )
    return Change(key=item["Key"], modified=modified, pin=pin)


def _in_order(found: Sequence[tuple[Change, bool]]) -> Iterator[Change]:
    """Yield the changes of one key, oldest first.

    Args:
        found: With each, whether it is what holds now: settings, newest first, and among them removals, newest first.
            Which came before which of the other sort only time tells, and of what holds now that it is the last.
    """
    row: list[tuple[bool, str, bool, Change]] = []
    for is_removal in (False, True):
        at = ""
        for change, is_latest in reversed([item for item in found if (item[0].pin is None) is is_removal]):
            at = max(at, change.modified)  # one that took long to arrive bears the time when that began
            row.append((is_latest, at, is_removal, replace(change, modified=at)))
    return (change for *_, change in sorted(row, key=lambda item: item[:3]))
