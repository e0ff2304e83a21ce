"""Public keys as people give them: the text itself, or a file that holds it. No verb."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.keys import LogVerifier, WitnessVerifier

Key = TypeVar("Key")


def log_key(text: str) -> LogVerifier:
    """Return the public key of a log, as `init` printed it.

    Raises:
        UsageError: It is none.
    """
    return _key(text, LogVerifier.from_text, "Give what `retrodict log key` prints, or a file that holds it.")


def witness_keys(texts: Sequence[str]) -> list[WitnessVerifier]:
    """Return the public keys of witnesses.

    Raises:
        UsageError: One is none.
    """
    hint = "Give the verifier key that the witness's operator publishes (name+id+key), or a file that holds it."
    return [_key(text, WitnessVerifier.from_text, hint) for text in texts]


def _key(text: str, read: Callable[[str], Key], hint: str) -> Key:
    try:
        path = Path(text)
        is_file = path.is_file()
        if not is_file and "+" not in text:
            raise UsageError(f"{text} is no public key, and there is no such file", hint=hint)
        return read(path.read_text().strip() if is_file else text)
    except UsageError:
        raise
    except (OSError, ValueError, RetrodictError) as error:
        raise UsageError(f"{text} is no public key: {error}", hint=hint) from error
