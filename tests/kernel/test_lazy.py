"""Records whose methods are made late are what the standard library makes at once."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pickle
import pkgutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import retrodict
from retrodict.kernel import lazy

FROZEN = {"frozen": True, "slots": True, "kw_only": True}
STANDARD: Any = dataclasses.dataclass
MAKERS = pytest.mark.parametrize("dataclass", [STANDARD, lazy.dataclass], ids=["standard", "lazy"])


@MAKERS
def test_a_record_is_a_standard_one(dataclass: Any) -> None:
    """Whatever is asked first: each is asked of a class that nothing was asked of before."""

    def fresh() -> Any:
        @dataclass(**FROZEN)
        class Base:
            """A base."""

            left: int
            right: tuple[int, ...] = (1, 2)

        @dataclass(**FROZEN)
        class Record(Base):
            """A record."""

            extra: Mapping[str, int] = dataclasses.field(default_factory=dict, compare=False)
            hidden: str = dataclasses.field(default="no", repr=False)

            def __post_init__(self) -> None:
                assert self.left >= 0

            @property
            def twice(self) -> int:
                """Twice as much."""
                return 2 * self.left

        return Record

    record = fresh()(left=1)
    assert (record.left, record.right, record.extra, record.hidden, record.twice) == (1, (1, 2), {}, "no", 2)
    assert repr(record).endswith("Record(left=1, right=(1, 2), extra={})")
    assert not hasattr(record, "__dict__")
    assert [f.name for f in dataclasses.fields(fresh())] == ["left", "right", "extra", "hidden"]
    assert dataclasses.is_dataclass(fresh())
    kind = fresh()
    one, same, other = kind(left=1), kind(left=1, extra={"a": 1}), kind(left=2)
    assert one == same != other
    assert len({one, same, other}) == 2
    assert dataclasses.replace(one, left=2) == other
    assert copy.deepcopy(one) == one
    assert kind(left=1).extra is not kind(left=1).extra
    assert fresh()(left=1) != one, "of another class"
    for wrong in ({}, {"left": 1, "wrong": 2}):
        with pytest.raises(TypeError, match="__init__"):
            fresh()(**wrong)
    with pytest.raises(TypeError, match="positional"):
        fresh()(1)
    with pytest.raises(AssertionError):
        fresh()(left=-1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.left = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.left
    assert fresh().__qualname__.endswith("fresh.<locals>.Record")
    assert fresh().__doc__ == "A record."

    @dataclass(slots=True)
    class Point:
        x: int
        y: list[int] = dataclasses.field(default_factory=list)

        def __repr__(self) -> str:
            return "mine"

    match Point(1):
        case Point(x, y):
            assert (x, y) == (1, [])
    point = Point(1)
    point.x = 2
    assert point == Point(2)
    assert repr(point) == "mine"
    with pytest.raises(TypeError, match="unhashable"):
        hash(point)

    class Plain(Point):
        def __init__(self) -> None:
            super().__init__(5)

    assert Plain().x == 5


def test_a_record_is_unpickled_where_none_was_made() -> None:
    code = """
import pickle, sys
record = pickle.loads(bytes.fromhex(sys.argv[1]))
assert (record.ref, record.role, record == record, repr(record)[:5]) == ("b3-00", "x", True, "Edge(")
"""
    edge = importlib.import_module("retrodict.kernel.types").Edge
    data = pickle.dumps(edge(ref="b3-00", role="x", evidence="declared"))
    subprocess.run([sys.executable, "-c", code, data.hex()], check=True)


def test_threads_that_make_the_first_one_at_once_all_get_a_whole_one() -> None:
    wrong: list[object] = []

    def ask(kind: Callable[..., object], ready: threading.Barrier) -> None:
        ready.wait(30)
        try:
            one = kind(value=1)
            if not (one == kind(value=1) and hash(one) == hash(kind(value=1)) and repr(one).endswith("(value=1)")):
                wrong.append(one)
        except BaseException as error:
            wrong.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):

            @lazy.dataclass(frozen=True, slots=True, kw_only=True)
            class Record:
                value: int

            ready = threading.Barrier(4)
            threads = [threading.Thread(target=ask, args=(Record, ready)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []


def test_every_record_here_can_be_made() -> None:
    """What the standard library would refuse when a class is defined is refused here, before anybody uses it."""
    found = 0
    for module in pkgutil.walk_packages(retrodict.__path__, "retrodict."):
        if ".pipeline" in module.name or module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and value.__module__ == module.name and "__slots__" in vars(value):
                found += dataclasses.is_dataclass(value)
    assert found > 300
