"""A range of a Kafka partition as records: one JSON line for each message, in the order of their offsets.

`{"headers":[[NAME,VALUE],...],"key":K,"offset":N,"timestamp_ms":T,"value":V}`: K and V (and values of headers) are
text where the bytes are UTF-8, else `{"b64":"..."}`, and null where the message has none; T is null where the broker
gives no time. Kafka's offsets may have gaps (compaction, transactions): the message's own is in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from retrodict.kernel.errors import MissingExtraError
from retrodict.streams.errors import KafkaError

_TIMEOUT_S = 30.0
_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """The messages [start, stop) of a partition, by Kafka's offsets; `lines` reads them when asked."""

    start: int
    stop: int
    lines: Iterator[bytes]


def read(
    brokers: str, topic: str, partition: int, *, start: int | None, stop: int | None, config: Mapping[str, str]
) -> Messages:
    """Read a range of a partition; nothing is committed to Kafka.

    Args:
        start: Kafka's offset of the first; None: the oldest that there is.
        stop: The first that is not read; None: the end as it is now.
        config: More settings of librdkafka, such as `security.protocol`.

    Raises:
        KafkaError: The partition is not there, does not answer, or has lost the beginning of the range.
        MissingExtraError: confluent-kafka is not installed.
    """
    try:
        import confluent_kafka as kafka  # an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("pinning a Kafka topic", "kafka") from error
    settings = {
        **config,
        "bootstrap.servers": brokers,
        "group.id": "retrodict-pin",  # the library asks for one; nothing is committed under it
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "log_level": 0,
    }
    try:
        consumer = kafka.Consumer(settings)
    except (kafka.KafkaException, ValueError) as error:
        raise KafkaError(f"Kafka's settings are refused: {error}") from error
    where = kafka.TopicPartition(topic, partition)
    try:
        found = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        if found.error is not None or partition not in found.partitions:
            raise KafkaError(f"{topic}/{partition} is not there: {found.error or 'the topic has no such partition'}")
        low, high = consumer.get_watermark_offsets(where, timeout=_TIMEOUT_S)
    except kafka.KafkaException as error:
        consumer.close()
        raise KafkaError(f"{topic}/{partition} cannot be read: {error}") from error
    except KafkaError:
        consumer.close()
        raise
    first, end = low if start is None else start, high if stop is None else stop
    if first < low or end > high or end < first:
        consumer.close()
        raise KafkaError(f"{topic}/{partition} holds the offsets {low}:{high}, and {first}:{end} was asked for")
    where.offset = first
    return Messages(start=first, stop=end, lines=_lines(kafka, consumer, where, end))


def _lines(kafka: Any, consumer: Any, where: Any, stop: int) -> Iterator[bytes]:
    try:
        consumer.assign([where])
        at = where.offset
        while at < stop:
            first = consumer.poll(_TIMEOUT_S)
            if first is None:
                raise KafkaError(f"{where.topic}/{where.partition} gave nothing for {_TIMEOUT_S:.0f} s at offset {at}")
            # What is there already: `consume` would wait for a full batch until its time is over.
            for message in (first, *consumer.consume(_BATCH, timeout=0)):
                error = message.error()
                if error is not None and error.code() == kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    at = max(at, message.offset())  # what is left has no messages: markers of transactions
                elif error is not None:
                    raise KafkaError(f"{where.topic}/{where.partition} failed at offset {at}: {error}")
                elif message.offset() < stop:
                    at = message.offset() + 1
                    yield _line(kafka, message)
                else:
                    at = stop
    except kafka.KafkaException as error:
        raise KafkaError(f"{where.topic}/{where.partition} cannot be read: {error}") from error
    finally:
        consumer.close()


def _line(kafka: Any, message: Any) -> bytes:
    kind, timestamp = message.timestamp()
    value = {
        "headers": [[name, _text(content)] for name, content in message.headers() or ()],
        "key": _text(message.key()),
        "offset": message.offset(),
        "timestamp_ms": None if kind == kafka.TIMESTAMP_NOT_AVAILABLE else timestamp,
        "value": _text(message.value()),
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def _text(content: bytes | str | None) -> object:
    if content is None or isinstance(content, str):
        return content
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(content).decode()}
