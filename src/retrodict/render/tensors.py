"""Records of tensors as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from retrodict.kernel.words import count
from retrodict.render.text import listing
from retrodict.render.words import short, size

if TYPE_CHECKING:
    from retrodict.actions.tensors import TensorDiff, TensorRead, Tensors, TensorShown
    from retrodict.tensors.array import Difference

_SHOWN = 40


def listed(record: Tensors) -> RenderableType:
    """Render `tensor list`."""
    return listing(
        "No tensors: `retrodict tensor import NAME FILE` makes one.",
        ["version", "shape", "dtype", "chunks", "sample ids", "size"],
        [
            (
                row.reference,
                _shape(row.shape),
                row.dtype,
                _shape(row.chunks),
                "yes" if row.has_ids else "-",
                size(row.size_bytes),
            )
            for row in record.rows
        ],
        wrap=(),
    )


def shown(record: TensorShown) -> RenderableType:
    """Render one version."""
    lines = [
        f"{record.reference}  {short(record.content)}  entry {record.index}",
        f"{_shape(record.shape)} {record.dtype}, {size(record.size_bytes)}, in chunks of {_shape(record.chunks)}",
    ]
    if record.has_ids:
        more = ", ..." if record.samples > len(record.ids) else ""
        lines.append(f"sample ids: {', '.join(map(str, record.ids))}{more}")
    return Text("\n".join(lines))


def added(record: TensorShown) -> RenderableType:
    """Render `tensor create` and `tensor import`."""
    return shown(record) if record.is_new else Text(f"{record.reference}  unchanged")


def read(record: TensorRead) -> RenderableType:
    """Render `tensor read`."""
    if record.path is not None:
        return Text(f"{record.path}  {record.reference}  {_shape(record.shape)} {record.dtype}")
    if record.dtype not in ("float16", "float32"):
        return Text(_nested(record.values, str))
    import numpy as np  # 80 ms; reading has loaded it

    narrow = np.dtype(record.dtype).type  # with the digits that this type needs, not those of a wider one
    return Text(_nested(record.values, lambda value: str(narrow(value))))


def _nested(values: object, text: Callable[[object], str]) -> str:
    """Return nested lists, the innermost on one line each."""
    if isinstance(values, list) and values and isinstance(values[0], list):
        return "\n".join(_nested(item, text) for item in values)
    return " ".join(map(text, values)) if isinstance(values, list) else text(values)


def diff(record: TensorDiff) -> RenderableType:
    """Render `tensor diff`."""
    found = record.difference
    if record.is_same:
        return Text(f"{record.first} and {record.second} hold the same values")
    if found.layout is not None:
        return Text(f"{record.first} and {record.second} cannot be compared sample by sample: {found.layout}")
    return Text("\n".join(samples(found)))


def samples(found: Difference) -> list[str]:
    """Return lines that say which samples differ."""
    if found.layout is not None:
        return [f"the samples cannot be compared: {found.layout}"]
    lines = []
    for word, some in (("added", found.added), ("removed", found.removed)):
        if some:
            lines.append(f"{count(len(some), 'sample')} {word}: {_some(some)}")
    if found.moved:
        lines.append(f"{count(found.moved, 'sample')} moved, with the same values")
    if found.changed:
        lines.append(f"{count(len(found.changed), 'sample')} changed")
    for item in found.changed[:_SHOWN]:
        largest = "" if item.largest is None else f", by {item.largest:g} at most"
        lines.append(f"  {item.sample}  {count(item.values, 'value')}{largest}")
    if len(found.changed) > _SHOWN:
        lines.append(f"  ... {len(found.changed) - _SHOWN} more: --json lists all")
    return lines


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) if shape else "one value"


def _some(samples: Sequence[str | int]) -> str:
    more = f", ... ({len(samples)})" if len(samples) > 10 else ""
    return ", ".join(map(str, samples[:10])) + more
