"""`remote`: name the places that `push` and `pull` go to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrodict.actions.remotes import (
    NamedRemote,
    check_remote_name,
    full_address,
    read_remotes,
    unknown_remote,
    write_remotes,
)
from retrodict.kernel.errors import ReadOnlyStoreError, UsageError
from retrodict.objects import open_remote
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Remotes:
    """The remotes of a workspace, in the order in which they were added."""

    remotes: tuple[NamedRemote, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteChanged:
    """A remote that was added or removed."""

    name: str
    url: str
    is_added: bool


def remotes(workspace: Workspace) -> Remotes:
    """Return the remotes."""
    return Remotes(remotes=tuple(read_remotes(workspace)))


def add_remote(workspace: Workspace, name: str, url: str, *, folder: Path) -> RemoteChanged:
    """Give a place a name. It is not asked for anything yet.

    Args:
        url: A folder (relative to `folder`), or `s3://`, `gs://`, `az://` and so on.

    Raises:
        UsageError: The name is taken or cannot be one; the address is none.
        MissingExtraError: Buckets need the extra `backup`.
        ReadOnlyStoreError: The workspace cannot be written.
    """
    check_remote_name(name)
    if workspace.read_only and not workspace.is_copy:
        raise ReadOnlyStoreError(str(workspace.folder))
    known = read_remotes(workspace)
    if any(remote.name == name for remote in known):
        raise UsageError(f"there is a remote called {name!r} already", hint="`retrodict remote remove` takes it away.")
    address = full_address(url, folder)
    open_remote(address)
    write_remotes(workspace, [*known, NamedRemote(name=name, url=address)])
    return RemoteChanged(name=name, url=address, is_added=True)


def remove_remote(workspace: Workspace, name: str) -> RemoteChanged:
    """Forget a place; what lies there stays, and what came from there stays here.

    Raises:
        UsageError: There is none of that name.
    """
    known = read_remotes(workspace)
    for remote in known:
        if remote.name == name:
            write_remotes(workspace, [other for other in known if other.name != name])
            return RemoteChanged(name=name, url=remote.url, is_added=False)
    raise unknown_remote(name, [remote.name for remote in known])
