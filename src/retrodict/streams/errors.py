"""What cannot be appended, read or pinned."""

from __future__ import annotations

from retrodict.kernel.errors import IntegrityError, UnavailableError, UsageError


class RecordError(UsageError):
    """Something in what is to be appended is no record of the stream's format; nothing of it was appended."""

    slug = "bad-record"
    hint = "Nothing was appended: mend it, and append it again."


class OffsetError(UsageError):
    """An offset that the stream does not have (yet)."""

    slug = "no-such-offset"
    hint = "`retrodict stream show NAME` says how far it goes."


class CompactedError(UnavailableError):
    """Records that a compaction dropped; that they were there, and their hashes, stays proved."""

    slug = "compacted"
    hint = "`retrodict show` on that entry says who dropped them and why; `retrodict stream show NAME` what is left."

    def __init__(self, reference: str, entry: int) -> None:
        super().__init__(f"{reference} was compacted by entry {entry}")
        self.entry = entry


class StreamMismatchError(IntegrityError):
    """The records that are held do not make the digest that the log says they made when they were appended."""

    slug = "altered-stream"

    def __init__(self, name: str, offset: int, held: str, recorded: str) -> None:
        super().__init__(
            f"the first {offset} records of {name} make {held[:12]}..., and the log says {recorded[:12]}..."
        )


class KafkaError(UnavailableError):
    """Kafka does not give what was asked for."""

    slug = "kafka"
    hint = "Look whether the broker is reachable and the topic is there; what was pinned before stays as it is."
