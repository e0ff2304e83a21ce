"""Models of somebody else, asked over HTTP: on record, played back, explained; their secrets on no record."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import retrodict
from retrodict.actions.explain import explain
from retrodict.actions.forget import forget
from retrodict.actions.register import register
from retrodict.actions.replay import replay
from retrodict.actions.verify import verify
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest
from retrodict.models import remote
from retrodict.predictions import personal
from retrodict.render.explanation import to_html, to_text
from retrodict.serving import ModelFailedError, Service
from retrodict.testing.workbench import make_workspace, register_source
from retrodict.workspace import Workspace

SECRET = "s3cr3t-c0de"
SERVER = """
import http.server, json, sys, time

class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path = self.path.partition("?")[0]
        status, kind = 200, "application/json"
        if path == "/score":
            given = json.loads(body)
            offset = float(open(sys.argv[1]).read())
            rows = given if isinstance(given, list) else [given]
            found = [row["x"] * 2 + offset for row in rows]
            answer = json.dumps(found if isinstance(given, list) else {"score": found[0]}).encode()
        elif path == "/who":
            answer = json.dumps({"authorized": self.headers.get("Authorization") == "Bearer s3cr3t-c0de"}).encode()
        elif path == "/text":
            answer, kind = b"positive", "text/plain; charset=utf-8"
        elif path == "/bytes":
            answer, kind = bytes(range(256)), "application/octet-stream"
        elif path == "/slow":
            time.sleep(5)
            answer = b"{}"
        elif path == "/moved":
            status, answer = 302, b"elsewhere"
        else:
            status, answer = 503, b'{"error": "overloaded"}'
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        if status == 302:
            self.send_header("Location", "/who")
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self):
        answer = json.dumps({"path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Answers).serve_forever()
"""


class Party:
    """A third party: a process of its own, which may change its mind and go away."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "server.py").write_text(SERVER)
        self.offset = folder / "offset"
        self.offset.write_text("0.5")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, str(folder / "server.py"), str(self.offset), str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the server does not start")

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    made = Party(tmp_path / "party")
    yield made
    made.stop()


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path / "own") as made:
        yield made


def composed(workspace: Workspace, party: Party, extra: str = "") -> Service:
    source = f"""
import retrodict

def predict(rows):
    scores = [
        retrodict.remote_step(
            "scores", {party.url("/score")!r}, {{"x": float(x)}}, version="2026-05",
            headers={{"Authorization": "Bearer {SECRET}"}},
        )["score"]
        for x in rows["x"]
    ]
    {extra or "pass"}
    return [score > 3 for score in scores]
"""
    register_source(workspace, "decision", source)
    return Service(workspace, os.environ)


FRAME = pd.DataFrame({"x": [1.0, 2.0]})


def events(workspace: Workspace, kind: str) -> list[Any]:
    ledger = workspace.ledger
    found = [ledger.event(i) for i in range(ledger.size())]
    return [sequenced for sequenced in found if sequenced.event.kind == kind]


def test_a_step_is_a_part_of_the_answer_with_both_sides_on_record(workspace: Workspace, party: Party) -> None:
    answer = composed(workspace, party).predict("decision", FRAME, caller="shop")
    assert answer.output == [False, True]
    parts = events(workspace, "prediction.fetched")
    assert len(parts) == 2
    body = parts[0].event.body
    assert (body["model"], body["model_name"], body["model_version"], body["requested"]) == (
        None, "scores", "2026-05", "scores",
    )  # fmt: skip
    assert (body["endpoint"], body["method"], body["http_status"]) == (party.url("/score"), "POST", 200)
    assert body["header_names"] == ["authorization"]
    assert workspace.objects.get(body["request"]) == b'{"x": 1.0}'
    assert workspace.objects.get(body["response"]) == b'{"score": 2.5}'
    assert body["parent"] == answer.prediction
    assert body["trace"] == answer.trace
    assert verify(workspace).answer == "yes"


def test_no_secret_of_a_header_or_an_address_is_on_record(workspace: Workspace, party: Party, tmp_path: Path) -> None:
    service = Service(workspace, {"CODE": SECRET})
    address = party.url("/score").replace("//", f"//user:{SECRET}@") + f"?api_key={SECRET}&page=3#{SECRET}"
    asked = remote.question("scores", address, {"x": 1}, headers={"X-Api-Key": SECRET})
    assert remote.ask(service.fetch, asked) == {"score": 2.5}
    (found,) = events(workspace, "prediction.fetched")
    assert found.event.body["endpoint"] == party.url("/score") + "?api_key=hidden&page=3"
    register(
        workspace,
        party.url("/who"),
        "who",
        remote=remote.Address(url=party.url("/who"), headers={"Authorization": "Bearer ${CODE}"}),
    )
    assert service.predict("who", [{"x": 1}]).output == {"authorized": True}
    party.stop()
    for headers in ({"Authorization": f"Bearer {SECRET}"}, {"X\n": SECRET}):
        asked = remote.question("scores", address, {"x": 1}, headers=headers)
        with pytest.raises(remote.ThirdPartyError) as caught:
            remote.ask(service.fetch, asked)
        assert SECRET not in caught.value.message
        assert SECRET not in repr(asked)
    named = remote.question("scores", party.url("/score").replace("//", "//u:pw@"), {"x": 1})
    with pytest.raises(remote.ThirdPartyError, match="refused"):  # a short name hides no other word
        remote.ask(service.fetch, named)
    stored = [path for path in (tmp_path / "own").rglob("*") if path.is_file()]
    assert [path for path in stored if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("path", "value"), [("/text", "positive"), ("/bytes", bytes(range(256))), ("/score", {"score": 4.5})]
)
def test_an_answer_is_what_its_type_says(workspace: Workspace, party: Party, path: str, value: object) -> None:
    service = Service(workspace, {})
    assert remote.ask(service.fetch, remote.question("it", party.url(path), {"x": 2})) == value
    got = remote.ask(service.fetch, remote.question("it", party.url("/a?b=1"), {"q": "ü"}, method="get"))
    assert got == {"path": "/a?b=1&q=%C3%BC"}


@pytest.mark.parametrize(
    ("path", "cause"), [("/none", "HTTP status 503"), ("/moved", "HTTP status 302"), ("/slow", "not within 0.5 s")]
)
def test_what_is_no_answer_is_an_error_and_on_record(workspace: Workspace, party: Party, path: str, cause: str) -> None:
    service = Service(workspace, {})
    with pytest.raises(remote.ThirdPartyError, match=cause):
        remote.ask(service.fetch, remote.question("it", party.url(path), {"x": 2}, timeout_s=0.5))
    (found,) = events(workspace, "prediction.fetched")
    assert found.event.body["status"] == "error"
    assert found.event.body["outputs"] is None
    assert (found.event.body["http_status"] is None) == (path == "/slow")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("ftp://example.org/", {}),
        ("example.org", {}),
        ("http://example.org", {"method": "DELETE"}),
        ("http://example.org", {"timeout_s": 0}),
        ("http://example.org", {"request": FRAME}),
        ("http://example.org", {"request": {"x": float("nan")}}),
        ("http://example.org", {"request": [1], "method": "GET"}),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        remote.question("it", url, options.pop("request", {}), **options)


def test_a_replay_plays_the_answer_back_and_does_not_ask(workspace: Workspace, party: Party) -> None:
    index = composed(workspace, party).predict("decision", FRAME).index
    party.stop()
    found = replay(workspace, str(index), variables=os.environ)
    assert found.verdict == "replicated", found.reason
    assert "2 answers of third parties taken from the record" in found.reason
    assert [call.status for call in found.calls] == ["ok", "played back", "played back"]
    assert found.calls[1].third_party is not None
    assert (found.calls[1].third_party.then, found.calls[1].third_party.now) == ("{score: 2.5}", None)
    part = replay(workspace, found.calls[1].reference, variables=os.environ)
    assert part.verdict == "could not tell"
    assert part.reason.startswith("third party: scores answers at")
    assert "{score: 2.5}" in part.reason


def test_asked_again_a_third_party_says_what_it_answers_now(workspace: Workspace, party: Party) -> None:
    index = composed(workspace, party).predict("decision", FRAME).index
    same = replay(workspace, str(index), variables=os.environ, ask_third_parties=True)
    assert same.verdict == "replicated"
    assert same.differences == ()
    party.offset.write_text("0.75")
    found = replay(workspace, str(index), variables=os.environ, ask_third_parties=True)
    assert found.verdict == "replicated", found.reason
    assert [call.third_party.now for call in found.calls if call.third_party] == ["{score: 2.75}", "{score: 4.75}"]
    assert "largest difference 0.25" in found.differences[0]
    part = replay(workspace, found.calls[2].reference, variables=os.environ, ask_third_parties=True)
    assert part.verdict == "could not tell"
    assert part.reason.endswith("asked now, it answers something else: {score: 4.75}")
    party.stop()
    gone = replay(workspace, str(index), variables=os.environ, ask_third_parties=True)
    assert gone.verdict == "replicated"
    assert "ConnectError" in gone.differences[0]


def test_a_question_that_is_not_on_record_is_not_asked(workspace: Workspace, party: Party, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1.0")
    source = f"""
import retrodict

def predict(rows):
    x = float(open({str(tmp_path / "x")!r}).read())
    return [retrodict.remote_step("scores", {party.url("/score")!r}, {{"x": x}})["score"]]
"""
    register_source(workspace, "drifting", source)
    index = Service(workspace, os.environ).predict("drifting", FRAME.head(1)).index
    (tmp_path / "x").write_text("2.0")
    found = replay(workspace, str(index), variables=os.environ)
    assert found.verdict == "could not tell"
    assert "would have to be asked" in found.reason


def test_a_failed_third_party_fails_again(workspace: Workspace, party: Party) -> None:
    source = (
        f"import retrodict\n\ndef predict(rows):\n    return retrodict.remote_step('it', {party.url('/no')!r}, {{}})\n"
    )
    register_source(workspace, "failing", source)
    with pytest.raises(ModelFailedError, match="HTTP status 503") as caught:
        Service(workspace, os.environ).predict("failing", FRAME)
    found = replay(workspace, str(caught.value.index), variables=os.environ)
    assert found.verdict == "replicated", found.reason


def test_a_registered_third_party_serves_as_a_model(workspace: Workspace, party: Party) -> None:
    address = remote.Address(url=party.url("/score"), version="v7")
    made = register(workspace, party.url("/score"), "outside", remote=address)
    assert made.flavor == "remote"
    assert not register(workspace, party.url("/score"), "outside", remote=address).is_new
    service = Service(workspace, os.environ)
    answer = service.predict("outside", FRAME)
    assert answer.output == [2.5, 4.5]
    register_source(
        workspace, "over", "import retrodict\n\ndef predict(x):\n    return retrodict.load('outside').predict(x)\n"
    )
    over = service.predict("over", FRAME)
    party.offset.write_text("1")
    found = replay(workspace, str(answer.index), variables=os.environ, ask_third_parties=True)
    assert found.verdict == "could not tell"
    assert found.reason.startswith("third party: outside@v1 answers at")
    assert "asked now, it answers something else: [3.0, 5.0]" in found.reason
    assert replay(workspace, str(over.index), variables=os.environ).verdict == "replicated"


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("https://user:pass@example.org/", {}),
        ("https://example.org/?token=abc", {}),
        ("https://example.org/", {"Authorization": "Bearer abc"}),
        ("file:///etc/passwd", {}),
    ],
)
def test_a_registration_that_would_record_a_secret_is_refused(
    workspace: Workspace, url: str, headers: dict[str, str]
) -> None:
    with pytest.raises(UsageError):
        register(workspace, url, "outside", remote=remote.Address(url=url, headers=headers))
    with pytest.raises(UsageError, match=r"is an address|there is no") as caught:
        register(workspace, url, "outside")
    assert "pass@" not in caught.value.message


def test_a_header_whose_variable_is_not_set_is_named(workspace: Workspace, party: Party) -> None:
    address = remote.Address(url=party.url("/who"), headers={"Authorization": "Bearer ${NOT_SET_HERE}"})
    register(workspace, party.url("/who"), "who", remote=address)
    with pytest.raises(ModelFailedError, match="NOT_SET_HERE"):
        Service(workspace, {}).predict("who", FRAME)


def test_an_explanation_shows_third_parties_and_asks_none(workspace: Workspace, party: Party) -> None:
    index = composed(workspace, party).predict("decision", FRAME.head(1)).index
    party.stop()
    assert explain(workspace, f"{index}.0").answers[0].says.startswith("everything that is needed")
    found = explain(workspace, f"{index}.0", replay=True, variables=os.environ)
    three, seven = found.answers[2], found.answers[6]
    text = json.dumps([_said(fact) for fact in three.facts])
    assert "scores, a third party, which calls itself 2026-05" in text
    assert "POST " + party.url("/score") in text
    assert "nobody can tell" in text
    assert "scores" in seven.says
    assert found.answers[0].verdict == "replicated"
    assert "scores" in to_html(found)
    assert to_text(found)
    (part,) = events(workspace, "prediction.fetched")
    of_itself = explain(workspace, str(part.index), variables=os.environ)
    assert "third party" in of_itself.answers[2].facts[0].says


def _said(fact: Any) -> Any:
    return [fact.says, [_said(inner) for inner in fact.facts]]


def test_by_itself_a_step_is_a_prediction_of_its_own(
    workspace: Workspace, party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert retrodict.remote_step("scores", party.url("/score"), {"x": 3}, workspace=workspace) == {"score": 6.5}
    (found,) = events(workspace, "prediction.fetched")
    assert found.event.body["parent"] is None
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(retrodict.kernel.errors.MissingExtraError) as caught:
        retrodict.remote_step("scores", party.url("/score"), {"x": 3}, workspace=workspace)
    assert caught.value.hint == "pip install 'retrodict[remote]'"


def test_what_a_third_party_is_told_about_a_person_is_sealed(workspace: Workspace, party: Party) -> None:
    source = f"""
import retrodict

def predict(rows):
    address = {party.url("/score")!r}
    return [retrodict.remote_step("scores", f"{{address}}?of={{x}}", {{"x": float(x)}})["score"] for x in rows["x"]]
"""
    register_source(workspace, "about", source)
    register(workspace, f"{workspace.root / 'about.py'}:predict", "about", subject="who")
    planted = 918273.5
    answer = Service(workspace, os.environ).predict("about", FRAME.head(1).assign(x=planted, who="ann"))
    found = events(workspace, "prediction.fetched")[-1]
    assert found.event.body["keys"]
    assert str(planted).encode() not in workspace.ledger.entry(found.index)
    assert found.event.body["endpoint"] == party.url("").rstrip("/")
    for role in ("request", "response", "address"):
        digest = Digest(str(found.event.body[role]))
        assert str(planted).encode() not in workspace.objects.get(digest)
    assert str(planted).encode() in personal.exchanged(workspace, found.event.body, "request")
    assert personal.exchanged(workspace, found.event.body, "address").decode() == party.url(f"/score?of={planted}")
    again = replay(workspace, str(answer.index), variables=os.environ)
    assert again.verdict in {"replicated", "could not tell"}, again.reason
    assert "party" in again.reason or again.verdict == "replicated"
    asked = replay(workspace, str(found.index), ask_third_parties=True, variables=os.environ).calls[0].third_party
    assert asked is not None
    assert (asked.endpoint, asked.now) == (found.event.body["endpoint"], asked.then)
    forgotten = forget(workspace, "ann")
    assert found.index in forgotten.reach.calls
    assert replay(workspace, str(answer.index), variables=os.environ).reason == f"erased by entry {forgotten.index}"
