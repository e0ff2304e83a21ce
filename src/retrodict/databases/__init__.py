"""Databases of other programs: who changed what in their tables, when, how and why, from triggers that we install.

And, without any, what is in a table at one instant. Facts only: what is made of them stands in `tables` and is joined
in `actions`. What reads PostgreSQL and DuckDB stands on the extras `databases` and `sql`, loaded when it is needed.
"""

from retrodict.databases.feed import (
    Database,
    DatabaseError,
    Description,
    NotCapturableError,
    PutBackError,
    Readable,
    Whole,
)

__all__ = [
    "Database",
    "DatabaseError",
    "Description",
    "NotCapturableError",
    "PutBackError",
    "Readable",
    "Whole",
]
