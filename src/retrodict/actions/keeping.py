"""Files that a command read or made, kept in the store. No verb."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from retrodict.capture import CodeFile
from retrodict.kernel.errors import UnavailableError, UsageError
from retrodict.kernel.types import Digest
from retrodict.keys import is_private_key
from retrodict.objects import TreeEntry, as_folders
from retrodict.workspace import Workspace

_SMALL_BYTES, _TOGETHER_BYTES = 256 << 10, 32 << 20


def keep(workspace: Workspace, paths: Iterable[Path], warnings: list[str]) -> dict[Path, Digest]:
    """Store files, the small ones together; private keys and what cannot be stored are warned of and left out."""
    kept: dict[Path, Digest] = {}
    small: dict[Path, bytes] = {}
    weight = 0
    for path in dict.fromkeys(paths):
        try:
            if os.path.getsize(path) > _SMALL_BYTES:
                kept[path] = workspace.objects.put_file(path)
                continue
            content = path.read_bytes()
        except (OSError, UsageError, UnavailableError) as error:
            warnings.append(f"{os.fsencode(path).decode('utf-8', 'replace')} could not be kept: {error}")
            continue
        if is_private_key(path, content):
            warnings.append(f"{os.fsencode(path).decode('utf-8', 'replace')} holds a private key: it is not kept")
            continue
        small[path] = content
        weight += len(content)
        if weight > _TOGETHER_BYTES:
            kept |= zip(small, workspace.objects.put_many(small.values()), strict=True)
            small, weight = {}, 0
    return kept | dict(zip(small, workspace.objects.put_many(small.values()), strict=True))


def code_tree(workspace: Workspace, files: Sequence[CodeFile], warnings: list[str]) -> Digest | None:
    """Store files as one tree, each under its `name`; None where there is none."""
    kept = keep(workspace, [Path(os.fsdecode(file.path)) for file in files], warnings)
    found: dict[bytes, TreeEntry] = {}
    for file in files:
        path = Path(os.fsdecode(file.path))
        if path in kept:
            found[file.name] = TreeEntry(
                name=file.name.rpartition(b"/")[2],
                kind="executable" if os.access(path, os.X_OK) else "file",
                digest=kept[path],
                size=workspace.objects.size(kept[path]),
            )
    return workspace.objects.put_folders(as_folders(found)) if found else None
