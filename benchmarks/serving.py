"""Durable predictions over HTTP, each on disk before its answer is sent; beside MLServer and `mlflow models serve`.

    python benchmarks/serving.py [--seconds 3] [--rounds 3] [--no-peers]

Budget for one serving process: 64 callers with one row each >= 2,000 predictions/s; batches of 32 and more >= 10,000
rows/s. The callers run in a process of their own, whose CPU is not counted; where they share two cores with the
server, requests per second of the server's CPU tell more than the rate. All servers are up at once and asked in turn,
round after round, so that a change of the machine's load meets all of them; medians are printed. The peers log
nothing. All serve the same model (scikit-learn's scaler and logistic regression over 20 features), asked with the same
numbers: retrodict and MLServer in the Open Inference Protocol, MLflow in its own JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import measure

from retrodict.actions.alias import alias
from retrodict.actions.register import register
from retrodict.testing.workbench import make_workspace

ENVIRONMENTS = Path(__file__).parents[1] / "tests" / "environments" / "make.sh"
FEATURES = 20
TWICE = "def predict(x):\n    return x * 2.0\n"


# ---- the load: one process, one connection a caller ------------------------------------------------------------------


class Caller(asyncio.Protocol):
    """Asks again as soon as it is answered."""

    def __init__(self, request: bytes, until: float, latencies: list[float]) -> None:
        self._request, self._until, self._latencies = request, until, latencies
        self._buffer = b""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if not length or len(body) < int(length):
            return
        if b" 200 " not in head[:16]:
            self.gone.set_exception(RuntimeError(f"{head!r} {body[:500]!r}"))
            self._transport.close()
            return
        now = time.perf_counter()
        self._latencies.append(now - self._asked)
        self._buffer = b""
        if now < self._until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.gone.done():
            self.gone.set_result(None)


async def call(url: str, request: bytes, callers: int, seconds: float) -> list[float]:
    """Let callers ask; return how long each answer took, in seconds."""
    where = urlsplit(url)
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Caller(request, until, latencies), where.hostname, where.port)
        for _ in range(callers)
    ]
    await asyncio.gather(*(caller.gone for _, caller in made))
    return latencies


def load(url: str, path: str, body: bytes, callers: int, seconds: float) -> list[float]:
    """Let callers ask from another process; return how long each answer took, sorted."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    )
    command = [sys.executable, __file__, "--callers", str(callers), "--seconds", str(seconds), "--url", url]
    done = subprocess.run(command, input=head.encode() + b"\r\n" + body, stdout=subprocess.PIPE, check=True)
    return sorted(json.loads(done.stdout))


# ---- what is asked ---------------------------------------------------------------------------------------------------


def numbers(rows: int) -> list[float]:
    return [((7 * i) % 23) / 7 - 1.5 for i in range(rows * FEATURES)]


def oip(rows: int) -> bytes:
    tensor = {"name": "x", "shape": [rows, FEATURES], "datatype": "FP64", "data": numbers(rows)}
    return json.dumps({"inputs": [tensor]}).encode()


def oip_column(rows: int) -> bytes:
    tensor = {"name": "x", "shape": [rows], "datatype": "FP64", "data": numbers(rows)[:rows]}
    return json.dumps({"inputs": [tensor]}).encode()


def mlflow_json(rows: int) -> bytes:
    flat = numbers(rows)
    return json.dumps({"inputs": [flat[i * FEATURES : (i + 1) * FEATURES] for i in range(rows)]}).encode()


def make_model() -> object:
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(0)
    x = random.normal(size=(2000, FEATURES))
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(x, x.sum(axis=1) > 0)


# ---- servers ---------------------------------------------------------------------------------------------------------


@contextmanager
def server(command: list[str], folder: Path, variables: Mapping[str, str], url: str, ready: str) -> Iterator[int]:
    """Run a server until it answers, then stop it; gives its process group."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | variables, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(url + ready, timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} does not answer: {log.read_text()[-2000:]}") from None
                time.sleep(0.1)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(group: int) -> float:
    """Return the CPU seconds that the processes of a group have used."""
    spent = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            spent += int(fields[11]) + int(fields[12])
    return spent / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One row of the table: who is asked, and with what.

    Attributes:
        group: The server's processes.
    """

    name: str
    group: int
    url: str
    path: str
    body: bytes
    callers: int
    rows: int

    @property
    def case(self) -> tuple[int, int]:
        """By what it is compared with others."""
        return self.callers, self.rows


class Figures(NamedTuple):
    """What came of it: answers a second, and a second of the server's CPU; how long they took, in ms."""

    rate: float
    per_cpu: float
    p50_ms: float
    p99_ms: float


def measured(asked: Asked, seconds: float) -> Figures:
    """Ask for some seconds, and before that for a moment that does not count."""
    load(asked.url, asked.path, asked.body, asked.callers, min(seconds, 0.5))
    before = cpu_s(asked.group)
    latencies = load(asked.url, asked.path, asked.body, asked.callers, seconds)
    spent = max(cpu_s(asked.group) - before, 1e-9)
    p50, p99 = (latencies[int(q * (len(latencies) - 1))] * 1e3 for q in (0.5, 0.99))
    return Figures(len(latencies) / seconds, len(latencies) / spent, p50, p99)


def median(asked: Asked, rounds: Sequence[Figures]) -> Figures:
    """Print and return the median of each figure."""
    found = Figures(*(statistics.median(column) for column in zip(*rounds, strict=True)))
    what = f"{asked.callers} callers x {asked.rows} rows"
    print(
        f"{asked.name:<36} {what:<22} {found.rate:8,.0f} /s {found.rate * asked.rows:10,.0f} rows/s "
        f"{found.per_cpu:8,.0f} /cpu-s p50 {found.p50_ms:7.2f} ms p99 {found.p99_ms:7.2f} ms",
        flush=True,
    )
    return found


def peer(name: str) -> str | None:
    """Return the interpreter of a peer's environment; None, with the reason printed, where it cannot be made."""
    made = subprocess.run(["bash", ENVIRONMENTS, name], stdout=subprocess.PIPE, text=True, check=False)
    if made.returncode:
        print(f"{name} is left out: its environment could not be made")
        return None
    return made.stdout.strip()


CASES = ((1, 1), (16, 1), (64, 1), (16, 32))
TOGETHER, ALONE = "retrodict, scored together", "retrodict, each scored alone"


@contextmanager
def ours(folder: Path, model: Path) -> Iterator[list[Asked]]:
    with make_workspace(folder) as workspace:
        register(workspace, str(model), "together")
        register(workspace, str(model), "alone", row_wise=False)
        twice = folder / "twice.py"
        twice.write_text(TWICE)
        register(workspace, str(twice), "twice")
        alias(workspace, "together@champion", "v1", reason="the only one")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = measure.retrodict("serve", "together@champion", "alone", "twice", "--port", str(port))
    state = {"RETRODICT_STATE": str(folder / "state")}
    with server(command, folder / "project", state, url, "/v2/health/ready") as group:
        kinds = (("together", TOGETHER, oip, CASES), ("alone", ALONE, oip, CASES))
        others = ("twice", "retrodict, x -> 2 x", oip_column, ((64, 1), (16, 256)))
        yield [
            Asked(
                name=says,
                group=group,
                url=url,
                path=f"/v2/models/{name}/infer",
                body=body(rows),
                callers=callers,
                rows=rows,
            )
            for name, says, body, cases in (*kinds, others)
            for callers, rows in cases
        ]


@contextmanager
def mlserver(folder: Path, model: Path) -> Iterator[list[Asked]]:
    python = peer("mlserver")
    if python is None:
        yield []
        return
    shutil.copyfile(model, folder / "model.joblib")
    ports = [free_port() for _ in range(3)]
    settings = dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
    (folder / "settings.json").write_text(
        json.dumps({"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **settings})
    )
    (folder / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "m",
                "implementation": "mlserver_sklearn.SKLearnModel",
                "parameters": {"uri": "./model.joblib", "version": "v1"},
            }
        )
    )
    url = f"http://127.0.0.1:{ports[0]}"
    command = [str(Path(python).parent / "mlserver"), "start", "."]
    with server(command, folder, {}, url, "/v2/models/m/ready") as group:
        yield [
            Asked(
                name="MLServer (no log)",
                group=group,
                url=url,
                path="/v2/models/m/infer",
                body=oip(rows),
                callers=callers,
                rows=rows,
            )
            for callers, rows in CASES
        ]


@contextmanager
def mlflow(folder: Path, model: Path) -> Iterator[list[Asked]]:
    python = peer("mlflow")
    if python is None:
        yield []
        return
    save = (
        "import mlflow.sklearn, pickle, sys; mlflow.sklearn.save_model(pickle.load(open(sys.argv[1], 'rb')), 'model')"
    )
    variables = {"PATH": f"{Path(python).parent}:{os.environ['PATH']}", "MLFLOW_TRACKING_URI": f"file:{folder}/runs"}
    subprocess.run(
        [python, "-c", save, str(model)], cwd=folder, env=os.environ | variables, check=True, capture_output=True
    )
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(python).parent / "mlflow"), "models", "serve", "-m", "model", "--env-manager", "local", "-p"]
    with server([*command, str(port), "-h", "127.0.0.1"], folder, variables, url, "/ping") as group:
        yield [
            Asked(
                name="mlflow models serve (no log)",
                group=group,
                url=url,
                path="/invocations",
                body=mlflow_json(rows),
                callers=callers,
                rows=rows,
            )
            for callers, rows in CASES
        ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--callers", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.callers:
        request = sys.stdin.buffer.read()
        print(json.dumps(asyncio.run(call(given.url, request, given.callers, given.seconds))))
        return
    measure.title("Serving")
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).absolute()
        model = folder / "model.pkl"
        model.write_bytes(pickle.dumps(make_model()))
        measure.figure("fsync of 4 KiB, one thread", measure.fsyncs_per_second(folder), "/s")
        rows: list[Asked] = []
        with ExitStack() as stack:
            for serve in (ours,) if given.no_peers else (ours, mlserver, mlflow):
                (folder / serve.__name__).mkdir()
                rows += stack.enter_context(serve(folder / serve.__name__, model))
            rows.sort(key=lambda asked: CASES.index(asked.case) if asked.case in CASES else len(CASES))
            runs = [[measured(asked, given.seconds) for asked in rows] for _ in range(given.rounds)]
    medians = {(a.name, a.case): median(a, found) for a, found in zip(rows, zip(*runs, strict=True), strict=True)}
    for case in CASES:
        peers = [found.per_cpu for (name, of), found in medians.items() if of == case and "no log" in name]
        if peers:
            ratios = ", ".join(f"{name} {medians[name, case].per_cpu / max(peers):.1f} x" for name in (TOGETHER, ALONE))
            print(f"requests per CPU second against the best peer, {case[0]} callers x {case[1]} rows: {ratios}")


if __name__ == "__main__":
    main()
