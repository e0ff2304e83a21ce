"""A file server of one's own: real HTTP, with tags, ranges, and as many faults as a test asks for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class Origin:
    """What the server has, and what it was asked.

    Attributes:
        data, etag: Of the one file; `etag` None: it has no tag.
        cut_after: How many bytes of the next answer come before the connection breaks; None: all.
        statuses: Answered instead, one for each request, until none is left.
        asked: The headers of each request.
    """

    data: bytes = b"a,b\n1,2\n"
    etag: str | None = '"one"'
    cut_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    redirect: str | None = None
    url: str = ""


@contextmanager
def serving() -> Iterator[Origin]:
    """Serve until the block ends."""
    origin = Origin()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            origin.asked.append(headers)
            if origin.statuses:
                self.send_response(origin.statuses.pop(0))
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if origin.redirect and self.path == "/redirect":
                self.send_response(302)
                self.send_header("Location", origin.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if origin.etag is not None and headers.get("if-none-match") == origin.etag:
                self.send_response(304)
                self.send_header("ETag", origin.etag)
                self.end_headers()
                return
            start, status = 0, 200
            if "range" in headers and headers.get("if-range") == origin.etag:
                start, status = int(headers["range"].removeprefix("bytes=").removesuffix("-")), 206
            body = origin.data[start:]
            self.send_response(status)
            if origin.etag is not None:
                self.send_header("ETag", origin.etag)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(origin.data) - 1}/{len(origin.data)}")
            self.send_header("Last-Modified", "Tue, 24 Nov 2026 10:00:00 GMT")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if origin.cut_after:
                body = body[: origin.cut_after.pop(0)]
                self.close_connection = True
            self.wfile.write(body)
            origin.sent.append(len(body))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    origin.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield origin
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
