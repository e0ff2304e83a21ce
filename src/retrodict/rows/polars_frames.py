"""polars lazy frames that know which rows they hold.

Beside the columns, the frame carries the positions of its rows, which nobody sees. Filters, projections,
calculations, sorts and joins whose expressions work on one row at a time (polars says which do, by
`Expr.meta.is_row_separable`) are done to both. Whatever else is asked of the frame, `collect` included, first notes as
used the rows that it holds there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from retrodict.rows.source import Inside, Source

_inside = Inside()
_ROW: Final = "\0retrodict row "
_HARMLESS: Final = frozenset({"__class__", "collect_schema", "columns", "schema", "dtypes", "width"})
_numbers = iter(range(1 << 62))


def frame(table: Any, source: Source) -> RowLazyFrame:
    """Return an Arrow table as a lazy frame whose rows are those of the source."""
    name = f"{_ROW}{next(_numbers)}"
    eager = pl.DataFrame(table)
    place = pl.Series(name, np.arange(len(source), dtype=np.int64))
    return _followed(eager.with_columns(place).lazy(), {name: source})


def _followed(whole: pl.LazyFrame, sources: dict[str, Source]) -> RowLazyFrame:
    with _inside():
        made = RowLazyFrame.__new__(RowLazyFrame)
        made._ldf = whole.drop(list(sources))._ldf
        object.__setattr__(made, "_retrodict", (whole, sources))
    return made


def _parts(value: Any) -> tuple[pl.LazyFrame, dict[str, Source]]:
    found: tuple[pl.LazyFrame, dict[str, Source]] = object.__getattribute__(value, "_retrodict")
    return found


def _note(value: Any) -> None:
    try:
        whole, sources = _parts(value)
    except AttributeError:
        return  # being made
    found = whole.select(list(sources)).collect()
    for name, source in sources.items():
        source.use(found[name].fill_null(-1).to_numpy())


def _is_rowwise(value: Any) -> bool:
    """Whether it is a column's name or an expression that gives each row a value from that row alone."""
    if type(value) is str:
        return not value.startswith("^")  # a pattern
    if not isinstance(value, pl.Expr):
        return False
    try:
        return _every_part_is(value)
    except pl.exceptions.PolarsError:  # polars cannot tell without the columns: a function of somebody's own
        return False


def _every_part_is(expression: pl.Expr) -> bool:
    meta = expression.meta
    if meta.has_multiple_outputs() or not meta.is_row_separable():
        return False
    if meta.root_names() and not meta.is_length_preserving():
        return False
    # Of `a > a.mean()` polars itself says that it is row-separable: each part is asked.
    return all(map(_every_part_is, meta.pop()))


class RowLazyFrame(pl.LazyFrame):  # type: ignore[misc]  # polars tells no types here
    """A table, or some of its columns and rows, or several joined; a LazyFrame for whoever takes one."""

    def __getattribute__(self, name: str) -> Any:
        if not _inside.depth and name not in _HARMLESS and name not in _FOLLOWED:
            _note(self)
        return super().__getattribute__(name)

    @classmethod
    def _from_pyldf(cls, ldf: Any) -> Any:
        """Return what polars makes of a frame of ours as a frame of its own."""
        return pl.LazyFrame._from_pyldf(ldf)

    def filter(self, *predicates: Any, **constraints: Any) -> Any:
        """As polars has it."""
        if constraints or not all(isinstance(p, pl.Expr) and _is_rowwise(p) for p in predicates):
            return self._noted("filter", *predicates, **constraints)
        return self._done(lambda whole: whole.filter(*predicates))

    def select(self, *exprs: Any, **named: Any) -> Any:
        """As polars has it."""
        several = _flat(exprs)
        if (
            not several
            or not all(map(_is_rowwise, (*several, *named.values())))
            or _are_literal((*several, *named.values()))
        ):
            return self._noted("select", *exprs, **named)
        _, sources = _parts(self)
        return self._done(lambda whole: whole.select(*several, *sources, **named))

    def with_columns(self, *exprs: Any, **named: Any) -> Any:
        """As polars has it."""
        several = _flat(exprs)
        if not all(map(_is_rowwise, (*several, *named.values()))):
            return self._noted("with_columns", *exprs, **named)
        return self._done(lambda whole: whole.with_columns(*several, **named))

    def drop(self, *columns: Any, strict: bool = True) -> Any:
        """As polars has it."""
        several = _flat(columns)
        if not all(type(name) is str and not name.startswith("^") for name in several):
            return self._noted("drop", *columns, strict=strict)
        return self._done(lambda whole: whole.drop(several, strict=strict))

    def rename(self, mapping: Any, **kwargs: Any) -> Any:
        """As polars has it."""
        if type(mapping) is not dict:
            return self._noted("rename", mapping, **kwargs)
        return self._done(lambda whole: whole.rename(mapping, **kwargs))

    def sort(self, by: Any, *more_by: Any, **kwargs: Any) -> Any:
        """As polars has it; rows that are equal stay in their order."""
        several = _flat((by, *more_by))
        if not all(type(name) is str for name in several) or not set(kwargs) <= {"descending", "nulls_last"}:
            return self._noted("sort", by, *more_by, **kwargs)
        return self._done(lambda whole: whole.sort(several, maintain_order=True, **kwargs))

    def join(self, other: Any, on: Any = None, how: Any = "inner", **kwargs: Any) -> Any:
        """As polars has it; of an inner or left join by columns only the rows that match are noted."""
        is_known = how in ("inner", "left") and set(kwargs) <= {"left_on", "right_on", "suffix"}
        names = [name for value in (on, kwargs.get("left_on"), kwargs.get("right_on")) for name in _flat((value,))]
        if not is_known or not all(name is None or type(name) is str for name in names):
            return self._noted("join", other, on, how, **kwargs)
        whole, sources = _parts(self)
        others: dict[str, Source] = {}
        with _inside():
            right = other
            if isinstance(other, RowLazyFrame):
                right, theirs = _parts(other)
                others = {f"{_ROW}{next(_numbers)}": source for source in theirs.values()}
                right = right.rename(dict(zip(theirs, others, strict=True)))
            joined = whole.join(right, on, how, maintain_order="left_right", **kwargs)
        return _followed(joined, {**sources, **others})

    def collect(self, **kwargs: Any) -> Any:
        """As polars has it: all rows that are there now are noted."""
        whole, sources = _parts(self)
        with _inside():
            result = whole.collect(**kwargs)
        if not isinstance(result, pl.DataFrame):  # it goes on elsewhere
            return self._noted("collect", **kwargs)
        for name, source in sources.items():
            source.use(result[name].fill_null(-1).to_numpy())
        return result.drop(list(sources))

    def lazy(self) -> Any:
        """As polars has it."""
        return self

    def _done(self, operation: Any) -> RowLazyFrame:
        whole, sources = _parts(self)
        with _inside():
            return _followed(operation(whole), sources)

    def _noted(self, name: str, *args: Any, **kwargs: Any) -> Any:
        _note(self)
        for value in args:
            if isinstance(value, RowLazyFrame):
                _note(value)
        whole, sources = _parts(self)
        with _inside():
            return getattr(whole.drop(list(sources)), name)(*args, **kwargs)


def _flat(values: Sequence[Any]) -> list[Any]:
    return [one for value in values for one in (value if type(value) in (list, tuple) else [value])]


def _are_literal(values: Sequence[Any]) -> bool:
    """Whether none of them has a column in it: then the result has one row, however many there were."""
    return all(isinstance(value, pl.Expr) and not value.meta.root_names() for value in values)


_FOLLOWED: Final = frozenset(
    {"filter", "select", "with_columns", "drop", "rename", "sort", "join", "collect", "lazy", "_done", "_noted"}
)


def _watched(name: str) -> Any:
    usual = getattr(pl.LazyFrame, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _inside.depth:
            _note(self)
        return usual(self, *args, **kwargs)

    return method


# Special methods are looked up in the class: `__getattribute__` does not see them.
for _name in ("__bool__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__contains__", "__copy__",
              "__deepcopy__", "__getitem__", "__str__", "__repr__", "_repr_html_", "__getstate__", "__reduce__",
              "__reduce_ex__", "__dataframe__", "__arrow_c_stream__"):  # fmt: skip
    if hasattr(pl.LazyFrame, _name):
        setattr(RowLazyFrame, _name, _watched(_name))
