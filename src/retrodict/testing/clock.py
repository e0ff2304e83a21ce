"""A clock that tests set: the same instants, the same ids, the same bytes on disk, every time."""

from __future__ import annotations

import random
import threading

START_NS = 1_573_158_840_000_000_000  # 2019-11-07T20:34:00Z


class FixedClock:
    """A `Clock` that moves by `step_ns` whenever it is read, and whose randomness follows from a seed.

    HAZARD: keys made with it are no secret.
    """

    def __init__(self, now_ns: int = START_NS, *, step_ns: int = 1_000_000, seed: int = 0) -> None:
        self._now_ns = now_ns
        self._step_ns = step_ns
        self._random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        """Return the present, and move on."""
        with self._lock:
            now, self._now_ns = self._now_ns, self._now_ns + self._step_ns
            return now

    def random_bytes(self, n: int) -> bytes:
        """Return the next `n` bytes of the seed's sequence."""
        with self._lock:
            return self._random.randbytes(n)

    def set(self, now_ns: int) -> None:
        """Go to an instant; going back is allowed, as on real machines."""
        with self._lock:
            self._now_ns = now_ns
