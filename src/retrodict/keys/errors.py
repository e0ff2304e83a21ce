"""What can go wrong with keys."""

from __future__ import annotations

from retrodict.kernel.errors import UnavailableError


class StateDirectoryError(UnavailableError):
    """The state directory, or the key that it should hold, cannot be used."""

    slug = "state-directory"
    hint = "Set XDG_STATE_HOME to a folder that you can write, or give this process a key file."
