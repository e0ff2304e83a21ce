"""What cannot be opened or written as a tensor."""

from __future__ import annotations

from retrodict.kernel.errors import UsageError


class NoTensorError(UsageError):
    """A version, a folder or a file that holds no array of Zarr version 3."""

    slug = "no-tensor"
    hint = "`retrodict tensor import NAME FILE.npy` makes one of an array; `zarr.save_array` writes a folder."


class TensorConflictError(UsageError):
    """Two writers changed the same parts of a tensor: the later one would undo what the earlier one recorded."""

    slug = "tensor-conflict"
    hint = "Begin anew from the newest version; nothing of this one was recorded."
