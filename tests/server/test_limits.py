"""Requests that lie: refused within limits, memory bounded, nothing of them logged, and the server goes on."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from tests.server.running import Running, tensor

from retrodict.server import Limits
from retrodict.server.measures import JsonFormatter
from retrodict.server.run import log_to_stderr
from retrodict.testing.workbench import make_workspace, register_source

MIB = 1024 * 1024
SLOW = "import time\ndef predict(frame):\n    time.sleep(float(frame[0]))\n    return frame\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with make_workspace(tmp_path_factory.mktemp("limits")) as workspace:
        register_source(workspace, "echo", "def predict(x):\n    return x\n")
        register_source(workspace, "slow", SLOW)
        limits = Limits(body_bytes=32 * MIB, bodies_bytes=64 * MIB, rows=1000, requests=20, answer_s=3.0, request_s=1.0)
        running = Running(workspace, ["echo", "slow"], limits=limits)
        yield running
        running.stop()


def raw(served: Running, data: bytes, *, shut: bool = False) -> bytes:
    """Send bytes, and return everything that comes back."""
    where = urlsplit(served.url)
    assert where.hostname is not None
    with socket.create_connection((where.hostname, where.port or 0), timeout=20) as connection:
        connection.sendall(data)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


ONE_VALUE = b'{"inputs":[{"name":"%s","shape":[1],"datatype":"%s","data":[%s]}]}'
HEAD = b"POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\ncontent-length: "
DEEP = json.loads("[" * 900 + "]" * 900)
LIES: dict[str, tuple[Any, int]] = {
    "a shape that overflows": ({"inputs": [tensor("x", "FP64", [], [2**40, 2**40])]}, 400),
    "a shape that overflows but for a zero": ({"inputs": [tensor("x", "FP64", [], [0, 2**63])]}, 400),
    "sizes whose product overflows": ({"inputs": [tensor("x", "FP64", [1.0], [2**31 - 1, 2**31 - 1, 2**31 - 1])]}, 400),
    "no axes": ({"inputs": [{**tensor("x", "FP64", [1.0]), "shape": []}]}, 400),
    "very many axes": ({"inputs": [tensor("x", "FP64", [1.0], [1] * 100)]}, 400),
    "a size that is a boolean": ({"inputs": [tensor("x", "FP64", [1.0], [True])]}, 400),
    "a number that overflows": (ONE_VALUE % (b"x", b"FP64", b"-1e400"), 400),
    "NaN as text": ({"inputs": [tensor("x", "FP64", ["NaN"])]}, 400),
    "a number too large for its type": ({"inputs": [tensor("x", "FP32", [1e300])]}, 400),
    "an integer of 5,000 digits": (ONE_VALUE % (b"x", b"FP64", b"9" * 5000), 400),
    "a large integer as a float": ({"inputs": [tensor("x", "FP64", [10**400])]}, 400),
    "bytes that are not UTF-8": (b'{"inputs":[{"name":"\xff","shape":[1],"datatype":"FP64","data":[1]}]}', 400),
    "half a surrogate pair": (ONE_VALUE % (b"x", b"BYTES", b'"\\ud800"'), 400),
    "half a surrogate pair as a name": (ONE_VALUE % (b"\\ud800", b"BOOL", b"true"), 400),
    "deep JSON": (b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "deep data": ({"inputs": [{**tensor("x", "FP64", []), "shape": [1], "data": DEEP}]}, 400),
    "too many rows": ({"inputs": [tensor("x", "FP64", [1.0] * 1001)]}, 413),
    "too much JSON": (b" " * (17 * MIB), 413),
    "too much": (b" " * (33 * MIB), 413),
    "nothing": (b"", 400),
    "a datatype that is a list": ({"inputs": [{**tensor("x", "FP64", [1.0]), "datatype": ["FP64"]}]}, 400),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_within_limits(served: Running, lie: str) -> None:
    body, status = LIES[lie]
    size = served.workspace.ledger.size()
    answer = served.infer("echo", body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert len(answer.content) < 1000
    assert served.workspace.ledger.size() == size
    assert served.is_well()


def test_ten_thousand_columns_are_answered(served: Running) -> None:
    body = {"inputs": [tensor(f"c{i}", "FP64", [float(i)]) for i in range(10_000)]}
    answer = served.infer("echo", body)
    assert answer.status_code == 200
    assert len(answer.json()["outputs"]) == 10_000


def test_a_bomb_is_not_unpacked(served: Running) -> None:
    bomb = gzip.compress(b"\0" * (1 << 30), 9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert served.infer("echo", bomb, **{"content-encoding": "gzip"}).status_code == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB; 1 GiB would be unpacked
    assert served.is_well()


def test_what_follows_a_compressed_body_is_refused(served: Running) -> None:
    packed = gzip.compress(b"{}") + b"more"
    assert served.infer("echo", packed, **{"content-encoding": "gzip"}).status_code == 400


def test_bodies_together_have_a_limit(served: Running) -> None:
    """Connections that announce much and hold it back must not fill the memory; others are told to come again."""
    where = urlsplit(served.url)
    assert where.hostname is not None
    held = []
    for _ in range(3):
        connection = socket.create_connection((where.hostname, where.port or 0), timeout=20)
        size = 31 * MIB
        connection.sendall(f"POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n".encode())
        with contextlib.suppress(OSError):  # it may be refused while it is sent
            connection.sendall(b" " * (30 * MIB))
        held.append(connection)
    statuses = []
    for connection in held:
        try:
            statuses.append(connection.recv(100).partition(b"\r\n")[0])
        except OSError:
            statuses.append(b"reset")
        connection.close()
    assert any(b" 503 " in status or status == b"reset" for status in statuses)
    assert served.is_well()


def test_a_slow_body_is_given_up(served: Running) -> None:
    started = time.monotonic()
    answer = raw(served, b"POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":' in answer
    assert time.monotonic() - started < 10


def test_a_connection_that_says_nothing_is_closed(served: Running) -> None:
    assert raw(served, b"") == b""


@pytest.mark.parametrize(
    ("data", "starts"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /v2 HTTP/1.1\r\n" + b"".join(b"h%d: %s\r\n" % (i, b"x" * 1000) for i in range(66)), b"HTTP/1.1 431 "),
        (b"GET /v2/\xff HTTP/1.1\r\nhost: x\r\n\r\n", b"HTTP/1.1 400 "),
        (b"POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n", b"HTTP/1.1 400 "),
        (HEAD + b"99999999999999\r\nconnection: close\r\n\r\n", b"HTTP/1.1 413 "),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_as_json_and_logged(
    served: Running, data: bytes, starts: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "retrodict.server"):
        answer = raw(served, data)
    assert answer.startswith(starts)
    assert b'{"error":' in answer
    assert served.is_well()
    status = starts.split()[1].decode()
    refused = [record for record in caplog.records if record.name == "retrodict.server"]
    assert [str(record.fields["status"]) for record in refused] == [status]  # type: ignore[attr-defined]
    assert f'status="{status}"' in served.client.get("/metrics").text


def test_every_line_of_the_log_is_json_uvicorns_too(capfd: pytest.CaptureFixture[str]) -> None:
    loggers = [logging.getLogger(name) for name in ("retrodict.server", "uvicorn")]
    before = [(log.handlers[:], log.level, log.propagate) for log in loggers]
    try:
        for log in loggers:
            log.handlers.clear()
        log_to_stderr()
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        logging.getLogger("retrodict.server").info("loaded", extra={"fields": {"version": "m@v1"}})
    finally:
        for log, (handlers, level, propagate) in zip(loggers, before, strict=True):
            log.handlers[:], log.propagate = handlers, propagate
            log.setLevel(level)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["Invalid HTTP request received.", "loaded"]


def test_half_a_request_and_a_closed_socket_leave_nothing(served: Running) -> None:
    size = served.workspace.ledger.size()
    for data in (b"POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{", b"GET /v2"):
        raw(served, data, shut=True)
    assert served.workspace.ledger.size() == size
    assert served.is_well()


def test_who_asked_and_says_no_more_is_answered(served: Running) -> None:
    body = json.dumps({"inputs": [tensor("s", "FP64", [0.2])]}).encode()
    request = f"POST /v2/models/slow/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    for asked in (1, 3):  # one after the other, without waiting
        answers = raw(served, request * asked, shut=True)
        assert (answers.count(b"HTTP/1.1 200 OK"), answers.count(b"connection: close")) == (asked, 1)


def test_who_leaves_before_the_answer_changes_nothing_for_others(served: Running) -> None:
    body = json.dumps({"inputs": [tensor("s", "FP64", [0.2])]}).encode()
    head = f"POST /v2/models/slow/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    where = urlsplit(served.url)
    assert where.hostname is not None
    for _ in range(5):
        with socket.create_connection((where.hostname, where.port or 0)) as connection:
            connection.sendall(head + body)
    assert served.infer("slow", {"inputs": [tensor("s", "FP64", [0.0])]}).status_code == 200


def test_an_answer_that_takes_too_long_is_not_waited_for_and_is_on_record(served: Running) -> None:
    answer = served.infer("slow", {"inputs": [tensor("s", "FP64", [4.0])]})
    ledger, size = served.workspace.ledger, served.workspace.ledger.size()
    assert (answer.status_code, "no answer within 3 s" in answer.json()["error"]) == (504, True)
    deadline = time.monotonic() + 20
    while ledger.size() == size and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ledger.event(size).event.kind == "prediction.made"


def test_too_many_at_once_are_told_to_come_again(served: Running) -> None:
    statuses: list[int] = []
    retry: list[str | None] = []

    def one() -> None:
        answer = served.infer("slow", {"inputs": [tensor("s", "FP64", [0.5])]})
        statuses.append(answer.status_code)
        if answer.status_code == 503:
            retry.append(answer.headers.get("retry-after"))

    threads = [threading.Thread(target=one) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 40
    assert {200, 503} <= set(statuses) <= {200, 503, 504}
    assert set(retry) == {"1"}
    assert served.is_well()
    assert 'retrodict_refusals_total{reason="too-busy"}' in served.client.get("/metrics").text


def test_refusals_are_logged_without_what_was_sent(served: Running, caplog: pytest.LogCaptureFixture) -> None:
    secret = "Grace Hopper"
    with caplog.at_level(logging.WARNING, "retrodict.server"):
        served.infer("echo", {"inputs": [tensor("x", "FP64", [secret])], "id": secret})
        served.infer(secret, {"inputs": []}, **{"x-caller": secret})
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert [json.loads(line)["reason"] for line in lines] == ["bad-field", "not-found"]
    assert secret not in "".join(lines)
    text = served.client.get("/metrics").text
    assert 'retrodict_refusals_total{reason="bad-field"}' in text
    assert secret not in text


def test_an_internal_error_is_logged_by_type_and_place_without_a_value(
    served: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "Grace Hopper"

    def broken(*_: object) -> object:
        try:
            return dict[str, object]()[secret]
        except KeyError as error:
            raise RuntimeError(f"no row for {secret}") from error

    monkeypatch.setattr("retrodict.server.app._read_request", broken)
    with caplog.at_level(logging.WARNING, "retrodict.server"):
        answer = served.infer("echo", {"inputs": [tensor("x", "FP64", [1.0])]}, **{"x-caller": secret})
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error; the server's log tells more"}
    (record,) = caplog.records
    line = JsonFormatter().format(record)
    found = json.loads(line)
    assert found["errors"] == ["builtins.KeyError", "builtins.RuntimeError"]
    assert all(places[-1].endswith(" broken") for places in found["places"])
    assert secret not in line + caplog.text


def test_the_servers_log_names_an_error_without_its_text() -> None:
    try:
        raise ValueError("Grace Hopper")
    except ValueError:
        record = logging.getLogger("uvicorn.error").makeRecord(
            "uvicorn.error", logging.ERROR, __file__, 1, "Exception in ASGI application\n", (), sys.exc_info()
        )
    line = JsonFormatter().format(record)
    assert json.loads(line)["errors"] == ["builtins.ValueError"]
    assert "Grace Hopper" not in line


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "y", ""]) | JSON,
        "shape": st.lists(st.integers(-1, 4) | st.integers(), max_size=4) | JSON,
        "datatype": st.sampled_from(["FP64", "FP32", "INT8", "UINT64", "BOOL", "BYTES", "BF16"]) | JSON,
        "data": st.lists(JSON, max_size=6) | JSON,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "x"]), JSON, max_size=2) | JSON,
    },
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(TENSORS, max_size=3) | JSON,
        "outputs": st.lists(st.fixed_dictionaries({}, optional={"name": JSON, "parameters": JSON}), max_size=2) | JSON,
        "id": st.text() | JSON,
        "parameters": JSON,
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=REQUESTS | JSON, tail=st.binary(max_size=40), cut=st.none() | st.integers(-2, 200))
def test_no_request_finds_a_500(served: Running, body: Any, tail: bytes, cut: int | None) -> None:
    content = json.dumps(body).encode()
    headers = {} if cut is None else {"inference-header-content-length": str(len(content) if cut < 0 else cut)}
    answer = served.infer("echo", content + tail, **headers)
    assert answer.status_code in {200, 400, 413}, answer.text
    if answer.status_code != 200:
        assert list(answer.json()) == ["error"]
