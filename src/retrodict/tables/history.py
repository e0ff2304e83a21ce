"""How one record, or each cell of it, came to be what it is."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrodict.kernel.types import Digest, EventId, SealedText
from retrodict.streams import MAIN
from retrodict.tables import lines
from retrodict.tables.cells import column_of
from retrodict.tables.checks import normal_keys
from retrodict.tables.keys import KeyIndex
from retrodict.tables.lines import CREATE, DELETE, OFFSET, ROW, ChangeLog
from retrodict.tables.personal import listed
from retrodict.tables.records import Column, Version
from retrodict.workspace import Workspace, agent_name, open_text, sealed_text

_OPS = {1: "create", 2: "update", 3: "delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a change did to a cell."""

    column: str
    before: object
    after: object


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordChange:
    """One change of one record.

    Attributes:
        offset: In the change log; `version` is the version that it belongs to, `index` its entry.
        row: The record's identity: the offset of its create.
        op: "create", "update" or "delete".
        cells: What it changed: of a create and a delete, every value that is not null.
        at: When it was recorded; of a captured change, when it was made there.
        who: Who made it, as claimed; why: their reason; how: by what.
        valid_from: Since when it is true in the world, where that was said.
        tx: The transaction that it was made in, where it was captured.
    """

    offset: int
    version: int
    index: int
    row: int
    op: str
    cells: tuple[Cell, ...]
    at: str
    who: str
    why: str | None
    how: str
    valid_from: str | None
    tx: str | None


def last_change(
    workspace: Workspace, log: ChangeLog, columns: Sequence[Column], key: Mapping[str, object]
) -> int | None:
    """Return the offset of the last change under a key; None: no record has ever had it."""
    import pyarrow as pa  # 57 ms

    kept = [column for column in columns if column.id in log.table.key]
    values = {str(c.id): column_of([key[c.name]], c.type, f"column {c.name}") for c in kept}
    with KeyIndex(workspace) as index:
        (found,) = index.found(log, columns, index.hashes(normal_keys(pa.table(values)), log.table.key))
    return None if found is None else found.last


def walked(log: ChangeLog, columns: Sequence[Column], last: int, *, until: int = 0) -> list[dict[str, object]]:
    """Return the changes of a key from `last` backwards, not further than `until`: as mappings, the oldest first."""
    return listed(log.table, lines.chain(log, last, columns, until=until), columns)


class Sayings:
    """Who, when, why and how of changes, looked up once for each version."""

    def __init__(self, workspace: Workspace, log: ChangeLog) -> None:
        self._workspace = workspace
        self._log = log
        self._db = workspace.views.database()
        self._starts: list[int] = []  # of the versions that were looked up, ascending
        self._versions: list[Version] = []
        self._hows: dict[EventId, str] = {}
        self._names: dict[str, str] = {}
        self._texts: dict[str, str | None] = {}
        self._lists: dict[str, list[str] | str | None] = {}  # of the texts that were sealed together

    def version(self, offset: int) -> Version:
        """Return the version that a change belongs to."""
        place = bisect_right(self._starts, offset)
        if place:
            version = self._versions[place - 1]
            is_main = self._log.branch == MAIN or offset < self._log.line.base
            if offset < version.stop and (version.branch == MAIN) == is_main:
                return version
        found = lines.version_at(self._db, self._log, offset)
        self._starts.insert(place, found.start)
        self._versions.insert(place, found)
        return found

    def name(self, pseudonym: str) -> str:
        """Return who is behind a pseudonym."""
        if pseudonym not in self._names:
            self._names[pseudonym] = agent_name(self._workspace, pseudonym)
        return self._names[pseudonym]

    def text(self, sealed: object) -> str | None:
        """Open a sealed text, as a captured change holds it."""
        if not isinstance(sealed, str):
            return None
        if sealed not in self._texts:
            digest, key, number = sealed.split(" ")
            place = f"{digest} {key}"
            if place not in self._lists:
                text = open_text(self._workspace, SealedText(digest=Digest(digest), key=key))
                # What cannot be opened is said in words: "(erased by entry 7)".
                self._lists[place] = json.loads(text) if text is not None and text.startswith("[") else text
            texts = self._lists[place]
            self._texts[sealed] = texts[int(number)] if isinstance(texts, list) else texts
        return self._texts[sealed]

    def reason(self, version: Version) -> str | None:
        """Return why a version was made."""
        if version.reason is None:
            return None
        if version.event not in self._texts:
            self._texts[version.event] = open_text(self._workspace, sealed_text(version.reason))
        return self._texts[version.event]

    def how(self, version: Version) -> str:
        """Return what made a version, in words."""
        if version.event in self._hows:
            return self._hows[version.event]
        words = version.verb
        if version.statement is not None:
            words += f": {open_text(self._workspace, sealed_text(version.statement))}"
        if version.run is not None:
            sequenced = self._workspace.logs.find(version.run)
            words += f" (run {version.run if sequenced is None else sequenced.index})"
        self._hows[version.event] = words
        return words

    def said(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Return who, when, why and how of a change."""
        version = self.version(change[OFFSET])
        who, at = change["_who"], change["_at"]
        statement = self.text(change["_how"])
        valid = change["_valid_from"]
        return {
            "version": version.version,
            "index": version.index,
            "at": version.at if at is None else at.isoformat().replace("+00:00", "Z"),
            "who": self.name(version.agent if who is None else who),
            "why": self.text(change["_why"]) or self.reason(version),
            "how": self.how(version) if statement is None else f"{version.verb}: {statement}",
            "valid_from": None if valid is None else valid.isoformat().replace("+00:00", "Z"),
            "tx": change["_tx"],
        }


def described(
    changes: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    sayings: Sayings,
    *,
    before: Mapping[str, Any] | None = None,
) -> list[RecordChange]:
    """Return the changes of one key, the oldest first, as people want to read them."""
    result = []
    previous = before
    for change in changes:
        op = change["_op"]
        old = previous if previous is not None and previous["_op"] != DELETE else None
        cells = []
        listed = set(change["_changed"] or ())
        for column in columns:
            a = None if old is None or op == CREATE else old[str(column.id)]
            b = None if op == DELETE else change[str(column.id)]
            if (op in (CREATE, DELETE) and (a is not None or b is not None)) or column.id in listed:
                cells.append(Cell(column=column.name, before=a, after=b))
        result.append(
            RecordChange(
                offset=change[OFFSET], row=change[ROW], op=_OPS[op], cells=tuple(cells), **sayings.said(change)
            )
        )
        previous = change
    return result
