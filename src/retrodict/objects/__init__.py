"""Immutable bytes, named by their digest: put, get, chunk, pack, verify, check out."""

from retrodict.objects.add import Added, display
from retrodict.objects.names import digest_of
from retrodict.objects.remotes import RemoteError, open_remote
from retrodict.objects.store import ObjectStore
from retrodict.objects.tree import TreeEntry

__all__ = ["Added", "ObjectStore", "RemoteError", "TreeEntry", "digest_of", "display", "open_remote"]
