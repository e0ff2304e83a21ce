"""`rd.table("loans")`: records with their history, from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retrodict.api import world
from retrodict.kernel.errors import MissingExtraError
from retrodict.workspace import Workspace, refuse_writing

if TYPE_CHECKING:
    from retrodict.actions.table_compare import TableBlame, TableDiff
    from retrodict.actions.table_read import RecordHistory
    from retrodict.actions.table_settle import TableSettled
    from retrodict.actions.tabling import How, TableVersion
    from retrodict.tables.changes import ChangeSet

Key = Any  # one value, or of a key of several columns a sequence or a mapping


class TableAt:
    """A version of a table; whoever reads it in a run has it as an input.

    Attributes:
        reference: `NAME@v3`.
    """

    def __init__(self, workspace: Workspace, found: TableVersion, true_at: str | None = None) -> None:
        self._workspace = workspace
        self._true_at = true_at
        self._found = found
        self.reference = found.reference

    def __repr__(self) -> str:
        return f"<{self.reference}>"

    def to_arrow(self, *, rows: bool = False) -> Any:
        """Return the records as an Arrow table; with `rows`, `_row` is the identity of each."""
        from retrodict.actions.table_read import note_read, table_of

        if (run := world.run_under_way(self._workspace)) is not None:
            note_read(self._workspace, self._found, run)
        return table_of(self._found, rows=rows, true_at=self._true_at)

    def to_pandas(self, *, rows: bool = False) -> Any:
        """Return the records as a pandas frame. Raises `MissingExtraError`."""
        try:
            return self.to_arrow(rows=rows).to_pandas()
        except ModuleNotFoundError as error:
            raise MissingExtraError("a pandas frame", "models") from error

    def to_polars(self, *, rows: bool = False) -> Any:
        """Return the records as a polars frame, where polars is installed."""
        import polars as pl  # an own choice of whoever asks for it

        return pl.from_arrow(self.to_arrow(rows=rows))

    def to_list(self) -> list[dict[str, Any]]:
        """Return the records as mappings."""
        found: list[dict[str, Any]] = self.to_arrow().to_pylist()
        return found


class Table:
    """A table, by its name; its records are looked up anew for each question."""

    def __init__(self, workspace: Workspace, name: str, branch: str | None = None) -> None:
        """Use `retrodict.table`."""
        from retrodict.actions.tabling import table_named

        self._workspace = workspace
        self._branch = branch
        self.name = table_named(workspace, name).name

    def __repr__(self) -> str:
        return f"<table {self.name}>"

    def at(self, version: str | int | None = None, *, true: str | None = None) -> TableAt:
        """Return a version: "v3", an offset, "2020-11-07" (as known then); None: the newest.

        Args:
            true: What was true in the world at that time, as this version knows it.
        """
        from retrodict.actions.tabling import version_of

        reference = self.name if version is None else f"{self.name}@{version}"
        return TableAt(self._workspace, version_of(self._workspace, reference, self._branch), true)

    def to_arrow(self, *, rows: bool = False) -> Any:
        """Return the records, as they are now, as an Arrow table; with `rows`, `_row` is the identity of each."""
        return self.at().to_arrow(rows=rows)

    def to_pandas(self, *, rows: bool = False) -> Any:
        """Return the records, as they are now, as a pandas frame."""
        return self.at().to_pandas(rows=rows)

    def to_polars(self, *, rows: bool = False) -> Any:
        """Return the records, as they are now, as a polars frame."""
        return self.at().to_polars(rows=rows)

    def history(self, key: Key) -> RecordHistory:
        """Return every change of the record with a key: who, when, what, why and how.

        Raises:
            NoSuchRecordError: No record has ever had it.
        """
        from retrodict.actions.table_read import history

        return history(self._workspace, self.name, _key(key), branch=self._branch)

    def blame(self, *keys: Key, version: str | int | None = None) -> TableBlame:
        """Return for each cell (of these records) who gave it its value, when, how and why, and the value before."""
        from retrodict.actions.table_compare import blame

        named = [_key(key) for key in keys]
        reference = self.at(version).reference
        return blame(self._workspace, reference, keys=named, branch=self._branch)

    def diff(self, a: str | int, b: str | int | None = None) -> TableDiff:
        """Return which records differ between two versions, and in which cells; `b` None: the newest."""
        from retrodict.actions.table_compare import diff

        second = None if b is None else str(b)
        return diff(self._workspace, f"{self.name}@{a}", second, branch=self._branch)

    def query(self, sql: str) -> Any:
        """Return the answer to a question in SQL, as an Arrow table: over this table and any other, at any version.

        Raises:
            MissingExtraError: DuckDB is not installed.
        """
        from retrodict.actions.table_compare import query

        found, _ = query(self._workspace, sql, run=world.run_under_way(self._workspace))
        return found

    def revert(
        self, to: str | int, *keys: Key, where: str | None = None, why: str | None = None, how: str | None = None
    ) -> ChangeSet:
        """Bring records (these, those for which `where` holds, or all) back to what they were: a new change."""
        from retrodict.actions.table_compare import revert

        said = self._how("revert", why, how, None)
        named = [_key(key) for key in keys]
        return self._done(revert(self._workspace, self.name, str(to), how=said, keys=named, where=where))

    def settle(
        self,
        entry: int | None = None,
        *keys: Key,
        take: Literal["ours", "theirs"] | None = None,
        why: str | None = None,
    ) -> TableSettled:
        """Return what stands beside records; with `take`, settle it: "ours" leaves the records, "theirs" changes them.

        Args:
            entry: Only what this entry keeps.
            keys: Only of these records.
        """
        from retrodict.actions.table_settle import settle

        if take is not None:
            refuse_writing(self._workspace)
        named = [_key(key) for key in keys]
        record = settle(self._workspace, self.name, entry, keys=named, take=take, reason=why)
        if take is not None:
            world.publish(self._workspace)
        return record

    def put(
        self,
        records: Any,
        *,
        why: str | None = None,
        how: str | None = None,
        valid_from: Any = None,
        if_version: str | None = None,
    ) -> ChangeSet:
        """Put whole records: a mapping, mappings, a frame, an Arrow table, a file; what they lack is null.

        Raises:
            BadCellError, BadKeyError, RecordConflictError: See there; nothing was changed.
        """
        from retrodict.actions import table_change

        said = self._how("put", why, how, valid_from)
        return self._done(
            table_change.put(self._workspace, self.name, _given(records), how=said, if_version=if_version)
        )

    def update(
        self,
        key: Key,
        values: Mapping[str, object],
        *,
        why: str | None = None,
        how: str | None = None,
        valid_from: Any = None,
        if_version: str | None = None,
    ) -> ChangeSet:
        """Change some values of one record.

        Raises:
            NoSuchRecordError, BadCellError, RecordConflictError: See there; nothing was changed.
        """
        from retrodict.actions import table_change

        said = self._how("update", why, how, valid_from)
        return self._done(
            table_change.update(self._workspace, self.name, _key(key), values, how=said, if_version=if_version)
        )

    def delete(
        self,
        *keys: Key,
        why: str | None = None,
        how: str | None = None,
        valid_from: Any = None,
        if_version: str | None = None,
    ) -> ChangeSet:
        """Delete records; what they were stays in the history. Raises as `update` does."""
        from retrodict.actions import table_change

        said = self._how("delete", why, how, valid_from)
        named = [_key(key) for key in keys]
        return self._done(table_change.delete(self._workspace, self.name, named, how=said, if_version=if_version))

    def import_(
        self,
        source: Any,
        *,
        keep_missing: bool = False,
        why: str | None = None,
        how: str | None = None,
        valid_from: Any = None,
        if_version: str | None = None,
    ) -> ChangeSet:
        """Bring the table to what a file, a frame, an Arrow table or mappings say: creates, updates, deletes.

        Args:
            keep_missing: Records that are not there stay.
        """
        from retrodict.actions import table_change

        said = self._how("import", why, how, valid_from)
        return self._done(
            table_change.import_(
                self._workspace, self.name, _given(source), how=said, keep_missing=keep_missing, if_version=if_version
            )
        )

    def _how(self, verb: str, why: str | None, statement: str | None, valid_from: Any) -> How:
        from retrodict.actions.tabling import how_of

        refuse_writing(self._workspace)
        return how_of(
            self._workspace,
            verb,
            reason=why,
            statement=statement,
            valid_from=valid_from,
            run=world.run_under_way(self._workspace),
        )

    def _done(self, done: ChangeSet) -> ChangeSet:
        world.publish(self._workspace)
        return done


def _key(key: Key) -> str | Sequence[object] | Mapping[str, object]:
    return key if isinstance(key, Mapping | list | tuple) else [key]


def _given(records: Any) -> Any:
    return Path(records) if isinstance(records, str | os.PathLike) else records
