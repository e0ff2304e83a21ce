"""A small real workspace that may be backed up, lost and restored; and an S3 server, with a proxy that misbehaves."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from retrodict.testing.workspaces import Built, build

BUCKET = "backups"


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("original"))


@pytest.fixture
def built(original: Built) -> Iterator[Built]:
    """The workspace, at the place that its key knows: it is put back afterwards."""
    kept = original.root.parent / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(original.root, kept / "project", symlinks=True)
    shutil.copytree(original.state, kept / "state")
    yield original
    for folder in (original.root, original.state):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(kept / "project", original.root, symlinks=True)
    shutil.copytree(kept / "state", original.state)


@dataclass
class S3:
    """A server of its own process that speaks S3, and how to reach it.

    `fault` names what the proxy before it does to the next `faults` requests whose line contains `matching`.
    """

    port: int
    proxy: int = 0
    fault: str = ""
    faults: int = 0
    matching: bytes = b""
    struck: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str) -> str:
        return f"s3://{BUCKET}/{path}"

    def strikes(self, line: bytes) -> str:
        with self.lock:
            if self.faults > 0 and self.matching in line:
                self.faults -= 1
                self.struck += 1
                return self.fault
        return ""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """moto's server: light, from PyPI, in a process of its own, and spoken to as any S3 is. MinIO is not to be had."""
    pytest.importorskip("moto")
    pytest.importorskip("obstore")
    port = free_port()
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                scope = (
                    "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
                )
                connection.request("PUT", f"/{BUCKET}", headers={"Authorization": f"{scope}Signature=0"})
                assert connection.getresponse().status == 200
                break
            except OSError:
                assert time.monotonic() < deadline, "the S3 server does not start"
                time.sleep(0.1)
        yield S3(port=port)
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server behind a proxy that can fail."""
    server = S3(port=s3_server.port)

    class Proxy(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                data = self.request.recv(65536)
                if not data:
                    return
                head += data
            fault = server.strikes(head.split(b"\r\n", 1)[0])
            if fault == "stall":
                time.sleep(3)
                return
            if fault == "503":
                self.request.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            with socket.create_connection(("127.0.0.1", server.port)) as upstream:
                upstream.sendall(head)
                threading.Thread(target=self.forward, args=(upstream,), daemon=True).start()
                answer = b""
                while data := upstream.recv(65536):
                    if fault == "truncate":
                        answer += data
                    else:
                        self.request.sendall(data)
                self.request.sendall(answer[: len(answer) * 2 // 3])

        def forward(self, upstream: socket.socket) -> None:
            try:
                while data := self.request.recv(65536):
                    upstream.sendall(data)
            except OSError:
                pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            """A client that went away is what some of these tests are about."""

    with Server(("127.0.0.1", 0), Proxy) as proxy:
        server.proxy = proxy.server_address[1]
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": f"http://127.0.0.1:{server.proxy}",
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield server
        proxy.shutdown()


def environment(built: Built) -> dict[str, str]:
    return {**os.environ, "RETRODICT_STATE": str(built.state), "RETRODICT_AGENT": "Ada Lovelace <ada@example.com>"}
