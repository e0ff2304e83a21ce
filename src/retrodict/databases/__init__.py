"""Databases of other programs: who changed what in their tables, when, how and why, from triggers that we install.

Facts only: what is made of them stands in `tables` and is joined in `actions`. What reads PostgreSQL stands on the
extra `databases`, and is loaded when it is needed.
"""

from retrodict.databases.feed import Database, DatabaseError, Description, NotCapturableError, PutBackError

__all__ = ["Database", "DatabaseError", "Description", "NotCapturableError", "PutBackError"]
