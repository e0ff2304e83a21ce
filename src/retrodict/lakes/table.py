"""A table that lies in files: its versions, and its files by their digests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from blake3 import blake3

from retrodict.buckets import Pin, PinAlteredError, PinGoneError
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest
from retrodict.lakes import delta, iceberg
from retrodict.lakes.states import Format, TableState, Wanted
from retrodict.lakes.store import Store

_STATES: Final = {"delta": delta.states, "iceberg": iceberg.states}


class Lake:
    """A table of Delta Lake or Apache Iceberg.

    Attributes:
        url: The address or the path of its folder.
        endpoint: Of a bucket, where it is, if not at its provider.
        format: Which of them it is.
    """

    def __init__(
        self,
        url: str,
        environment: Mapping[str, str],
        *,
        endpoint: str | None = None,
        format: Format | None = None,  # noqa: A002 - what it is
    ) -> None:
        """Open it.

        Args:
            format: What it was known to be; None: it is looked for.

        Raises:
            UsageError: There is no table there.
            LakeError, MissingExtraError: See there.
        """
        self.store = Store(url, environment, endpoint=endpoint)
        self.url, self.endpoint = self.store.url, self.store.endpoint
        if format is None:
            is_one = "delta" if delta.is_delta(self.store) else "iceberg" if iceberg.is_iceberg(self.store) else None
            if is_one is None:
                raise UsageError(
                    f"{url} is no table: it has neither a _delta_log nor Iceberg's metadata",
                    hint="Name the table's own folder; for a bucket with versioning say --versioned.",
                )
            format = "delta" if is_one == "delta" else "iceberg"  # noqa: A001 - what it is
        self.format: Format = format

    def states(self, is_wanted: Wanted) -> Iterator[TableState]:
        """Yield what its log tells of the versions that are wanted, oldest first, and in any case of the last one.

        Raises:
            LakeError, MissingExtraError: See there.
        """
        return _STATES[self.format](self.store, is_wanted)

    def pin(self, names: Iterable[str], known: dict[str, Pin]) -> tuple[dict[str, Pin], list[str]]:
        """Return files by their names, with their digests, and the names of those that are not there.

        Args:
            known: Pins from before, by name: what has the same size and stamp is not read again. What is read is added.
        """
        pins: dict[str, Pin] = {}
        gone = []
        for name in sorted(names):
            found = self.store.look(name)
            if found is None:
                gone.append(name)
                continue
            pin = known.get(name)
            if pin is None or (pin.size_bytes, pin.etag) != (found.size_bytes, found.stamp):
                digest, size = self._digest(name)
                pin = Pin(
                    key=name,
                    version_id="",
                    etag=found.stamp,
                    size_bytes=size,
                    modified=found.modified,
                    digest=digest,
                )
                known[name] = pin
            pins[name] = pin
        return pins, gone

    def check(self, pin: Pin) -> None:
        """Do nothing, if a pinned file is there as it was; it is read only where its size or its stamp is another.

        Raises:
            PinGoneError: It is not there.
            PinAlteredError: It has other bytes.
        """
        found = self.store.look(pin.key)
        if found is None:
            raise PinGoneError(self.url, pin)
        if (found.size_bytes, found.stamp) != (pin.size_bytes, pin.etag):
            digest, _ = self._digest(pin.key)
            if digest != pin.digest:
                raise PinAlteredError(self.url, pin, f"{digest} instead")

    def read(self, pin: Pin) -> Iterator[bytes]:
        """Yield the bytes of a pinned file; at the end they are known to be those.

        Raises:
            PinGoneError: It is not there.
            PinAlteredError: It has other bytes.
            LakeError: It cannot be read.
        """
        whole, size = blake3(), 0
        try:
            for block in self.store.read(pin.key):
                whole.update(block)
                size += len(block)
                if size <= pin.size_bytes:
                    yield block
        except FileNotFoundError as error:
            raise PinGoneError(self.url, pin) from error
        if (found := f"b3-{whole.hexdigest()}") != pin.digest:
            raise PinAlteredError(self.url, pin, f"{found} instead")

    def _digest(self, name: str) -> tuple[Digest, int]:
        whole, size = blake3(), 0
        for block in self.store.read(name):
            whole.update(block)
            size += len(block)
        return Digest(f"b3-{whole.hexdigest()}"), size
