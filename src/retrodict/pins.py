"""`retrodict.lock/`: what is tracked, pinned for git, one small file for each name (`docs/formats/lock.md`).

A file of its own for each name, and nothing else in the folder: two people who add, change or remove neighbours never
touch the same file, so git merges them by itself. Whatever stands in these files comes from outside.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from retrodict.kernel.durable import write_file
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, is_digest

FOLDER: Final = "retrodict.lock"
_SUFFIX: Final = ".json"
_NAME_BYTES: Final = 200  # of a file's name; the system allows 255
_FORBIDDEN: Final = frozenset({"", ".", "..", ".git", ".retrodict"})
_PIN_BYTES: Final = 1 << 20


class PinError(UsageError):
    """A file in `retrodict.lock/` that cannot be followed."""

    slug = "pin"
    hint = "Settle it by hand or with git; `retrodict lock` writes what the record has."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What a name stands for at a commit of the project.

    Attributes:
        path: Where it lies, relative to the project's folder.
        content: The file or the tree.
        type: Which of the two.
        extra: Fields that this release does not know; they are kept and written back.
    """

    name: str
    path: str
    content: Digest
    type: Literal["file", "tree"]
    files: int
    size_bytes: int
    extra: Mapping[str, Any] = field(default_factory=dict)


def file_name(name: str) -> str:
    """Return what the pin of `name` is called: readable, and never a path.

    >>> file_name("data/train.csv"), file_name("..")
    ('data%2Ftrain.csv.json', '...json')
    """
    quoted = quote(name, safe=" ")
    if len(quoted) > _NAME_BYTES:
        quoted = f"{quoted[: _NAME_BYTES - 33].rstrip('%')}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return quoted + _SUFFIX


def encode(pin: Pin) -> bytes:
    """Return a pin as its file holds it: a line for each field."""
    try:
        pin.path.encode()
        path: object = pin.path
    except UnicodeEncodeError:
        path = {"b64": base64.b64encode(pin.path.encode("utf-8", "surrogateescape")).decode()}
    fields = {
        "name": pin.name,
        "path": path,
        "type": pin.type,
        "content": pin.content,
        "files": pin.files,
        "size_bytes": pin.size_bytes,
        **pin.extra,
    }
    return json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\n"


def decode(data: bytes, where: str) -> Pin:
    """Read a pin.

    Raises:
        PinError: It is none; it bears git's conflict markers; its path would leave the project.
    """
    if any(line.startswith((b"<<<<<<<", b">>>>>>>")) for line in data.splitlines()):
        raise PinError(f"{where} has git's conflict markers: two versions were made of one thing")
    try:
        fields = json.loads(data)
        path = fields.pop("path")
        if isinstance(path, dict):
            path = base64.b64decode(path["b64"], validate=True).decode("utf-8", "surrogateescape")
        pin = Pin(
            name=fields.pop("name"),
            path=path,
            content=Digest(fields.pop("content")),
            type=fields.pop("type"),
            files=fields.pop("files"),
            size_bytes=fields.pop("size_bytes"),
            extra=fields,
        )
        if not isinstance(pin.name, str) or not pin.name or not isinstance(pin.path, str):
            raise ValueError("no name, or no path")
        if not is_digest(pin.content) or pin.type not in ("file", "tree"):
            raise ValueError("no content, or no type")
        if type(pin.files) is not int or type(pin.size_bytes) is not int:
            raise ValueError("sizes that are no numbers")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PinError(f"{where} is no pin: {error}") from error
    parts = pin.path.split("/")
    if "\0" in pin.path or any(part.lower() in _FORBIDDEN for part in parts) or parts[0] == FOLDER:
        raise PinError(f"{where} names a path that is none of a tracked file: {pin.path!r}")
    return pin


def is_used(root: Path) -> bool:
    """Say whether a project pins what it tracks."""
    folder = root / FOLDER
    return folder.is_dir() and not folder.is_symlink()


def read(root: Path) -> dict[str, Pin]:
    """Return the pins of a project, by name; other files in the folder are left alone.

    Raises:
        PinError: One cannot be followed, or lies under another's name.
    """
    folder = root / FOLDER
    found: dict[str, Pin] = {}
    if not is_used(root):
        return found
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.name.endswith(_SUFFIX):
            continue
        where = f"{FOLDER}/{entry.name}"
        pin = decode(_bytes(entry, where), where)
        if file_name(pin.name) != entry.name:
            raise PinError(f"{where} is the pin of {pin.name!r}, which belongs into {file_name(pin.name)}")
        found[pin.name] = pin
    taken: dict[str, str] = {}
    for pin in found.values():
        if pin.path in taken:
            raise PinError(f"{taken[pin.path]!r} and {pin.name!r} are pinned to the same path: {pin.path}")
        taken[pin.path] = pin.name
    return found


def _bytes(entry: os.DirEntry[str], where: str) -> bytes:
    status = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode) or status.st_size > _PIN_BYTES:
        raise PinError(f"{where} is no pin: not a small file")
    return Path(entry.path).read_bytes()


def write(root: Path, pin: Pin) -> bool:
    """Write a pin; what it has in fields that this release does not know stays. Say whether that changed anything.

    Raises:
        PinError: The folder is a link, or the file cannot be written.
    """
    folder = root / FOLDER
    if folder.is_symlink():
        raise PinError(f"{FOLDER} is a link, and is not followed")
    path = folder / file_name(pin.name)
    try:
        folder.mkdir(exist_ok=True)
        before = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        data = encode(pin)
        if before == data:
            return False
        write_file(path, data)
    except OSError as error:
        raise PinError(f"{path} cannot be written: {error.strerror}") from error
    return True


def remove(root: Path, name: str) -> bool:
    """Remove the pin of a name; say whether there was one.

    Raises:
        PinError: It cannot be removed.
    """
    path = root / FOLDER / file_name(name)
    if not is_used(root) or not path.is_file():
        return False
    try:
        path.unlink()
    except OSError as error:
        raise PinError(f"{path} cannot be removed: {error.strerror}") from error
    return True


def remove_all(root: Path) -> int:
    """Remove every pin, and the folder where nothing else is in it; return how many there were.

    Raises:
        PinError: They cannot be removed.
    """
    folder = root / FOLDER
    if not is_used(root):
        return 0
    try:
        found = [path for path in folder.iterdir() if path.name.endswith(_SUFFIX) and path.is_file()]
        for path in found:
            path.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise PinError(f"{folder} cannot be removed: {error.strerror}") from error
    return len(found)
