"""Who may do what: rights by token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from retrodict.kernel.errors import UsageError

RIGHTS: Final = frozenset({"predict", "record", "read", "personal"})
USUAL: Final = RIGHTS - {"personal"}  # of a single token, and where none is asked for


class Tokens:
    """The tokens that a server takes, and the rights of each; none: everybody has the usual ones."""

    def __init__(self, rights: Mapping[str, frozenset[str]]) -> None:
        self._rights = {token.encode(): found for token, found in rights.items()}

    @classmethod
    def single(cls, token: str | None) -> Tokens:
        """Return one token with the usual rights, or none."""
        return cls({} if token is None else {token: USUAL})

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """Read a file of lines `TOKEN RIGHT...`; what begins with # is a comment.

        Raises:
            UsageError: It cannot be read, holds no token, or names a right that there is not; no token is shown.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the file of tokens {path} cannot be read: {error}") from error
        found: dict[str, frozenset[str]] = {}
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            unknown = sorted(set(words[1:]) - RIGHTS)
            if unknown or len(words) < 2 or words[0] in found:
                says = f"no right {unknown[0]}" if unknown else "a token with its rights, once"
                raise UsageError(f"{path}, line {number}: {says}", hint=f"Rights are {', '.join(sorted(RIGHTS))}.")
            found[words[0]] = frozenset(words[1:])
        if not found:
            raise UsageError(f"{path} holds no token", hint="Write lines of the form: TOKEN predict record read")
        return cls(found)

    def __bool__(self) -> bool:
        """Whether a token is asked for."""
        return bool(self._rights)

    def rights(self, authorization: str | None) -> frozenset[str] | None:
        """Return what the bearer of a header may do; None where it bears no token that is known."""
        if not self._rights:
            return USUAL
        scheme, _, given = (authorization or "").partition(" ")
        token, rights = given.strip().encode("latin-1", "replace"), None
        for known, found in self._rights.items():  # all of them, so that the time tells nothing
            if hmac.compare_digest(token, known) and scheme.lower() == "bearer":
                rights = found
        return rights
