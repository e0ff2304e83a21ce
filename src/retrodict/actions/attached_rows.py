"""Which rows differ between two versions of an attached table. No verb."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from retrodict import datasets, lakes
from retrodict.actions import attaching
from retrodict.actions.attaching import Attached
from retrodict.buckets import Pin
from retrodict.kernel.errors import RetrodictError
from retrodict.lakes import Lake, LakeRows
from retrodict.workspace import Workspace

_MOST_BYTES = 4 << 30  # of files that are read to compare rows


def key_of(attached: Attached) -> Sequence[str]:
    """Return the columns that tell the rows of a database's table apart."""
    said = (attached.listing.table or {}).get("key")
    return [str(one) for one in said] if isinstance(said, list) else ()


def compare(
    workspace: Workspace,
    before: Attached,
    after: Attached,
    *,
    only_names: bool,
    limit: int | None,
    environment: Mapping[str, str] | None,
) -> tuple[tuple[str, ...], LakeRows | None]:
    """Return in words how two versions of a table differ, and of a table in files the rows.

    Files that are not held are read where the table lies, held against their digests, and not kept.
    """
    old, new = before.listing.table, after.listing.table
    if old is None or new is None:
        return (), None
    says = list(attaching.table_changes(old, new))
    if (
        only_names
        or before.version.type != after.version.type
        or after.version.type not in _ROWS
        or old.get("id") != new.get("id")
        or old.get("number") == new.get("number")
    ):
        return tuple(says), None
    try:
        return tuple(says), _ROWS[after.version.type](workspace, before, after, limit, environment)
    except (RetrodictError, ValueError) as error:
        problem = error.message if isinstance(error, RetrodictError) else str(error)
        return (*says, f"its rows were not compared: {problem}"), None


def _delta(
    workspace: Workspace, before: Attached, after: Attached, limit: int | None, environment: Mapping[str, str] | None
) -> LakeRows:
    """Compare through a copy of what is needed, laid out as the table is.

    Raises:
        ValueError, RetrodictError: What is needed cannot be had, or not be read so.
    """
    first, last = (int(str((one.listing.table or {})["number"])) for one in (before, after))
    is_backward = first > last
    known = dict[str, Pin]()
    for version in datasets.versions(workspace.views.database(), after.version.name):
        if version.type == "delta" and workspace.objects.has(version.content):
            listing = attaching.read(workspace, version).listing
            said = listing.table or {}
            if said.get("id") == (after.listing.table or {}).get("id"):
                known |= listing.pins if min(first, last) <= int(str(said["number"])) <= max(first, last) else {}
    known |= {**before.listing.pins, **after.listing.pins}
    log = {name for name in known if name.startswith(f"{lakes.LOG}/")}
    scratch = workspace.folder / "tmp"
    scratch.mkdir(exist_ok=True)
    source = None if environment is None else attaching.lake(workspace, after.version, environment)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="rows-") as made:
        folder = Path(made)
        _lay(workspace, source, [known[name] for name in log], folder)
        if not is_backward and (after.listing.table or {}).get("feed"):
            wanted = _feed(folder, first, last)
            if wanted is not None and wanted <= known.keys():
                _lay(workspace, source, [known[name] for name in wanted], folder)
                for name in wanted:
                    # HAZARD: deltalake (1.6) looks for the feed's files by their names in the log, where % is %25.
                    if (encoded := folder / name.replace("%", "%25")) != folder / name:
                        encoded.parent.mkdir(parents=True, exist_ok=True)
                        encoded.hardlink_to(folder / name)
                with contextlib.suppress(ValueError):  # what the feed does not give, the files may
                    return lakes.by_feed(folder, first, last, limit=limit)
        old, new = (
            {name for name in one.listing.pins if not name.startswith((f"{lakes.LOG}/", "_change_data/"))}
            for one in (before, after)
        )
        for name in old & new:
            if before.listing.pins[name].digest != after.listing.pins[name].digest:
                raise ValueError(f"{name} has other bytes in the one than in the other")
        _lay(workspace, source, [known[name] for name in old ^ new], folder)
        return lakes.by_files(folder, (first, old - new), (last, new - old), limit=limit)


def _iceberg(
    workspace: Workspace, before: Attached, after: Attached, limit: int | None, environment: Mapping[str, str] | None
) -> LakeRows:
    """Compare through a copy of the metadata and of the files that only one of the two has. Raises as `_delta` does."""
    scratch = workspace.folder / "tmp"
    scratch.mkdir(exist_ok=True)
    source = None if environment is None else attaching.lake(workspace, after.version, environment)
    known = {**before.listing.pins, **after.listing.pins}
    with tempfile.TemporaryDirectory(dir=scratch, prefix="rows-") as made:
        folder = Path(made)
        _lay(
            workspace, source, [pin for name, pin in known.items() if name.endswith((".avro", ".json", ".gz"))], folder
        )
        ends = []
        for one in (before, after):
            (metadata,) = (name for name in one.listing.pins if lakes.is_metadata(name))
            ends.append((metadata, str((one.listing.table or {})["number"])))
        return lakes.by_snapshots(
            folder,
            *ends,
            lay=lambda names: _lay(workspace, source, [known[name] for name in names], folder),
            limit=limit,
        )


_ROWS = {"delta": _delta, "iceberg": _iceberg}


def _feed(folder: Path, first: int, last: int) -> set[str] | None:
    """Return the files that tell of the changes after `first`; None: a commit's log is not pinned."""
    copy = lakes.Store(str(folder), {})
    try:
        return {name for number in range(first + 1, last + 1) for name in lakes.changed_files(copy, number)}
    except FileNotFoundError:
        return None


def _lay(workspace: Workspace, source: Lake | None, pins: Sequence[Pin], folder: Path) -> None:
    if sum(pin.size_bytes for pin in pins) > _MOST_BYTES:
        raise ValueError("the files that changed are larger than 4 GB")
    for pin in pins:
        path = folder / pin.key
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"the name {pin.key!r} leads elsewhere")
        path.parent.mkdir(parents=True, exist_ok=True)
        assert pin.digest is not None
        if workspace.objects.has(pin.digest):
            path.write_bytes(workspace.objects.get(pin.digest))
        elif source is None:
            raise ValueError(f"{pin.key} is not held")
        else:
            with path.open("wb") as file:
                file.writelines(source.read(pin))
