"""Arrays by version, as `rd.open_array`, `rd.new_version` and `rd.samples` give them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from retrodict.actions import tensors as action
from retrodict.api import world
from retrodict.workspace import Workspace, refuse_writing

if TYPE_CHECKING:
    from retrodict.tensors.samples import Samples
    from retrodict.tensors.store import ObjectsStore


def opened(workspace: Workspace, reference: str, path: str) -> Any:
    """Return the Zarr array of a version, and let it be an input of the run that this process is a part of."""
    version = action.find(workspace, reference)
    store = action.open_store(workspace, version)
    from retrodict.tensors.array import open_array  # brings zarr

    action.note_look(workspace, version)
    array = open_array(store, path)
    if (run := world.run_under_way(workspace)) is not None:
        action.note_read(workspace, version, run)
    return array


def samples(workspace: Workspace | None, reference: str) -> Samples:
    """Return a version as a sequence of samples."""
    used = world.current(workspace)
    opened(used, reference, "")
    version = action.find(used, reference)
    from retrodict.tensors.samples import Samples  # brings zarr

    return Samples(action.label(version), _Opener(str(used.root), workspace))


class _Opener:
    """Opens a version in whatever process it is called; what cannot cross to another process stays behind."""

    def __init__(self, root: str, workspace: Workspace | None) -> None:
        self._root = root
        self._workspace = workspace
        self._process = os.getpid()

    def __call__(self, reference: str) -> ObjectsStore:
        is_here = self._workspace is not None and os.getpid() == self._process  # SQLite must not cross a fork
        used = self._workspace if self._workspace is not None and is_here else world.at(self._root)
        return action.open_store(used, action.find(used, reference))

    def __getstate__(self) -> dict[str, Any]:
        return {"_root": self._root, "_workspace": None, "_process": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class NewVersion:
    """The next version of a tensor: the array is written inside `with`, and recorded when that ends without an error.

    Attributes:
        added: What was recorded; None before that.
    """

    def __init__(self, workspace: Workspace, name: str, ids: Sequence[str | int] | None, reason: str | None) -> None:
        """Use `retrodict.new_version`."""
        refuse_writing(workspace)
        self._workspace = workspace
        self._ids = ids
        self._reason = reason
        self._draft = action.begin(workspace, name)
        self.added: action.TensorShown | None = None

    def __enter__(self) -> Any:
        from retrodict.tensors.array import open_array  # brings zarr

        return open_array(self._draft.store)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.added = self._draft.save(ids=self._ids, reason=self._reason)
            world.publish(self._workspace)
