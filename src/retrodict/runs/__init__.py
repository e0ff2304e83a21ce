"""Executions of commands: the events that record them, and what is known of them."""

from retrodict.runs.records import (
    PROJECTION,
    RUNNING,
    Run,
    command_line,
    declared_body,
    find,
    finished_body,
    read_body,
    reads,
    running_at,
    runs,
    started_body,
)

__all__ = [
    "PROJECTION",
    "RUNNING",
    "Run",
    "command_line",
    "declared_body",
    "find",
    "finished_body",
    "read_body",
    "reads",
    "running_at",
    "runs",
    "started_body",
]
