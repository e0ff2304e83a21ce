"""Inputs and answers as rows of named values, whatever container they came in, and rows mixed from several of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from retrodict.diagnose.errors import NotTabularError, UnlikeInputsError
from retrodict.predictions import payload

Predict = Callable[[Any], object]  # n rows of inputs, in the container that the model takes -> n answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """n rows of k named inputs.

    Attributes:
        frame: n rows, k columns, as a pandas frame with a plain index.
        restore: Makes, of such a frame, the container that the inputs came in.
    """

    frame: Any
    restore: Callable[[Any], object]

    @property
    def names(self) -> tuple[str, ...]:
        """What people call the inputs."""
        return tuple(str(name) for name in self.frame.columns)

    def __len__(self) -> int:
        return len(self.frame)

    def row(self, index: int) -> Rows:
        """Return one row, as rows.

        Raises:
            NotTabularError: There is no such row.
        """
        if not 0 <= index < len(self.frame):
            raise NotTabularError(f"row {index} of {len(self.frame)}", None)
        return Rows(frame=self.frame.iloc[[index]].reset_index(drop=True), restore=self.restore)

    def value(self, index: int = 0) -> object:
        """Return one row in the container that the model takes."""
        return self.restore(self.row(index).frame)


def as_rows(value: object) -> Rows:
    """Return logged inputs as rows.

    Takes a pandas frame or series, a matrix, a mapping from names to columns of one length, a list of mappings, and
    anything with `to_pandas`.

    Raises:
        NotTabularError: They are something else.
    """
    import numpy as np  # 90 ms, and pandas 300
    import pandas as pd

    if hasattr(value, "to_pandas"):
        kind = type(value)
        frame = value.to_pandas()
        make = kind.from_pandas if hasattr(kind, "from_pandas") else kind
        return Rows(frame=pd.DataFrame(frame).reset_index(drop=True), restore=make)
    if isinstance(value, pd.DataFrame):
        return Rows(frame=value.reset_index(drop=True), restore=lambda frame: frame)
    if isinstance(value, pd.Series):
        name = value.name
        return Rows(
            frame=value.reset_index(drop=True).to_frame("input" if name is None else name),
            restore=lambda frame: frame.iloc[:, 0].rename(name),
        )
    if isinstance(value, np.ndarray) and value.ndim == 2:
        dtype = value.dtype
        columns = [f"input[{i}]" for i in range(value.shape[1])]
        return Rows(
            frame=pd.DataFrame(dict(zip(columns, value.T, strict=True)), columns=columns),
            restore=lambda frame: frame.to_numpy(dtype=dtype),
        )
    if isinstance(value, Mapping) and value and _one_length(value.values()):
        return Rows(frame=_frame(value), restore=lambda frame: {name: frame[name].to_numpy() for name in frame.columns})
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return Rows(frame=pd.DataFrame(value), restore=lambda frame: frame.to_dict("records"))
    raise NotTabularError("the input", value)


def _frame(columns: Mapping[Any, Any]) -> Any:
    """Return columns of one length as a frame; a list may hold lists of any lengths."""
    import numpy as np  # 90 ms, and pandas 300
    import pandas as pd

    return pd.DataFrame({name: c if isinstance(c, list) else np.asarray(c) for name, c in columns.items()})


def _one_length(columns: Any) -> bool:
    lengths = {len(c) if isinstance(c, Sequence) and not isinstance(c, str) else _vector_length(c) for c in columns}
    return len(lengths) == 1 and lengths != {-1}


def _rows(part: object) -> int:
    return -1 if isinstance(part, (str, bytes, Mapping)) or not hasattr(part, "__len__") else len(part)


def _vector_length(column: object) -> int:
    shape: tuple[int, ...] = getattr(column, "shape", ())
    return shape[0] if len(shape) == 1 else -1


def like(rows: Rows, other: Any) -> Rows:
    """Return `other`, a frame with at least the columns of `rows`, as rows of the same names and types.

    Raises:
        UnlikeInputsError: A column is missing, or has a value that the type cannot hold.
    """
    missing = [str(name) for name in rows.frame.columns if name not in other.columns]
    if missing:
        raise UnlikeInputsError(f"the other table has no column {missing[0]!r}")
    frame = other[list(rows.frame.columns)].reset_index(drop=True)
    try:
        return Rows(frame=frame.astype(dict(rows.frame.dtypes)), restore=rows.restore)
    except (ValueError, TypeError, OverflowError) as error:
        raise UnlikeInputsError(f"the other table has a value of another type: {error}") from error


def stack(tables: Sequence[Rows]) -> Rows:
    """Return the rows of all tables, one after the other, in the types of the first.

    Raises:
        UnlikeInputsError: They have other names or types.
    """
    import pandas as pd  # 300 ms

    first = tables[0]
    frames = [first.frame, *(like(first, table.frame).frame for table in tables[1:])]
    return Rows(frame=pd.concat(frames, ignore_index=True), restore=first.restore)


def mix(pool: Rows, source: Any) -> object:
    """Return new rows in the model's container, every value taken from some row of `pool`.

    Args:
        pool: The rows to take from.
        source: Integers, n x k: of which row of the pool value (i, j) is.
    """
    import pandas as pd  # 300 ms

    parts = [pool.frame.iloc[:, j] for j in range(source.shape[1])]
    columns = [pd.Series(p.array.take(source[:, j]), dtype=p.dtype) for j, p in enumerate(parts)]
    frame = pd.concat(columns, axis=1)
    frame.columns = pool.frame.columns
    return pool.restore(frame)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One named part of n answers.

    Attributes:
        values: n values.
        is_decision: A choice among words or classes, not a quantity.
        derived: Not said by the model, but read out of what it said (the most probable class).
    """

    name: str
    values: Any
    is_decision: bool
    derived: bool = False

    def as_numbers(self, given: object) -> Any:
        """Return n floats; a choice counts 1 where it is `given`, 0 where it is another."""
        import numpy as np  # 90 ms

        if self.is_decision:
            return np.array([same(value, given) for value in self.values], dtype="float64")
        values = np.asarray(self.values)
        if values.dtype.kind not in "iufb":
            return np.array([same(value, given) for value in self.values], dtype="float64")
        return values.astype("float64")


def same(a: Any, b: Any) -> bool:
    """Say whether two values are equal, whatever they are; missing ones equal each other, -0.0 equals 0.0."""
    if type(a) is type(b) and isinstance(a, str | int):  # the usual case
        return bool(a == b)
    import numpy as np  # 90 ms, and pandas 300
    import pandas as pd

    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        shapes = [getattr(value, "shape", None) for value in (a, b)]
        return shapes[0] == shapes[1] and all(map(same, np.asarray(a).ravel().tolist(), np.asarray(b).ravel().tolist()))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if pd.api.types.is_scalar(a) and pd.api.types.is_scalar(b) and (pd.isna(a) or pd.isna(b)):
        return bool(pd.isna(a) and pd.isna(b))
    return bool(a == b)


def as_outputs(answer: object) -> tuple[Output, ...]:
    """Return the named parts of n answers.

    A frame or mapping has its columns, a mapping the parts of what it names; a vector is one part; a matrix has a part
    for each column, and where its rows are probabilities, the most probable class as a derived decision. Words, truth
    values and the whole numbers of a plain vector are decisions, and so is what has no such parts: a ranked list, an
    image, a nested value is this one or another.
    """
    import numpy as np  # 90 ms, and pandas 300
    import pandas as pd

    if hasattr(answer, "to_pandas"):
        answer = answer.to_pandas()
    if isinstance(answer, Mapping) and answer and _one_length(answer.values()):
        answer = _frame(answer)
    elif isinstance(answer, Mapping) and answer and len({_rows(part) for part in answer.values()}) == 1:
        # Outputs by name, as ONNX has them: vectors, matrices, and probabilities by class.
        named = [(str(name), as_outputs(part)) for name, part in answer.items()]
        return tuple(
            replace(part, name=part.name.replace("answer", name, 1) if part.name.startswith("answer") else part.name)
            for name, parts in named
            for part in parts
            if not part.derived
        )
    if isinstance(answer, list) and answer and all(isinstance(row, Mapping) for row in answer):
        answer = pd.DataFrame(answer)
    if isinstance(answer, pd.DataFrame):
        return tuple(
            Output(
                name=str(name),
                values=answer.iloc[:, j].to_numpy(),
                is_decision=answer.dtypes.iloc[j].kind not in "iufcmM",
            )
            for j, name in enumerate(answer.columns)
        )
    name = str(getattr(answer, "name", None) or "answer")
    try:
        values = np.asarray(answer)
    except ValueError:  # rows of different lengths
        return (_whole(name, answer),)
    if values.ndim == 2 and values.dtype.kind in "iufb":
        parts = tuple(
            Output(name=f"{name}[{j}]", values=values[:, j], is_decision=False) for j in range(values.shape[1])
        )
        return (*parts, *_most_probable(values))
    if values.ndim != 1 or not (values.dtype.kind != "O" or all(isinstance(value, str) for value in values)):
        return (_whole(name, answer),)
    return (Output(name=name, values=values, is_decision=values.dtype.kind not in "fcmM"),)


def _whole(name: str, answer: Any) -> Output:
    """Return n answers as one part, each as tables show it: an image by its digest."""
    rows = [payload.row(answer, i) for i in range(payload.rows(answer))]
    return Output(name=name, values=[_cell(row) for row in rows], is_decision=True)


def _cell(row: Mapping[str, object]) -> object:
    """Return a row that has no columns of its own as the value or the list that it was."""
    if list(row) == ["value"]:
        return row["value"]
    return list(row.values()) if list(row) == [str(i) for i in range(len(row))] else row


def numbers(answer: object, wanted: Sequence[Output], rows: int) -> Any:
    """Return what `rows` answers say of each part that is wanted, against what that says: floats, rows x t.

    Raises:
        NotTabularError: They are not so many answers.
        UnlikeInputsError: They have no such part.
    """
    import numpy as np  # 90 ms

    parts = {part.name: part for part in as_outputs(answer)}
    for part in wanted:
        if part.name not in parts:
            raise UnlikeInputsError(f"another answer has no {part.name!r}")
        if len(parts[part.name].values) != rows:
            raise NotTabularError(f"the answer to {rows} rows", answer)
    return np.stack([parts[part.name].as_numbers(part.values[0]) for part in wanted], axis=1)


def _most_probable(values: Any) -> tuple[Output, ...]:
    import numpy as np  # 90 ms

    is_probability = (
        values.dtype.kind == "f"
        and values.shape[1] > 1
        and bool(((values >= 0) & (values <= 1)).all())
        and bool(np.allclose(values.sum(axis=1), 1, atol=1e-6))
    )
    if not is_probability:
        return ()
    return (Output(name="most probable class", values=values.argmax(axis=1), is_decision=True, derived=True),)


def targets(answer: object, limit: int = 8) -> tuple[Output, ...]:
    """Return the parts of one answer (one row) that are worth explaining, at most `limit`.

    Of probabilities that is the one of the last of two classes, or of the most probable of several.
    """
    parts = as_outputs(answer)
    if parts and parts[-1].derived:
        chosen = 1 if len(parts) == 3 else int(parts[-1].values[0])
        return (parts[chosen],)
    return parts[:limit]
