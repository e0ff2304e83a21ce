"""pandas frames that know which rows they hold.

`RowFrame` and `RowSeries` are a DataFrame and a Series for whoever takes one. Columns are chosen, rows are filtered by
conditions, sorted and merged, and cells of one row are compared and calculated with, without a row being noted that is
dropped; the result knows its rows. Any other access, through an attribute or a special method, notes all the rows that
the frame holds as used, and gives what pandas gives. So a mean notes all, and a mask that was made with that mean may
then drop rows: they are noted already.
"""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from retrodict.rows.source import Inside, Source, Trace

if TYPE_CHECKING:
    from collections.abc import Callable

_inside = Inside()
_PLACE: Final = "\0retrodict place"
_SCALARS: Final = (
    *(bool, int, float, complex, str, bytes, type(None), decimal.Decimal, pd.Timestamp, pd.Timedelta),
    *(dt.date, dt.datetime, dt.time, dt.timedelta),
)
# What says nothing of values or of how many rows there are. A type does: whole numbers that lack a match become floats.
_HARMLESS: Final = frozenset({"columns", "name", "names", "ndim", "attrs", "flags"})


def frame(table: Any, source: Source) -> RowFrame:
    """Return an Arrow table as a frame: its rows are those of the source, and their identities the index."""
    plain = table.to_pandas()
    plain.index = pd.Index(source.rows, name="_row")
    return _framed(plain, Trace([(source, np.arange(len(source), dtype=np.int64))]))


def _is_scalar(value: object) -> bool:
    """Whether it is a plain value; of these types exactly, since others could look at what they are compared with."""
    return type(value) in _SCALARS or (isinstance(value, np.generic) and type(value).__module__ == "numpy")


def _framed(plain: Any, trace: Trace) -> RowFrame:
    with _inside():
        made = RowFrame(plain)
        object.__setattr__(made, "_retrodict", (trace, made.index))
    return made


def _in_series(plain: Any, trace: Trace) -> RowSeries:
    with _inside():
        made = RowSeries(plain)
        object.__setattr__(made, "_retrodict", (trace, made.index))
    return made


def _trace(value: Any) -> Trace | None:
    """Return what a frame's rows are made of; None where that is not known any more, and everything is noted."""
    try:
        trace, index = object.__getattribute__(value, "_retrodict")
    except AttributeError:
        return None
    with _inside():
        # Whatever changes the rows of a frame in place gives it another index, and has noted all of them before.
        return trace if value.index is index and len(trace) == len(index) else None


def _note(value: Any) -> None:
    trace = _trace(value)
    if trace is not None:
        trace.use()
    else:
        try:
            object.__getattribute__(value, "_retrodict")[0].use()
        except AttributeError:
            return  # being made


def _plain(value: Any) -> Any:
    """Return the same as a frame or series of pandas' own; called inside."""
    return pd.DataFrame(value) if isinstance(value, pd.DataFrame) else pd.Series(value)


def _same_rows(one: Any, other: Any) -> bool:
    a, b = _trace(one), _trace(other)
    if a is None or b is None or len(a.parts) != len(b.parts):
        return False
    same = all(s is t and np.array_equal(p, q) for (s, p), (t, q) in zip(a.parts, b.parts, strict=True))
    with _inside():
        return same and bool(one.index.is_unique) and bool(one.index.equals(other.index))


class _Followed:
    """What both have: every access that is not followed is noted."""

    def __getattribute__(self, name: str) -> Any:
        if not _inside.depth and name not in _HARMLESS and name not in _FOLLOWED and name != "__class__":
            _note(self)
        return super().__getattribute__(name)


class RowSeries(_Followed, pd.Series):  # type: ignore[misc]  # pandas tells no types
    """A column of a `RowFrame`, or what was calculated from cells of the same row."""

    def isin(self, values: Any) -> Any:
        """As pandas has it; `values` is a list, set or tuple of plain values."""
        if type(values) in (list, set, tuple) and all(_is_scalar(value) for value in values):
            return _cellwise(self, lambda plain: plain.isin(values))
        _note(self)
        return super().isin(values)

    def isna(self) -> Any:
        """As pandas has it."""
        return _cellwise(self, lambda plain: plain.isna())

    def notna(self) -> Any:
        """As pandas has it."""
        return _cellwise(self, lambda plain: plain.notna())

    def abs(self) -> Any:
        """As pandas has it."""
        return _cellwise(self, lambda plain: plain.abs())

    def between(self, left: Any, right: Any, inclusive: Any = "both") -> Any:
        """As pandas has it; with plain values."""
        if _is_scalar(left) and _is_scalar(right):
            return _cellwise(self, lambda plain: plain.between(left, right, inclusive))
        _note(self)
        return super().between(left, right, inclusive)


def _cellwise(series: Any, operation: Callable[[Any], Any]) -> Any:
    trace = _trace(series)
    with _inside():
        result = operation(_plain(series))
    return result if trace is None else _in_series(result, trace)


class RowFrame(_Followed, pd.DataFrame):  # type: ignore[misc]  # pandas tells no types
    """A table, or some of its columns and rows, or several merged."""

    def __getitem__(self, key: Any) -> Any:
        trace = _trace(self)
        if trace is not None:
            with _inside():
                plain = _plain(self)
                if type(key) is str and key in plain.columns and isinstance(plain[key], pd.Series):
                    return _in_series(plain[key], trace)
                if type(key) is list and key and all(type(name) is str for name in key):
                    return _framed(plain[key], trace)
                mask = self._mask(key)
                if mask is not None:
                    return _framed(plain[mask], trace.take(mask))
        _note(self)
        return super().__getitem__(key)

    def _mask(self, key: Any) -> Any:
        """Return a condition as one truth for each row; None where it is none, or speaks of other rows."""
        if isinstance(key, RowSeries) and _same_rows(self, key):
            return _plain(key).to_numpy() if key.dtype == bool else None
        # What it was made of is noted already: it is no column of ours any more.
        return key if type(key) is np.ndarray and key.dtype == bool and key.shape == (len(self),) else None

    def __setitem__(self, key: Any, value: Any) -> None:
        # Plain values come from elsewhere, or from cells that were noted when they became plain.
        is_plain = _is_scalar(value) or type(value) in (list, np.ndarray, pd.Series)
        if type(key) is str and (is_plain or (isinstance(value, RowSeries) and _same_rows(self, value))):
            with _inside():
                super().__setitem__(key, _plain(value) if isinstance(value, RowSeries) else value)
            return
        _note(self)
        if isinstance(value, _Followed):
            _note(value)
        super().__setitem__(key, value)

    def drop(self, *args: Any, **kwargs: Any) -> Any:
        """As pandas has it; columns alone are dropped without a row being noted."""
        if not args and set(kwargs) == {"columns"}:
            return self._through(lambda plain: plain.drop(**kwargs))
        _note(self)
        return super().drop(*args, **kwargs)

    def rename(self, *args: Any, **kwargs: Any) -> Any:
        """As pandas has it; columns are renamed without a row being noted."""
        if not args and set(kwargs) == {"columns"} and type(kwargs["columns"]) is dict:
            return self._through(lambda plain: plain.rename(**kwargs))
        _note(self)
        return super().rename(*args, **kwargs)

    def copy(self, deep: bool = True) -> Any:
        """As pandas has it."""
        return self._through(lambda plain: plain.copy(deep))

    def sort_values(self, by: Any, **kwargs: Any) -> Any:
        """As pandas has it; by columns, without a row being noted."""
        names = [by] if type(by) is str else by
        is_known = type(names) is list and all(type(name) is str for name in names)
        if is_known and set(kwargs) <= {"ascending", "na_position", "kind"}:
            return self._through(lambda plain: plain.sort_values(by, **kwargs))
        _note(self)
        return super().sort_values(by, **kwargs)

    def _through(self, operation: Callable[[Any], Any]) -> Any:
        """Apply an operation that keeps or reorders rows, whatever else it does."""
        trace = _trace(self)
        with _inside():
            plain = _plain(self)
            if trace is None:
                return operation(plain)
            result = operation(plain.assign(**{_PLACE: np.arange(len(plain))}))
            places = result.pop(_PLACE).to_numpy()
        return _framed(result, trace.take(places))

    def merge(self, right: Any, how: Any = "inner", **kwargs: Any) -> Any:
        """As pandas has it; of an inner, left, right or outer join by columns only the rows that match are noted."""
        trace, other = _trace(self), _trace(right) if isinstance(right, RowFrame) else None
        is_known = how in ("inner", "left", "right", "outer") and set(kwargs) <= {
            "on",
            "left_on",
            "right_on",
            "suffixes",
        }
        by_names = all(_are_names(kwargs[name]) for name in ("on", "left_on", "right_on") if name in kwargs)
        if trace is None or not is_known or not by_names or type(right) not in (RowFrame, pd.DataFrame):
            _note(self)
            if isinstance(right, _Followed):
                _note(right)
            with _inside():
                return _plain(self).merge(_plain(right) if isinstance(right, _Followed) else right, how, **kwargs)
        if other is None and isinstance(right, RowFrame):
            _note(right)
        with _inside():
            ours, theirs = f"{_PLACE} left", f"{_PLACE} right"
            left_plain = _plain(self).assign(**{ours: np.arange(len(self))})
            right_plain = _plain(right).assign(**{theirs: np.arange(len(right))})
            result = left_plain.merge(right_plain, how, **kwargs)
            at = {name: result.pop(name).fillna(-1).to_numpy().astype(np.int64) for name in (ours, theirs)}
        made = trace.take(at[ours])
        return _framed(result, made if other is None else made.joined(other.take(at[theirs])))


def _are_names(value: Any) -> bool:
    return type(value) is str or (type(value) is list and all(type(name) is str for name in value))


_FOLLOWED: Final = frozenset(
    {
        *("isin", "isna", "notna", "abs", "between", "drop", "rename", "copy", "sort_values", "merge"),
        *("_mask", "_through", "__getitem__", "__setitem__"),
    }
)
_BINARY: Final = (
    *("eq", "ne", "lt", "le", "gt", "ge", "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv"),
    *("floordiv", "rfloordiv", "mod", "rmod", "pow", "rpow", "and", "rand", "or", "ror", "xor", "rxor"),
)
_UNARY: Final = ("neg", "pos", "invert", "abs")
_OWN: Final = frozenset(
    {
        *(
            "__init__",
            "__new__",
            "__getattribute__",
            "__getattr__",
            "__setattr__",
            "__delattr__",
            "__class__",
            "__dict__",
        ),
        *(
            "__init_subclass__",
            "__subclasshook__",
            "__doc__",
            "__module__",
            "__weakref__",
            "__slots__",
            "__annotations__",
        ),
        *("__dir__", "__class_getitem__", "__pandas_priority__", "__array_priority__", "__getitem__", "__setitem__"),
        *("__finalize__", "__hash__", "__orig_bases__", "__parameters__", "__static_attributes__", "__firstlineno__"),
    }
)


def _binary(name: str) -> Callable[..., Any]:
    usual = getattr(pd.Series, name)

    def method(self: Any, other: Any) -> Any:
        trace = _trace(self)
        if trace is not None and (_is_scalar(other) or (isinstance(other, RowSeries) and _same_rows(self, other))):
            with _inside():
                result = usual(_plain(self), _plain(other) if isinstance(other, RowSeries) else other)
            return result if result is NotImplemented else _in_series(result, trace)
        _note(self)
        if isinstance(other, _Followed):
            _note(other)
        return usual(self, other)

    return method


def _noted(owner: type, name: str) -> Callable[..., Any]:
    usual = getattr(owner, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _inside.depth:
            _note(self)
        return usual(self, *args, **kwargs)

    return method


def _unary(name: str) -> Callable[..., Any]:
    usual = getattr(pd.Series, name)
    return lambda self: _cellwise(self, usual)


# Special methods are looked up in the class: `__getattribute__` does not see them.
for _class, _owner in ((RowSeries, pd.Series), (RowFrame, pd.DataFrame)):
    for _name in {name for base in _owner.__mro__[:-1] for name in vars(base)}:
        if _name.startswith("__") and _name.endswith("__") and _name not in _OWN and callable(getattr(_owner, _name)):
            setattr(_class, _name, _noted(_owner, _name))
    for _name in ("__repr__", "__str__", "__format__", "__reduce__", "__reduce_ex__", "__sizeof__", "__eq__", "__ne__"):
        setattr(_class, _name, _noted(_owner, _name))
for _name in _BINARY:
    setattr(RowSeries, f"__{_name}__", _binary(f"__{_name}__"))
for _name in _UNARY:
    setattr(RowSeries, f"__{_name}__", _unary(f"__{_name}__"))
