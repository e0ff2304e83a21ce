"""Two times for each fact: what was true at one instant, as it was known at another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retrodict.kernel.clock import parse_rfc3339
from retrodict.tables import lines
from retrodict.tables.lines import DELETE, OFFSET, ROW, ChangeLog
from retrodict.tables.records import Column
from retrodict.workspace import Workspace


def true_at(workspace: Workspace, log: ChangeLog, stop: int, columns: Sequence[Column], instant_ns: int) -> Any:
    """Return the records that were true at an instant, as the first `stop` changes know them.

    Of the changes under a key the one counts whose `_valid_from` (without one, when it was recorded) is the last that
    is not after the instant; of several with the same, the last recorded. A delete counts as any other change.
    """
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    found = lines.changes(log, 0, stop, columns)
    recorded: list[int] = []
    for version in lines.versions(workspace.views.database(), log):
        length = min(version.stop, stop) - len(recorded)
        if length > 0:
            recorded += [parse_rfc3339(version.at) // 1000] * length
    since = pc.coalesce(found["_valid_from"], pa.array(recorded, pa.int64()).cast(found["_valid_from"].type))
    known = pc.less_equal(since.cast(pa.int64()), instant_ns // 1000)
    found, since = found.filter(known), since.filter(known)
    if not found.num_rows:
        return found
    codes = lines.codes_of(found, log.table)
    order = pa.table({"code": codes, "since": since, "offset": found[OFFSET]})
    sorted_ = order.take(pc.sort_indices(order, sort_keys=[("since", "ascending"), ("offset", "ascending")]))
    last = (
        sorted_.append_column("place", pa.array(range(sorted_.num_rows), pa.int64()))
        .group_by("code")
        .aggregate([("place", "max")])
    )
    offsets = sorted_["offset"].take(last["place_max"])
    found = found.filter(pc.is_in(found[OFFSET], value_set=offsets.combine_chunks()))
    found = found.filter(pc.not_equal(found["_op"], DELETE)).combine_chunks()
    return found.take(pc.sort_indices(found[ROW]))
