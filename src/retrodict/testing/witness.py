"""A witness as another party runs it (C2SP tlog-witness), a process of its own: `python -m retrodict.testing.witness`.

It keeps one checkpoint per log in a folder, durable before it answers. It shares nothing with the code it watches but
the arithmetic of the tree; it prints its verifier key and its address when it is ready.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import struct
import threading
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from retrodict.kernel.durable import write_file
from retrodict.kernel.errors import IntegrityError
from retrodict.kernel.merkle import EMPTY_ROOT, verify_consistency
from retrodict.kernel.note import Checkpoint, decode_checkpoint, verify_note
from retrodict.keys import LogVerifier

_ED25519, _ML_DSA_44 = 0x04, 0x06
_MAX_BODY = 1_000_000


class Refused(Exception):  # noqa: N818 - an answer
    """The witness answers with a status other than 200."""

    def __init__(self, status: int, body: str = "", content_type: str = "text/plain") -> None:
        super().__init__(body)
        self.status, self.body, self.content_type = status, body, content_type


class Witness:
    """Cosigns checkpoints of the logs that it knows, each a continuation of the one before."""

    def __init__(self, name: str, folder: Path, logs: list[str], *, algorithm: int = _ED25519) -> None:
        self.name, self._folder, self._algorithm = name, folder, algorithm
        self._logs: dict[str, list[LogVerifier]] = {}
        for text in logs:
            verifier = LogVerifier.from_text(text)
            self._logs.setdefault(verifier.name, []).append(verifier)
        self._lock = threading.Lock()
        self._key: Any
        if algorithm == _ED25519:
            self._key = Ed25519PrivateKey.generate()
        else:
            from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

            self._key = MLDSA44PrivateKey.generate()
        self._public = self._key.public_key().public_bytes_raw()
        self._key_id = sha256(name.encode() + b"\n" + bytes([algorithm]) + self._public).digest()[:4]

    @property
    def key(self) -> str:
        """The verifier key."""
        packed = base64.b64encode(bytes([self._algorithm]) + self._public).decode()
        return f"{self.name}+{self._key_id.hex()}+{packed}"

    def add_checkpoint(self, body: bytes) -> str:
        """Return a signature line.

        Raises:
            Refused: See the specification's statuses.
        """
        old, proof, checkpoint = _parsed(body)
        known = self._logs.get(checkpoint.origin)
        if known is None:
            raise Refused(404, "unknown log\n")
        try:
            verify_note(checkpoint, known)
        except IntegrityError as error:
            raise Refused(403, f"{error}\n") from None
        if old > checkpoint.size:
            raise Refused(400, "the old size is larger than the checkpoint's\n")
        path = self._folder / hashlib.sha256(checkpoint.origin.encode()).hexdigest()
        with self._lock:
            size, root = json.loads(path.read_text()) if path.exists() else (0, EMPTY_ROOT.hex())
            if old != size:
                raise Refused(409, f"{size}\n", "text/x.tlog.size")
            if old == checkpoint.size and old and bytes.fromhex(root) != checkpoint.root:
                raise Refused(409, f"{size}\n", "text/x.tlog.size")
            if not verify_consistency(old, checkpoint.size, bytes.fromhex(root), checkpoint.root, proof):
                raise Refused(422, "the proof of consistency does not verify\n")
            write_file(path, json.dumps([checkpoint.size, checkpoint.root.hex()]).encode())
        now = int(time.time())
        raw = self._key_id + struct.pack(">Q", now) + self._key.sign(self._message(checkpoint, now))
        return f"— {self.name} {base64.b64encode(raw).decode()}\n"

    def _message(self, checkpoint: Checkpoint, now: int) -> bytes:
        if self._algorithm == _ED25519:
            return f"cosignature/v1\ntime {now}\n{checkpoint.text}".encode()
        name, origin = self.name.encode(), checkpoint.origin.encode()
        head = b"subtree/v1\n\0" + bytes([len(name)]) + name + struct.pack(">Q", now)
        return head + bytes([len(origin)]) + origin + struct.pack(">QQ", 0, checkpoint.size) + checkpoint.root


def _parsed(body: bytes) -> tuple[int, list[bytes], Checkpoint]:
    head, _, note = body.partition(b"\n\n")
    try:
        first, *lines = head.decode("ascii").split("\n")
        word, size = first.split(" ")
        if word != "old" or str(int(size)) != size or len(lines) > 63:
            raise ValueError("no old size")
        return int(size), [base64.b64decode(line, validate=True) for line in lines], decode_checkpoint(note)
    except (ValueError, IntegrityError) as error:
        raise Refused(400, f"{error}\n") from None


def serve(witness: Witness, port: int = 0) -> ThreadingHTTPServer:
    """Return a server on loopback that answers for `witness`; the caller lets it run."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), _MAX_BODY))
                if self.path != "/add-checkpoint":
                    raise Refused(404)
                status, text, kind = 200, witness.add_checkpoint(body), "text/plain"
            except Refused as refused:
                status, text, kind = refused.status, refused.body, refused.content_type
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            del format, args

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    """Run a witness until it is stopped."""
    parser = argparse.ArgumentParser(description="A witness for tests.")
    parser.add_argument("--name", default="witness.example/w1")
    parser.add_argument("--state", type=Path, required=True, help="where it keeps what it has cosigned")
    parser.add_argument("--log", action="append", required=True, help="verifier key of a log that it watches")
    parser.add_argument("--ml-dsa", action="store_true", help="sign by ML-DSA-44 instead of Ed25519")
    given = parser.parse_args()
    witness = Witness(given.name, given.state, given.log, algorithm=_ML_DSA_44 if given.ml_dsa else _ED25519)
    server = serve(witness)
    print(json.dumps({"key": witness.key, "url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
