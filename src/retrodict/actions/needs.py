"""What the record needs: every object that an entry names is a root, unless it was let go after that. No verb.

Names are looked for in the bytes of entries and of the small objects that entries name, whatever their fields are
called: what a newer release writes is kept by an older one too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from retrodict.kernel.errors import MissingObjectError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
from retrodict.workspace import Workspace

_DIGEST = re.compile(rb"b3-[0-9a-f]{64}")
_RELEASED = b'"kind":"evidence.released"'
_REDERIVED = b'"kind":"dataset.rederived"'
_OF_A_CALL = re.compile(rb'"kind":"prediction\.(?:made|declared|fetched)"')
_TOGETHER = 2_000  # entries whose names are looked up at once
_LISTS_BYTES = 4 << 20  # an object that names others (a list of edges, a recipe) is smaller
_BEGINNINGS = (b"{", b"[")  # a list of recipes is none of them: what is in chunks needs those by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """What the record names.

    Attributes:
        needed: The objects that an entry names, and what those name; without those that were let go.
        released: Those that were let go and that no later entry names.
    """

    needed: frozenset[Digest]
    released: frozenset[Digest]


def roots(
    workspace: Workspace,
    *,
    also: Collection[bytes] = (),
    arriving: Iterable[bytes] = (),
    progress: Progress | None = None,
) -> Roots:
    """Return the roots of everything that is kept. See `Named`."""
    return Named(workspace, also=also, arriving=arriving, progress=progress).roots()


class Named:
    """What the entries name, read once. Payloads that lie in the log need no keeping and are left out."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        also: Collection[bytes] = (),
        arriving: Iterable[bytes] = (),
        progress: Progress | None = None,
    ) -> None:
        """Read all entries.

        Args:
            also: Names of objects that count though they are not held.
            arriving: Entries of others that are not held yet, and their payloads.
            progress: Told of entries.

        Raises:
            IntegrityError: An entry is altered: what it needs is not known.
        """
        self._workspace = workspace
        self._also = also
        self._named: dict[bytes, int] = {}  # by the last entry that names it
        self._let_go: dict[bytes, int] = {}
        self._lists: set[bytes] = set()  # what may name others
        self._size = workspace.logs.size()
        waiting: list[tuple[int, bool, list[bytes]]] = []
        for index, (is_own, data) in enumerate(workspace.logs.stored()):
            found = _DIGEST.findall(data)
            if _RELEASED in data:
                if is_own:  # what others need no more may be needed here
                    self._let_go.update(dict.fromkeys(found, index))
                continue
            waiting.append((index, _REDERIVED in data, found))
            if _OF_A_CALL.search(data):
                found = [digest for digest in found if b'"list":"' + digest in data]
            self._lists.update(found)
            if len(waiting) == _TOGETHER:
                self._take(waiting)
            if progress is not None and index % 10_000 == 0:
                progress(index, self._size, "entries")
        for data in arriving:
            found = _DIGEST.findall(data)
            waiting.append((self._size, False, found))
            self._lists.update(found)
        self._take(waiting)

    def _take(self, waiting: list[tuple[int, bool, list[bytes]]]) -> None:
        digests = {digest for _, _, found in waiting for digest in found}
        kept = self._worth_keeping(digests)
        for index, is_rederived, found in waiting:
            for digest in found:
                # To have looked whether it can be made again is no new need of it.
                if digest in kept and not (is_rederived and digest in self._named):
                    self._named[digest] = index
        waiting.clear()

    def _worth_keeping(self, digests: set[bytes]) -> set[bytes]:
        """Return those that the store has, or that somebody asks for; so there are no more than objects and lists."""
        names = {bytes.fromhex(digest[3:].decode()): digest for digest in digests}
        known = self._workspace.objects.known(names) | (names.keys() & self._also)
        return {names[name] for name in known} | (digests & (self._lists | self._let_go.keys()))

    def roots(self, *, without: Digest | None = None) -> Roots:
        """Return the roots.

        Args:
            without: As if this were let go, too.

        Raises:
            IntegrityError: An object that may name others is altered.
        """
        named, let_go = dict(self._named), dict(self._let_go)
        if without is not None:
            let_go[without.encode()] = self._size
        waiting = [name for name in self._lists if let_go.get(name, -1) < named[name]]
        seen: set[bytes] = set(waiting)
        while waiting:
            name = waiting.pop()
            for inner in _DIGEST.findall(_listed(self._workspace, Digest(name.decode()))):
                named[inner] = max(named.get(inner, 0), named[name])
                if inner not in seen and let_go.get(inner, -1) < named[inner]:
                    seen.add(inner)
                    waiting.append(inner)
        released = {name for name, at in let_go.items() if named.get(name, -1) < at}
        return Roots(
            needed=frozenset(Digest(name.decode()) for name in named.keys() - released),
            released=frozenset(Digest(name.decode()) for name in released),
        )


def _listed(workspace: Workspace, digest: Digest) -> bytes:
    """Return the bytes of an object that may name others; empty where it is none."""
    objects = workspace.objects
    with contextlib.suppress(MissingObjectError):
        if not objects.is_tree(digest) and objects.size(digest) <= _LISTS_BYTES:
            data = objects.get(digest)
            return data if data.startswith(_BEGINNINGS) else b""
    return b""
