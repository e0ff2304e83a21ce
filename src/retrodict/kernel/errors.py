"""The family of errors.

An answer is a value; only being unable to answer is an error. Every class names its section of
`docs/errors.md` (`slug`), says what to do (`hint`), and keeps its evidence as attributes. Families by who must act:

* `UsageError`: the caller asked for something that cannot be; changed words may help.
* `UnavailableError`: the operator (or somebody else) must provide something: bytes, a key, an extra, a right.
* `IntegrityError`: the record and the bytes contradict each other; nobody's words help, `verify` tells more.
"""

from __future__ import annotations

from typing import ClassVar, Final

PERSONAL: Final = "not shown: it is personal"  # what an error says in place of a value


class RetrodictError(Exception):
    """Anything that retrodict could not answer. Doors print `message` and `hint` on one line and exit 2.

    A traceback, as of somebody's own program, shows the hint below the message, as a note.
    """

    slug: ClassVar[str] = "error"
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint
        if self.hint:
            self.add_note(self.hint)


class UsageError(RetrodictError):
    """The caller must change what was asked."""

    slug = "usage"


class EntryTooLargeError(UsageError):
    """An event whose entry would be longer than the log can hold."""

    slug = "entry-too-large"
    hint = "Keep long values in objects and name them in the entry; keep many edges in an edge-list object."

    def __init__(self, kind: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"the entry of a {kind} event takes {size_bytes:,} bytes; a log entry holds {limit_bytes:,}")
        self.size_bytes = size_bytes


class UnavailableError(RetrodictError):
    """Something that is needed is not to be had here and now."""

    slug = "unavailable"


class IntegrityError(RetrodictError):
    """Bytes do not have the digest, signature or order that the record claims for them."""

    slug = "integrity"
    hint = "Run `retrodict verify` to see everything that is altered."


class FormatError(IntegrityError):
    """Bytes that are not in the format that they should be in."""

    slug = "format"


class NewerFormatError(FormatError):
    """What a newer release has written, and this one cannot read: nothing is known to be wrong with it."""

    slug = "newer-format"
    hint = "Update retrodict."

    def __init__(self, what: str, version: int, known: int) -> None:
        super().__init__(f"{what} was written by a newer release: it has format {version}, and this one reads {known}")
        self.version = version


class MissingObjectError(UnavailableError):
    """The store holds no bytes under a digest that it was asked for."""

    slug = "missing-object"
    hint = "`retrodict fetch` looks in the remote; `retrodict verify` lists what is missing."

    def __init__(self, digest: str) -> None:
        super().__init__(f"no object named {digest} is held")
        self.digest = digest


class AlteredObjectError(IntegrityError):
    """The bytes held under a digest have another digest."""

    slug = "altered-object"

    def __init__(self, digest: str, where: str) -> None:
        super().__init__(f"object {digest} is altered: its bytes in {where} have another digest")
        self.digest = digest
        self.where = where


class UnknownReferenceError(UsageError):
    """A reference names nothing."""

    slug = "unknown-reference"

    hint = "`retrodict models`, `ls` and `log` list what there is."

    def __init__(self, reference: str, near: tuple[str, ...] = (), *, hint: str | None = None) -> None:
        if near:
            hint = f"Did you mean {', '.join(near)}?"
        super().__init__(f"nothing is named {reference!r}", hint=hint)
        self.reference = reference
        self.near = near


class AmbiguousReferenceError(UsageError):
    """A reference names more than one thing."""

    slug = "ambiguous-reference"

    def __init__(self, reference: str, candidates: tuple[str, ...]) -> None:
        super().__init__(
            f"{reference!r} is ambiguous: it could be {', '.join(candidates)}", hint="Use one of these instead."
        )
        self.reference = reference
        self.candidates = candidates


class MissingExtraError(UnavailableError):
    """A command needs packages that the base installation does not bring."""

    slug = "missing-extra"

    def __init__(self, what: str, extra: str, *, hint: str | None = None) -> None:
        hint = hint or f"pip install 'retrodict[{extra}]'"
        super().__init__(f"{what} needs packages that are not installed", hint=hint)
        self.extra = extra


class NoWorkspaceError(UsageError):
    """There is no workspace where one was looked for."""

    slug = "no-workspace"
    hint = "`retrodict init` makes one here."

    def __init__(self, where: str) -> None:
        super().__init__(f"no workspace (.retrodict) in {where} or above it")
        self.where = where


class ReadOnlyStoreError(UnavailableError):
    """A write to a store that cannot be written."""

    slug = "read-only-store"
    hint = "Everything that only reads still works; to write, open the store where it is writable."

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} cannot be written: the store is read-only")
