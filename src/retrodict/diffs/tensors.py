"""Arrays in `.npy` and `.npz` files: shapes, types, how many elements differ and by how much."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from retrodict.kernel.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np

SUFFIXES: Final = (".npy", ".npz")
_SAMPLES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayChange:
    """What changed in one array.

    Attributes:
        name: In its `.npz` file; "" for the one of a `.npy` file.
        change: "added" and "removed" have one side only.
        shape_before, dtype_before: None where there was none.
        compared: How many elements both have: all of them, or those of the samples (along the first axis) that both
            have; 0 where shapes or types do not fit.
        differ: How many of these have other bytes.
        differ_in_value: How many have another value: NaN is NaN, and -0.0 is 0.0.
        max_difference: The largest absolute difference of two finite values; None where there is nothing to subtract.
        samples_differ: How many samples (along the first axis), and the first ones' numbers.
    """

    name: str
    change: Literal["added", "removed", "changed"]
    shape_before: tuple[int, ...] | None
    shape_after: tuple[int, ...] | None
    dtype_before: str | None
    dtype_after: str | None
    compared: int
    differ: int
    differ_in_value: int
    max_difference: float | None
    samples_differ: int
    samples: tuple[int, ...]


def compare(old: bytes, new: bytes) -> tuple[ArrayChange, ...] | None:
    """Return what changed in the arrays of two files, or None where one cannot be read.

    Raises:
        MissingExtraError: numpy is not installed.
    """
    before, after = _read(old), _read(new)
    if before is None or after is None:
        return None
    names = sorted({*before, *after})
    found = (_change(name, before.get(name), after.get(name)) for name in names)
    return tuple(change for change in found if change is not None)


def _read(data: bytes) -> Mapping[str, np.ndarray[Any, Any]] | None:
    try:
        import numpy as np  # an extra
    except ImportError as error:
        raise MissingExtraError("comparing arrays", "models") from error
    try:
        # HAZARD: without allow_pickle=False a file runs code.
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        return {name: loaded[name] for name in loaded.files}
    except Exception:  # noqa: BLE001 - what numpy raises for a file that is none is not stated
        return None


def _change(name: str, old: np.ndarray[Any, Any] | None, new: np.ndarray[Any, Any] | None) -> ArrayChange | None:
    import numpy as np

    compared = differ = in_value = samples = 0
    largest: float | None = None
    first: tuple[int, ...] = ()
    if old is not None and new is not None:
        if old.dtype == new.dtype and old.shape == new.shape and old.tobytes() == new.tobytes():
            return None
        fits = old.dtype == new.dtype and old.ndim == new.ndim and old.shape[1:] == new.shape[1:]
        if fits:
            both = min(len(old), len(new)) if old.ndim else 1
            a, b = (x[:both] if x.ndim else x[None] for x in (old, new))
            a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
            compared = a.size
            other: Any = np.zeros(a.shape, dtype=bool)
            if a.size and a.itemsize:
                # By the bytes: a comparison of values takes -0.0 for 0.0, and NaN for different from itself.
                raw = (x.view(np.uint8).reshape(*x.shape, x.itemsize) for x in (a, b))
                other = np.not_equal(*raw).any(axis=-1)
            differ = int(other.sum())
            largest, in_value = _amount(a[other], b[other])
            rows = other.any(axis=tuple(range(1, other.ndim))).nonzero()[0]
            samples, first = len(rows), tuple(int(row) for row in rows[:_SAMPLES])
    present: Literal["added", "removed", "changed"]
    present = "changed" if old is not None and new is not None else "added" if old is None else "removed"
    return ArrayChange(
        name=name,
        change=present,
        shape_before=None if old is None else tuple(old.shape),
        shape_after=None if new is None else tuple(new.shape),
        dtype_before=None if old is None else str(old.dtype),
        dtype_after=None if new is None else str(new.dtype),
        compared=compared,
        differ=differ,
        differ_in_value=in_value,
        max_difference=largest,
        samples_differ=samples,
        samples=first,
    )


def _amount(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> tuple[float | None, int]:
    """Return the largest difference of what differs by its bytes, and how many differ in value."""
    import numpy as np

    if a.dtype.kind not in "biufc" or not a.size:
        return None, len(a)
    same = a == b
    if a.dtype.kind in "fc":
        same |= np.isnan(a) & np.isnan(b)
    wide = np.complex128 if a.dtype.kind == "c" else np.longdouble  # 64 bits of mantissa: exact for 64-bit integers
    with np.errstate(all="ignore"):
        amounts = np.abs(a.astype(wide) - b.astype(wide))
    amounts = amounts[np.isfinite(amounts)]
    return (float(amounts.max()) if len(amounts) else None), int((~same).sum())
