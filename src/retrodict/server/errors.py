"""What can be wrong with a request, and with the place that a server is to listen at."""

from __future__ import annotations

from retrodict.kernel.errors import PERSONAL, RetrodictError, UnavailableError, UsageError

_REASONS = {
    401: "no-token", 403: "no-right", 404: "not-found", 405: "method", 408: "too-slow", 413: "too-large",
    415: "encoding", 431: "head-too-large", 503: "too-busy", 504: "timed-out",
}  # fmt: skip


def reason(error: RetrodictError) -> str:
    """Return why something was refused, in a word for logs and counters: what HTTP's status says, else the slug."""
    return reason_of_status(error.status) if type(error) is RequestError else error.slug


def reason_of_status(status: int) -> str:
    """Return the word for a status; 400 and what has none of its own: `bad-request`."""
    return _REASONS.get(status, RequestError.slug)


class RequestError(UsageError):
    """A request that does not follow the protocol: answered with its status and `{"error": message}`."""

    slug = "bad-request"
    hint = "`GET /v2/models/NAME` says what the model takes."

    def __init__(self, message: str, *, status: int = 400, allow: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.allow = allow

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What HTTP says beside such a status."""
        match self.status:
            case 401:
                return ((b"www-authenticate", b"Bearer"),)
            case 405 if self.allow is not None:
                return ((b"allow", self.allow.encode()),)
            case 503:
                return ((b"retry-after", b"1"),)
            case _:
                return ()


class FieldError(RequestError):
    """A field of a request that is not what it should be."""

    slug = "bad-field"

    def __init__(self, field: str, expected: str, value: object) -> None:
        super().__init__(f"{field}: expected {expected}, got {_shown(value)}")
        self.field = field
        self.expected = expected
        self.value = value

    def without_value(self) -> FieldError:
        """Return the same refusal of somebody's values, which does not show them."""
        return FieldError(self.field, self.expected, HIDDEN)


class Described:
    """Words that say what came, in place of a value."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __repr__(self) -> str:
        return self._words


HIDDEN = Described(f"something else ({PERSONAL})")


def _shown(value: object) -> str:
    """Return the start of a value's text, without making all of it: it may be long."""
    if value is None:
        return "nothing"
    if isinstance(value, list | dict) and len(value) > 20:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    shown = repr(value[:80] if isinstance(value, str) else value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


class OpenServerError(UsageError):
    """A server that others on the network could reach, without a token."""

    slug = "open-server"
    hint = "Set RETRODICT_TOKEN (or the variable that --token-env names), or listen on 127.0.0.1."

    def __init__(self, host: str) -> None:
        super().__init__(f"a server on {host} can be reached by others, and there is no token")


class AddressError(UnavailableError):
    """An address that cannot be listened at."""

    slug = "address"
    hint = "Give another --port; 0 takes any that is free."

    def __init__(self, host: str, port: int, cause: OSError) -> None:
        super().__init__(f"cannot listen at {host}:{port}: {cause.strerror or cause}")
