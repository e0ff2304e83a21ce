"""Versions of files and folders (strategy *copies*): the events that add them, and what is known of them."""

from retrodict.datasets.records import PROJECTION, DatasetVersion, added_body, check_name, current, find, versions

__all__ = ["PROJECTION", "DatasetVersion", "added_body", "check_name", "current", "find", "versions"]
