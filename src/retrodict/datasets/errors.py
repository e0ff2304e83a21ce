"""What keeps a dataset from being derived."""

from __future__ import annotations

from retrodict.kernel.errors import UsageError


class DerivationError(UsageError):
    """A recipe that makes nothing, or that is not whole: what it would take is not all named."""

    slug = "derivation"
    hint = "Nothing was recorded. Name with --from and --code everything that the command reads."
