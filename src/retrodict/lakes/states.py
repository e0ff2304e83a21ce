"""What a table says of one of its versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

Format = Literal["delta", "iceberg"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


Wanted = Callable[[str, str, str | None], bool]  # of a table's identifier, a version's number, and when it was made


@dataclass(frozen=True, slots=True, kw_only=True)
class TableState:
    """One version of a table, as its log has it; all of it is what the table's writers say.

    Attributes:
        table_id: Of the table: another one that was made in its place has another.
        number: What the table calls it: Delta's version, Iceberg's snapshot id.
        at: When it was committed, RFC 3339; None: the log no longer says.
        operation: What made it: "WRITE", "append"; None: the log no longer says.
        commit: Everything that the log says of the commit: who, with which program, by which predicate, what it cost.
        rows: How many there are; None: the log does not say.
        columns: Names and types, as the log writes them.
        files: What it consists of, by name below the table; its log as far as it is needed to read it is a part of it.
        has_feed: Whether the table keeps which rows each commit changed.
    """

    table_id: str
    number: str
    at: str | None
    operation: str | None
    commit: Mapping[str, object]
    rows: int | None
    columns: Mapping[str, str]
    files: frozenset[str]
    has_feed: bool

    @property
    def who(self) -> str | None:
        """Whoever made it, as far as the log says."""
        said = self.commit.get("userName") or self.commit.get("userId") or self.commit.get("iceberg.user")
        return None if said is None else str(said)
