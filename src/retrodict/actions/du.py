"""`du`: what the store's bytes are for."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from retrodict import datasets
from retrodict.actions.needs import roots
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
from retrodict.models import records as models
from retrodict.objects import Weight
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What the versions of one name take.

    Attributes:
        kind: "dataset" or "model".
        plain_bytes: All versions, written out.
        stored: What the store holds for them.
        own: What it holds for nothing else: letting all of them go would free it.
    """

    kind: str
    name: str
    versions: int
    plain_bytes: int
    stored: Weight
    own: Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """What everything takes.

    Attributes:
        uses: By name, the largest first.
        rest: Needed by the record and by none of those: what runs read and wrote, code, environments, outputs.
        dead: Needed by nothing: `gc` lets it go.
        log_bytes, views_bytes: Of the logs, which also hold small payloads, and of `views.db`.
    """

    uses: tuple[Use, ...]
    rest: Weight
    dead: Weight
    log_bytes: int
    views_bytes: int


def du(workspace: Workspace, *, progress: Progress | None = None) -> DiskUse:
    """Weigh every dataset and model, what is shared and what is theirs alone."""
    database = workspace.views.database()
    objects = workspace.objects
    contents: dict[tuple[str, str], dict[Digest, int]] = {}
    for dataset in datasets.versions(database):
        contents.setdefault(("dataset", dataset.name), {})[dataset.content] = dataset.size_bytes
    for model in models.versions(database):
        contents.setdefault(("model", model.name), {})[model.content] = _plain(workspace, model.content)
    named = roots(workspace, progress=progress).needed
    live = objects.needed(named, progress=progress)
    needed = {key: objects.needed(found) & live for key, found in contents.items()}
    times: dict[bytes, int] = {}
    for names in needed.values():
        for name in names:
            times[name] = times.get(name, 0) + 1
    of_runs = objects.needed(named - {digest for found in contents.values() for digest in found})
    uses = [
        Use(
            kind=kind,
            name=name,
            versions=len(contents[kind, name]),
            plain_bytes=sum(contents[kind, name].values()),
            stored=objects.weigh(names),
            own=objects.weigh({part for part in names if times[part] == 1 and part not in of_runs}),
        )
        for (kind, name), names in needed.items()
    ]
    return DiskUse(
        uses=tuple(sorted(uses, key=lambda use: (-use.stored.stored_bytes, use.kind, use.name))),
        rest=objects.weigh(live - set(times)),
        dead=objects.dead(live),
        log_bytes=_size(workspace, "ledger.db")
        + sum(path.stat().st_size for path in (workspace.folder / "logs").glob("*.db")),
        views_bytes=_size(workspace, "views.db"),
    )


def _plain(workspace: Workspace, tree: Digest) -> int:
    with contextlib.suppress(RetrodictError):
        return sum(entry.size for entry in workspace.objects.list_tree(tree))
    return 0


def _size(workspace: Workspace, name: str) -> int:
    path = workspace.folder / name
    return path.stat().st_size if path.exists() else 0
