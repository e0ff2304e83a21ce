"""What objects hold, and how two versions of one differ."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Final

from retrodict.diffs.lines import numbered
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.types import Digest
from retrodict.kernel.words import count
from retrodict.workspace import Workspace, sealed_key

SHOWN_LINES: Final = 24
_COMPARED_BYTES: Final = 4 * 1024 * 1024

Row = tuple[tuple[str, object], ...]


def is_tree(workspace: Workspace, digest: Digest) -> bool:
    """Say whether an object is a folder."""
    try:
        next(workspace.objects.list_tree(digest), None)
    except UsageError:
        return False
    return True


def blob(workspace: Workspace, digest: Digest, limit: int | None = None) -> bytes | None:
    """Return an object's bytes; None where it is not held as it was, personal, or larger than `limit` bytes."""
    if sealed_key(workspace, digest) is not None:
        return None
    try:
        if limit is not None and workspace.objects.size(digest) > limit:
            return None
        return workspace.objects.get(digest)
    except RetrodictError:
        return None


def files(workspace: Workspace, tree: Digest) -> Iterator[tuple[str, Digest]]:
    """Yield path and digest of every file below a tree that is held."""
    try:
        for path, entry in workspace.objects.walk(tree):
            if entry.kind in ("file", "executable"):
                yield path.decode("utf-8", "replace"), entry.digest
    except RetrodictError:
        return


def difference(
    workspace: Workspace, old: Digest, new: Digest, *, about: Row = (), most: int = SHOWN_LINES
) -> tuple[str, ...]:
    """Return what changed between two versions: a sentence, then the lines that differ, numbered.

    Args:
        workspace: It has them.
        old: A file or a folder.
        new: Another.
        about: Named values: changed lines of a table that hold one of them come first.
        most: How many lines are told.
    """
    if any(sealed_key(workspace, digest) is not None for digest in (old, new)):
        return ("what changed is not shown: a version is personal",)
    try:
        if is_tree(workspace, old) or is_tree(workspace, new):
            return _tree_difference(dict(files(workspace, old)), dict(files(workspace, new)), most)
    except RetrodictError:
        return ("what changed cannot be said: a version is not held",)
    before, after = blob(workspace, old, _COMPARED_BYTES), blob(workspace, new, _COMPARED_BYTES)
    if before is None or after is None:
        return ("what changed is not shown: a version is large or not held",)
    try:
        lines_before, lines_after = before.decode().splitlines(), after.decode().splitlines()
    except UnicodeDecodeError:
        return (f"the bytes differ ({len(before):,} and {len(after):,} bytes, no text)",)
    return _text_difference(lines_before, lines_after, about, most)


def _tree_difference(before: dict[str, Digest], after: dict[str, Digest], most: int) -> tuple[str, ...]:
    lines = [f"- {name}" for name in sorted(before.keys() - after.keys())]
    lines += [f"+ {name}" for name in sorted(after.keys() - before.keys())]
    lines += [f"~ {name}" for name in sorted(before.keys() & after.keys()) if before[name] != after[name]]
    return (f"{count(len(lines), 'file')} of {max(len(before), len(after)):,} changed", *_cut(lines, most))


def _text_difference(before: Sequence[str], after: Sequence[str], about: Row, most: int) -> tuple[str, ...]:
    changes, changed = numbered(before, after)
    if not changes:
        return ("no line changed, only how lines end",)
    told: list[tuple[str, ...]] = []
    rest: list[tuple[str, ...]] = []
    for change in changes:
        (told if any(_concerns(line, about) for line in change) else rest).append(change)
    says = f"{changed:,} of {count(max(len(before), len(after)), 'line')} changed"
    if told:
        says += f", {len(told):,} of them with a value of this input"
    return says, *_cut([line for change in (*told, *rest) for line in change], most)


def _concerns(line: str, about: Row) -> bool:
    """Say whether a line of a table has an input's word in a cell (and, where it names inputs, that input's name)."""
    cells = set(next(csv.reader([line.partition(": ")[2]]), []))
    named = {name for name, _ in about} & cells
    return any(
        isinstance(value, str) and len(value) > 1 and value in cells and (not named or name in named)
        for name, value in about
    )


def _cut(lines: list[str], most: int) -> tuple[str, ...]:
    rest = len(lines) - most
    return tuple(lines) if rest <= 0 else (*lines[:most], f"... and {count(rest, 'line')} more")
