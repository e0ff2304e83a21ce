"""Time and ids: the one place below the doors that may ask the world (as a parameter called `Clock`)."""

from __future__ import annotations

import functools
import os
import time
from datetime import UTC, datetime

from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Clock
from retrodict.kernel.types import EventId

NS = 1_000_000_000


class SystemClock:
    """The machine's clock and the kernel's randomness."""

    def now_ns(self) -> int:
        """Return nanoseconds since the Unix epoch."""
        return time.time_ns()

    def random_bytes(self, n: int) -> bytes:
        """Return `n` unpredictable bytes."""
        return os.urandom(n)


def event_id(clock: Clock, random: bytes | None = None) -> EventId:
    """Return a new UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, 12 + 62 random bits.

    Args:
        random: 10 bytes that `clock` drew for it.
    """
    ms = clock.now_ns() // 1_000_000
    value = (ms & (1 << 48) - 1) << 80 | int.from_bytes(clock.random_bytes(10) if random is None else random, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    h = f"{value:032x}"
    return EventId(f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}")


def rfc3339(ns: int) -> str:
    """Return an instant as RFC 3339 text with nanoseconds, UTC.

    >>> rfc3339(1_573_158_840_000_000_001)
    '2019-11-07T20:34:00.000000001Z'
    """
    seconds, rest = divmod(ns, NS)
    return f"{_to_the_second(seconds)}.{rest:09d}Z"


@functools.lru_cache(maxsize=16)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_rfc3339(text: str) -> int:
    """Return nanoseconds since the epoch for RFC 3339 text (a date alone is its midnight, UTC).

    Raises:
        UsageError: The text is not an instant.
    """
    head, dot, tail = text.partition(".")
    try:
        if not dot:
            moment = datetime.fromisoformat(text)
            return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * NS
        digits = tail.rstrip("Zz")
        zone = tail[len(digits) :]
        for sign in "+-":
            if sign in digits:
                digits, _, offset = digits.partition(sign)
                zone = sign + offset
        if not (digits.isdigit() and len(digits) <= 9):
            raise ValueError(text)
        moment = datetime.fromisoformat(head + (zone or "Z"))
    except ValueError:
        raise UsageError(f"{text!r} is not a time", hint="Write it as 2019-11-07 or 2019-11-07T20:34:00Z.") from None
    return int(moment.timestamp()) * NS + int(digits.ljust(9, "0"))


def next_tick(last_tick: int, now_ns: int) -> int:
    """Return the next tick of a hybrid logical clock: above `last_tick`, near microseconds of wall time.

    Source: Kulkarni et al., "Logical Physical Clocks" (2014), with time and counter in one integer below 2^53.
    """
    return max(last_tick + 1, now_ns // 1000)
