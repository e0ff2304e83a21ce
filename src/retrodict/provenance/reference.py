"""References: what a person pastes, and the event or the object that it names.

| written | names |
|---|---|
| `12`, `12.3` | entry 12 of this log; row 3 of that call |
| `ab12:12.3` | the same, of the log whose key hash begins with `ab12` |
| `b3-9f2c41...` | an object, by its digest or the beginning of it |
| `01936b00-...` | an event, by its id or the beginning of it |
| `name`, `name@v2`, `name@2`, `NAME@ALIAS`, `kind:name@version` | what the names say |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from retrodict.kernel.errors import AmbiguousReferenceError, UnknownReferenceError, UsageError
from retrodict.kernel.types import Digest, EntryNumber, EventId, is_digest
from retrodict.ledger import Logs
from retrodict.provenance.projection import ref_of

if TYPE_CHECKING:
    import apsw

SHORT_DIGEST = 15  # "b3-" and 12 hex digits: what tables print
_MIN_HEX = 6
_MAX_CANDIDATES = 10

_ENTRY = re.compile(r"(?:(?P<log>[0-9a-f]{4,64}):)?(?P<entry>0|[1-9]\d{0,17})(?:\.(?P<row>\d{1,18}))?\Z", re.ASCII)
_OBJECT = re.compile(r"b3-(?P<hex>[0-9a-f]{4,64})\Z")
_EVENT_ID = re.compile(r"(?P<id>[0-9a-f][0-9a-f-]{5,35})(?:\.(?P<row>\d{1,18}))?\Z", re.ASCII)
_NAME = re.compile(r"(?:(?P<kind>[a-z]+):)?(?P<name>.+?)(?:@(?P<version>[^@]+))?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One thing that a name may mean.

    Attributes:
        event: What the name stands for.
        printed: How tables print it.
        object: The bytes, where the name stands for bytes as well.
    """

    event: EventId
    printed: str
    object: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a reference means: an event (and a row of it) or an object.

    Attributes:
        printed: How tables print it; it can be pasted.
    """

    event: EventId | None
    object: Digest | None
    row: int | None
    printed: str


class Names(Protocol):
    """The names that people have given, which only the rooms of their records know."""

    def lookup(self, kind: str | None, name: str, version: str | None) -> list[Candidate]:
        """Return what `name` may mean.

        Args:
            kind: As in "model:credit"; None: of any kind.
            name: The name alone.
            version: As written after the @: a number, "v" and a number, or an alias; None: the current version.
        """
        ...

    def known(self) -> Sequence[str]:
        """Return every name there is, for near matches."""
        ...


def resolve(
    logs: Logs,
    db: apsw.Connection,
    text: str,
    names: Names,
    *,
    objects: Callable[[str], Sequence[Digest]] | None = None,
) -> Resolved:
    """Return what `text` means.

    Args:
        logs: The logs whose entries are numbered.
        db: The views.
        text: As a person wrote it or pasted it.
        names: Finds names.
        objects: Finds objects that no event names (a file in a folder) by the beginning of their digest.

    Raises:
        UnknownReferenceError: Nothing is named so; near matches are in it.
        AmbiguousReferenceError: More than one thing is; each is in it by a name of its own.
    """
    asked = text.strip()
    cleaned = asked.removesuffix("...").removesuffix("…")
    if match := _ENTRY.match(cleaned):
        return _entry(logs, asked, match["log"], int(match["entry"]), match["row"])
    if match := _OBJECT.match(cleaned):
        found = [_object(digest) for digest in _digests(db, match["hex"], objects)]
    else:
        found = []
        if match := _NAME.match(asked):
            kind, name, version = match["kind"], match["name"], match["version"]
            candidates = names.lookup(kind, name, version)
            if version is not None:  # a file's name may have an @ in it
                candidates += names.lookup(kind, f"{name}@{version}", None)
            found += [Resolved(event=c.event, object=c.object, row=None, printed=c.printed) for c in candidates]
        if match := _EVENT_ID.match(cleaned.lower()):
            found += _events(logs, match["id"], match["row"])
            if "-" not in match["id"] and match["row"] is None:
                found += [_object(digest) for digest in _digests(db, match["id"], objects)]
    found = list({(r.event, r.object if r.event is None else None): r for r in found}.values())
    if len(found) == 1:
        return found[0]
    if found:
        printed = [r.printed for r in found]
        raise AmbiguousReferenceError(
            asked,
            tuple(p if printed.count(p) == 1 else _apart(logs, r) for p, r in zip(printed, found, strict=True)),
        )
    raise UnknownReferenceError(asked, _near(asked, names))


def _apart(logs: Logs, found: Resolved) -> str:
    """Return what names one of two things that have the same name: its entry, as tables print it."""
    sequenced = None if found.event is None else logs.find(found.event)
    return str(found.event or found.object) if sequenced is None else str(EntryNumber(sequenced.index))


def _entry(logs: Logs, text: str, log: str | None, index: int, row: str | None) -> Resolved:
    found = logs.held()[:1] if log is None else logs.named(log)
    if len(found) > 1:
        raise AmbiguousReferenceError(text, tuple(f"{one.hash}:{index}" for one in found))
    if not found:
        raise UnknownReferenceError(text)
    try:
        sequenced = found[0].numbered(found[0].ledger.event(index))
    except UsageError:
        others = logs.held()[1:] if log is None else []
        elsewhere = tuple(f"{one.name}:{text}" for one in others if index < one.ledger.size())
        raise UnknownReferenceError(text, elsewhere, hint=f"The last entry is {found[0].ledger.size() - 1}.") from None
    event, number = sequenced.event, sequenced.index
    printed = str(number) if row is None else f"{number}.{int(row)}"
    return Resolved(event=event.id, object=None, row=None if row is None else int(row), printed=printed)


def _events(logs: Logs, prefix: str, row: str | None) -> list[Resolved]:
    digits = prefix.replace("-", "")
    if len(digits) < _MIN_HEX:
        return []
    result = []
    for event_id in logs.find_prefix(digits, _MAX_CANDIDATES):
        sequenced = logs.find(event_id)
        if sequenced is not None:
            printed = str(sequenced.index) if row is None else f"{sequenced.index}.{int(row)}"
            result.append(Resolved(event=event_id, object=None, row=None if row is None else int(row), printed=printed))
    return result


def _digests(db: apsw.Connection, digits: str, objects: Callable[[str], Sequence[Digest]] | None) -> list[Digest]:
    if is_digest(f"b3-{digits}"):
        return [Digest(f"b3-{digits}")]
    if len(digits) > 64:
        return []
    low, high = bytes.fromhex(digits.ljust(64, "0")), bytes.fromhex(digits.ljust(64, "f"))
    query = (
        "SELECT name FROM provenance_refs WHERE name BETWEEN ?1 AND ?2 AND length(name) = 32 UNION "
        "SELECT digest FROM provenance_lists WHERE digest BETWEEN ?1 AND ?2 LIMIT ?3"
    )
    rows = db.execute(query, (low, high, _MAX_CANDIDATES)).fetchall()
    found = {Digest(ref_of(name)): None for (name,) in rows}  # type: ignore[arg-type]
    if objects is not None:
        found |= dict.fromkeys(objects(f"b3-{digits}")[:_MAX_CANDIDATES])
    return list(found)


def _object(digest: Digest) -> Resolved:
    return Resolved(event=None, object=digest, row=None, printed=digest[:SHORT_DIGEST])


def _near(text: str, names: Names) -> tuple[str, ...]:
    """Return the names that `text` may be a misspelling of, with the kind and version that were asked for."""
    match = _NAME.match(text)
    kind, name, version = match.group("kind", "name", "version") if match else (None, text, None)
    import difflib  # 1 ms, of every command, for what was mistyped

    close = difflib.get_close_matches(name, list(names.known()), n=3, cutoff=0.6)
    prefix = "" if kind is None else f"{kind}:"
    if version is None:
        return tuple(f"{prefix}{c}" for c in close)
    versioned = [f"{prefix}{c}@{version}" for c in close if names.lookup(kind, c, version)]
    return tuple(versioned or [current.printed for c in close for current in names.lookup(kind, c, None)])
