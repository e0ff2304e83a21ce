"""A third party on the command line: registered, asked, replayed; its secret stays in the environment."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Command


class Scores(http.server.BaseHTTPRequestHandler):
    bonus = 0.0

    def do_POST(self) -> None:
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_known = self.headers.get("Authorization") == "Bearer sesame"
        answer = json.dumps([row["x"] + self.bonus for row in rows] if is_known else "who are you?").encode()
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scores)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/score"
    server.shutdown()
    server.server_close()
    Scores.bonus = 0.0


def test_a_third_party_from_registration_to_replay(
    retrodict: Command, project: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrodict("init")
    Path("rows.csv").write_text("x\n1.5\n-2.0\n")
    assert "--remote" in retrodict("register", address, "outside").err
    refused = retrodict("register", address, "outside", "--remote", "--header", "Authorization: Bearer sesame")
    assert refused.code == 2
    assert "sesame" not in refused.err
    assert retrodict("register", "rows.csv", "outside", "--timeout", "3").code == 2
    options = ("--remote", "--version", "2026-05", "--header", "Authorization: Bearer ${SCORE_KEY}", "--timeout", "5")
    assert retrodict("register", address, "outside", *options, "--json").record["flavor"] == "remote"
    denied = retrodict("predict", "outside", "--input", "rows.csv")
    assert (denied.code, "SCORE_KEY" in denied.err) == (2, True)
    monkeypatch.setenv("SCORE_KEY", "wrong")
    assert "HTTP status 401" in retrodict("predict", "outside", "--input", "rows.csv").err
    monkeypatch.setenv("SCORE_KEY", "sesame")
    answered = retrodict("predict", "outside", "--input", "rows.csv", "--json").record
    assert answered["outputs"] == [{"value": 1.5}, {"value": -2.0}]
    again = retrodict("replay", str(answered["index"]))
    assert again.code == 2
    assert again.out.startswith("could not tell: third party: outside@v1")
    Scores.bonus = 0.25
    asked = retrodict("replay", str(answered["index"]), "--ask-third-parties", "--json")
    assert asked.code == 2
    assert asked.record["calls"][1]["third_party"]["now"] == "[1.75, -1.75]"
    assert "outside, a third party" in retrodict("log").out
    assert "third party" in retrodict("explain", f"{answered['index']}.0").out
    assert retrodict("verify").code == 0
