"""What the server counts, for Prometheus, and how it logs: one JSON object a line, never what was asked."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 512, 2048, 4096)


class Measures:
    """The counts of one server."""

    def __init__(self, *, waiting: Callable[[], int], log_entries: Callable[[], int]) -> None:
        """`waiting`: how many requests are under way; `log_entries`: how long the log is."""
        self._registry = CollectorRegistry()
        # By label: looking them up takes longer than counting.
        self._requests: dict[tuple[str, str], Counter] = {}
        self._answers: dict[str, Histogram] = {}
        self._calls: dict[str, tuple[Histogram, Counter]] = {}
        self.requests = Counter(
            "retrodict_requests", "Requests by what they ran into.", ["endpoint", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "retrodict_inference_seconds",
            "From the body's arrival to the durable answer.",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.rows = Counter("retrodict_rows", "Rows scored.", ["model"], registry=self._registry)
        self.questions = Histogram(
            "retrodict_questions_per_call",
            "Requests that were scored together.",
            ["model"],
            buckets=_COUNTS,
            registry=self._registry,
        )
        self.refusals = Counter("retrodict_refusals", "Refusals by reason.", ["reason"], registry=self._registry)
        Gauge("retrodict_requests_under_way", "Requests under way.", registry=self._registry).set_function(waiting)
        Gauge("retrodict_log_entries", "Entries of the log.", registry=self._registry).set_function(log_entries)
        self.published = Gauge(
            "retrodict_log_entries_published", "Entries under a signed checkpoint.", registry=self._registry
        )

    def request(self, endpoint: str, status: str) -> None:
        """Count one request."""
        key = (endpoint, status)
        count = self._requests.get(key)
        if count is None:
            count = self._requests[key] = self.requests.labels(endpoint, status)
        count.inc()

    def answered(self, model: str, seconds: float) -> None:
        """Count one answer."""
        count = self._answers.get(model)
        if count is None:
            count = self._answers[model] = self.seconds.labels(model)
        count.observe(seconds)

    def scored(self, model: str, questions: int, rows: int) -> None:
        """Count one call of a model, by what was asked for: `churn@champion` and `churn@2` are both `churn`."""
        counts = self._calls.get(model)
        if counts is None:
            name = model.partition("@")[0]
            counts = self._calls[model] = (self.questions.labels(name), self.rows.labels(name))
        counts[0].observe(questions)
        counts[1].inc(rows)

    def text(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self._registry)


def described(error: BaseException | None) -> dict[str, object]:
    """Return what may be logged of an error: its type and where it came from. Its text may hold personal values.

    What it was raised from comes with it: both fields are lists, the first cause first.
    """
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.insert(0, error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return {
        "errors": [f"{type(cause).__module__}.{type(cause).__qualname__}" for cause in causes],
        "places": [
            [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(cause.__traceback__)]
            for cause in causes
        ],
    }


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what `extra={"fields": {...}}` has stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields |= described(record.exc_info[1])
        return json.dumps(fields, ensure_ascii=False, default=str)
