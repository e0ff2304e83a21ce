"""Delta Lake: which files each version of a table consists of, from its log.

Source: the Delta transaction log protocol, https://github.com/delta-io/delta/blob/master/PROTOCOL.md. The log is a row
of commits, `_delta_log/N.json`, of actions that add and remove files; a *checkpoint* is the sum of all before it.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from retrodict.lakes.states import TableState, Wanted
from retrodict.lakes.store import LakeError, Store

LOG: Final = "_delta_log"
_COMMIT: Final = re.compile(r"_delta_log/(\d{20})\.json\Z")
_CHECKPOINT: Final = re.compile(r"_delta_log/(\d{20})\.checkpoint(?:\.\d{10}\.(\d{10}))?\.parquet\Z")
_Z85: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_B85: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_TO_B85: Final = str.maketrans(_Z85, _B85)

_Action = Mapping[str, Any]


def is_delta(store: Store) -> bool:
    """Say whether a Delta table lies in a folder."""
    return any(_COMMIT.match(one.name) or _CHECKPOINT.match(one.name) for one in store.list(LOG))


@dataclass(slots=True)
class _Table:
    """A table, as far as its log was read: files by their path and deletion vector."""

    files: dict[tuple[str, str], _Action] = field(default_factory=dict)
    metadata: _Action = field(default_factory=dict)

    def apply(self, action: _Action) -> None:
        if (found := action.get("metaData")) is not None:
            self.metadata = found
        elif (found := action.get("remove")) is not None:
            self.files.pop(_identity(found), None)
        elif (found := action.get("add")) is not None:
            self.files[_identity(found)] = found


def states(store: Store, is_wanted: Wanted) -> Iterator[TableState]:
    """Yield those of the versions that the log can tell of that are wanted, oldest first, and the last one.

    Raises:
        LakeError: The log is torn, or of a kind that is not known here.
    """
    found = store.list(LOG)
    modified = {one.name: one.modified for one in found}
    commits = {int(m[1]): one.name for one in found if (m := _COMMIT.match(one.name))}
    sums = _checkpoints([one.name for one in found])
    first, table = _start(store, commits, sums)
    last = max([*commits, *sums])
    for number in range(first, last + 1):
        actions = list(_read(store, commits[number])) if number in commits else None
        if number != first or 0 in commits:
            if actions is None:
                raise LakeError(store.url, f"its log lacks version {number}")
            for action in actions:
                table.apply(action)
        said: _Action = next((a["commitInfo"] for a in actions or () if "commitInfo" in a), {})
        base = max((n for n in sums if n < number), default=first)
        log = {commits[n] for n in range(base, number + 1) if n in commits} | set(sums.get(base, ()))
        changes = {_name(store, a["cdc"]["path"]) for a in actions or () if "cdc" in a}
        name = commits.get(number) or sums[number][0]
        at = said.get("inCommitTimestamp", said.get("timestamp"))
        moment = modified[name] if at is None else _moment(int(at))
        if number == last or is_wanted(str(table.metadata.get("id")), str(number), moment):
            yield _state(store, number, table, said, frozenset(log | changes), moment)


def changed_files(store: Store, number: int) -> list[str]:
    """Return the files that say which rows a commit changed: those of its feed, or what it added and removed."""
    actions = list(_read(store, f"{LOG}/{number:020}.json"))
    feed = [_name(store, a["cdc"]["path"]) for a in actions if "cdc" in a]
    if feed:
        return feed
    one_of = [a.get("add") or a.get("remove") for a in actions]
    return [_name(store, a["path"]) for a in one_of if a is not None and a.get("dataChange")]


def _checkpoints(names: Sequence[str]) -> dict[int, list[str]]:
    """Return the whole checkpoints, by version."""
    parts: dict[int, list[str]] = {}
    whole: dict[int, list[str]] = {}
    for name in names:
        if match := _CHECKPOINT.match(name):
            number = int(match[1])
            if match[2] is None:
                whole[number] = [name]
                continue
            parts.setdefault(number, []).append(name)
            if len(parts[number]) == int(match[2]):
                whole.setdefault(number, parts[number])
    return whole


def _start(store: Store, commits: Mapping[int, str], sums: Mapping[int, Sequence[str]]) -> tuple[int, _Table]:
    """Return the first version that can be read, and the table before its commit (or after it: at a checkpoint)."""
    if 0 in commits:
        return 0, _Table()
    if not sums:
        raise LakeError(store.url, "its log does not begin at version 0, and has no checkpoint that is known here")
    first, table = min(sums), _Table()
    import pyarrow.parquet as pq  # 100 ms

    for name in sums[first]:
        sheet = pq.read_table(BytesIO(b"".join(store.read(name))))
        if "sidecar" in sheet.column_names and sheet["sidecar"].null_count < sheet.num_rows:
            raise LakeError(store.url, "the checkpoint at which its log begins is in parts of its own (version 2)")
        columns = [column for column in ("metaData", "add") if column in sheet.column_names]
        for row in sheet.select(columns).to_pylist(maps_as_pydicts="lossy"):
            table.apply({kind: action for kind, action in row.items() if action is not None})
    return first, table


def _read(store: Store, name: str) -> Iterator[_Action]:
    try:
        for line in b"".join(store.read(name)).splitlines():
            if line.strip():
                yield json.loads(line)
    except ValueError as error:
        raise LakeError(store.url, f"{name} is no log: {error}") from error


def _identity(action: _Action) -> tuple[str, str]:
    vector = action.get("deletionVector")
    return str(action["path"]), "" if not vector else f"{vector['storageType']}{vector['pathOrInlineDv']}"


def _name(store: Store, path: str) -> str:
    """Return where a file lies below the table, of its address in the log."""
    if urlsplit(path).scheme or path.startswith("/"):
        raise LakeError(store.url, f"it refers to a file outside it: {path}")
    return unquote(path)


def _vector(store: Store, vector: _Action) -> str | None:
    """Return the file of a deletion vector; None: it stands in the log itself."""
    kind, place = vector["storageType"], str(vector["pathOrInlineDv"])
    if kind == "i":
        return None
    if kind != "u":
        raise LakeError(store.url, f"it refers to a deletion vector outside it: {place}")
    prefix, encoded = place[:-20], place[-20:]
    name = f"deletion_vector_{uuid.UUID(bytes=base64.b85decode(encoded.translate(_TO_B85)))}.bin"
    return f"{prefix}/{name}" if prefix else name


def _state(store: Store, number: int, table: _Table, said: _Action, more: frozenset[str], at: str) -> TableState:
    names, rows = set(more), 0
    is_counted = True
    for action in table.files.values():
        names.add(_name(store, action["path"]))
        if vector := action.get("deletionVector"):
            rows -= int(vector.get("cardinality") or 0)
            if (place := _vector(store, vector)) is not None:
                names.add(place)
        stats = action.get("stats")
        counted = json.loads(stats).get("numRecords") if isinstance(stats, str) and stats else None
        is_counted &= counted is not None
        rows += counted or 0
    schema = json.loads(table.metadata["schemaString"]) if table.metadata.get("schemaString") else {"fields": []}
    settings = table.metadata.get("configuration") or {}
    return TableState(
        table_id=str(table.metadata.get("id")),
        number=str(number),
        at=at,
        operation=None if said.get("operation") is None else str(said["operation"]),
        commit=said,
        rows=rows if is_counted else None,
        columns={str(one["name"]): _type(one["type"]) for one in schema["fields"]},
        files=frozenset(names),
        has_feed=dict(settings).get("delta.enableChangeDataFeed", "false").lower() == "true",
    )


def _type(said: object) -> str:
    return said if isinstance(said, str) else json.dumps(said, sort_keys=True)


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
