"""Recipes: what it takes to make a derived version again. The digest of a recipe is the version's identity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from retrodict.kernel import canonical
from retrodict.kernel.errors import FormatError
from retrodict.kernel.types import Digest, is_digest

_FORMAT = "retrodict recipe 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """One thing that the command finds: a file or a folder, and where, relative to the folder that it begins in."""

    path: str
    content: Digest
    type: Literal["file", "tree"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A command, what it finds, and what it is to make.

    Attributes:
        command: The program and its arguments.
        cwd: Where it begins, relative to the code's root; "" is the root.
        output: What it makes, relative to `cwd`: a file, or a folder.
        inputs: The versions that it is made from, laid out at their paths relative to `cwd`.
        code: A tree that is laid out before them; None: the command needs none.
    """

    command: tuple[str, ...]
    cwd: str
    output: str
    inputs: tuple[Ingredient, ...]
    code: Digest | None

    def encode(self) -> bytes:
        """Return the bytes that are kept: canonical JSON (`docs/formats/recipe.md`)."""
        return canonical.encode(
            {
                "format": _FORMAT,
                "command": list(self.command),
                "cwd": self.cwd,
                "output": self.output,
                "inputs": [{"path": i.path, "content": i.content, "type": i.type} for i in self.inputs],
                "code": self.code,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Recipe:
        """Return the recipe that `encode` wrote.

        Raises:
            FormatError: It is none, or one of a newer release.
        """
        try:
            fields = json.loads(data)
            if fields["format"] != _FORMAT:
                raise FormatError(f"a recipe of format {fields['format']!r}: this release reads {_FORMAT!r}")
            return cls(
                command=tuple(map(_text, fields["command"])),
                cwd=_inside(fields["cwd"], or_empty=True),
                output=_inside(fields["output"]),
                inputs=tuple(_ingredient(item) for item in fields["inputs"]),
                code=None if fields["code"] is None else _digest(fields["code"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"a recipe that cannot be read: {error!r}") from error


def _ingredient(fields: Mapping[str, object]) -> Ingredient:
    kind = fields["type"]
    if kind not in ("file", "tree"):
        raise ValueError(kind)
    return Ingredient(
        path=_inside(fields["path"]),
        content=_digest(fields["content"]),
        type="file" if kind == "file" else "tree",
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _digest(value: object) -> Digest:
    if not is_digest(text := _text(value)):
        raise ValueError(text)
    return Digest(text)


def _inside(value: object, *, or_empty: bool = False) -> str:
    """Return a path that stays below where it is laid out: names from outside never lead elsewhere."""
    path = _text(value)
    if path == "" and or_empty:
        return path
    if path.startswith("/") or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(path)
    return path
