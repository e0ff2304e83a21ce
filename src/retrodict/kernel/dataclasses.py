"""Dataclasses whose methods are made when the first of them is called.

The standard decorator writes and compiles the source of six methods for each class: 0.5 ms, and a command defines 90
records of which it makes 20. Here a record that is frozen and has slots gets its fields at once (0.05 ms); `__init__`,
`__repr__`, `__eq__` and `__hash__` are the standard ones, taken over at the first use, and cost the same from then on.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # What a type checker knows of the standard decorator holds here.
    from dataclasses import dataclass as dataclass
else:
    _METHODS = ("__init__", "__repr__", "__eq__", "__hash__")
    _OPTIONS = {"frozen", "slots", "kw_only", "repr"}

    def dataclass(cls=None, /, **options):
        """Take the place of `dataclasses.dataclass`."""
        if cls is None:
            return lambda cls: dataclass(cls, **options)
        if not (options.get("frozen") and options.get("slots")) or options.keys() - _OPTIONS:
            return dataclasses.dataclass(**options)(cls)
        kw_only = options.get("kw_only", False)
        own = {name for name in _METHODS if name in vars(cls)}
        if not options.get("repr", True):
            own.add("__repr__")
        cls = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
        later = [name for name in _METHODS if name not in own]
        for name in later:
            setattr(cls, name, _later(cls, name, later, kw_only))
        cls.__setattr__ = _refuse_to_set
        cls.__delattr__ = _refuse_to_delete
        cls.__getstate__ = _state
        cls.__setstate__ = _restore
        return cls

    def _later(cls, name, later, kw_only):
        """Return a method that puts the standard ones in the place of all, and calls its own."""

        def method(self, /, *args, **kwargs):
            after = {"__post_init__": cls.__post_init__} if hasattr(cls, "__post_init__") else {}
            standard = dataclasses.make_dataclass(
                cls.__name__,
                [(field.name, field.type, field) for field in dataclasses.fields(cls)],
                frozen=True,
                kw_only=kw_only,
                namespace=after,
            )
            for each in later:
                setattr(cls, each, vars(standard)[each])
            return getattr(cls, name)(self, *args, **kwargs)

        return method

    def _refuse_to_set(self, name, value):  # noqa: ARG001 - the signature of __setattr__
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def _refuse_to_delete(self, name):  # noqa: ARG001 - the signature of __delattr__
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def _state(self):
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def _restore(self, state):
        for field, value in zip(dataclasses.fields(self), state, strict=True):
            object.__setattr__(self, field.name, value)
