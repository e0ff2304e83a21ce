"""What entries name, and whether it is held. No verb."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from retrodict import datasets, predictions, provenance
from retrodict.kernel.errors import IntegrityError, MissingObjectError, RetrodictError
from retrodict.kernel.types import Digest, Edge, EdgeList, EntryNumber, Finding
from retrodict.ledger import Sequenced
from retrodict.objects import TreeEntry
from retrodict.predictions import personal
from retrodict.workspace import Workspace, sealed_objects, subject_indexes


class References:
    """Looks whether every object that entries name is held, down to the last file of a tree."""

    def __init__(self, workspace: Workspace, *, rehash: bool) -> None:
        """Begin; `rehash`: read every byte again, where nobody has verified what is held."""
        self._workspace = workspace
        self._rehash = rehash
        self._seen: set[Digest] = set()
        self._let_go: dict[Digest, int] = {}
        with contextlib.suppress(IntegrityError):  # named by the views' own check
            self._let_go = datasets.released(workspace.views.database())
        # Of a copy that has begun a log of its own, all that the copied log names came with it.
        copied = {s.event.body["origin"] for s in workspace.ledger.entries_of("workspace.copied")}
        self._own = {log.tag for log in workspace.logs.held() if log.tag is None or log.ledger.origin in copied}
        self._unfetched = 0

    @property
    def objects(self) -> int:
        """How many objects were looked at."""
        return len(self._seen)

    def look(self, sequenced: Sequenced) -> Iterator[Finding]:
        """Yield what one entry names that is not held, or altered; each object is looked at once."""
        workspace = self._workspace
        for digest, role in objects_named(workspace, sequenced):
            named_by = f"entry {sequenced.index} ({role})"
            for finding in unheld(workspace, digest, named_by, self._seen, rehash=self._rehash):
                at = self._let_go.get(digest)
                if at is not None and not workspace.logs.precedes(at, sequenced.index):
                    yield _as_let_go(finding, at)
                elif finding.level != "missing" or EntryNumber(sequenced.index).tag in self._own:
                    yield finding
                else:
                    self._unfetched += 1

    def unfetched(self) -> Iterator[Finding]:
        """Yield a note of what only logs of others name and nobody has fetched, where there is something."""
        if self._unfetched:
            message = (
                f"{self._unfetched} objects that only logs of others name are not held; `retrodict fetch` brings them"
            )
            yield Finding(level="note", what="objects", message=message)


def _as_let_go(finding: Finding, entry: int) -> Finding:
    """Return what is found of an object that was let go: that it is missing was meant."""
    if finding.level != "missing":
        return finding
    return replace(finding, level="note", message=f"{finding.message}: let go, as entry {entry} says")


def unheld(
    workspace: Workspace, digest: Digest, named_by: str, seen: set[Digest], *, rehash: bool
) -> Iterator[Finding]:
    """Yield what is missing or altered of an object that something names, with all that is below it."""
    objects = workspace.objects
    stack = [(digest, named_by, True)]  # the last: it may be a folder
    while stack:
        digest, named_by, may_be_tree = stack.pop()
        if digest in seen:
            continue
        seen.add(digest)
        entries: list[TreeEntry] = []
        state: Literal["held", "missing", "altered"] = "held"
        try:
            if may_be_tree and objects.is_tree(digest):
                entries = list(objects.list_tree(digest))
            elif rehash:
                state = objects.state(digest)
            elif not objects.has(digest):
                state = "missing"
        except MissingObjectError:
            state = "missing"
        except IntegrityError:
            state = "altered"
        if state != "held":
            yield Finding(level=state, what=digest, message=f"object {digest}, named by {named_by}, is {state}")
        for entry in reversed(entries):
            name = entry.name.decode("utf-8", "replace")
            stack.append((entry.digest, f"{named_by}/{name}", entry.kind == "tree"))


def objects_named(workspace: Workspace, sequenced: Sequenced) -> Iterator[tuple[Digest, str]]:
    """Yield every object that an entry names: in its edges, its texts and its body."""
    event = sequenced.event
    for edge in (*event.uses, *event.makes):
        if isinstance(edge, EdgeList):
            yield edge.digest, "edge list"
    try:
        edges: list[Edge] = [*provenance.edges((*event.uses, *event.makes), workspace.objects.get)]
    except RetrodictError:
        edges = [edge for edge in (*event.uses, *event.makes) if isinstance(edge, Edge)]
    for edge in edges:
        if edge.ref.startswith("b3-"):
            yield Digest(edge.ref), edge.role
    if event.reason is not None:
        yield event.reason.digest, "reason"
    yield from _in_body(event.body, "body")
    yield from _in_body(event.extra, "envelope")
    for name in ("inputs", "outputs", "raw"):
        item = event.body.get(name)
        if isinstance(item, Mapping) and item.get("segment_list") is not None:
            with contextlib.suppress(RetrodictError):  # the list itself is named above: it is looked at there
                for segment in personal.segments(predictions.kept(item), workspace.objects.get):
                    yield segment.sealed, name
    unreadable = (RetrodictError, ValueError, KeyError, TypeError)
    with contextlib.suppress(*unreadable):  # so are the facts
        if (facts := event.body.get("code_facts")) is not None:
            yield from _in_body(json.loads(workspace.objects.get(Digest(str(facts))))["diff"], "uncommitted changes")
    with contextlib.suppress(*unreadable):  # and these lists
        for ref, _ in sealed_objects(event.body, workspace.objects.get):
            yield Digest(ref), "files"
        for _, index in subject_indexes(event.body, workspace.objects.get):
            yield Digest(index), "subjects"


def _in_body(value: object, name: str) -> Iterator[tuple[Digest, str]]:
    match value:
        case str() if value.startswith("b3-") and len(value) == 67:
            yield Digest(value), name
        case Mapping():
            for key, item in value.items():
                yield from _in_body(item, str(key))
        case list() | tuple():
            for item in value:
                yield from _in_body(item, name)
        case _:
            return
