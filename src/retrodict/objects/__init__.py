"""Immutable bytes, named by their digest: put, get, chunk, pack, verify, check out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.objects.add import Added, display
    from retrodict.objects.bundle import BundleRemote
    from retrodict.objects.mend import BadFile, Copies, Mender
    from retrodict.objects.names import checked, digest_of
    from retrodict.objects.remotes import RemoteError, open_remote
    from retrodict.objects.store import ObjectStore
    from retrodict.objects.sweep import Weight
    from retrodict.objects.tree import Folder, TreeEntry, as_folders

_HOMES = {
    "Added": "add",
    "BadFile": "mend",
    "BundleRemote": "bundle",
    "Copies": "mend",
    "Folder": "tree",
    "Mender": "mend",
    "ObjectStore": "store",
    "RemoteError": "remotes",
    "TreeEntry": "tree",
    "Weight": "sweep",
    "as_folders": "tree",
    "checked": "names",
    "digest_of": "names",
    "display": "add",
    "open_remote": "remotes",
}

__all__ = [
    "Added",
    "BadFile",
    "BundleRemote",
    "Copies",
    "Folder",
    "Mender",
    "ObjectStore",
    "RemoteError",
    "TreeEntry",
    "Weight",
    "as_folders",
    "checked",
    "digest_of",
    "display",
    "open_remote",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
