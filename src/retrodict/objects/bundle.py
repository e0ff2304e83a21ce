"""A place in one file: what a remote holds, for a machine without a network. A ZIP archive that compresses nothing."""

from __future__ import annotations

import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from retrodict.kernel.durable import PART_BYTES, sync_folder
from retrodict.kernel.errors import FormatError, UnavailableError, UsageError

_NAME = re.compile(r"[0-9a-z][0-9a-z.-]*(/[0-9a-z][0-9a-z.-]*)*\Z")


class BundleRemote:
    """A bundle that is read, or that is being written. See `kernel.protocols.Remote`. Safe for threads.

    Use `read` or `write`.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def read(cls, path: Path) -> Iterator[BundleRemote]:
        """Open a bundle.

        Raises:
            UsageError: There is none.
            FormatError: It is no bundle, or was cut short.
        """
        try:
            archive = zipfile.ZipFile(path)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        except zipfile.BadZipFile as error:
            raise FormatError(
                f"{path} is no bundle, or was cut short: {error}", hint="Bring it again from where it was made."
            ) from error
        with archive:
            yield cls(path, archive)

    @classmethod
    @contextmanager
    def write(cls, path: Path) -> Iterator[BundleRemote]:
        """Make a bundle, which is there whole, and durable, when this ends, or not at all.

        Raises:
            UsageError: There is a file at `path`.
            UnavailableError: It cannot be written.
        """
        if path.exists():
            raise UsageError(f"{path} exists already", hint="Give another name, or remove it.")
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            try:
                with zipfile.ZipFile(temporary, "x", zipfile.ZIP_STORED) as archive:
                    yield cls(path, archive)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                os.replace(temporary, path)
                sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error

    @property
    def place(self) -> str:
        """See `Remote.place`."""
        return str(self._path)

    def put(self, name: str, data: bytes) -> None:
        """See `Remote.put`. Durable at the end of `write`."""
        with self._lock:
            self._archive.writestr(zipfile.ZipInfo(name), data)  # without times: the same content, the same bytes

    def put_parts(self, name: str, size_bytes: int, parts: Callable[[], Iterable[memoryview]]) -> None:
        """See `Remote.put_parts`."""
        info = zipfile.ZipInfo(name)
        info.file_size = size_bytes
        for _ in parts():  # what was written to an archive stays there
            pass
        with self._lock, self._archive.open(info, "w") as file:
            for part in parts():
                file.write(part)

    def get(self, name: str) -> bytes | None:
        """See `Remote.get`."""
        parts = self.parts(name)
        return None if parts is None else b"".join(map(bytes, parts))

    def parts(self, name: str) -> Iterator[memoryview] | None:
        """See `Remote.parts`."""
        try:
            info = self._archive.getinfo(name)
        except KeyError:
            return None
        if info.compress_type != zipfile.ZIP_STORED:
            raise FormatError(f"{self._path} compresses {name}, as no bundle does")

        def read() -> Iterator[memoryview]:
            try:
                with self._archive.open(info) as file:
                    while part := file.read(PART_BYTES):
                        yield memoryview(part)
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
                raise FormatError(
                    f"{self._path} is damaged at {name}: {error}", hint="Bring it again from where it was made."
                ) from error
            except OSError as error:
                raise UnavailableError(f"{self._path} cannot be read: {error.strerror}") from error

        return read()

    def list(self, prefix: str) -> dict[str, int]:
        """See `Remote.list`."""
        with self._lock:
            return {
                info.filename: info.file_size
                for info in self._archive.infolist()
                if info.filename.startswith(prefix) and _NAME.match(info.filename)
            }

    def delete(self, name: str) -> None:
        """Do nothing: a bundle is written once, and holds nothing that something else takes the place of."""
        del name
