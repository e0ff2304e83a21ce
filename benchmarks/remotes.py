"""What push, pull and clone cost: to a folder, and to a real S3 server (moto's, of its own process, not counted).

    python benchmarks/remotes.py [--files 20000] [--mb 512] [--no-s3]

Beside it, in the same run: a plain copy of the same packs with fsync, and of the same packs to S3 by obstore alone.
Medians of 3; wall, CPU of the process tree, largest process.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Spent, command, fsyncs_per_second, median, retrodict, settings, table, title

REPETITIONS = 3
BUCKET = "benchmarks"

BESIDE = """
import os, sys
for path in sys.argv[2:]:
    with open(path, "rb") as source, open(os.path.join(sys.argv[1], os.path.basename(path)), "wb") as target:
        while block := source.read(1 << 20):
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
"""
BESIDE_S3 = """
import os, sys
from pathlib import Path
import obstore
store = obstore.store.from_url(sys.argv[1], client_options={"allow_http": True})
for path in map(Path, sys.argv[2:]):
    obstore.put(store, path.name, path)
"""


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Start moto's server with an empty bucket; give the variables by which it is found."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    program = str(Path(sys.executable).with_name("moto_server"))
    server = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for attempt in range(300):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                scope = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host"
                connection.request("PUT", f"/{BUCKET}", headers={"Authorization": f"{scope}, Signature=0"})
                connection.getresponse().read()
                break
            except OSError:
                if attempt == 299:
                    raise
                time.sleep(0.1)
        yield {
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
            "NO_PROXY": "127.0.0.1",
        }
    finally:
        server.terminate()
        server.wait(30)


def free_memory(path: Path, size: int) -> None:
    """Write and remove a file: a virtual machine may have to ask for memory at each page, and whoever is next would."""
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def measured(folder: Path, what: str, env: dict[str, str], where: str, beside: str) -> None:
    """Push what lies in `folder` to a place in `where`, clone and pull it, beside a plain copy; print medians."""
    packs = [str(path) for path in sorted((folder / ".retrodict" / "objects").glob("*/*")) if path.suffix != ".json"]
    packs = [path for path in packs if Path(path).parent.name in ("packs", "raw")]
    size = sum(os.path.getsize(path) for path in packs)
    scratch = folder.parent / "scratch"
    ways: dict[str, list[Spent]] = {}
    for turn in range(REPETITIONS):
        hub = f"{where}/{folder.name}{turn}"

        def spend(way: str, argv: list[str], cwd: Path) -> None:
            free_memory(folder.parent / "free", size)
            ways.setdefault(way, []).append(command(argv, cwd=cwd, env=env))

        shutil.rmtree(scratch, ignore_errors=True)
        for name in ("copy", "puller"):
            (scratch / name).mkdir(parents=True)
        target = f"{hub}-alone" if "://" in hub else str(scratch / "copy")
        command(retrodict("init"), cwd=scratch / "puller", env=env)
        spend("the same packs alone", [sys.executable, "-c", beside, target, *packs], scratch)
        spend("push", retrodict("push", hub), folder)
        spend("push, nothing new", retrodict("push", hub), folder)
        spend("pull", retrodict("pull", hub), scratch / "puller")
        spend("pull, nothing new", retrodict("pull", hub), scratch / "puller")
        spend("clone", retrodict("clone", hub, str(scratch / "clone")), scratch)
    title(f"{what}: {len(packs)} packs, {size / 1e6:.0f} MB")
    table({way: median(spent) for way, spent in ways.items()}, against="the same packs alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--mb", type=int, default=512)
    parser.add_argument("--no-s3", action="store_true")
    options = parser.parse_args()
    draw = random.Random(1)
    with tempfile.TemporaryDirectory(dir=".") as name:
        base = Path(name).resolve()
        env = settings(base)
        small, large = base / "small", base / "large"
        for i in range(options.files):
            path = small / "files" / f"{i % 100}" / f"{i}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw.randbytes(draw.randrange(2_000, 8_000)))
        large.mkdir()
        with (large / "file.bin").open("wb") as file:
            for _ in range(options.mb):
                file.write(draw.randbytes(1 << 20))
        for folder, thing in ((small, "files"), (large, "file.bin")):
            command(retrodict("init"), cwd=folder, env=env)
            command(retrodict("add", thing), cwd=folder, env=env)
        print(f"fsync: {fsyncs_per_second(base):,.0f}/s")
        both = ((small, f"{options.files:,} small files"), (large, f"one file of {options.mb} MB"))
        for folder, what in both:
            measured(folder, f"{what}, to a folder", env, str(base / "hubs"), BESIDE)
        if not options.no_s3:
            for folder, what in both:
                with s3_server() as found:  # a new one: it keeps everything in memory
                    measured(folder, f"{what}, to S3", env | found, f"s3://{BUCKET}", BESIDE_S3)


if __name__ == "__main__":
    main()
