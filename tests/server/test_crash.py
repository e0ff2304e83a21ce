"""A server that is killed has lost no answer that anybody was given; one that is told to stop leaves nothing open."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from retrodict.kernel.note import decode_checkpoint
from retrodict.testing.workbench import make_workspace, register_source, reopen

SERVE = """
import sys
from pathlib import Path
from retrodict.server import serve
from retrodict.testing.workbench import reopen

with reopen(Path(sys.argv[1])) as workspace:
    serve(workspace, ["twice"], port=0, ready=lambda url: print(url, flush=True))
"""
ASK = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [21]}]})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    with make_workspace(tmp_path) as workspace:
        register_source(workspace, "twice", "def predict(x):\n    return x * 2\n")
    return tmp_path


def start(project: Path) -> tuple[subprocess.Popen[str], str]:
    server = subprocess.Popen([sys.executable, "-c", SERVE, str(project)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    return server, url


class Load:
    """Clients that ask until the server is gone, and keep what they were answered."""

    def __init__(self, url: str, clients: int) -> None:
        self.answers: list[dict[str, str]] = []
        self._threads = [threading.Thread(target=self._ask, args=(url,)) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while True:
                try:
                    answer = client.post("/v2/models/twice/infer", content=ASK)
                except httpx.HTTPError:
                    return
                assert answer.status_code == 200
                self.answers.append(answer.json()["parameters"])

    def wait_for(self, answers: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.answers) < answers and time.monotonic() < deadline:
            time.sleep(0.01)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


def test_every_answer_that_was_given_survives_kill_9(project: Path) -> None:
    given: list[dict[str, str]] = []
    for _ in range(3):
        server, url = start(project)
        load = Load(url, clients=8)
        load.wait_for(150)
        os.kill(server.pid, signal.SIGKILL)
        load.join()
        server.communicate()
        assert len(load.answers) >= 150
        given += load.answers
    with reopen(project) as workspace:
        for answer in given:
            sequenced = workspace.ledger.find(answer["prediction_id"])  # type: ignore[arg-type]
            assert sequenced is not None
            assert f"{sequenced.index}.0" == answer["prediction"]
            assert sequenced.leaf_hash.hex() == answer["leaf_hash"]
        assert not [f for f in workspace.ledger.verify(None) if f.level in {"altered", "missing"}]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_finishes_publishes_and_exits_0(project: Path, number: signal.Signals) -> None:
    server, url = start(project)
    load = Load(url, clients=2)
    load.wait_for(20)
    server.send_signal(number)
    load.join()
    assert server.wait(30) == 0
    with reopen(project) as workspace:
        note = workspace.ledger.checkpoint()
        assert note is not None
        assert decode_checkpoint(note).size == workspace.ledger.size()
        found = {s.event.id for s in workspace.ledger.read()}
        assert {answer["prediction_id"] for answer in load.answers} <= found


def test_a_checkpoint_is_published_while_it_runs(project: Path) -> None:
    server, url = start(project)
    try:
        answer = httpx.post(f"{url}/v2/models/twice/infer", content=ASK).json()["parameters"]
        with reopen(project) as workspace:
            index = int(answer["prediction"].partition(".")[0])
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                note = workspace.ledger.checkpoint()
                if note is not None and decode_checkpoint(note).size > index:
                    break
                time.sleep(0.05)
            else:
                pytest.fail("no checkpoint covers the answer")
    finally:
        server.terminate()
        server.communicate()
