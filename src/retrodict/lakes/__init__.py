"""Tables that lie in files, by their own logs of versions: Delta Lake and Apache Iceberg.

What a table's version is made of is read from its log, by us or (Iceberg's) by `pyiceberg`; its files are digested once
and pinned by that, and read again only where they are those.
"""

from retrodict.lakes.delta import LOG, changed_files
from retrodict.lakes.iceberg import by_snapshots, is_metadata
from retrodict.lakes.rows import LakeRow, LakeRows, by_feed, by_files
from retrodict.lakes.states import FORMATS, Format, TableState
from retrodict.lakes.store import LakeError, Store
from retrodict.lakes.table import Lake

__all__ = [
    "FORMATS",
    "LOG",
    "Format",
    "Lake",
    "LakeError",
    "LakeRow",
    "LakeRows",
    "Store",
    "TableState",
    "by_feed",
    "by_files",
    "by_snapshots",
    "changed_files",
    "is_metadata",
]
