"""Samples of a version, one by one: for loops, and for PyTorch's DataLoader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from retrodict.kernel.errors import MissingExtraError, UsageError
from retrodict.tensors.array import SampleId, ids_of, open_array
from retrodict.tensors.store import ObjectsStore


class Samples(Sequence[Any]):
    """A version as a sequence of arrays, one for each place of the first axis. Each is verified when it is read.

    It may be handed to other processes, which open the version for themselves.

    Attributes:
        reference: The version, by its number: it stays what it is.
    """

    def __init__(self, reference: str, opener: Callable[[str], ObjectsStore]) -> None:
        """`opener` opens the store of a version in the process that calls it; it can be pickled."""
        self.reference = reference
        self._opener = opener
        self._opened: tuple[int, Any, list[SampleId] | None] | None = None

    def _open(self) -> tuple[Any, list[SampleId] | None]:
        if self._opened is None or self._opened[0] != os.getpid():  # SQLite must not cross a fork
            store = self._opener(self.reference)
            array = open_array(store)
            if not array.shape:
                raise UsageError(f"{self.reference} is one value, and has no samples")
            self._opened = os.getpid(), array, ids_of(store)
        return self._opened[1:]

    def __getstate__(self) -> dict[str, Any]:
        return {"reference": self.reference, "_opener": self._opener, "_opened": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def ids(self) -> list[SampleId]:
        """The samples' ids; their positions where they have none."""
        array, ids = self._open()
        return list(range(array.shape[0])) if ids is None else list(ids)

    @property
    def array(self) -> Any:
        """The Zarr array."""
        return self._open()[0]

    def __len__(self) -> int:
        return int(self._open()[0].shape[0])

    def __getitem__(self, index: Any) -> Any:
        """Return a sample; of a slice an array with all of them."""
        if isinstance(index, slice):
            return np.asarray(self._open()[0][index])
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"{self.reference} has {size} samples, and no number {index}")
        return np.asarray(self._open()[0][int(index) % size])

    def __iter__(self) -> Iterator[Any]:
        array, _ = self._open()
        step = max(array.chunks[0], 1)
        for start in range(0, array.shape[0], step):  # each chunk is read once
            yield from np.asarray(array[start : start + step])

    def by_id(self, sample: SampleId) -> Any:
        """Return the sample with an id.

        Raises:
            UsageError: There is none.
        """
        ids = self.ids
        if sample not in ids:
            raise UsageError(f"{self.reference} has no sample {sample!r}")
        return self[ids.index(sample)]

    def torch(
        self, targets: Samples | Sequence[Any] | None = None, *, transform: Callable[[Any], Any] | None = None
    ) -> TorchDataset:
        """Return a map-style dataset for `torch.utils.data.DataLoader`, with any number of workers.

        Args:
            targets: What belongs to each sample; then an item is the pair of both.
            transform: Applied to each sample, a `torch.Tensor`.

        Raises:
            MissingExtraError: PyTorch is not installed.
            UsageError: There are more, or fewer, targets than samples.
        """
        try:
            import torch  # noqa: F401 - seconds, and an extra
        except ModuleNotFoundError as error:
            raise MissingExtraError("a dataset for PyTorch", "torch") from error
        if targets is not None and len(targets) != len(self):
            raise UsageError(f"there are {len(self)} samples and {len(targets)} targets")
        return _torch_dataset(self, targets, transform)


def _torch_dataset(
    samples: Samples, targets: Samples | Sequence[Any] | None, transform: Callable[[Any], Any] | None
) -> TorchDataset:
    from torch.utils.data import Dataset  # seconds, and an extra

    kind: type[TorchDataset] = type("TorchDataset", (TorchDataset, Dataset), {})
    return kind(samples, targets, transform)


class TorchDataset:
    """What `torch.utils.data.DataLoader` takes: `len`, and items that are tensors (with targets: pairs)."""

    def __init__(
        self,
        samples: Samples,
        targets: Samples | Sequence[Any] | None,
        transform: Callable[[Any], Any] | None,
    ) -> None:
        """Use `Samples.torch`."""
        self.samples = samples
        self.targets = targets
        self.transform = transform

    def __reduce__(self) -> tuple[Any, ...]:
        return _torch_dataset, (self.samples, self.targets, self.transform)  # its class is PyTorch's, too

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        import torch  # seconds, and an extra

        item = torch.as_tensor(self.samples[index])
        if self.transform is not None:
            item = self.transform(item)
        return item if self.targets is None else (item, torch.as_tensor(self.targets[index]))
