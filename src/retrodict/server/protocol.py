"""HTTP/1.1 as uvicorn speaks it, with limits on how long a request may take to arrive, and on its headers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # 100 ms; loaded by a server only

HEADER_BYTES = 64 * 1024
_CONTINUE = b"HTTP/1.1 100"


class Joining:
    """A transport on which the head of an answer waits for its body: one call of the kernel instead of two."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing

    def write(self, content: bytes) -> None:
        """Write what was held back, and this; hold it back where it is a head."""
        if self._head:
            content, self._head = self._head + content, b""
        elif content.endswith(b"\r\n\r\n") and not content.startswith(_CONTINUE):
            self._head = content
            return
        self._transport.write(content)

    def flush(self) -> None:
        """Write what was held back."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Write what was held back, and close."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """Return what else the transport can do."""
        return getattr(self._transport, name)


def protocol(request_s: float, refused: Callable[[int], None]) -> type[HttpToolsProtocol]:
    """Return the class that uvicorn makes one of for each connection.

    Args:
        request_s: How long a request may take from its first byte to its last, and a new connection to begin one.
        refused: Told the status of each refusal: the application never sees what was refused.
    """

    class Protocol(HttpToolsProtocol):
        """Refuses what is too long or too slow; says so, as everything here does, as `{"error": ...}`."""

        _timer: asyncio.TimerHandle | None = None
        _head_bytes = 0  # of a request whose headers are not whole
        _is_arriving = False
        _has_headers = False

        def connection_made(self, transport: Any) -> None:
            """Begin to wait for a request."""
            super().connection_made(Joining(transport))  # type: ignore[arg-type]
            self._timer = self.loop.call_later(request_s, self._give_up)

        def connection_lost(self, exc: Exception | None) -> None:
            """Wait no more."""
            self._stop_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            """Parse what came; a request that comes whole, the usual case, needs no timer."""
            super().data_received(data)
            if not self._is_arriving:
                self._stop_timer()
                return
            if not self._has_headers:
                self._head_bytes += len(data)
                if self._head_bytes > HEADER_BYTES and not self.transport.is_closing():
                    self._refuse("431 Request Header Fields Too Large", f"more than {HEADER_BYTES} bytes of headers")
                    return
            if self._timer is None:
                self._timer = self.loop.call_later(request_s, self._give_up)

        def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn has no use for what asyncio lets it say
            """Keep the connection until what came whole is answered: its client may still listen."""
            is_asked = not self._is_arriving and self.cycle is not None and not self.cycle.response_complete
            if is_asked:
                self.cycle.keep_alive = False
            return is_asked

        def on_message_begin(self) -> None:
            """Note that a request begins."""
            super().on_message_begin()
            self._is_arriving, self._has_headers, self._head_bytes = True, False, 0

        def on_headers_complete(self) -> None:
            """Hand the request over; its body is the application's to limit."""
            self._has_headers = True
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            """Note that all of the request is there."""
            self._is_arriving = False
            super().on_message_complete()

        def on_response_complete(self) -> None:
            """Write an answer that has no body (HEAD); look for the next request."""
            self.transport.flush()  # type: ignore[attr-defined]
            super().on_response_complete()

        def send_400_response(self, msg: str) -> None:
            """Refuse what is no request."""
            self._refuse("400 Bad Request", msg)

        def _give_up(self) -> None:
            self._timer = None
            if self.transport.is_closing():
                return
            if self._is_arriving and (
                self.cycle is None or not self.cycle.response_started or self.cycle.response_complete
            ):
                self._refuse("408 Request Timeout", f"the request did not arrive within {request_s:g} s")
            else:
                self.transport.close()

        def _refuse(self, status: str, says: str) -> None:
            body = json.dumps({"error": says}).encode()
            head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self._stop_timer()
            refused(int(status[:3]))
            self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
            self.transport.close()

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Protocol
