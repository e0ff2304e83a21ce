"""The write paths whose durable steps `faults` fails: what each begins with, what it does, what it must have left.

A scenario tells whatever was acknowledged to it so far: the workspace, every entry of which must be there as it is, and
facts about what lies beside the log, for its `after` to look at. What was not told is whole or absent, and can be tried
again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import md5
from io import BytesIO
from pathlib import Path
from typing import Final, Protocol

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from retrodict import api, datasets, pins, streams
from retrodict.actions import hooks, keys, names, table_approve, table_change, table_read, table_settle, tables, tensors
from retrodict.actions import lock as locks
from retrodict.actions.add import add
from retrodict.actions.alias import alias
from retrodict.actions.attach import attach
from retrodict.actions.attach_table import attach_table
from retrodict.actions.backing import open_place
from retrodict.actions.backup import backup
from retrodict.actions.backup_keys import backup_keys
from retrodict.actions.bundle import bundle, take_bundle
from retrodict.actions.capture_db import catch_up, plan
from retrodict.actions.checkout import checkout
from retrodict.actions.clone import clone
from retrodict.actions.derive import derive
from retrodict.actions.derive_verify import derive_verify
from retrodict.actions.dispute import dispute, resolve
from retrodict.actions.export import export
from retrodict.actions.export_key import export_key
from retrodict.actions.fetch import fetch
from retrodict.actions.forget import forget
from retrodict.actions.forget_files import forget as forget_files
from retrodict.actions.fsck import fsck
from retrodict.actions.gc import gc
from retrodict.actions.get import get
from retrodict.actions.import_dvc import import_dvc
from retrodict.actions.import_log import import_log
from retrodict.actions.import_url import import_url
from retrodict.actions.init import init
from retrodict.actions.log_publish import log_publish
from retrodict.actions.log_witness import log_witness
from retrodict.actions.open import open_workspace
from retrodict.actions.predict import predict
from retrodict.actions.pull import pull
from retrodict.actions.push import push
from retrodict.actions.record import record_prediction
from retrodict.actions.register import register
from retrodict.actions.release import release
from retrodict.actions.remote import add_remote, remotes, remove_remote
from retrodict.actions.replay import replay
from retrodict.actions.restore import restore
from retrodict.actions.rotate_key import rotate_key
from retrodict.actions.run import run
from retrodict.actions.serve import start_service
from retrodict.actions.settle import settle
from retrodict.actions.signers import add_signer, revoke_signer, signers
from retrodict.actions.stream_append import append, compact
from retrodict.actions.stream_read import read as read_stream
from retrodict.actions.stream_read import write as write_stream
from retrodict.actions.streams import create, own, position
from retrodict.actions.table_alter import alter
from retrodict.actions.table_export import export as export_table
from retrodict.actions.table_merge import merge
from retrodict.actions.table_prove import prove
from retrodict.actions.tabling import table_named
from retrodict.actions.tag import tag
from retrodict.actions.undelete import undelete
from retrodict.actions.untrack import untrack
from retrodict.actions.verify import verify
from retrodict.databases.sqlite import SQLite
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import UsageError
from retrodict.objects import digest_of
from retrodict.tables import upkeep
from retrodict.tables.changes import How
from retrodict.tables.records import Policy
from retrodict.testing.elsewhere import BUCKET, FILE, OBJECTS, address, witness_key
from retrodict.testing.kills import AGENT, MODEL
from retrodict.workspace import Batch, Workspace, publish

OTHER: Final = "Somebody Else"
_ELSEWHERE: Final = "x25519:0i8ALvUnUmNtNGXQBHBWXBMFgSgtBuO8KDRwFGZqwwM="
_ROWS: Final = [{"id": n, "n": 0} for n in range(3)]
_PUT: Final = How(verb="put", reason="to fail with")


class Tell(Protocol):
    """Says what was acknowledged: all entries of a workspace, and facts."""

    def __call__(self, workspace: Workspace, *facts: str) -> None:
        """Say it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A write path.

    Attributes:
        work: Does it in a folder, and tells.
        before: Makes, once, what it begins with of the workspace that all begin with.
        after: Looks what the next process sees, knowing what facts were told, and tries again; yields what is wrong.
        begins_empty: There is no workspace yet.
        asks_others: `elsewhere` serves the folder.
        mends: The workspace is damaged before; only `after` it is whole.
    """

    work: Callable[[Path, Tell], None]
    before: Callable[[Path], None] | None = None
    after: Callable[[Path, Workspace, Collection[str]], Iterator[str]] | None = None
    begins_empty: bool = False
    asks_others: bool = False
    mends: bool = False


def opened(folder: Path, name: str = "project", *, agent: str = AGENT) -> Workspace:
    """Open a workspace in `folder`, with the state that is its own."""
    state = "state" if name == "project" else f"state-of-{name}"
    return open_workspace(folder / name, folder / state, SystemClock(), agent=agent, begins_log=True)


def settle_in(folder: Path) -> None:
    """Let the workspace in `folder`, which was copied with its key, be where that was made; or what it is a copy of."""
    stores = [folder / name / ".retrodict" for name in ("original", "project")]
    there = next((store for store in stores if store.exists()), None)
    for place in [] if there is None else (folder / "state").glob("*/place"):
        assert there is not None
        status = there.stat()
        place.write_text(json.dumps({"path": str(there.resolve()), "device": status.st_dev, "inode": status.st_ino}))


def bad(workspace: Workspace) -> list[str]:
    """Return what `verify` finds altered or missing."""
    found = verify(workspace).findings
    return [f"{f.level} {f.what}: {f.message}" for f in found if f.level in ("altered", "missing")]


def make(folder: Path) -> None:
    """Make the workspace that all scenarios begin with; nothing has it open afterwards."""
    init(folder / "project", folder / "state", SystemClock(), agent=AGENT)
    source = folder / "project" / "twice.py"
    source.write_text(MODEL)
    with opened(folder) as workspace:
        register(workspace, f"{source}:predict", "twice")
        assert workspace.state is not None
        (folder / "log.key").write_text(str(workspace.state.verifier))


def _saved(folder: Path) -> None:
    """Back it up, keys and all."""
    with opened(folder) as workspace:
        backup(workspace, open_place(str(folder / "saved")))
        backup_keys(workspace, open_place(str(folder / "saved-keys")), b"passphrase")
        backup(workspace, open_place(str(folder / "saved")), closing=True)


def _others(folder: Path) -> None:
    """Let somebody else have a workspace, and bring it to a hub, into a bundle, and give us keys."""
    init(folder / "other", folder / "state-of-other", SystemClock(), agent=OTHER)
    (folder / "other" / "theirs.txt").write_text("theirs")
    with opened(folder) as workspace:
        key = keys.identity(workspace).key
    with opened(folder, "other", agent=OTHER) as workspace:
        add(workspace, [folder / "other" / "theirs.txt"], reason="for others")
        push(workspace, str(folder / "hub"))
        bundle(workspace, folder / "theirs.bundle")
        keys.share(workspace, key, folder / "theirs.keys")


def _init(folder: Path, tell: Tell) -> None:
    init(folder / "project", folder / "state", SystemClock(), agent=AGENT)
    with opened(folder) as workspace:
        tell(workspace)


def _record(folder: Path, tell: Tell) -> None:
    """Data, a model, a question, a complaint: objects, index, log, keys, checkpoint."""
    (folder / "project" / "big.bin").write_bytes(bytes(range(256)) * 1200)
    with opened(folder) as workspace:
        add(workspace, [folder / "project" / "big.bin"], reason="to fail with")
        tell(workspace)
        answer = predict(workspace, "twice", [{"x": 1}], caller="somebody else")
        tell(workspace)
        dispute(workspace, answer.reference, reason="it is wrong")
        tell(workspace)
        publish(workspace)
        predict(workspace, "twice", [{"x": 2}], caller="a customer")
        tell(workspace)


def _rotate(folder: Path, tell: Tell) -> None:
    with opened(folder) as workspace:
        rotate_key(workspace, reason="to fail with")
        tell(workspace)


def _register(folder: Path, tell: Tell) -> None:
    source = folder / "project" / "thrice.py"
    source.write_text(MODEL.replace("2", "3"))
    with opened(folder) as workspace:
        register(workspace, f"{source}:predict", "thrice")
        tell(workspace)


def _run(folder: Path, tell: Tell) -> None:
    with opened(folder) as workspace:
        command = ["sh", "-c", "echo 1 > out.txt"]
        run(workspace, command, cwd=workspace.root, environment={"PATH": os.defpath})
        tell(workspace)


def _observe(folder: Path, tell: Tell) -> None:
    """A run of this process, which reports figures and logs a model."""
    with opened(folder) as workspace:
        with api.run("job", params={"a": 1}, workspace=workspace) as job:
            (workspace.root / "out.txt").write_text("1")
            job.log_metrics(accuracy=0.5)
            job.log_model(f"{workspace.root / 'twice.py'}:predict", "thrice")
        tell(workspace)


def _stream(folder: Path, tell: Tell) -> None:
    """A stream: a small append, one that is stored before its event, a position, and all put together."""
    with opened(folder) as workspace:
        create(workspace, "s")
        for count in (3, 12_000):
            append(workspace, "s", BytesIO(b"".join(b'{"n":%d}\n' % n for n in range(count))))
            tell(workspace)
        position(workspace, "s", "a consumer", offset=5)
        tell(workspace)
        compact(workspace, "s")
        tell(workspace)


def _no_views(folder: Path) -> None:
    (folder / "project" / ".retrodict" / "views.db").unlink()


def _views(folder: Path, tell: Tell) -> None:
    with opened(folder) as workspace:
        workspace.views.database()
        tell(workspace)


def _backup(folder: Path, tell: Tell) -> None:
    with opened(folder) as workspace:
        backup(workspace, open_place(str(folder / "backup")))
        tell(workspace)
        backup_keys(workspace, open_place(str(folder / "keys")), b"passphrase")
        tell(workspace)


def _backed_up(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    del told
    backup(workspace, open_place(str(folder / "backup")))
    return iter(())


def _lost(folder: Path) -> None:
    _saved(folder)
    shutil.move(folder / "project", folder / "lost")
    (folder / "project").mkdir()


def _restore(folder: Path, tell: Tell) -> None:
    restore(
        open_place(str(folder / "saved")),
        folder / "project",
        folder / "state",
        SystemClock(),
        agent=AGENT,
        keys_from=open_place(str(folder / "saved-keys")),
        passphrase=b"passphrase",
    )
    with opened(folder) as workspace:
        tell(workspace)


def _copied(folder: Path) -> None:
    shutil.copytree(folder / "project", folder / "original", symlinks=True)


def _copy(folder: Path, tell: Tell) -> None:
    """The workspace is a copy of one that is still there; it begins a log of its own."""
    with opened(folder) as workspace:
        tell(workspace)
        predict(workspace, "twice", [{"x": 1}])
        tell(workspace)


def _push(folder: Path, tell: Tell) -> None:
    with opened(folder) as workspace:
        push(workspace, str(folder / "pushed"))
        tell(workspace)
        predict(workspace, "twice", [{"x": 1}])
        push(workspace, str(folder / "pushed"))
        tell(workspace)


def _pushed(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    del told
    push(workspace, str(folder / "pushed"))
    _clone_into(folder / "cloned", folder / "pushed")
    return iter(())


def _clone_into(into: Path, hub: Path, *, only_logs: bool = False) -> None:
    state = into.with_name(f"state-of-{into.name}")
    clone(str(hub), into, state, SystemClock(), agent=AGENT, folder=into.parent, only_logs=only_logs)


def _pull(folder: Path, tell: Tell) -> None:
    with opened(folder) as workspace:
        pull(workspace, str(folder / "hub"))
        tell(workspace)
        workspace.views.database()


def _pulled(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    del told
    pull(workspace, str(folder / "hub"))
    yield from bad(workspace)


def _clone(folder: Path, tell: Tell) -> None:
    """A clone that takes the logs alone; its objects come later."""
    with opened(folder) as workspace:
        _clone_into(folder / "cloned", folder / "hub", only_logs=True)
        tell(workspace, "cloned")
        with opened(folder, "cloned") as cloned:
            fetch(cloned)
        tell(workspace, "fetched")


def _cloned(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    del workspace
    if not (folder / "cloned" / ".retrodict" / "format.json").exists():
        if "cloned" in told:
            yield "the clone is gone"
        _clone_into(folder / "cloned", folder / "hub", only_logs=True)
    content = digest_of(b"theirs")
    with opened(folder, "cloned") as cloned:
        if "cloned" in told and not datasets.current(cloned.views.database(), "theirs.txt"):
            yield "what was cloned is not known"
        if "fetched" in told and not cloned.objects.has(content):
            yield "what was fetched is not held"
        pull(cloned, str(folder / "hub"))
        fetch(cloned, str(folder / "hub"))
        if cloned.objects.get(content) != b"theirs":
            yield "what was fetched is something else"
        yield from bad(cloned)


def _forget(folder: Path, tell: Tell) -> None:
    """A person whose keys were given away is forgotten, and so says the log."""
    (folder / "project" / "people.csv").write_text("who,age\nann,30\n")
    with opened(folder) as workspace:
        add(workspace, [folder / "project" / "people.csv"], subject="who")
        export(workspace, "ann")
        tell(workspace)
        keys.share(workspace, _ELSEWHERE, folder / "for.keys")
        tell(workspace)
        forget(workspace, "ann")
        tell(workspace)


def _files(folder: Path, tell: Tell) -> None:
    """Keys come from elsewhere; a folder about people is kept and written back, and one file of it is forgotten."""
    people = folder / "project" / "people"
    people.mkdir()
    for name in ("ann", "bob"):
        (people / f"{name}.csv").write_text(f"name\n{name}\n")
    with opened(folder) as workspace:
        keys.receive(workspace, folder / "theirs.keys")
        tell(workspace)
        add(workspace, [people], personal=True)
        tell(workspace)
        checkout(workspace, "people", folder / "project" / "again")
        tell(workspace)
        forget_files(workspace, "dataset:people", files=["ann.csv"], reason="to fail with")
        tell(workspace)


def _table(folder: Path, tell: Tell) -> None:
    """A table about people is made, changed, snapshotted, and put together."""
    rows = [{"id": n, "who": f"p{n % 3}", "age": n} for n in range(6)]
    with opened(folder) as workspace:
        table_change.create(workspace, "t", ["id"], source=rows, subject="who")
        tell(workspace)
        table_change.put(workspace, "t", {"id": 7, "who": "p7", "age": 7}, how=How(verb="put"))
        tell(workspace)
        table_change.delete(workspace, "t", ["2"], how=How(verb="delete", reason="it was wrong"))
        tell(workspace)
        of = table_named(workspace, "t")
        upkeep.snapshot(workspace, of)
        tell(workspace)
        streams.compact(workspace, of.stream, at_least=100, may_go=lambda *_: [])
        tell(workspace)


def _review(folder: Path, tell: Tell) -> None:
    """A table that a second person looks after; a change that stands beside a record; other columns; a proof."""
    with opened(folder) as workspace, opened(folder, agent=OTHER) as reviewer:
        policy = Policy(approval=True)
        made = table_change.create(workspace, "reviewed", ["id"], source=_ROWS, policy=policy)
        tell(workspace)
        assert made.first is not None
        assert made.first.proposal is not None
        table_approve.approve(reviewer, "reviewed", made.first.proposal)
        tell(workspace, "approved")
        refused = table_change.update(workspace, "reviewed", "1", {"n": 1}, how=_PUT).proposal
        assert refused is not None
        table_approve.reject(reviewer, "reviewed", refused, reason="no")
        tell(workspace)
        alter(workspace, "reviewed", add={"m": "string"})
        tell(workspace, "altered")
        table_change.create(workspace, "kept", ["id"], source=_ROWS, policy=Policy(on_conflict="keep"))
        table_change.update(workspace, "kept", "1", {"n": 1}, how=_PUT)
        table_change.update(workspace, "kept", "1", {"n": 2}, how=_PUT, if_version="v1")
        tell(workspace, "conflicting")
        table_settle.settle(workspace, "kept", take="theirs")
        tell(workspace, "settled")
        prove(workspace, "kept", "1")
        tell(workspace)


def _reviewed(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    del folder
    known = {row.name for row in tables.list_tables(workspace).rows}
    if "reviewed" in known:
        found = table_read.read(workspace, "reviewed")
        if found.num_rows not in ((3,) if "approved" in told else (0, 3)):
            yield f"{found.num_rows} rows are approved"
        if "altered" in told and "m" not in found.schema.names:
            yield "the column is not there"
        if any(row["n"] for row in found.to_pylist()):
            yield "what was rejected is there"
    if "kept" in known:
        now = [row["n"] for row in table_read.read(workspace, "kept").to_pylist() if row["id"] == 1]
        if now not in (([2],) if "settled" in told else ([1], [2]) if "conflicting" in told else ([0], [1], [2], [])):
            yield f"the record that stood in conflict is {now}"
        if not now and table_read.read(workspace, "kept").num_rows == 0:
            table_change.create(workspace, "kept", ["id"], source=_ROWS, policy=Policy(on_conflict="keep"))
        prove(workspace, "kept", "0")


def _theirs(folder: Path) -> None:
    """Let a clone change a table of ours, have a stream of its own, and add other data under a name of ours."""
    with opened(folder) as workspace:
        table_change.create(workspace, "t", ["id"], source=_ROWS)
        push(workspace, str(folder / "between"))
    _clone_into(folder / "other", folder / "between")
    for name, text in (("other", "theirs"), ("project", "ours")):
        (folder / name / "both.txt").write_text(text)
        with opened(folder, name) as workspace:
            add(workspace, [folder / name / "both.txt"])
            table_change.update(workspace, "t", "0" if name == "other" else "1", {"n": 1}, how=_PUT)
            if name == "other":
                create(workspace, "s")
                append(workspace, "s", BytesIO(b'{"n":0}\n'))
                push(workspace, str(folder / "between"))


def _merge(folder: Path, tell: Tell) -> None:
    """What others did comes: a branch of a table is merged, a stream owned, and one of two versions chosen."""
    with opened(folder) as workspace:
        pull(workspace, str(folder / "between"))
        tell(workspace)
        merge(workspace, "t", reason="to fail with")
        tell(workspace, "merged")
        own(workspace, "s")
        append(workspace, "s", BytesIO(b'{"n":1}\n'))
        tell(workspace, "appended")
        settle(workspace, "dataset:both.txt", _ours(workspace))
        tell(workspace, "settled")


def _ours(workspace: Workspace) -> str:
    return next(
        str(version.index)
        for version in datasets.versions(workspace.views.database(), "both.txt")
        if version.content == digest_of(b"ours")
    )


def _merged(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    def rows() -> list[object]:
        return [row["n"] for row in table_read.read(workspace, "t").to_pylist()]

    if rows() not in (([1, 1, 0],) if "merged" in told else ([0, 1, 0], [1, 1, 0])):
        yield f"the table is {rows()}"
    if "settled" in told and len(datasets.current(workspace.views.database(), "both.txt")) != 1:
        yield "the conflict stands"
    pull(workspace, str(folder / "between"))
    if rows() != [1, 1, 0]:
        merge(workspace, "t")
    if rows() != [1, 1, 0]:
        yield f"the table that was merged again is {rows()}"
    own(workspace, "s")
    size = read_stream(workspace, "s").stop
    if size not in ((2,) if "appended" in told else (1, 2)):
        yield f"the stream has {size} records"
    yield from bad(workspace)


def _tensor(folder: Path, tell: Tell) -> None:
    with opened(folder) as workspace:
        for value, personal in ((1, False), (2, True)):
            tensors.write_array(workspace, "x", [[value] * 8] * 8, chunks=(4, 4), personal=personal, reason="to fail")
            tell(workspace)


def _made_to_export(folder: Path) -> None:
    with opened(folder) as workspace:
        table_change.create(workspace, "t", ["id"], source=[{"id": n} for n in range(3)])
        create(workspace, "s")
        append(workspace, "s", BytesIO(b'{"n":0}\n'))
        tensors.write_array(workspace, "x", [[1] * 8] * 8, chunks=(4, 4), personal=True)


_EXPORTED: Final = ("t.parquet", "s.jsonl", "x.npy", "service.key")


def _export(folder: Path, tell: Tell) -> None:
    """What is kept is written down for others: a table, a stream, an array about people, the keys of a service."""
    with opened(folder) as workspace:
        export_table(workspace, "t", "parquet", folder / "t.parquet")
        tell(workspace, "t.parquet")
        write_stream(workspace, read_stream(workspace, "s"), folder / "s.jsonl")
        tell(workspace, "s.jsonl")
        tensors.read(workspace, "x", out=folder / "x.npy")
        tell(workspace, "x.npy")
        export_key(workspace, folder / "service.key")
        tell(workspace, "service.key")


def _exported(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    kept = {name: (folder / name).read_bytes() for name in _EXPORTED if (folder / name).exists()}
    yield from (f"{name} is gone" for name in told if name not in kept)
    export_table(workspace, "t", "parquet", folder / "t.parquet", overwrite=True)
    write_stream(workspace, read_stream(workspace, "s"), folder / "s.jsonl")
    tensors.read(workspace, "x", out=folder / "x.npy")
    if "service.key" not in kept:
        export_key(workspace, folder / "service.key")
    for name, data in kept.items():
        if (folder / name).read_bytes() != data:
            yield f"{name} was not whole"
    with open_workspace(
        folder / "project", folder / "nowhere", SystemClock(), agent=AGENT, key_file=folder / "service.key"
    ) as service:
        predict(service, "twice", [{"x": 1}])
        publish(service)
        yield from bad(service)


def _derive(folder: Path, tell: Tell) -> None:
    source = folder / "project" / "in.txt"
    source.write_text("in")
    with opened(folder) as workspace:
        add(workspace, [source])
        command = ["sh", "-c", "cat in.txt in.txt > out.txt"]
        derive(workspace, "out.txt", ["in.txt"], command=command, cwd=workspace.root, environment={"PATH": os.defpath})
        tell(workspace)


def _let_go(folder: Path) -> None:
    """Derive a version, and let its bytes go."""
    _derive(folder, lambda *_: None)
    (folder / "project" / "out.txt").unlink()
    with opened(folder) as workspace:
        release(workspace, "out.txt", reason="to fail with", apply=True)
        gc(workspace, apply=True, grace_s=0)


def _remake(folder: Path, tell: Tell) -> None:
    """A derived version whose bytes were let go is made again: to compare, and to be written back."""
    with opened(folder) as workspace:
        derive_verify(workspace, "out.txt", variables={"PATH": os.defpath})
        tell(workspace)
        place = folder / "project" / "again.txt"
        checkout(workspace, "out.txt", place, environment={"PATH": os.defpath})
        tell(workspace, "again")


def _remade(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    del workspace
    path = folder / "project" / "again.txt"
    if path.exists():
        if path.read_text() != "inin":
            yield "what was made again is not whole"
    elif "again" in told:
        yield "what was made again is gone"


def _sweep(folder: Path, tell: Tell) -> None:
    """A large file is let go, taken back, and swept out of what it shares a pack with."""
    sizes = ("large.bin", "kept.bin")
    for name in sizes:
        (folder / "project" / name).write_bytes(name.encode() * 40_000)
    with opened(folder) as workspace:
        add(workspace, [folder / "project" / name for name in sizes])
        release(workspace, sizes[0], reason="to fail with", apply=True)
        tell(workspace)
        gc(workspace, apply=True)
        undelete(workspace)
        tell(workspace)
        gc(workspace, apply=True, grace_s=0)
        tell(workspace)


def _damaged(folder: Path) -> None:
    _saved(folder)
    for pack in sorted((folder / "project" / ".retrodict" / "objects").rglob("*.pack")):
        flipped = bytearray(pack.read_bytes())
        flipped[len(flipped) // 2] ^= 1
        pack.write_bytes(flipped)


def _mend(folder: Path, tell: Tell) -> None:
    """Every pack is altered, and mended from a backup."""
    with opened(folder) as workspace:
        fsck(workspace, repair_from=str(folder / "saved"), folder=folder)
        tell(workspace)


def _mended(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    del told
    fsck(workspace, repair_from=str(folder / "saved"), folder=folder)
    yield from bad(workspace)


def _bundle(folder: Path, tell: Tell) -> None:
    with opened(folder) as workspace:
        take_bundle(workspace, folder / "theirs.bundle")
        tell(workspace)
        bundle(workspace, folder / "ours.bundle")
        tell(workspace, "bundled")


def _bundled(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    take_bundle(workspace, folder / "theirs.bundle")
    if (folder / "ours.bundle").exists():
        take_bundle(workspace, folder / "ours.bundle")
    elif "bundled" in told:
        yield "the bundle is gone"


def _publish(folder: Path, tell: Tell) -> None:
    """The log is laid out as files, twice, the second time across the end of a tile."""
    with opened(folder) as workspace:
        for count in (2, 260):
            batch = Batch(workspace)
            for number in range(count):
                batch.event("thing.happened", uses=(), makes=(), body={"number": number})
            batch.append()
            log_publish(workspace, folder / "published")
            tell(workspace)


def _published(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    del told
    laid = []
    for place in (folder / "published", folder / "anew"):
        log_publish(workspace, place)
        laid.append({path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()})
    if not laid[1].items() <= laid[0].items():  # beginnings of tiles that were shown before may stay
        yield "it is not as it is laid out anew"


def _witness(folder: Path, tell: Tell) -> None:
    with opened(folder) as workspace:
        for number in range(2):
            log_witness(workspace, [address(folder, "witness")], keys=[witness_key(folder)])
            tell(workspace)
            predict(workspace, "twice", [{"x": number}])


def _witnessed(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    del told
    log_witness(workspace, [address(folder, "witness")], keys=[witness_key(folder)])
    found = verify(workspace, witnesses=[witness_key(folder)])
    if found.answer != "yes":
        yield f"witnessed: {found.answer}, {[f.message for f in found.findings]}"


def _loans(folder: Path) -> None:
    """Let another program have a database, and change it under our triggers."""
    with closing(apsw.Connection(str(folder / "loans.db"))) as loans:
        loans.execute("CREATE TABLE loans (id INTEGER PRIMARY KEY, sum REAL)")
    with closing(SQLite(folder / "loans.db")) as database:
        database.execute(plan(database, ["loans"]).statements)
    with closing(apsw.Connection(str(folder / "loans.db"))) as loans:
        loans.execute("INSERT INTO loans VALUES (1, 0.5), (2, 1.5); UPDATE loans SET sum = 2 WHERE id = 1")


def _capture(folder: Path, tell: Tell) -> None:
    """What another program changed in a database of its own becomes a table's history."""
    with opened(folder) as workspace, closing(SQLite(folder / "loans.db")) as database:
        catch_up(workspace, database, ["loans"])
        tell(workspace)


def _captured(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    del told
    with closing(SQLite(folder / "loans.db")) as database:
        (caught,) = catch_up(workspace, database, ["loans"], compare=True).tables
    if caught.is_around:
        yield f"captured: {caught}"


def _attach(folder: Path, tell: Tell) -> None:
    """A versioned bucket is pinned with its history, its bytes come; of a table of a database the rows are kept."""
    with opened(folder) as workspace:
        _attach_bucket(folder, workspace)
        tell(workspace, "attached")
        fetch(workspace, only="raw", environment=_environment(folder))
        tell(workspace, "fetched")
        _attach_rows(folder, workspace)
        tell(workspace, "rows")


def _environment(folder: Path) -> dict[str, str]:
    mine = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_CONFIG_FILE": os.devnull}
    os.environ.update(mine)  # boto3 looks there, in this process
    return {"AWS_ENDPOINT_URL": address(folder, "files"), "AWS_REGION": "us-east-1"}


def _attach_bucket(folder: Path, workspace: Workspace) -> None:
    attach(workspace, f"s3://{BUCKET}/in", name="raw", environment=_environment(folder))


def _attach_rows(folder: Path, workspace: Workspace) -> None:
    attach_table(workspace, "loans.db", table="loans", keep=True, folder=folder, environment={})


def _attached(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    def count(name: str) -> int:
        return len(datasets.versions(workspace.views.database(), name))

    if count("raw") not in ((3,) if "attached" in told else (0, 3)):
        yield f"there are {count('raw')} versions of the bucket"
    if "fetched" in told and not all(workspace.objects.has(digest_of(data)) for _, data in OBJECTS[::2]):
        yield "what was fetched is not held"
    if "rows" in told and count("loans") != 1:
        yield "the table is not attached"
    _attach_bucket(folder, workspace)
    fetch(workspace, only="raw", environment=_environment(folder))
    _attach_rows(folder, workspace)
    if (count("raw"), count("loans")) != (3, 1):
        yield f"attached again: {count('raw')} versions of the bucket, {count('loans')} of the table"
    yield from bad(workspace)


_FETCHED: Final = ("rates.csv", "other.csv")


def _import_rates(folder: Path, workspace: Workspace) -> None:
    place = folder / "project" / "rates.csv"
    import_url(workspace, f"{address(folder, 'files')}/rates.csv", place, folder=folder / "project")


def _get_other(folder: Path, workspace: Workspace) -> None:
    place = folder / "project" / "other.csv"
    get(workspace, f"{address(folder, 'files')}/other.csv", place, folder=folder / "project")


def _url(folder: Path, tell: Tell) -> None:
    """One file comes from a URL to be versioned, one only to be there; the first again."""
    with opened(folder) as workspace:
        _import_rates(folder, workspace)
        tell(workspace, "rates.csv")
        _get_other(folder, workspace)
        tell(workspace, "other.csv")
        _import_rates(folder, workspace)
        tell(workspace)


def _at_hand(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    for is_again in (False, True):
        for name in _FETCHED:
            path = folder / "project" / name
            if path.exists():
                if path.read_bytes() != FILE:
                    yield f"{name} is not whole"
            elif is_again or name in told:
                yield f"{name} is gone"
        _import_rates(folder, workspace)
        _get_other(folder, workspace)
    if len(datasets.versions(workspace.views.database(), "rates.csv")) != 1:
        yield "there are several versions of what was fetched once"


def _dvc(folder: Path) -> None:
    """Make a repository as DVC leaves it, of two commits."""
    source = folder / "repository"
    cache = source / ".dvc" / "cache" / "files" / "md5"
    cache.mkdir(parents=True)
    (source / ".gitignore").write_text("/data.csv\n")
    (source / ".dvc" / ".gitignore").write_text("/cache\n")
    (source / ".dvc" / "config").touch()
    _git(source, "init", "-q")
    for data in (b"id\n1\n", b"id\n2\n"):
        name = md5(data, usedforsecurity=False).hexdigest()
        (cache / name[:2]).mkdir(exist_ok=True)
        (cache / name[:2] / name[2:]).write_bytes(data)
        out = f"- md5: {name}\n  size: {len(data)}\n  hash: md5\n  path: data.csv\n"
        (source / "data.csv.dvc").write_text(f"outs:\n{out}")
        _git(source, "add", ".")
        _git(source, "commit", "-q", "-m", "data")


def _git(folder: Path, *words: str) -> None:
    who = {f"GIT_{role}_{what}": "x@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", *words], cwd=folder, env={"PATH": os.environ["PATH"], **who, **settings}, check=True)


def _import(folder: Path, tell: Tell) -> None:
    """What other systems kept is taken over: a repository of DVC, a log of answers, one answer."""
    with opened(folder) as workspace:
        import_dvc(workspace, folder / "repository", remotes=False)
        tell(workspace, "dvc")
        import_log(workspace, _old_log(folder))
        tell(workspace, "log")
        record_prediction(
            workspace, system="mainframe", model="credit", model_version="7", inputs=[{"x": 1}], outputs=[2]
        )
        tell(workspace)


def _old_log(folder: Path) -> Path:
    path = folder / "answers.csv"
    path.write_text("date,model,model version,feature inputs,output\n" + '2026-01-01,credit,7,"{""x"": 1}",2\n' * 2)
    return path


def _imported(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    again = import_dvc(workspace, folder / "repository", remotes=False)
    if ("dvc" in told and again.versions) or len(datasets.versions(workspace.views.database(), "data.csv")) != 2:
        yield f"of DVC's versions {len(again.versions)} were taken over anew"
    try:
        import_log(workspace, _old_log(folder))
    except UsageError:  # it was taken over
        return
    if "log" in told:
        yield "the answers were not taken over"


_THEIRS: Final = b"#!/bin/sh\ntrue\n"


def _in_git(folder: Path) -> None:
    _git(folder / "project", "init", "-q")
    with (folder / "project" / ".git" / "info" / "exclude").open("ab") as file:
        file.write(b"mine\n")
    hook = folder / "project" / ".git" / "hooks" / "post-merge"
    hook.parent.mkdir(exist_ok=True)
    hook.write_bytes(_THEIRS)
    hook.chmod(0o755)
    for name in ("a", "b"):
        (folder / "project" / f"{name}.csv").write_text(name)


def _lock(folder: Path, tell: Tell) -> None:
    """What is tracked is pinned for git, which is told to leave it alone and to bring it along; and that ends."""
    with opened(folder) as workspace:
        add(workspace, [folder / "project" / name for name in ("a.csv", "b.csv")])
        tell(workspace, "pinned")
        untrack(workspace, "b.csv")
        tell(workspace, "untracked")
        hooks.install(workspace, interpreter=sys.executable, chain=True)
        tell(workspace, "hooks")
        locks.off(workspace)
        tell(workspace, "off")
        locks.lock(workspace)
        tell(workspace, "on")
        hooks.uninstall(workspace)
        tell(workspace, "no hooks")


def _locked(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    root = folder / "project"
    found = pins.read(root)
    if (("pinned" in told and "hooks" not in told) or "on" in told) and "a.csv" not in found:
        yield "a pin is gone"
    if "untracked" in told and "b.csv" in found:
        yield "a pin is still there"
    for name, pin in found.items():
        if pin.content not in {version.content for version in datasets.versions(workspace.views.database(), name)}:
            yield f"{name} is pinned and not recorded"
    ignored = (root / ".git" / "info" / "exclude").read_bytes().splitlines()
    if b"mine" not in ignored:
        yield "what git was told by others is gone"
    if "pinned" in told and b"/a.csv" not in ignored:
        yield "git was not told to leave the data alone"
    states = {hook.name: hook.state for hook in hooks.hooks(workspace).hooks}
    is_installed = set(states.values()) == {"installed"}
    if ("hooks" in told and "on" not in told and not is_installed) or states["post-checkout"] == "foreign":
        yield f"the hooks are {states}"
    if "no hooks" in told and "installed" in states.values():
        yield "there are hooks still"
    merged = root / ".git" / "hooks" / "post-merge"
    if states["post-merge"] == "none":
        yield "git runs no hook, and somebody else had one"
    hooks.install(workspace, interpreter=sys.executable, chain=True)
    hooks.uninstall(workspace)
    if merged.read_bytes() != _THEIRS or len(list(merged.parent.glob("post-merge*"))) != 1:
        yield "somebody else's hook is not as it was"
    hooks.install(workspace, interpreter=sys.executable, chain=True)
    locks.lock(workspace)
    current = datasets.versions(workspace.views.database())
    tracked = {version.name for version in current if version.is_current and version.is_tracked and version.path}
    if set(pins.read(root)) != tracked:
        yield f"{sorted(pins.read(root))} are pinned, and {sorted(tracked)} tracked"


def _named(folder: Path) -> None:
    (folder / "project" / "data.csv").write_text("a")
    with opened(folder) as workspace:
        add(workspace, [folder / "project" / "data.csv"])
        answer = predict(workspace, "twice", [{"x": 1}])
        (folder / "complaint").write_text(str(dispute(workspace, answer.reference, reason="it is wrong").index))


def _name(folder: Path, tell: Tell) -> None:
    """Names of versions, of places, of those who sign; the end of a complaint; a service that begins."""
    public = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    with opened(folder) as workspace:
        alias(workspace, "twice@champion", "v1", reason="to fail with")
        tell(workspace, "alias")
        tag(workspace, "data.csv", "golden", reason="to fail with")
        tell(workspace, "tag")
        add_remote(workspace, "hub", "hub", folder=folder)
        tell(workspace, "remote")
        add_signer(workspace, AGENT, public)
        tell(workspace, "signer")
        revoke_signer(workspace, AGENT)
        tell(workspace, "revoked")
        resolve(workspace, (folder / "complaint").read_text(), "it was right")
        tell(workspace)
        start_service(workspace, ["twice"], address=None)
        tell(workspace)
        remove_remote(workspace, "hub")
        tell(workspace, "no remote")


def _renamed(folder: Path, workspace: Workspace, told: Collection[str]) -> Iterator[str]:
    del folder
    for fact, reference in (("alias", "twice@champion"), ("tag", "dataset:data.csv@golden")):
        if fact in told:
            names.resolve(workspace, reference)
    known = [found.name for found in remotes(workspace).remotes]
    if ("remote" in told and "revoked" not in told and not known) or ("no remote" in told and known):
        yield f"the remotes are {known}"
    rows = signers(workspace).rows
    if ("signer" in told and not rows) or ("revoked" in told and any(row.revoked is None for row in rows)):
        yield f"those who sign are {rows}"


def _replay(folder: Path, tell: Tell) -> None:
    with opened(folder) as workspace:
        replay(workspace, predict(workspace, "twice", [{"x": 1}]).reference)
        tell(workspace)


SCENARIOS: Final[dict[str, Scenario]] = {
    "init": Scenario(work=_init, begins_empty=True),
    "record": Scenario(work=_record),
    "rotate": Scenario(work=_rotate),
    "register": Scenario(work=_register),
    "run": Scenario(work=_run),
    "observe": Scenario(work=_observe),
    "replay": Scenario(work=_replay),
    "name": Scenario(before=_named, work=_name, after=_renamed),
    "stream": Scenario(work=_stream),
    "table": Scenario(work=_table),
    "review": Scenario(work=_review, after=_reviewed),
    "tensor": Scenario(work=_tensor),
    "derive": Scenario(work=_derive),
    "remake": Scenario(before=_let_go, work=_remake, after=_remade),
    "capture": Scenario(before=_loans, work=_capture, after=_captured),
    "attach": Scenario(before=_loans, work=_attach, after=_attached, asks_others=True),
    "url": Scenario(work=_url, after=_at_hand, asks_others=True),
    "import": Scenario(before=_dvc, work=_import, after=_imported),
    "export": Scenario(before=_made_to_export, work=_export, after=_exported),
    "lock": Scenario(before=_in_git, work=_lock, after=_locked),
    "views": Scenario(before=_no_views, work=_views),
    "sweep": Scenario(work=_sweep),
    "mend": Scenario(before=_damaged, work=_mend, after=_mended, mends=True),
    "backup": Scenario(work=_backup, after=_backed_up),
    "restore": Scenario(before=_lost, work=_restore, begins_empty=True),
    "copy": Scenario(before=_copied, work=_copy),
    "push": Scenario(work=_push, after=_pushed),
    "pull": Scenario(before=_others, work=_pull, after=_pulled),
    "clone": Scenario(before=_others, work=_clone, after=_cloned),
    "merge": Scenario(before=_theirs, work=_merge, after=_merged),
    "bundle": Scenario(before=_others, work=_bundle, after=_bundled),
    "publish": Scenario(work=_publish, after=_published),
    "witness": Scenario(work=_witness, after=_witnessed, asks_others=True),
    "files": Scenario(before=_others, work=_files),
    "forget": Scenario(work=_forget),
}
