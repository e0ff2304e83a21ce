"""What is made when it is first used: rooms' names (PEP 562), records' methods. A command pays for what it needs."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "load"]


def load(room: str, homes: Mapping[str, str], name: str) -> Any:
    """Return what a room exports under a name; its `__getattr__`.

    Args:
        room: The package's full name.
        homes: Exported name -> the module in the room that has it; "" where the name is that of a module itself.
        name: The one asked for.

    Raises:
        AttributeError: The room exports no such name.
    """
    if name not in homes:
        raise AttributeError(f"module {room!r} has no attribute {name!r}")
    module = importlib.import_module(f"{room}.{homes[name] or name}")
    found = getattr(module, name) if homes[name] else module
    setattr(sys.modules[room], name, found)  # the next use costs nothing
    return found


if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, slots: bool, **options: bool) -> Callable[[type], type]:
        """Make one of the standard library's dataclasses of a class, its methods when the first instance is made.

        They are compiled then, which takes 0.6 ms a class: a command loads a hundred classes and uses twenty. Only for
        classes with slots, of which the standard library makes another class, too.
        """
        assert slots

        def wrap(plain: type) -> type:
            fields = [name for name, kind in plain.__annotations__.items() if "ClassVar" not in str(kind)]
            inherited = {name for base in plain.__mro__[1:] for name in getattr(base, "__slots__", ())}
            body = {name: value for name, value in vars(plain).items() if name not in fields}
            body["__slots__"] = tuple(name for name in fields if name not in inherited)
            for name in _ASKED_FIRST if options.get("frozen") else _ASKED_FIRST[:2]:
                body[name] = _Unmade(plain, options)
            return _another(plain, body)

        return wrap


# Whatever is done with such a class or an instance begins with one of these; only frozen ones have the last.
_ASKED_FIRST = ("__init__", "__dataclass_fields__", "__setstate__")


class _Unmade:
    """Stands in a class for something that the standard library makes, and has all of it made when it is asked for.

    Two threads may do so at once; it comes to the same, and no lock is there that a fork could leave taken for ever.
    """

    def __init__(self, plain: type, options: Mapping[str, bool]) -> None:
        self._plain = plain
        self._options = options

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        if vars(self._owner)[self._name] is self:
            self._make()
        found = vars(self._owner)[self._name]
        return found.__get__(instance, owner) if hasattr(found, "__get__") else found

    def _make(self) -> None:
        plain = _another(self._plain, dict(vars(self._plain)))  # the standard library changes what it is given
        made = dict(vars(dataclasses.dataclass(slots=True, **self._options)(plain)))
        slots = vars(self._owner)["__slots__"]
        assert made["__slots__"] == slots
        for name in slots:
            del made[name]  # each class has its own
        # What is asked first comes last: whoever does not find it unmade finds all of it made.
        for name in sorted(made, key=_ASKED_FIRST.__contains__):
            setattr(self._owner, name, made[name])


def _another(plain: type, body: dict[str, Any]) -> type:
    """Return a class like `plain` with another body."""
    for name in ("__dict__", "__weakref__"):  # they are of `plain` itself
        body.pop(name, None)
    found = type(plain)(plain.__name__, plain.__bases__, body)
    found.__qualname__ = plain.__qualname__
    return found
