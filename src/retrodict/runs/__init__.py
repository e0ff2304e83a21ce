"""Executions of commands: the events that record them, and what is known of them."""

from retrodict.runs.records import PROJECTION, Run, find, finished_body, runs, started_body

__all__ = ["PROJECTION", "Run", "find", "finished_body", "runs", "started_body"]
