"""Tables that this process reads with their rows followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.actions import table_read
from retrodict.actions.tabling import version_of
from retrodict.api import world
from retrodict.kernel.errors import MissingExtraError

if TYPE_CHECKING:
    from retrodict.workspace import Workspace


def read(workspace: Workspace, reference: str, form: str, branch: str | None) -> Any:
    """Return a version of a table in a form that follows its rows. Raises as `retrodict.read` does."""
    found = version_of(workspace, reference, branch)
    run = world.run_under_way(workspace)
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
    source = Source(found.reference, np.asarray(identities, dtype=np.int64))
    if run is not None and event is not None:
        # Until this is recorded, all rows were used: so it is where the process is killed.
        world.when_it_ends(run, lambda: record(workspace, event, source))
    return frame(table, source)
