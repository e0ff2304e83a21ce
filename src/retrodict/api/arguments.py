"""Arguments of the wrong kind are named where they are given, not where they are used."""

from __future__ import annotations

import functools
from collections.abc import Callable
from numbers import Integral
from typing import Final, ParamSpec, TypeVar

from retrodict.kernel.errors import UsageError
from retrodict.workspace import Workspace

P = ParamSpec("P")
T = TypeVar("T")

_KINDS: Final[dict[str, tuple[type, str]]] = {  # by how they are annotated
    "str": (str, "a text"),
    "int": (Integral, "a whole number"),
    "Workspace": (Workspace, "a workspace, as `retrodict.open` returns it"),
}


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Refuse arguments that are not of the kind that they are annotated with, where that is a plain one."""
    of: dict[str, tuple[tuple[type, ...], str]] = {}
    for name, annotation in function.__annotations__.items():
        kind, _, rest = str(annotation).partition(" | ")
        if kind in _KINDS and rest in ("", "None"):
            of[name] = ((_KINDS[kind][0], *([type(None)] if rest else [])), _KINDS[kind][1])
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for name, value in [*zip(names, args, strict=False), *kwargs.items()]:
            if name in of and not isinstance(value, of[name][0]):
                raise UsageError(f"{function.__name__}: {name} is {of[name][1]}, not {type(value).__name__}")
        return function(*args, **kwargs)

    return call
