"""Durable predictions over HTTP: each is on disk before its answer is sent.

    python benchmarks/serving.py [SECONDS]

Budget for one serving process: 64 callers with one row each >= 2,000 predictions/s; batches of 32 and more >= 10,000
rows/s. The callers run in processes of their own, whose CPU is not counted; where they share two cores with the
server, CPU per call tells more than the rate. Beside it: the disk's fsync rate, the same server without model and
record, and the same service without HTTP.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import measure

from retrodict.actions.register import register
from retrodict.serving import Service
from retrodict.testing.workspaces import Built, build

MODEL = "def predict(x):\n    return x * 2.0\n"


def question(rows: int) -> bytes:
    """Return an inference request with one FP64 tensor of `rows` values."""
    tensor = {"name": "x", "shape": [rows], "datatype": "FP64", "data": [i * 0.5 for i in range(rows)]}
    return json.dumps({"inputs": [tensor]}).encode()


def call(url: str, method: str, path: str, body: bytes | None, seconds: float) -> int:
    """Ask over one connection until time is up; return how often it was answered."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    answered, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        connection.request(method, path, body)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {text!r}")
        answered += 1
    connection.close()
    return answered


def callers(arguments: list[str]) -> None:
    """Be a process of callers: URL, method, path, rows (0: no body), threads, seconds; print how many were answered."""
    url, method, path, rows, threads, seconds = arguments
    body = question(int(rows)) if int(rows) else None
    counts = [0] * int(threads)

    def one(number: int) -> None:
        counts[number] = call(url, method, path, body, float(seconds))

    running = [threading.Thread(target=one, args=(number,)) for number in range(int(threads))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print(sum(counts))


def load(url: str, threads: int, rows: int, seconds: float, path: str = "/v2/models/twice/infer") -> int:
    """Let callers ask; return how many calls were answered. Two processes where there are several callers."""
    method = "POST" if rows else "GET"
    shares = [threads] if threads == 1 else [threads // 2, threads - threads // 2]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "callers", url, method, path, str(rows), str(share), str(seconds)],
            stdout=subprocess.PIPE,
        )
        for share in shares
    ]
    return sum(int(process.communicate()[0]) for process in processes)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(name: str, server: int, seconds: float, rows: int, ask: Callable[[], int]) -> None:
    """Ask, and print the rate and the server's CPU a call."""
    before = cpu_s(server)
    answered = ask()
    spent = (cpu_s(server) - before) / max(answered, 1)
    rate = answered / seconds
    per_row = f"{rate * rows:10,.0f} rows/s" if rows > 1 else " " * 17
    print(f"{name:<44} {rate:9,.0f} /s {per_row}   server CPU {spent * 1e6:8,.0f} us a call", flush=True)


def main(seconds: float = 3.0) -> None:
    measure.title("Serving")
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).absolute()
        built = build(folder)
        (built.root / "twice.py").write_text(MODEL)
        with built.open() as workspace:
            register(workspace, str(built.root / "twice.py"), "twice")
        measure.figure("fsync of 4 KiB, one thread", measure.fsyncs_per_second(folder), "/s")
        _over_http(built, seconds)
        _without_http(built, seconds)
        shutil.rmtree(built.root)


def _over_http(built: Built, seconds: float) -> None:
    env = os.environ | {"RETRODICT_STATE": str(built.state)}
    serve = measure.retrodict("serve", "twice", "--port", "0", "--json")
    with subprocess.Popen(serve, cwd=built.root, env=env, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        load(url, 1, 1, 0.5)  # warm
        for threads in (1, 16, 64):
            report(
                f"HTTP without model and record, {threads} callers",
                server.pid,
                seconds,
                1,
                lambda threads=threads: load(url, threads, 0, seconds, "/v2/health/live"),
            )
        for threads, rows in ((1, 1), (16, 1), (64, 1), (16, 32), (16, 256)):
            report(
                f"durable predictions, {threads} callers x {rows} rows",
                server.pid,
                seconds,
                rows,
                lambda threads=threads, rows=rows: load(url, threads, rows, seconds),
            )
        server.terminate()


def _without_http(built: Built, seconds: float) -> None:
    import numpy as np

    with built.open() as workspace:
        service = Service(workspace)
        for threads, rows in ((1, 1), (64, 1), (64, 32)):
            data = np.arange(rows, dtype="f8")
            counts = [0] * threads
            end = time.perf_counter() + seconds

            def one(number: int, data: object = data, counts: list[int] = counts, end: float = end) -> None:
                while time.perf_counter() < end:
                    service.predict("twice", data)
                    counts[number] += 1

            def ask(threads: int = threads, counts: list[int] = counts, one: Callable[[int], None] = one) -> int:
                running = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
                for thread in running:
                    thread.start()
                for thread in running:
                    thread.join()
                return sum(counts)

            report(f"the same without HTTP, {threads} threads x {rows} rows", os.getpid(), seconds, rows, ask)


if __name__ == "__main__":
    if sys.argv[1:2] == ["callers"]:
        callers(sys.argv[2:])
    else:
        main(*map(float, sys.argv[1:]))
