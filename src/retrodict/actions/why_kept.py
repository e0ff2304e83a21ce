"""`why-kept`: who needs an object."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Literal

from retrodict import datasets, provenance
from retrodict.actions import names
from retrodict.actions.needs import roots
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.types import Digest, Ref
from retrodict.models import records as models
from retrodict.objects.names import as_name
from retrodict.workspace import Workspace

_MOST = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """An entry that needs it: how ("made it", "used it", "holds it"), what that is, and where in that it lies."""

    entry: int
    how: str
    what: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyKept:
    """Why an object is kept.

    Attributes:
        state: Whether its bytes are held.
        is_needed: Whether the record needs it: else the next `gc --apply` dooms it.
        is_released: It was let go; it stays only as part of something else.
        keepers: The first thirty entries that need it, oldest first; `more` are not listed.
    """

    content: Digest
    state: Literal["held", "missing", "altered"]
    is_needed: bool
    is_released: bool
    keepers: tuple[Keeper, ...]
    more: int


def why_kept(workspace: Workspace, reference: str) -> WhyKept:
    """Return the entries that name an object, and the versions of folders and models that it lies in.

    Raises:
        UsageError: It names no bytes.
    """
    resolved = names.resolve(workspace, reference)
    database = workspace.views.database()
    content = resolved.object
    if resolved.event is not None:
        for dataset in datasets.find(database, event=resolved.event):
            content = dataset.content
        for model in models.find(database, event=resolved.event):
            content = model.content
    if content is None:
        raise UsageError(f"{reference} names no bytes", hint="Name a version, or an object (b3-...).")
    keepers = []
    for how, index in provenance.neighbours(database, Ref(content), limit=1_000):
        sequenced = workspace.logs.event(index)
        keepers.append(Keeper(entry=index, how=how, what=names.label(workspace, sequenced), path=""))
    folders = [(v.index, v.label, v.content) for v in datasets.versions(database) if v.type == "tree"]
    folders += [(v.index, v.label, v.content) for v in models.versions(database)]
    for index, label, folder in folders:
        path = _within(workspace, folder, content)
        if path is not None:
            keepers.append(Keeper(entry=index, how="holds it", what=label, path=path))
    known = roots(workspace, also={as_name(content)})
    keepers.sort(key=lambda keeper: keeper.entry)
    return WhyKept(
        content=content,
        state=workspace.objects.state(content),
        is_needed=bool(keepers and content not in known.released) or content in known.needed,
        is_released=content in known.released,
        keepers=tuple(keepers[:_MOST]),
        more=max(0, len(keepers) - _MOST),
    )


def _within(workspace: Workspace, folder: Digest, content: Digest) -> str | None:
    """Return the first path at which an object lies in a folder."""
    with contextlib.suppress(RetrodictError):  # a folder that is not held
        for path, entry in workspace.objects.walk(folder):
            if entry.digest == content:
                return os.fsdecode(path)
    return None
