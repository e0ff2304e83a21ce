"""The listing of a folder that is sealed whole (`docs/formats/keys.md`): every name in it, and what opens each file.

It is sealed as a file is, under a key of the folder's version, so that no name stands in the clear.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from retrodict.kernel.errors import FormatError

_FORMAT: Final = "retrodict folder 1"
MemberKind = Literal["file", "executable", "symlink", "tree"]
_KINDS: Final = frozenset({"file", "executable", "symlink", "tree"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One name in a sealed folder.

    Attributes:
        path: From the folder, with "/" between names; bytes, as the file system has it.
        kind: "executable" is a file that its owner may run.
        ref: Of a file: the object that it is sealed as, and `key` what opens it; else None.
        size: Of a file in the clear, in bytes; else 0.
        target: Of a link: what it says; else None.
    """

    path: bytes
    kind: MemberKind
    ref: str | None = None
    key: str | None = None
    size: int = 0
    target: bytes | None = None


def encode_folder(members: Iterable[Member]) -> bytes:
    """Return the listing; the same for the same members, in whatever order they come."""
    entries = [
        {
            "path": _written(member.path),
            "kind": member.kind,
            "ref": member.ref,
            "key": member.key,
            "size": member.size,
            "target": None if member.target is None else _written(member.target),
        }
        for member in sorted(members, key=lambda member: member.path)
    ]
    listing = {"format": _FORMAT, "entries": entries}
    return json.dumps(listing, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def decode_folder(data: bytes) -> tuple[Member, ...]:
    """Read a listing.

    Raises:
        FormatError: It is none, or has a name that must never become a path.
    """
    try:
        listing = json.loads(data)
        if listing["format"] != _FORMAT:
            raise FormatError(f"the listing of a sealed folder has the format {listing['format']!r}")
        members = tuple(_member(entry) for entry in listing["entries"])
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"not the listing of a sealed folder: {error}") from error
    folders = {member.path for member in members if member.kind == "tree"} | {b""}
    if len({member.path for member in members}) != len(members):
        raise FormatError("the listing of a sealed folder has a name twice")
    if any(member.path.rpartition(b"/")[0] not in folders for member in members):
        raise FormatError("the listing of a sealed folder has a name in a folder that it does not list")
    return members


def _member(entry: dict[str, object]) -> Member:
    path, kind, size = _read(entry["path"]), entry["kind"], entry["size"]
    ref, key, target = entry["ref"], entry["key"], entry["target"]
    if any(name in (b"", b".", b"..") or b"\0" in name for name in path.split(b"/")):
        raise FormatError(f"{path!r} cannot be a name in a folder")
    is_file = kind in {"file", "executable"}
    if kind not in _KINDS or is_file != isinstance(ref, str) or is_file != isinstance(key, str):
        raise FormatError(f"{path!r} is of no known kind")
    if (kind == "symlink") != (target is not None) or type(size) is not int:
        raise FormatError(f"{path!r} is of no known kind")
    return Member(
        path=path,
        kind=kind,  # type: ignore[arg-type]
        ref=ref if isinstance(ref, str) else None,
        key=key if isinstance(key, str) else None,
        size=size,
        target=None if target is None else _read(target),
    )


def _written(raw: bytes) -> str | dict[str, str]:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(raw).decode()}


def _read(value: object) -> bytes:
    if isinstance(value, dict):
        return base64.b64decode(value["b64"], validate=True)
    if not isinstance(value, str):
        raise FormatError(f"{value!r} is no name")
    return value.encode()
