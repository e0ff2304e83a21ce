"""Sealed texts as entries hold them, opened where their keys are held; names of agents; keys that were destroyed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from retrodict.kernel.errors import FormatError
from retrodict.kernel.types import Digest, EntryNumber, SealedText
from retrodict.workspace.opened import Workspace


def sealed_text(value: object) -> SealedText | None:
    """Read what an entry holds of a sealed text (None stays None).

    Raises:
        FormatError: It is something else.
    """
    match value:
        case None:
            return None
        case {"sealed": str(digest), "key": str(key)}:
            return SealedText(digest=Digest(digest), key=key)
        case _:
            raise FormatError(f"not a sealed text: {value!r}")


def open_text(workspace: Workspace, text: SealedText | None) -> str | None:
    """Return the text, or "(erased by entry N)" or "(sealed: its key is not held)"; None stays None."""
    if text is None:
        return None
    plain = None
    if workspace.keys is not None:
        plain = workspace.keys.open_sealed(text.key, workspace.objects.get(text.digest))
    if plain is not None:
        return plain.decode("utf-8", "surrogateescape")
    entry = forgotten_by(workspace, text.key)
    return "(sealed: its key is not held)" if entry is None else f"(erased by entry {entry})"


def agent_name(workspace: Workspace, pseudonym: str) -> str:
    """Return the name behind a pseudonym, or the pseudonym where the name is out of reach."""
    row = (
        workspace.views.database()
        .execute("SELECT digest, key FROM workspace_agents WHERE pseudonym = ?", (pseudonym,))
        .fetchone()
    )
    if row is None or workspace.keys is None:
        return pseudonym
    plain = workspace.keys.open_sealed(row[1], workspace.objects.get(Digest(row[0])))
    return pseudonym if plain is None else plain.decode("utf-8", "surrogateescape")


def forgotten_by(workspace: Workspace, key: str) -> int | None:
    """Return the entry that says a key is destroyed, or None."""
    query = "SELECT entry FROM personal_forgotten WHERE key = ?"
    row = workspace.views.database().execute(query, (key,)).fetchone()
    return None if row is None else EntryNumber(row[0])


def last_forgotten(workspace: Workspace) -> int:
    """Return the last entry that says that keys are destroyed; -1: there is none."""
    (row,) = workspace.views.database().execute("SELECT coalesce(max(entry), -1) FROM personal_forgotten").fetchall()
    return int(str(row[0]))


def sealed_key(workspace: Workspace, content: Digest) -> str | None:
    """Return the key of a personal file; None where an object is none."""
    query = "SELECT key FROM personal_files WHERE ref = ?"
    row = workspace.views.database().execute(query, (content,)).fetchone()
    return None if row is None else str(row[0])


def holders(workspace: Workspace, kinds: Sequence[str]) -> list[int]:
    """Return the entries of these kinds that say that keys, or values, lie in another place too, or no longer do."""
    query = "SELECT entry FROM personal_given WHERE kind IN (SELECT value FROM json_each(?)) ORDER BY entry"
    return _entries(workspace, query, json.dumps(list(kinds)))


def looks_at(workspace: Workspace, subjects: Iterable[str]) -> list[int]:
    """Return the entries of the looks at values of people, by pseudonym; at derived ones by the run or look behind."""
    query = (
        "SELECT DISTINCT entry FROM personal_viewed WHERE subject IN (SELECT value FROM json_each(?)) ORDER BY entry"
    )
    return _entries(workspace, query, json.dumps(list(subjects)))


def forgettings(workspace: Workspace) -> list[int]:
    """Return the entries that say that keys are destroyed."""
    return _entries(workspace, "SELECT entry FROM personal_forgettings ORDER BY entry")


def _entries(workspace: Workspace, query: str, *values: str) -> list[int]:
    return [EntryNumber(str(row[0])) for row in workspace.views.database().execute(query, values).fetchall()]


def destroy_forgotten(workspace: Workspace, named: Iterable[str] = ()) -> int:
    """Destroy again every key that the log calls forgotten; return how many were held.

    The event comes before the destruction, so a crash in between leaves a key behind, and so does a store that was put
    back from a copy: whoever opens the workspace next ends it.

    Args:
        named: Keys that an entry has just called so. They go whatever the view says, which who can write the store can
            edit.
    """
    if workspace.keys is None or workspace.read_only:
        return 0
    rows = workspace.views.database().execute("SELECT key FROM personal_forgotten").fetchall()
    keys = {*named, *(str(row[0]) for row in rows)}
    return workspace.keys.destroy(*sorted(keys)) if keys else 0
