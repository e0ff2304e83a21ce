"""What the record needs: every object that an entry names is a root, unless it was let go after that. No verb.

Names are looked for in the bytes of entries and of the small objects that entries name, whatever their fields are
called: what a newer release writes is kept by an older one too.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass

from retrodict.kernel.errors import MissingObjectError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
from retrodict.workspace import Workspace

_DIGEST = re.compile(rb"b3-[0-9a-f]{64}")
_RELEASED = b'"kind":"evidence.released"'
_REDERIVED = b'"kind":"dataset.rederived"'
_OF_A_CALL = re.compile(rb'"kind":"prediction\.(?:made|declared|fetched)"')
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


def roots(workspace: Workspace, *, without: Digest | None = None, progress: Progress | None = None) -> Roots:
    """Return the roots of everything that is kept.

    Args:
        without: As if this were let go, too.
        progress: Told of entries.

    Raises:
        IntegrityError: An entry, or an object that may name others, is altered: what it needs is not known.
    """
    named: dict[bytes, int] = {}  # by the last entry that names it
    let_go: dict[bytes, int] = {}
    lists: set[bytes] = set()
    size = workspace.logs.size()
    for index, (is_own, data) in enumerate(workspace.logs.stored()):
        found = _DIGEST.findall(data)
        if _RELEASED in data:
            if not is_own:
                continue  # what others need no more may be needed here
            let_go.update(dict.fromkeys(found, index))
            continue
        if _REDERIVED in data:  # to have looked whether it can be made again is no new need of it
            named.update({digest: index for digest in found if digest not in named})
        else:
            named.update(dict.fromkeys(found, index))
        if _OF_A_CALL.search(data):
            found = [digest for digest in found if b'"list":"' + digest in data]
        lists.update(found)
        if progress is not None and index % 10_000 == 0:
            progress(index, size, "entries")
    if without is not None:
        let_go[without.encode()] = size
    waiting = [name for name in lists if let_go.get(name, -1) < named[name]]
    seen: set[bytes] = set(waiting)
    while waiting:
        name = waiting.pop()
        for inner in _DIGEST.findall(_listed(workspace, Digest(name.decode()))):
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
