"""Tables and streams that this process reads with their rows followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.actions import stream_read, table_read
from retrodict.actions.tabling import version_of
from retrodict.api import world
from retrodict.kernel.errors import MissingExtraError
from retrodict.streams import queries as streams
from retrodict.tables import queries as tables

if TYPE_CHECKING:
    from retrodict.workspace import Workspace


def read(workspace: Workspace, reference: str, form: str, branch: str | None) -> Any:
    """Return a version of a table, or records of a stream, in a form that follows its rows.

    Raises as `retrodict.read` does.
    """
    run = world.run_under_way(workspace)
    db = workspace.views.database()
    name = reference.removeprefix("stream:").partition("@")[0]
    if reference.startswith("stream:") or (streams.streams(db, name) and not tables.tables(db, name)):
        range_ = stream_read.read(workspace, reference, branch=branch)
        label = range_.reference
        event = None if run is None else stream_read.note_read(workspace, range_, run)
        table = stream_read.values(range_, "arrow")
        if table.num_rows != range_.stop - range_.start:  # a compaction has dropped some: which is not told by Arrow
            return table if form == "arrow" else _plain(table, form)
        identities: Any = range(range_.start, range_.stop)
    else:
        found = version_of(workspace, reference, branch)
        label = found.reference
        event = None if run is None else table_read.note_read(workspace, found, run)
        table = table_read.table_of(found, rows=True)
        identities, table = table["_row"], table.drop_columns(["_row"])
    if form == "arrow":
        return table
    try:
        import numpy as np  # an extra, as the others are

        from retrodict.actions.used_rows import record
        from retrodict.rows.source import Source

        if form == "pandas":
            from retrodict.rows.pandas_frames import frame
        else:
            from retrodict.rows.polars_frames import frame
    except ImportError as error:
        raise MissingExtraError(f"following rows through {form}", "tables") from error
    source = Source(label, np.asarray(identities, dtype=np.int64))
    if run is not None and event is not None:
        # Until this is recorded, all rows were used: so it is where the process is killed.
        world.when_it_ends(run, lambda: record(workspace, event, source))
    return frame(table, source)


def _plain(table: Any, form: str) -> Any:
    """Return rows that are not followed: a run has used all of them."""
    if form == "pandas":
        return table.to_pandas()
    try:
        import polars as pl  # an extra
    except ImportError as error:
        raise MissingExtraError("rows in polars", "tables") from error
    return pl.DataFrame(table).lazy()
