"""Immutable bytes, named by their digest: put, get, chunk, pack, verify, check out."""

from retrodict.objects.add import Added, display
from retrodict.objects.names import digest_of
from retrodict.objects.store import ObjectStore
from retrodict.objects.tree import TreeEntry

__all__ = ["Added", "ObjectStore", "TreeEntry", "digest_of", "display"]
