"""What a versioned bucket held at a time: listings, and how a bucket's changes make a row of them.

A listing is JSON lines (`docs/formats/listing.md`): what it is and the prefix, then one line a key, by the bytes of
the keys, so that two versions of a large bucket share nearly all of their chunks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, get_args

from retrodict.kernel import canonical
from retrodict.kernel.errors import FormatError
from retrodict.kernel.types import Digest

_FORMAT: Final = "retrodict listing 1"
_MOST_STATES: Final = 100

Period = Literal["instant", "second", "minute", "hour", "day", "month", "year"]
PERIODS: Final[tuple[Period, ...]] = get_args(Period)
_LENGTHS: Final[Mapping[Period, int]] = {  # of the beginning of an RFC 3339 instant that says which period it is in
    "instant": 40,
    "second": 19,
    "minute": 16,
    "hour": 13,
    "day": 10,
    "month": 7,
    "year": 4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One object of a bucket, as it was at a time: `version_id` is what the bucket finds it by, for ever.

    Attributes:
        version_id: "" of a table's file, which has none.
        etag: Without its quotes; the MD5 of the bytes where it was sent in one part and not encrypted with a key. Of a
            table's file what would change if it were written again: the store's tag, or when it was written.
        modified: When the bucket took it, RFC 3339.
        digest: Of the bytes, where they were read when they were pinned: those of a table's file are.
    """

    key: str
    version_id: str
    etag: str
    size_bytes: int
    modified: str
    digest: Digest | None = None

    @property
    def content(self) -> tuple[str, int]:
        """Equal for pins of the same bytes, as far as the bucket says."""
        return self.digest or self.etag, self.size_bytes

    @property
    def stamp(self) -> str:
        """What tells this version of the object from others, in words."""
        return f"VersionId {self.version_id}" if self.digest is None else self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A key was set, or removed (`pin` is None)."""

    key: str
    modified: str
    pin: Pin | None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a bucket held after its last change, at `as_of` (RFC 3339, by the bucket's clock): pins by key."""

    as_of: str
    pins: Mapping[str, Pin]


@dataclass(frozen=True)
class Listing:
    """What was held below `prefix` ("" or it ends with "/"): pins by key, in the order of the keys' bytes.

    Attributes:
        table: Of a table: which one, at which of its versions; see `docs/formats/listing.md`. None: it is a bucket.
    """

    prefix: str
    pins: Mapping[str, Pin]
    table: Mapping[str, object] | None = None

    def encode(self) -> Iterator[bytes]:
        """Yield the lines that are kept."""
        head: dict[str, object] = {"format": _FORMAT, "prefix": self.prefix}
        yield canonical.encode(head if self.table is None else {**head, "table": dict(self.table)}) + b"\n"
        for key in sorted(self.pins, key=str.encode):
            pin = self.pins[key]
            fields: dict[str, object] = {"etag": pin.etag, "key": key, "modified": pin.modified}
            if pin.digest is not None:
                fields["digest"] = pin.digest
            yield canonical.encode({**fields, "size": pin.size_bytes, "version": pin.version_id}) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Listing:
        """Return the listing that `encode` wrote.

        Raises:
            FormatError: It is none, or one of a newer release.
        """
        return cls.decode_without(data, set())

    @classmethod
    def decode_without(cls, data: bytes, known: set[bytes]) -> Listing:
        """Return a listing without the objects whose lines are known; the others become so. Raises as `decode`."""
        try:
            head, *lines = data.splitlines()
            said = json.loads(head)
            if said["format"] != _FORMAT:
                raise FormatError(f"a listing of format {said['format']!r}: this release reads {_FORMAT!r}")
            fresh = [line for line in lines if line not in known]
            pins = [_pin(json.loads(line)) for line in fresh]
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"a listing that cannot be read: {error!r}") from error
        known.update(fresh)
        return cls(prefix=str(said["prefix"]), pins={pin.key: pin for pin in pins}, table=said.get("table"))

    @cached_property
    def names(self) -> Mapping[str, Pin]:
        """The pins by name: the key without the prefix."""
        return {key.removeprefix(self.prefix): pin for key, pin in self.pins.items()}

    @property
    def size_bytes(self) -> int:
        """Of everything that is pinned."""
        return sum(pin.size_bytes for pin in self.pins.values())

    def below(self, folder: str) -> dict[str, Pin]:
        """Return what lies in a folder, by the rest of its name; "": everything."""
        start = f"{folder}/" if folder else ""
        return {name[len(start) :]: pin for name, pin in self.names.items() if name.startswith(start)}


def _pin(fields: Mapping[str, object]) -> Pin:
    size = fields["size"]
    if not isinstance(size, int):
        raise TypeError(size)
    return Pin(
        key=str(fields["key"]),
        version_id=str(fields["version"]),
        etag=str(fields["etag"]),
        size_bytes=size,
        modified=str(fields["modified"]),
        digest=None if fields.get("digest") is None else Digest(str(fields["digest"])),
    )


def changed_keys(old: Listing, new: Listing) -> tuple[list[str], list[str], list[str]]:
    """Return the names that were added, removed and changed; the same bytes under another VersionId are no change."""
    before, after = old.names, new.names
    added = sorted(after.keys() - before.keys())
    removed = sorted(before.keys() - after.keys())
    return added, removed, sorted(n for n in after.keys() & before.keys() if after[n].content != before[n].content)


class Past:
    """What a bucket held at the end of every period in which something changed, oldest first.

    A bucket says when it began to take an object: one that took long may seem older than its predecessor. What the
    bucket gives as the order of one key's versions counts; none is older than the one before it.

    Attributes:
        by: Changes in one period (UTC) make one state.
        instants: When the last change of each state was: one for each.
    """

    def __init__(
        self, changes: Iterable[Change], *, after: Mapping[str, Pin] | None = None, by: Period | None = None
    ) -> None:
        """Put changes in order.

        Args:
            changes: Of one key in their order, oldest first.
            after: What is known already: only what followed counts. Where it is no state of the bucket's (a version was
                removed since), nothing does, as nobody can say what followed.
            by: The period; None: the finest that gives no more than a hundred states.
        """
        last: dict[str, str] = {}
        row: list[tuple[str, Change]] = []
        for change in changes:
            last[change.key] = max(change.modified, last.get(change.key, ""))
            row.append((last[change.key], change))
        row.sort(key=lambda item: item[0])  # stable: of one key in their order
        start = 0 if after is None else _position(row, after)
        self._row = row
        self._start = len(row) if start is None else start
        self.by = by or divide(at for at, _ in row[self._start :])
        self.instants = [at for number, (at, _) in enumerate(row) if number >= self._start and self._is_end(number)]

    def _is_end(self, number: int) -> bool:
        length = _LENGTHS[self.by]
        return number + 1 == len(self._row) or self._row[number + 1][0][:length] != self._row[number][0][:length]

    def __iter__(self) -> Iterator[State]:
        """Yield the states; of a large bucket no more than one need be in memory."""
        held: dict[str, Pin] = {}
        for number, (at, change) in enumerate(self._row):
            if change.pin is None:
                held.pop(change.key, None)
            else:
                held[change.key] = change.pin
            if number >= self._start and self._is_end(number):
                yield State(as_of=at, pins=dict(held))


def divide(instants: Iterable[str]) -> Period:
    """Return the finest period of which no more than a hundred have one of these instants in them."""
    known = set(instants)
    return next((p for p in PERIODS if len({at[: _LENGTHS[p]] for at in known}) <= _MOST_STATES), PERIODS[-1])


def _position(row: Sequence[tuple[str, Change]], known: Mapping[str, Pin]) -> int | None:
    """Return after how many changes the bucket held what is known, the last time; None where it never did."""
    held: dict[str, Pin] = {}
    differ = {*known}
    found = None if differ else 0
    for number, (_, change) in enumerate(row, 1):
        if change.pin is None:
            held.pop(change.key, None)
        else:
            held[change.key] = change.pin
        if held.get(change.key) == known.get(change.key):
            differ.discard(change.key)
        else:
            differ.add(change.key)
        if not differ:
            found = number
    return found
