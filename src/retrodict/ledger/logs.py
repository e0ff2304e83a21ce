"""All logs that a workspace holds: its own, and those of others that it has received, which are only read.

Every machine that holds the same logs reads them in the same order: by tick, origin and index. Each log is in that
order by itself, since ticks increase in it. What a workspace appends comes after everything that it holds; what it
receives later may come before that.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, EntryNumber, EventId
from retrodict.ledger.log import Ledger, Sequenced

_IN_ORIGIN = re.compile(r"/([0-9a-f]{16})\Z")
TAG_DIGITS = 5  # hex digits of a tag


def key_hash(origin: str) -> str:
    """Return what names a log in paths and tables: 16 hex digits of its first public key's hash.

    An origin that somebody else chose, without that hash, has its own one.

    >>> key_hash("retrodict.local/fec92133/c0211f0bbb165ff7")
    'c0211f0bbb165ff7'
    """
    match = _IN_ORIGIN.search(origin)
    return match[1] if match else sha256(origin.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLog:
    """A log that a workspace holds.

    Attributes:
        hash: See `key_hash`.
        tag: What marks the numbers of its entries; None: it is the workspace's own.
        key: Its public key as it was known first; None: unknown, or the workspace's own log.
    """

    hash: str
    tag: int | None
    ledger: Ledger
    key: str | None = None

    @property
    def name(self) -> str:
        """What people call it before the number of an entry."""
        return self.hash[:TAG_DIGITS] if self.tag is None else f"{self.tag:0{TAG_DIGITS}x}"

    def numbered(self, entry: Sequenced) -> Sequenced:
        """Return an entry of this log under its number in the workspace."""
        return entry if self.tag is None else replace(entry, index=EntryNumber.of(self.tag, entry.index))


class Logs:
    """The logs in their order: the own one first. `Sequenced.index` is the number of the entry in the workspace."""

    def __init__(
        self, own: Ledger, others: Callable[[], Sequence[HeldLog] | None] = lambda: None, *, log_hash: str | None = None
    ) -> None:
        """Take the own log.

        Args:
            own: It.
            others: Returns the other logs where they have changed since it was asked last, else None.
            log_hash: What names the own log, where its origin does not.
        """
        self._own = HeldLog(hash=log_hash or key_hash(own.origin), tag=None, ledger=own)
        self._others = others
        self._held: tuple[HeldLog, ...] = (self._own,)

    def held(self) -> tuple[HeldLog, ...]:
        """Return the logs as they are now, the own one first."""
        others = self._others()
        if others is not None:
            self._held = (self._own, *others)
        return self._held

    def counts(self) -> dict[str, int]:
        """Return the size of each log, by its hash."""
        return {log.hash: log.ledger.size() for log in self.held()}

    def size(self) -> int:
        """Return how many entries there are in all logs."""
        return sum(self.counts().values())

    @property
    def own_hash(self) -> str:
        """The hash of the own log."""
        return self._own.hash

    def place(self, number: int) -> tuple[HeldLog, int]:
        """Return the log that an entry is of, and its index there.

        Raises:
            UsageError: There is no such log.
        """
        entry = EntryNumber(number)
        tag = entry.tag
        if tag is None:
            return self._own, entry
        for log in self.held():
            if log.tag == tag:
                return log, entry.index
        raise UsageError(f"there is no entry {entry}: that log is not held here")

    def event(self, number: int) -> Sequenced:
        """Return an entry by its number. Raises as `Ledger.event`."""
        log, index = self.place(number)
        return log.numbered(log.ledger.event(index))

    def find(self, event_id: EventId) -> Sequenced | None:
        """Return the entry of an event, or None."""
        for log in self.held():
            found = log.ledger.find(event_id)
            if found is not None:
                return log.numbered(found)
        return None

    def find_prefix(self, prefix: str, limit: int = 20) -> list[EventId]:
        """Return the ids that begin with `prefix`, in order, `limit` at most. See `Ledger.find_prefix`."""
        found = {event for log in self.held() for event in log.ledger.find_prefix(prefix, limit)}
        return sorted(found)[:limit]

    def named(self, prefix: str) -> list[HeldLog]:
        """Return the logs that people mean by the beginning of a hash, or of a part of the origin in hex."""
        held = self.held()
        exact = [log for log in held if log.name == prefix] or [log for log in held if log.hash.startswith(prefix)]
        return exact or [log for log in held if any(part.startswith(prefix) for part in _hex_parts(log.ledger.origin))]

    def precedes(self, first: int, second: int) -> bool:
        """Say whether one entry comes before another in the order of all logs."""
        one, two = EntryNumber(first), EntryNumber(second)
        if one.tag == two.tag:
            return one < two
        return self._order(one) < self._order(two)

    def _order(self, number: EntryNumber) -> tuple[int, str, int]:
        log, index = self.place(number)
        return log.ledger.event(index).event.tick, log.ledger.origin, index

    def read(self, starts: Mapping[str, int], stops: Mapping[str, int]) -> Iterator[tuple[str, Sequenced]]:
        """Yield entries in the order of all logs, each with the hash of its log.

        Args:
            starts: Where to begin in each log, by its hash; where there is none: at 0.
            stops: Where to end; logs that are not in it are left out.

        Raises:
            IntegrityError: An entry is altered or missing.
        """
        wanted = [log for log in self.held() if stops.get(log.hash, 0) > starts.get(log.hash, 0)]
        streams = [_stream(log, starts.get(log.hash, 0), stops[log.hash]) for log in wanted]
        for _, log_hash, entry in streams[0] if len(streams) == 1 else heapq.merge(*streams, key=_by_order):
            yield log_hash, entry

    def stored(self) -> Iterator[tuple[bool, bytes]]:
        """Yield the bytes of all entries in the order of all logs, each with whether it is of the own one.

        Raises:
            IntegrityError: An entry is altered or missing.
        """
        if len(self.held()) == 1:
            for _, data in self._own.ledger.stored():
                yield True, data
            return
        for log, entry in self.read({}, self.counts()):
            yield log == self.own_hash, entry.data

    def is_prefix(self, counts: Mapping[str, int]) -> bool:
        """Say whether so many entries of each log are the first ones in the order of all logs.

        Raises:
            UsageError: There are fewer entries.
            IntegrityError: One is altered.
        """
        logs = self.held()
        if len(logs) == 1:
            return True
        last = [_order_of(log, counts[log.hash] - 1) for log in logs if counts.get(log.hash, 0)]
        coming = [
            _order_of(log, counts.get(log.hash, 0)) for log in logs if log.ledger.size() > counts.get(log.hash, 0)
        ]
        return not last or not coming or max(last) < min(coming)

    def blob(self, digest: Digest) -> bytes | None:
        """Return a payload that one of the logs holds, unverified, or None. See `kernel.protocols.BlobSource`."""
        for log in self.held():
            found = log.ledger.blob(digest)
            if found is not None:
                return found
        return None

    def close(self) -> None:
        """Close every log."""
        for log in self._held:
            log.ledger.close()


def _hex_parts(origin: str) -> list[str]:
    return re.split(r"[^0-9a-f]+", origin.lower())


def _order_of(log: HeldLog, index: int) -> tuple[int, str, int]:
    return log.ledger.event(index).event.tick, log.ledger.origin, index


def _stream(log: HeldLog, start: int, stop: int) -> Iterator[tuple[tuple[int, str, int], str, Sequenced]]:
    origin = log.ledger.origin
    for entry in log.ledger.read(start, stop):
        yield (entry.event.tick, origin, entry.index), log.hash, log.numbered(entry)


def _by_order(item: tuple[tuple[int, str, int], str, Sequenced]) -> tuple[int, str, int]:
    return item[0]
