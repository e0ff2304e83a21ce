"""Arrays: how many elements differ, by how much, and in which samples."""

from __future__ import annotations

import io
from typing import Any

import pytest

from retrodict.diffs.tensors import compare

np = pytest.importorskip("numpy")


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_elements_are_counted_by_bits_and_by_value() -> None:
    old = np.zeros((4, 3))
    new = old.copy()
    new[1, 1], new[2, 2], new[3, 0] = 0.5, -0.0, np.nan
    found = compare(_npy(old), _npy(new))
    assert found is not None
    [change] = found
    assert (change.compared, change.differ, change.differ_in_value) == (12, 3, 2)
    assert (change.max_difference, change.samples_differ, change.samples) == (0.5, 3, (1, 2, 3))


def test_appended_samples_are_no_differences() -> None:
    old = np.arange(12, dtype=np.int64).reshape(4, 3)
    found = compare(_npy(old), _npy(np.vstack([old, old[:1]])))
    assert found is not None
    assert (found[0].shape_after, found[0].compared, found[0].differ) == ((5, 3), 12, 0)


def test_arrays_of_a_file_come_and_go_and_stay() -> None:
    found = compare(_npz(a=np.ones(2), b=np.ones(2)), _npz(b=np.ones(2), c=np.ones(3)))
    assert found is not None
    assert [(c.name, c.change) for c in found] == [("a", "removed"), ("c", "added")]


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f2", "f4", "c16", "S3", "M8[ns]"])
def test_every_type_is_compared(dtype: str) -> None:
    old = np.zeros(5, dtype=dtype)
    new = old.copy()
    new[3] = 1
    found = compare(_npy(old), _npy(new))
    assert found is not None
    assert found[0].samples == (3,)


def test_differences_of_large_integers_are_exact() -> None:
    found = compare(_npy(np.array([2**63 - 1])), _npy(np.array([2**63 - 3])))
    assert found is not None
    assert found[0].max_difference == 2.0


def test_a_scalar_an_empty_array_and_another_type_are_told() -> None:
    for old, new in (
        (np.float64(1), np.float64(2)),
        (np.zeros((0, 3)), np.ones((1, 3))),
        (np.ones(2), np.ones(2, "f4")),
    ):
        found = compare(_npy(old), _npy(new))
        assert found is not None
        assert len(found) == 1


def test_a_pickle_is_not_opened() -> None:
    assert compare(_npy(np.array([{}], dtype=object)), _npy(np.ones(1))) is None
