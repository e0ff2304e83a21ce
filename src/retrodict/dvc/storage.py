"""Where a DVC repository's bytes are: its cache, git, and its remotes. Everything is checked against its md5."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from retrodict.dvc.git import Repository
from retrodict.dvc.history import Out
from retrodict.kernel.errors import UnavailableError

_BLOCK: Final = 1 << 20
_LARGE: Final = 64 << 20  # larger files are not read into memory
_BUCKETS: Final = ("s3", "gs", "azure")


class DvcError(UnavailableError):
    """Bytes of a DVC repository are not held, or are not what they are named."""

    slug = "dvc"
    hint = "`dvc fetch -A` brings what its remotes hold into its cache; then import again."


@dataclass(frozen=True, slots=True)
class Held:
    """A file that is held: its bytes, or where they lie (a large file); `is_checked`: against its md5."""

    data: bytes | None
    path: Path | None


class _Place(Protocol):
    @property
    def title(self) -> str:
        """What it is called in messages."""
        ...

    def find(self, name: str) -> Path | bytes | None:
        """Return what lies under a name ("ab/cdef"), or None."""
        ...


class _Folder:
    def __init__(self, title: str, folder: Path) -> None:
        self.title = title
        self._folder = folder

    def find(self, name: str) -> Path | None:
        path = self._folder / name
        return path if path.is_file() else None


# DVC's names for what a bucket needs -> obstore's.
_SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "s3": {
        "endpointurl": "endpoint",
        "access_key_id": "access_key_id",
        "secret_access_key": "secret_access_key",
        "session_token": "session_token",
        "region": "region",
    },
    "gs": {"endpointurl": "base_url", "credentialpath": "application_credentials"},
    "azure": {
        "account_name": "account_name",
        "account_key": "account_key",
        "sas_token": "sas_key",
        "tenant_id": "tenant_id",
        "client_id": "client_id",
        "client_secret": "client_secret",
    },
}
_OF_A_CONNECTION: Final = {  # the parts of Azure's connection string
    "AccountName": "account_name",
    "AccountKey": "account_key",
    "SharedAccessSignature": "sas_key",
    "BlobEndpoint": "endpoint",
}


class _Bucket:
    """A bucket, through obstore, with the end-point and the keys that DVC's configuration names."""

    def __init__(self, title: str, url: str, settings: Mapping[str, str]) -> None:
        import obstore  # an extra
        from obstore.store import from_url

        self.title = title
        self._obstore = obstore
        parts = urlsplit(url)
        names = _SETTINGS[parts.scheme]
        config: dict[str, Any] = {names[key]: value for key, value in settings.items() if key in names}
        if parts.scheme == "azure":
            for part in settings.get("connection_string", "").split(";"):
                key, _, value = part.partition("=")
                if key in _OF_A_CONNECTION:
                    config[_OF_A_CONNECTION[key]] = value
        more: dict[str, Any] = {"config": config} if config else {}
        if parts.scheme == "s3" and "profile" in settings:
            from boto3 import Session  # an extra
            from obstore.auth.boto3 import Boto3CredentialProvider

            more["credential_provider"] = Boto3CredentialProvider(Session(profile_name=settings["profile"]))
        client: Any = {"allow_http": True, "timeout": "60s"}
        scheme = {"azure": "az"}.get(parts.scheme, parts.scheme)
        self._prefix = parts.path.strip("/")
        place = urlunsplit((scheme, parts.netloc, "", "", ""))
        self._store: Any = from_url(place, client_options=client, **more)

    def find(self, name: str) -> bytes | None:
        try:
            key = f"{self._prefix}/{name}" if self._prefix else name
            return bytes(self._obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None
        except (self._obstore.exceptions.BaseError, OSError) as error:
            raise DvcError(f"{self.title} cannot be read: {(str(error).splitlines() or [''])[0]}") from error


class Storage:
    """Finds the bytes of outputs."""

    def __init__(self, folder: Path, repository: Repository, *, remotes: bool) -> None:
        """Look into the configuration of the DVC repository in `folder`."""
        self._repository = repository
        settings = _settings(folder / ".dvc")
        cache = Path(os.path.expanduser(settings.get("cache", {}).get("dir", "cache")))
        self._cache = folder / ".dvc" / cache if not cache.is_absolute() else cache
        self._places: list[_Place] = [_Folder("the cache", self._cache)]
        self.unread: list[str] = []  # remotes that cannot be asked, and why
        for section, values in settings.items() if remotes else ():
            if (match := re.fullmatch(r"remote \"(.*)\"", section.strip("'"))) and "url" in values:
                self._add(match[1], values, folder)

    def _add(self, name: str, values: Mapping[str, str], folder: Path) -> None:
        title, url = f"the remote {name!r}", values["url"]
        scheme, found, _ = url.partition("://")
        if not found:
            path = Path(os.path.expanduser(url))
            self._places.append(_Folder(title, path if path.is_absolute() else folder / ".dvc" / path))
        elif scheme in _BUCKETS:
            try:
                self._places.append(_Bucket(title, url, values))
            except ImportError as error:
                extra = "s3" if error.name == "boto3" else "urls"
                self.unread.append(f"{title} needs pip install 'retrodict[{extra}]'")
            except Exception as error:  # noqa: BLE001 - what obstore raises for a wrong configuration is not stated
                self.unread.append(f"{title}: {(str(error).splitlines() or [''])[0]}")
        else:
            self.unread.append(f"{title} is of a kind that is not read here: {scheme}://")

    def read(self, out: Out) -> Held:
        """Return the bytes of a file.

        Raises:
            DvcError: They are not held; or only bytes with another md5 are, which is named.
        """
        assert out.md5 is not None
        return self._held(out.md5, out)

    def listing(self, out: Out) -> list[tuple[str, str]]:
        """Return what a folder holds: (path in it, md5).

        Raises:
            DvcError: Its listing is not held, or is none.
        """
        assert out.md5 is not None
        data = self._held(out.md5, out).data
        try:
            listed = json.loads(data or b"")
            found = [(str(item["relpath"]), str(item["md5"])) for item in listed]
        except (ValueError, TypeError, KeyError) as error:
            raise DvcError(f"the listing {out.md5} of {out.written} is none: {error}") from error
        for path, md5 in found:
            if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
                raise DvcError(f"the listing {out.md5} of {out.written} has a path that leads out of it: {path!r}")
            if not re.fullmatch("[0-9a-f]{32}", md5):
                raise DvcError(f"the listing {out.md5} of {out.written} has no md5 for {path!r}")
        return found

    def _held(self, md5: str, out: Out) -> Held:
        wrong = None
        name = f"{md5[:2]}/{md5[2:]}"
        for title, find in self._ways(name, out if md5 == out.md5 else None):
            found = find()
            if found is None:
                continue
            if isinstance(found, bytes):
                if _is(md5, found, out.is_text_md5):
                    return Held(found, None)
            elif (held := _file(md5, found, out.is_text_md5)) is not None:
                return held
            wrong = title
        if wrong is not None:
            raise DvcError(f"{out.written}: what {wrong} holds under {md5} has another md5")
        raise DvcError(f"{out.written}: {md5} is not held")

    def member(self, out: Out, path: str, md5: str) -> Held:
        """Return the bytes of a file in a folder. Raises as `read` does."""
        inside = Out(
            path=None, written=f"{out.written}/{path}", md5=md5, is_text_md5=out.is_text_md5, is_executable=False
        )
        return self._held(md5, inside)

    def _ways(self, name: str, out: Out | None) -> Iterator[tuple[str, Callable[[], Path | bytes | None]]]:
        for place in self._places:
            for where in (f"files/md5/{name}", name):  # DVC 3; DVC 1 and 2
                yield place.title, lambda place=place, where=where: place.find(where)  # type: ignore[misc]
            if place is self._places[0] and out is not None and out.blob is not None:
                blob = out.blob
                yield "git", lambda blob=blob: self._repository.read(blob)  # type: ignore[misc]


def _settings(folder: Path) -> dict[str, dict[str, str]]:
    """Return DVC's configuration, with what is local to this clone over what is committed."""
    parser = configparser.RawConfigParser(strict=False)
    for name in ("config", "config.local"):
        try:
            text = (folder / name).read_text()
        except (OSError, UnicodeDecodeError):
            continue
        try:
            # DVC indents its values, which a plain parser would take for more of the line before.
            parser.read_string("\n".join(line.strip() for line in text.splitlines()))
        except configparser.Error as error:
            raise DvcError(f"{folder / name} cannot be read: {str(error).splitlines()[0]}") from error
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _is(md5: str, data: bytes, is_text_md5: bool) -> bool:
    expected = md5.removesuffix(".dir")
    if hashlib.md5(data, usedforsecurity=False).hexdigest() == expected:
        return True
    if not is_text_md5:
        return False
    return hashlib.md5(data.replace(b"\r\n", b"\n"), usedforsecurity=False).hexdigest() == expected


def _file(md5: str, path: Path, is_text_md5: bool) -> Held | None:
    """Return a file if it has this md5: its bytes, or of a large one its path."""
    try:
        if path.stat().st_size <= _LARGE:
            data = path.read_bytes()
            return Held(data, None) if _is(md5, data, is_text_md5) else None
        with path.open("rb") as file:
            whole = hashlib.md5(usedforsecurity=False)
            text = hashlib.md5(usedforsecurity=False)
            rest = b""
            while block := file.read(_BLOCK):
                whole.update(block)
                block = rest + block
                rest = b"\r" if block.endswith(b"\r") else b""
                text.update(block[: len(block) - len(rest)].replace(b"\r\n", b"\n"))
            text.update(rest)
    except OSError as error:
        raise DvcError(f"{path} cannot be read: {error.strerror}") from error
    expected = md5.removesuffix(".dir")
    is_right = whole.hexdigest() == expected or (is_text_md5 and text.hexdigest() == expected)
    return Held(None, path) if is_right else None
