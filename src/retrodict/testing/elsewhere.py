"""What others run: a file at a URL, a versioned bucket of S3, a witness. One process, for one workspace.

The bucket answers as S3 does what reading one asks, and no more; it holds the same for ever.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from retrodict.testing.witness import Witness, serve

FILE: Final = b"day,rate\n1,0.5\n"
BUCKET: Final = "deliveries"
OBJECTS: Final = (("in/june.csv", b"id\n2\n"), ("in/may.csv", b"id\n1\n"), ("in/may.csv", b"id\n3\n"))  # oldest first
_DAY: Final = "2026-05-{:02}T10:00:00.000Z"


@contextmanager
def elsewhere(folder: Path, log_key: str) -> Iterator[None]:
    """Serve until the block ends; `address(folder)` says where, `witness_key(folder)` by whom.

    Args:
        folder: The witness keeps what it has seen in it.
        log_key: The public key of the log that it watches.
    """
    state = folder / "witness"
    state.mkdir()
    witness = Witness("witness.example/w1", state, [log_key])
    servers = [serve(witness), ThreadingHTTPServer(("127.0.0.1", 0), _Handler)]
    told = {"witness": servers[0].server_port, "key": witness.key, "files": servers[1].server_port}
    (folder / "elsewhere.json").write_text(json.dumps(told))
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        try:
            for server in servers:
                threading.Thread(target=server.serve_forever, daemon=True).start()
            while os.getppid() == parent:  # it may be killed
                time.sleep(1)
        finally:
            os._exit(1)
    try:
        for server in servers:
            server.server_close()
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def address(folder: Path, of: str) -> str:
    """Return where the "files" are (the bucket too), or the "witness"."""
    return f"http://127.0.0.1:{json.loads((folder / 'elsewhere.json').read_text())[of]}"


def witness_key(folder: Path) -> str:
    """Return the witness's public key."""
    return str(json.loads((folder / "elsewhere.json").read_text())["key"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = parse_qs(url.query, keep_blank_values=True)
        if url.path.strip("/") == BUCKET:
            self._answer(_versions() if "versions" in asked else _VERSIONING, "application/xml")
        elif url.path.startswith(f"/{BUCKET}/"):
            self._answer(OBJECTS[int(asked["versionId"][0])][1], "text/csv")
        elif self.headers.get("If-None-Match") == _etag(FILE):
            self.send_response(304)
            self.end_headers()
        else:
            self._answer(FILE, "text/csv")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", _etag(body))
        self.send_header("Last-Modified", "Sun, 24 May 2026 10:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        del format, args


_VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _versions() -> bytes:
    """Return the listing; of one key the newest comes first."""
    newest = {key: number for number, (key, _) in enumerate(OBJECTS)}
    rows = [
        f"<Version><Key>{key}</Key><VersionId>{number}</VersionId><Size>{len(body)}</Size><ETag>{_etag(body)}</ETag>"
        f"<IsLatest>{str(newest[key] == number).lower()}</IsLatest>"
        f"<LastModified>{_DAY.format(number + 1)}</LastModified></Version>"
        for number, (key, body) in sorted(enumerate(OBJECTS), key=lambda item: (item[1][0], -item[0]))
    ]
    return (
        f"<ListVersionsResult><Name>{BUCKET}</Name><Prefix>in/</Prefix><IsTruncated>false</IsTruncated>"
        f"{''.join(rows)}</ListVersionsResult>"
    ).encode()
