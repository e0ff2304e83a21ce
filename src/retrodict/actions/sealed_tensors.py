"""A tensor about people: its chunks, sample ids and metadata sealed as the files of a personal folder are. No verb."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from retrodict.actions.personal_files import PersonalFiles, SealedFile
from retrodict.kernel.types import Digest
from retrodict.keys import Member
from retrodict.objects import TreeEntry, digest_of
from retrodict.workspace import Workspace


class SealedObjects:
    """What a tensor's store reads and writes through: chunks are opened as they are read, and sealed as they are put.

    Trees are made in memory alone; `seal` makes the listing of a version from one.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._files = PersonalFiles(workspace)
        self._keys: dict[Digest, str] = {}
        self._sealed: dict[Digest, Digest] = {}  # by the digest in the clear, which is written nowhere
        self._trees: dict[Digest, tuple[TreeEntry, ...]] = {}

    def opened(self, content: Digest, key: str) -> Digest:
        """Return the tree of a version that is sealed as `content`.

        Raises:
            ErasedError, SealedValuesError: Its key is gone, or not held here.
        """
        below: dict[bytes, list[TreeEntry]] = {b"": []}
        members = sorted(self._files.members(content, key), key=lambda member: member.path.count(b"/"), reverse=True)
        for member in members:  # what is deepest first: a folder comes after what is in it
            folder, _, name = member.path.rpartition(b"/")
            if member.ref is not None and member.key is not None:
                self._keys[Digest(member.ref)] = member.key
                entry = TreeEntry(name=name, kind="file", digest=Digest(member.ref), size=member.size)
            elif member.kind == "tree":
                inside = below.get(member.path, [])
                size = sum(item.size for item in inside)
                entry = TreeEntry(name=name, kind="tree", digest=self.put_tree(inside), size=size)
            else:
                continue  # a link, which is no chunk
            below.setdefault(folder, []).append(entry)
        return self.put_tree(below[b""])

    def get(self, digest: Digest) -> bytes:
        """Return a chunk in the clear.

        Raises:
            ErasedError, SealedValuesError: Its key is gone, or not held here.
        """
        ref = self._sealed.get(digest, digest)
        return self._files.open(ref, self._keys[ref])

    def read(self, digest: Digest, offset: int, length: int) -> bytes:
        """Return a part of a chunk."""
        return self.get(digest)[offset : offset + length]

    def put_many(self, contents: Iterable[bytes]) -> list[Digest]:
        """Seal chunks; return their names in the clear."""
        found = list(contents)
        for data, sealed in zip(found, self._files.seal_bytes(found), strict=True):
            self._sealed[digest_of(data)] = sealed.stored.digest
            self._keys[sealed.stored.digest] = sealed.key
        return [digest_of(data) for data in found]

    def put_tree(self, entries: Iterable[TreeEntry]) -> Digest:
        """Keep a listing, in memory."""
        listed = tuple(sorted(entries, key=lambda entry: entry.name))
        digest = digest_of(b"\0".join(b"%b\0%b" % (entry.name, entry.digest.encode()) for entry in listed))
        self._trees[digest] = listed
        return digest

    def list_tree(self, digest: Digest) -> tuple[TreeEntry, ...]:
        """Return what a listing holds."""
        return self._trees[digest]

    def tree_entry(self, digest: Digest, name: bytes) -> TreeEntry | None:
        """Return what a listing holds under one name; None: nothing."""
        return next((entry for entry in self._trees[digest] if entry.name == name), None)

    def seal(self, root: Digest) -> SealedFile:
        """Seal a version: its listing, under a key of its own."""
        return self._files.seal_listing(list(self._members(root, b"")))

    def _members(self, tree: Digest, folder: bytes) -> Iterator[Member]:
        for entry in self.list_tree(tree):
            path = os.path.join(folder, entry.name)
            if entry.kind == "tree":
                yield Member(path=path, kind="tree")
                yield from self._members(entry.digest, path)
            else:
                ref = self._sealed.get(entry.digest, entry.digest)
                yield Member(path=path, kind="file", ref=ref, key=self._keys[ref], size=entry.size)
