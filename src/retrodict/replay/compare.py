"""Two outputs, cell by cell and bit by bit: the same, or by how much not.

NaN payloads and -0.0 count as differences. The distance of two floats is how many floats of their width lie between
them (units in the last place, ulp): it says "the last bit" whatever the scale.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from retrodict.predictions import media, tagged

if TYPE_CHECKING:
    import numpy as np

_WIDTHS: Final[Mapping[str, str]] = {"<f2": "u2", "<f4": "u4", "<f8": "u8"}
_SUM_TO_ONE: Final = 1e-3  # rows of probabilities, in float16 too


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What counts as consistent: a float passes by any of the three.

    Attributes:
        absolute: Largest |recorded - replayed|.
        relative: Largest |recorded - replayed| / |recorded|.
        ulp: Largest distance in units in the last place.
    """

    absolute: float = 0.0
    relative: float = 0.0
    ulp: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One place where two outputs differ.

    Attributes:
        row: Position, from 0; None where the value has no rows.
        column: The column's name, or where in the value it is.
        recorded: Its value on record.
        replayed: Its value now.
    """

    row: int | None
    column: str
    recorded: object
    replayed: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a replayed output stands to the recorded one.

    Attributes:
        verdict: "replicated": every bit the same; "reproduced": every difference within the tolerance that was asked
            for; "differs".
        cells: How many cells differ in any bit.
        of: How many cells there are on record.
        max_ulp: The largest distance of two finite floats of one width; None where no floats differ so.
        max_abs: The largest difference of two finite numbers; None where no numbers differ.
        first: The first cell that differs.
        decision_changed: Whether a text, boolean or integer, or the largest of a row of probabilities, is another one;
            None where the output has neither.
        structure: How the shape of the outputs differs (types, lengths, names), None where it does not.
    """

    verdict: Literal["replicated", "reproduced", "differs"]
    cells: int
    of: int
    max_ulp: int | None
    max_abs: float | None
    first: Cell | None
    decision_changed: bool | None
    structure: str | None


def compare(recorded: Any, replayed: Any, tolerance: Tolerance | None = None) -> Comparison:
    """Compare two decoded payload values."""
    tally = _Tally(tolerance)
    tally.walk(recorded, replayed, None, "value")
    if not tally.cells and tally.structure is None:
        verdict: Literal["replicated", "reproduced", "differs"] = "replicated"
    else:
        verdict = "reproduced" if tolerance is not None and tally.within else "differs"
    return Comparison(
        verdict=verdict,
        cells=tally.cells,
        of=tally.of,
        max_ulp=tally.max_ulp,
        max_abs=tally.max_abs,
        first=tally.first,
        decision_changed=tally.decision_changed,
        structure=tally.structure,
    )


@dataclass(slots=True)
class _Tally:
    tolerance: Tolerance | None
    cells: int = 0
    of: int = 0
    max_ulp: int | None = None
    max_abs: float | None = None
    first: Cell | None = None
    decision_changed: bool | None = None
    structure: str | None = None
    within: bool = field(default=True)

    def walk(self, a: Any, b: Any, row: int | None, column: str) -> None:
        library, kind = type(a).__module__.partition(".")[0], type(a).__name__
        if type(a) is not type(b):
            self.of += 1
            self._structural(f"{column}: {tagged.type_name(a)} became {tagged.type_name(b)}")
            self._differs(Cell(row=row, column=column, recorded=a, replayed=b))
        elif library == "numpy" and kind == "ndarray":
            self._arrays(a, b, row, column)
        elif library == "pandas" and kind == "DataFrame":
            self._frames(a, b)
        elif library == "pandas" and kind == "Series":
            self._series(a, b, str(a.name) if a.name is not None else column)
            self._labels(a.index, b.index, "index")
        elif library in {"polars", "pyarrow"} and hasattr(a, "columns"):
            self._tables(a, b)
        elif (library == "polars" and kind == "Series") or (library == "pandas" and hasattr(a, "dtype")):
            self._lists(list(a), list(b), row, column)
        elif library == "PIL":
            self._images(a, b, row, column)
        elif kind == "dict":
            self._dicts(a, b, row, column)
        elif kind in {"list", "tuple"}:
            self._lists(a, b, row, column)
        else:
            self._scalars(a, b, row, column)

    # -- containers

    def _frames(self, a: Any, b: Any) -> None:
        names = [str(name) for name in a.columns]
        if names != [str(name) for name in b.columns] or len(a) != len(b):
            self.of += a.size
            self._structural(
                f"{len(a)} rows of {', '.join(names)} became {len(b)} rows of {', '.join(map(str, b.columns))}"
            )
            return
        for i, name in enumerate(names):
            self._series(a.iloc[:, i], b.iloc[:, i], name)
        self._labels(a.index, b.index, "index")

    def _labels(self, a: Any, b: Any, column: str) -> None:
        """Compare row labels: they are no cells of the answer, but a change of them is one."""
        before = self.of
        self._lists(list(a), list(b), None, column)
        self.of = before

    def _series(self, a: Any, b: Any, column: str) -> None:
        import numpy as np  # 80 ms

        if isinstance(a.dtype, np.dtype) and a.dtype.kind != "O" and isinstance(b.dtype, np.dtype):
            self._arrays(a.to_numpy(), b.to_numpy(), None, column)
            return
        if a.dtype != b.dtype:
            self._structural(f"{column}: {a.dtype} became {b.dtype}")
        self._lists(list(a), list(b), None, column)

    def _tables(self, a: Any, b: Any) -> None:
        a, b = (table.to_arrow() if hasattr(table, "to_arrow") else table for table in (a, b))
        if a.schema != b.schema:
            self.of += a.num_rows * a.num_columns
            self._structural(f"{_columns(a)} became {_columns(b)}")
            return
        for i, name in enumerate(a.schema.names):
            self._lists(a.column(i).to_pylist(), b.column(i).to_pylist(), None, name)

    def _dicts(self, a: Any, b: Any, row: int | None, column: str) -> None:
        if list(a) != list(b):
            self.of += len(a)
            self._structural(f"{column}: the keys {', '.join(map(str, a))} became {', '.join(map(str, b))}")
            return
        for key, item in a.items():
            self.walk(item, b[key], row, str(key) if column == "value" else f"{column}.{key}")

    def _lists(self, a: Any, b: Any, row: int | None, column: str) -> None:
        if len(a) != len(b):
            self.of += len(a)
            self._structural(f"{column}: {len(a)} values became {len(b)}{_first_of(a, b, column)}")
            return
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            self.walk(x, y, i if row is None else row, column if row is None else f"{column}[{i}]")

    def _images(self, a: Any, b: Any, row: int | None, column: str) -> None:
        import numpy as np  # 80 ms

        if a.mode != b.mode or a.size != b.size:
            self.of += a.width * a.height
            self._structural(f"{column}: {_said_image(a)} became {_said_image(b)}")
            return
        if a.getpalette() != b.getpalette():
            self._structural(f"{column}: the image has another palette")
        before = self.cells
        self._arrays(np.asarray(a), np.asarray(b), row, f"{column}[pixel]")
        if self.cells > before:
            self._structural(f"{column}: {_said_pixels(a, b)}")

    def _arrays(self, a: Any, b: Any, row: int | None, column: str) -> None:
        import numpy as np  # 80 ms

        if a.dtype != b.dtype or a.shape != b.shape:
            self.of += a.size
            self._structural(f"{column}: {a.dtype} of {a.shape} became {b.dtype} of {b.shape}")
            return
        if a.dtype.kind == "O":
            for place in np.ndindex(a.shape):
                at = row if row is not None else place[0] if place else None
                self.walk(a[place], b[place], at, _place(place, column))
            return
        if a.dtype.kind == "c" and a.dtype.itemsize <= 16:
            parts = a.dtype.char.lower().replace("f", "f4").replace("d", "f8")
            a, b = (np.ascontiguousarray(x).reshape(-1).view(parts).reshape(*x.shape, 2) for x in (a, b))
        self.of += a.size
        differing = _bits(a) != _bits(b)
        if a.dtype.kind != "f":
            self._decided(bool(differing.any()))
        elif a.ndim == 2 and a.shape[1] > 1 and a.size:
            self._probabilities(a, b)
        if not differing.any():
            return
        place = tuple(int(i) for i in np.argwhere(differing)[0])
        at = row if row is not None else place[0] if place else None
        cell = Cell(row=at, column=_place(place, column), recorded=a[place].item(), replayed=b[place].item())
        self._differs(cell, count=int(differing.sum()))
        if a.dtype.kind == "f":
            self._floats(a[differing], b[differing])
        else:
            self.within = False
            if a.dtype.kind in "iu":
                gaps = (abs(int(x) - int(y)) for x, y in zip(a[differing].ravel(), b[differing].ravel(), strict=True))
                self.max_abs = max(self.max_abs or 0.0, float(max(gaps)))

    # -- values

    def _scalars(self, a: Any, b: Any, row: int | None, column: str) -> None:
        import numpy as np  # 80 ms

        if isinstance(a, float | np.floating | np.integer) or (
            type(a) is int and -(2**63) <= min(a, b) <= max(a, b) < 2**63
        ):
            x, y = np.asarray(a).reshape(1), np.asarray(b).reshape(1)
            before = self.first
            self._arrays(x, y, row, column)
            if self.first is not before and self.first is not None:
                self.first = Cell(row=row, column=column, recorded=a, replayed=b)
            return
        self.of += 1
        if type(a).__module__.partition(".")[0] == "pandas" and type(a).__name__ in {"Period", "Interval"}:
            differs = repr(a) != repr(b)  # which says all of them
        else:
            differs = tagged.dumps(a, column) != tagged.dumps(b, column)
        if isinstance(a, str | bool | int | np.bool_):
            self._decided(differs)
        if differs:
            pixels = _encoded_images(a, b) if type(a) is bytes else None
            if pixels is not None:
                self._structural(f"{column}: {pixels}")
            self._differs(Cell(row=row, column=column, recorded=a, replayed=b))
            self.within = False

    def _floats(self, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> None:
        """Take in floats that differ: both one-dimensional, of one dtype."""
        import numpy as np  # 80 ms

        finite = np.isfinite(a) & np.isfinite(b)
        both_nan = np.isnan(a) & np.isnan(b)
        allowed = self.tolerance or Tolerance()
        passes = both_nan.copy()
        if finite.any():
            x, y = a[finite], b[finite]
            with np.errstate(over="ignore"):
                gap = np.abs(x.astype("f8") - y.astype("f8"))
            self.max_abs = max(self.max_abs or 0.0, float(gap.max()))
            near = (gap <= allowed.absolute) | (gap <= allowed.relative * np.abs(x.astype("f8")))
            ulp = _ulp(x, y)
            if ulp is not None:
                self.max_ulp = max(self.max_ulp or 0, int(ulp.max()))
                near |= ulp <= allowed.ulp
            passes[finite] = near
        self.within &= bool(passes.all())

    def _probabilities(self, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> None:
        import numpy as np  # 80 ms

        def are_rows(x: np.ndarray[Any, Any]) -> bool:
            return bool(((x >= 0) & (x <= 1)).all() and (np.abs(x.sum(axis=1) - 1) < _SUM_TO_ONE).all())

        if are_rows(a) and are_rows(b):
            self._decided(bool((a.argmax(axis=1) != b.argmax(axis=1)).any()))

    # -- findings

    def _decided(self, changed: bool) -> None:
        self.decision_changed = bool(self.decision_changed) or changed

    def _differs(self, cell: Cell, count: int = 1) -> None:
        self.cells += count
        if self.first is None:
            self.first = cell

    def _structural(self, text: str) -> None:
        self.within = False
        if self.structure is None:
            self.structure = text


def _first_of(a: Any, b: Any, column: str) -> str:
    """Return the first place where two lists of different lengths differ."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        found = compare(x, y)
        if found.verdict != "replicated":
            return f"; the first that differs is {column}[{i}]: {media.brief(x)} then, {media.brief(y)} now"
    return f"; the first {min(len(a), len(b))} are the same"


def _said_image(image: Any) -> str:
    return f"an image of {image.width}×{image.height} ({image.mode})"


def _said_pixels(a: Any, b: Any) -> str:
    import numpy as np  # 80 ms

    x, y = np.asarray(a), np.asarray(b)
    differing = (x != y).reshape(*x.shape[:2], -1).any(axis=2)
    down, right = (int(i) for i in np.argwhere(differing)[0])
    return (
        f"{int(differing.sum()):,} of {differing.size:,} pixels differ; first {right} to the right, {down} down: "
        f"{x[down, right].tolist()} then, {y[down, right].tolist()} now"
    )


def _encoded_images(a: bytes, b: bytes) -> str | None:
    """Return how the pixels of two encoded images differ; None where they are none, or cannot be decoded here."""
    if media.picture(a) is None or media.picture(b) is None:
        return None
    try:
        from PIL import Image  # 30 ms, an extra

        x, y = (Image.open(io.BytesIO(data)) for data in (a, b))
        if x.size != y.size:
            return f"{_said_image(x)} became {_said_image(y)}"
        x, y = x.convert("RGBA"), y.convert("RGBA")
        if x.tobytes() == y.tobytes():
            return "every pixel is the same, encoded otherwise"
        return _said_pixels(x, y)
    except (ImportError, OSError, ValueError):
        return None


def _columns(table: Any) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in table.schema)


def _place(place: tuple[int, ...], column: str) -> str:
    inner = ", ".join(map(str, place[1:]))
    return column if not inner else inner if column == "value" else f"{column}[{inner}]"


def _bits(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return integers, or bytes, that are equal where the bits are."""
    import numpy as np  # 80 ms

    flat = np.ascontiguousarray(array)
    if array.dtype.itemsize in (1, 2, 4, 8):
        return flat.view(f"u{array.dtype.itemsize}").reshape(array.shape)
    return flat.view(f"V{array.dtype.itemsize}").reshape(array.shape) if array.dtype.itemsize else flat


def _ulp(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Return how many floats apart two arrays of finite floats are; None for a width that has no integer."""
    import numpy as np  # 80 ms

    width = _WIDTHS.get(a.dtype.newbyteorder("<").str)
    if width is None:
        return None
    sign = np.array(1, width) << np.array(a.dtype.itemsize * 8 - 1, width)

    def ordered(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        bits = x.astype(x.dtype.newbyteorder("=")).view(width)
        # Negative floats count downwards from zero; -0.0 and 0.0 are one place.
        places: np.ndarray[Any, Any] = np.where(bits & sign, sign - (bits & ~sign), sign + bits)
        return places

    x, y = ordered(a), ordered(b)
    gap: np.ndarray[Any, Any] = np.where(x > y, x - y, y - x)
    return gap
