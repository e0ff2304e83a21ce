"""What can go wrong with environments."""

from __future__ import annotations

from retrodict.kernel.errors import UnavailableError


class EnvironmentUnavailableError(UnavailableError):
    """A recorded environment that cannot be built here and now."""

    slug = "environment"
    hint = "Replay in the present environment, with --environment present, or try again where packages can be had."
