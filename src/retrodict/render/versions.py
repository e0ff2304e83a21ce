"""Versions of files and folders as text: what changed, what there is, where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from retrodict.kernel.words import count
from retrodict.render import tensors
from retrodict.render.text import by, listing, table
from retrodict.render.words import moment, short, size

if TYPE_CHECKING:
    from retrodict.actions.attach import Attached
    from retrodict.actions.attach_table import AttachedTable
    from retrodict.actions.checkout_pinned import PinnedCheckout
    from retrodict.actions.diff import Diff, FileChange
    from retrodict.actions.get import Got
    from retrodict.actions.history import History
    from retrodict.actions.hooks import Hooks
    from retrodict.actions.import_dvc import ImportedDvc
    from retrodict.actions.import_url import ImportedUrl
    from retrodict.actions.lock import Locked, LockedOff
    from retrodict.actions.ls import Listing
    from retrodict.actions.tag import Tagged
    from retrodict.actions.untrack import Untracked
    from retrodict.diffs.tables import RowChange, TableChange
    from retrodict.diffs.tensors import ArrayChange
    from retrodict.lakes import LakeRows

_COLUMNS = 12  # of a table are named one by one; more are counted


def diff(record: Diff) -> RenderableType:
    """Render `diff`."""
    if not record.is_changed:
        return Text(f"{record.before} and {record.after}: the same")
    counts: dict[str, int] = {}
    for file in record.files:
        counts[file.change] = counts.get(file.change, 0) + 1
    order = ("added", "removed", "renamed", "changed", "mode")
    total = ", ".join(f"{counts[change]} {change}" for change in order if change in counts)
    lines = [f"{record.before} -> {record.after}: {total}"]
    if record.samples is not None:
        lines[0] += " (of the files that make up the array)"
        lines += tensors.samples(record.samples)
        return Text("\n".join(lines))
    if not record.files:
        lines = [f"{record.before} -> {record.after}"]
    lines += [f"         {says}" for says in record.table]
    if record.rows is not None:
        lines += _lake_rows(record.rows)
    for file in record.files:
        lines += _file(file)
    return Text("\n".join(lines))


def _lake_rows(found: LakeRows) -> Iterator[str]:
    updated = "" if found.updated is None else f", {found.updated:,} updated"
    by = "by its change feed" if found.by == "feed" else "in the files that changed"
    yield f"         rows, {by}: {found.added:,} added, {found.removed:,} removed{updated}"
    for row in found.rows:
        sign = {"added": "+", "removed": "-", "before": "~ was", "after": "~ is"}.get(row.change, "~")
        number = "" if row.number is None else f"  (version {row.number})"
        yield f"  {sign} {_names([_cell(value) for value in row.values.values()])}{number}"
    total = found.added + found.removed + 2 * (found.updated or 0)
    if len(found.rows) < total:
        yield f"  ... ({total - len(found.rows)} more rows; --limit 0 shows all)"


def _one_line(name: str) -> str:
    """Return a file's name as one line of a listing; another file could be feigned by a name of two."""
    return name.replace("\n", "\\n")


def _file(file: FileChange) -> Iterator[str]:
    name = _one_line(file.path if file.path_before is None else f"{file.path_before} -> {file.path}")
    sizes = [size(n) for n in (file.size_before, file.size_after) if n is not None]
    what = " -> ".join(dict.fromkeys(sizes))
    if file.kind_before != file.kind_after and file.kind_before is not None and file.kind_after is not None:
        what += f", {file.kind_before} -> {file.kind_after}"
    yield f"{file.change:8} {name}  ({what})"
    if file.note is not None:
        yield f"         {file.note}"
    if file.table is not None:
        yield from _table(file.table)
    for array in file.arrays or ():
        yield from _array(array)
    if file.text is not None:
        yield from file.text
        if len(file.text) < file.text_lines:
            yield f"... ({file.text_lines - len(file.text)} more lines; --limit 0 shows all)"


def _table(found: TableChange) -> Iterator[str]:
    amounts = [
        f"{found.rows_before:,} -> {count(found.rows_after, 'row')}",
        f"{found.rows_added:,} added",
        f"{found.rows_removed:,} removed",
        f"{found.rows_changed:,} changed ({count(found.cells_changed, 'cell')})",
    ]
    how = f"by {', '.join(found.key)}" if found.key else "by order"
    yield f"         {', '.join(amounts)}; {how}"
    if found.is_in_order is False:
        yield "         rows stand in another order"
    for title, names in (("columns added", found.columns_added), ("columns removed", found.columns_removed)):
        if names:
            yield f"         {title}: {_names(names)}"
    for name, (before, after) in found.columns_retyped.items():
        yield f"         column {name}: {before} -> {after}"
    if found.columns_reordered:
        yield "         columns stand in another order"
    if found.by_column:
        yield f"         cells changed: {_names([f'{name} {n}' for name, n in found.by_column.items()])}"
    for row in found.shown:
        yield from _row(row, found.key)
    hidden = found.rows_added + found.rows_removed + found.rows_changed - len(found.shown)
    if hidden:
        yield f"         ... ({count(hidden, 'more row')}; --limit 0 shows all)"


def _names(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _COLUMNS} more" if len(names) > _COLUMNS else ""
    return ", ".join(names[:_COLUMNS]) + more


def _row(row: RowChange, key: tuple[str, ...]) -> Iterator[str]:
    numbers = [str(n) for n in (row.row_before, row.row_after) if n is not None]
    where = f"row {' -> '.join(dict.fromkeys(numbers))}"
    if key:
        where = ", ".join(f"{name}={value}" for name, value in zip(key, row.key, strict=True)) + f" ({where})"
    match row.change:
        case "changed":
            cells = [f"{name}: {_cell(a)} -> {_cell(b)}" for name, (a, b) in row.cells.items()]
            yield f"  ~ {where}  {_names(cells)}"
        case "added":
            yield f"  + {where}  {_names([_cell(b) for _, b in row.cells.values()])}"
        case "removed":
            yield f"  - {where}  {_names([_cell(a) for a, _ in row.cells.values()])}"


def _cell(value: str | None) -> str:
    if value is None:
        return "(none)"
    return value if value and value == value.strip() and "\n" not in value else repr(value)


def _array(found: ArrayChange) -> Iterator[str]:
    name = f"{found.name}: " if found.name else ""
    sides = [
        f"{dtype} {'x'.join(map(str, shape)) or 'scalar'}"
        for dtype, shape in (
            (found.dtype_before, found.shape_before),
            (found.dtype_after, found.shape_after),
        )
        if dtype is not None and shape is not None
    ]
    kind = "" if found.change == "changed" else f"  {found.change}"
    yield f"         {name}{' -> '.join(dict.fromkeys(sides))}{kind}"
    if found.compared:
        largest = "" if found.max_difference is None else f", by up to {found.max_difference!r}"
        bits = found.differ - found.differ_in_value
        only = f", {bits} of them only in their bits" if bits else ""
        yield f"         {found.differ} of {count(found.compared, 'element')} differ{largest}{only}"
    if found.samples_differ:
        more = " ..." if found.samples_differ > len(found.samples) else ""
        numbers = ", ".join(map(str, found.samples))
        yield f"         in {count(found.samples_differ, 'sample')} along the first axis: {numbers}{more}"


def listed(record: Listing) -> RenderableType:
    """Render `ls`."""
    if record.of is None:
        return listing(
            "Nothing is versioned: `retrodict add PATH` versions a file or a folder.",
            ["version", "size", "files", "tags", ""],
            [
                (
                    row.reference,
                    size(row.size_bytes),
                    row.files,
                    ", ".join(row.tags),
                    "" if row.is_tracked else "untracked",
                )
                for row in record.rows
            ],
            wrap=[],
        )
    if any(row.where is not None or row.kind == "bucket" for row in record.rows):
        in_bucket = any(row.version_id for row in record.rows)
        return table(
            ["bytes", "size", *(["VersionId"] if in_bucket else []), "name"],
            [
                (
                    count(row.files or 0, "object")
                    if row.kind == "bucket"
                    else short(row.content)
                    if row.where == "held" and row.content is not None
                    else row.where,
                    size(row.size_bytes),
                    *([row.version_id] if in_bucket else []),
                    _one_line(row.name) + ("/" if row.kind == "bucket" else ""),
                )
                for row in record.rows
            ],
            wrap=["VersionId"] if in_bucket else ["name"],
        )
    return listing(
        "An empty folder.",
        ["content", "size", "name"],
        [
            (
                short(row.content or ""),
                size(row.size_bytes),
                _one_line(row.name) + {"tree": "/", "executable": "*", "symlink": "@"}.get(row.kind, ""),
            )
            for row in record.rows
        ],
        wrap=[],
    )


def attached(record: Attached) -> RenderableType:
    """Render `attach`."""
    parts: list[RenderableType] = []
    if record.versions:
        rows = [
            (
                row.reference,
                row.index,
                "empty" if row.as_of is None else moment(row.as_of),
                count(row.files, "object"),
                size(row.size_bytes),
                f"+{row.added} -{row.removed} ~{row.changed}",
                "now" if row.how == "listed" else "as the bucket says",
            )
            for row in record.versions
        ]
        parts.append(table(["version", "entry", "as of", "pinned", "size", "changed", ""], rows, wrap=[]))
        divided = f", each {record.by} with a change a version" if record.by != "instant" else ""
        parts.append(Text(f"{record.url} is pinned by VersionId{divided}; nothing was copied."))
    else:
        parts.append(Text(f"{record.reference}  unchanged: {record.url} holds what it pins"))
    if record.gone_objects:
        more = record.gone_objects - len(record.gone)
        lines = [
            f"{count(record.gone_objects, 'pinned object')} of versions before are gone from the bucket, and not held:"
        ]
        lines += [f"  {name}" for name in record.gone] + ([f"  ... and {more} more"] if more else [])
        parts.append(Text("\n".join(lines), style="bold"))
    return Group(*parts)


def attached_table(record: AttachedTable) -> RenderableType:
    """Render `attach` of a table."""
    parts: list[RenderableType] = []
    where = record.url if record.table is None else f"{record.table} of {record.url}"
    if not record.versions:
        parts.append(Text(f"{record.reference}  unchanged: {where} is what it pins"))
    elif record.table is None:
        rows = [
            (
                row.reference,
                row.index,
                row.number,
                "" if row.as_of is None else moment(row.as_of),
                " by ".join(one for one in (row.operation, row.who) if one),
                "" if row.rows is None else f"{row.rows:,}",
                count(row.files, "file"),
                size(row.size_bytes),
                f"+{row.added} -{row.removed} ~{row.changed}",
            )
            for row in record.versions
        ]
        heads = ["version", "entry", "theirs", "as of", "made by", "rows", "pinned", "size", "changed"]
        parts.append(table(heads, rows, wrap=["made by"]))
        parts.append(Text(f"{where} ({record.format}) is pinned by its files' digests; nothing was copied."))
        if record.has_feed:
            parts.append(Text("It keeps a change feed, by which `diff` tells rows."))
    else:
        read = [
            (
                row.reference,
                row.index,
                moment(row.as_of),
                f"{row.rows:,}",
                short(row.digest or ""),
                size(row.size_bytes) if row.files else "no",
                ", ".join(row.says),
            )
            for row in record.versions
        ]
        parts.append(table(["version", "entry", "as of", "rows", "digest", "kept", "changed"], read, wrap=["changed"]))
        parts.append(Text(f"{where} ({record.format}) is pinned by a digest over its rows."))
    lines = [
        f"version {lost.number} cannot be read any more: {lost.file} is gone"
        + (f", and {count(lost.lacking - 1, 'more file')}" if lost.lacking > 1 else "")
        for lost in record.unreadable
    ]
    if record.gone_files:
        more = record.gone_files - len(record.gone)
        lines.append(f"{count(record.gone_files, 'pinned file')} are gone from the table, and not held:")
        lines += [f"  {name}" for name in record.gone] + ([f"  ... and {more} more"] if more else [])
    if record.altered:
        lines.append(f"{count(len(record.altered), 'pinned file')} have other bytes now:")
        lines += [f"  {name}" for name in record.altered]
    if lines:
        parts.append(Text("\n".join(lines), style="bold"))
    return Group(*parts)


def history(record: History) -> RenderableType:
    """Render `history`."""
    heading, agents = by([(row.agent, row.authorship) for row in record.versions])
    rows = []
    for row, agent in zip(record.versions, agents, strict=True):
        notes = ["removed", *row.tags] if row.type == "removed" else [*row.tags]
        if row.is_current:
            notes.append("current" if record.is_tracked else "untracked")
        told = [row.reason]
        if row.origin or row.source:
            told.append(f"from {row.origin or row.source}")
        if row.held is not None:
            told.append(f"as of {moment(row.authored)}" if row.authored else "empty")
            if row.commit_of_table is not None:
                told.append(f"made by {row.commit_of_table}")
            thing = "object" if row.type == "bucket" else "file"
            if row.files or row.type != "table":
                told.append(f"{row.held} of {count(row.files, thing)} held here, the others elsewhere")
        if row.author is not None:
            told.append(f"by {row.author}, {moment(row.authored)}, commit {(row.commit or '')[:10]}")
        rows.append(
            (
                row.reference if record.path is None or row.content is None else f"{row.reference}/{record.path}",
                row.entry,
                moment(row.at),
                agent,
                size(row.size_bytes) if row.content is not None else "",
                ", ".join(notes),
                "; ".join(text for text in told if text),
            )
        )
    listed = table(["version", "entry", "at", heading, "size", "", "why, from where"], rows, wrap=["why, from where"])
    if record.not_held:
        return Group(listed, Text(f"Not held, so not looked into: {', '.join(record.not_held)}"))
    return listed


def tagged(record: Tagged) -> RenderableType:
    """Render `tag`."""
    if not record.is_new:
        return Text(f"{record.reference} -> {record.version}  unchanged")
    before = "new" if record.before is None else f"before: {record.before}"
    return Text(f"{record.reference} -> {record.version}  ({before})  entry {record.index}")


def untracked(record: Untracked) -> RenderableType:
    """Render `untrack`."""
    return Text(
        f"{record.name} is no longer tracked; its {count(record.versions, 'version')} and the file stay"
        f"  entry {record.index}"
    )


def imported_url(record: ImportedUrl) -> RenderableType:
    """Render `import-url`."""
    if not record.is_new:
        why = "its origin says that it has not changed" if record.is_asked else "the origin's bytes are the same"
        return Text(f"{record.reference}  unchanged: {why}")
    return Text(
        f"{record.reference}  {short(record.content)}  {size(record.size_bytes)}"
        f"  (+{size(record.new_bytes)} stored)  entry {record.index}\n{_origin(record)}"
    )


def got(record: Got) -> RenderableType:
    """Render `get`."""
    if not record.is_new:
        return Text(f"{record.path}  unchanged: its origin says so  entry {record.index}")
    return Text(
        f"{record.path}  {short(record.content)}  {size(record.size_bytes)}  entry {record.index}\n{_origin(record)}"
    )


def _origin(record: ImportedUrl | Got) -> str:
    said = [
        f"{title} {value}"
        for title, value in (("ETag", record.etag), ("last modified", record.last_modified), ("answered", record.date))
        if value is not None
    ]
    return f"from {record.url}" + (f" ({', '.join(said)})" if said else "")


def locked_off(record: LockedOff) -> RenderableType:
    """Render `lock off`."""
    return Text(f"{record.folder} is not wanted: {record.removed} pins removed. `retrodict lock` begins it again.")


def locked(record: Locked) -> RenderableType:
    """Render `lock`."""
    parts: list[RenderableType] = [
        listing("Nothing is tracked.", ["", "version"], [(p.change, p.reference) for p in record.pins], wrap=[])
    ]
    if record.ignored_in:
        parts.append(Text(f"Git is to leave these data alone: {record.ignored_in} says so now."))
    if record.in_git:
        parts.append(Text("Git keeps these, too; `git rm --cached` ends that:"))
        parts += [Text(f"  {path}") for path in record.in_git]
    return Group(*parts)


def checked_out_pinned(record: PinnedCheckout) -> RenderableType:
    """Render `checkout` without a reference."""
    lines = []
    for item in record.placed:
        if item.change == "unchanged":
            continue
        if item.change == "removed":
            lines.append(f"removed  {item.path}  (not pinned; `retrodict checkout {item.reference}` brings it back)")
        else:
            lines.append(f"written  {item.path}  {item.reference}  {size(item.size_bytes)}")
    unchanged = sum(item.change == "unchanged" for item in record.placed)
    lines += [
        f"left     {item.path}/{name}  (no version has it)"
        for item in record.placed
        for name in (item.kept if item.change != "unchanged" else ())
    ]
    return Text("\n".join([*lines, f"{count(unchanged, 'name')} as pinned already, every byte verified"]))


def hooks(record: Hooks) -> RenderableType:
    """Render `hooks`."""
    rows = [
        (hook.state if not hook.chained else f"{hook.state}, after another one", hook.path) for hook in record.hooks
    ]
    return table(["", "hook"], rows)


def imported_dvc(record: ImportedDvc) -> RenderableType:
    """Render `import dvc`."""
    parts: list[RenderableType] = []
    if record.versions:
        columns = ["version", "size", "files", "commit", "authored", "by"]
        rows = [
            (v.reference, size(v.size_bytes), v.files, v.commit[:10], moment(v.authored), v.author)
            for v in record.versions
        ]
        parts.append(table(columns, rows))
    if record.runs:
        rows_ = [(r.entry, r.name, r.commit[:10], moment(r.authored), r.command) for r in record.runs]
        parts.append(table(["entry", "stage", "commit", "authored", "command"], rows_, wrap=["command"]))
    if record.missing:
        rows__ = [(m.path, m.md5 or "", m.commit[:10], m.why) for m in record.missing]
        parts.append(Text("Not taken over:"))
        parts.append(table(["path", "md5", "commit", "why"], rows__, wrap=["why"]))
    parts.append(
        Text(
            f"{count(record.commits, 'commit')} read: {count(len(record.versions), 'new version')}, "
            f"{count(len(record.runs), 'new run')}, {record.known} known already"
            + (f", {count(len(record.missing), 'thing')} missing" if record.missing else "")
        )
    )
    return Group(*parts)
