"""The dataclasses that are finished late are the standard ones, to whoever looks."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from retrodict.kernel.dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A place."""

    x: int
    y: tuple[int, ...] = ()
    names: list[str] = dataclasses.field(default_factory=list, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named(Point):
    """A place with a name."""

    name: str = "here"

    def __repr__(self) -> str:
        return f"<{self.name}>"


@dataclass(frozen=True, slots=True)
class Even:
    """A number that is checked."""

    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("odd")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Secret:
    """What is not shown."""

    text: str


def _outcome(act: Callable[[], Any]) -> object:
    try:
        return act()
    except Exception as error:
        return type(error), str(error)


def test_it_does_what_the_standard_one_does() -> None:
    def body(decorate: Any) -> type[Any]:
        class Thing:
            x: int
            y: tuple[int, ...] = ()
            names: list[str] = dataclasses.field(default_factory=list, compare=False)

        Thing.__qualname__ = "Thing"
        made: type[Any] = decorate(frozen=True, slots=True, kw_only=True)(Thing)
        return made

    acts: tuple[Callable[[type[Any]], object], ...] = (
        lambda a: repr(a(x=1)),
        lambda a: (a(x=1) == a(x=1, names=["n"]), a(x=1) == a(x=2), a(x=1) == 1, a(x=1) != a(x=1)),
        lambda a: len({a(x=1), a(x=1), a(x=2)}),
        lambda a: hash(a(x=1)),
        lambda a: a(),
        lambda a: a(1),
        lambda a: a(x=1, z=2),
        lambda a: setattr(a(x=1), "x", 2),
        lambda a: delattr(a(x=1), "x"),
        lambda a: hasattr(a(x=1), "__dict__"),
        lambda a: dataclasses.asdict(dataclasses.replace(a(x=1), x=5)),
        lambda a: [f.name for f in dataclasses.fields(a)],
        lambda a: a(x=1).names is a(x=1).names,
        lambda a: a.__match_args__,
        lambda a: repr(copy.deepcopy(a(x=1, names=["n"]))),
        lambda a: [repr(a(x=1)), repr(a(x=1))],
    )
    for number, act in enumerate(acts):  # each finds both as they were just made
        expected = _outcome(lambda act=act: act(body(dataclasses.dataclass)))  # type: ignore[misc]
        assert _outcome(lambda act=act: act(body(dataclass))) == expected, number  # type: ignore[misc]


def test_a_record_inherits_and_keeps_its_own_methods() -> None:
    assert repr(Named(x=1)) == "<here>"
    assert repr(Point(x=1)) == "Point(x=1, y=(), names=[])"
    assert Named(x=1) != Point(x=1)
    assert Named(x=1, y=(2,)) == Named(x=1, y=(2,), name="here")
    assert Even(2) == Even(2)
    with pytest.raises(ValueError, match="odd"):
        Even(3)
    assert "private" not in repr(Secret(text="private"))


def test_a_record_that_was_never_made_here_can_be_unpickled() -> None:
    made = pickle.loads(pickle.dumps(Named(x=1, names=["a"])))
    assert (made, made.names) == (Named(x=1), ["a"])
    bare = object.__new__(Secret)
    object.__setattr__(bare, "text", "a")
    assert bare == Secret(text="a")


def test_threads_may_make_the_first_ones_at_once() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Fresh:
        number: int

    made: list[int] = []
    threads = [Thread(target=lambda number=number: made.append(Fresh(number=number).number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(8))
