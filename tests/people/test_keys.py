"""Keys of sealed values go to another clone, sealed for it, and never those of the forgotten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrodict.actions import keys
from retrodict.actions.export import export
from retrodict.actions.forget import forget, reach
from retrodict.actions.log import log
from retrodict.actions.open import open_workspace
from retrodict.actions.people import UnknownSubjectError
from retrodict.actions.predictions import search
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import UsageError
from retrodict.keys import SharedKeysError
from retrodict.render import text
from retrodict.serving import Service
from retrodict.testing.people import make_people, question
from retrodict.testing.workbench import reopen
from retrodict.workspace import Workspace

NOBODY = "x25519:0i8ALvUnUmNtNGXQBHBWXBMFgSgtBuO8KDRwFGZqwwM="


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with one call, of which `clone` is a copy."""
    with make_people(tmp_path) as made:
        Service(made).predict("score", question(("ann", 30, "Rome"), ("bob", 40, "Oslo")))
    shutil.copytree(tmp_path / "project", tmp_path / "clone")
    with reopen(tmp_path) as opened:
        yield opened


@pytest.fixture
def clone(here: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A copy on another machine: the store is there, the state directory is not."""
    assert here.root == tmp_path / "project"
    with open_workspace(tmp_path / "clone", tmp_path / "elsewhere", SystemClock()) as bare:
        keys.identity(bare)
    with open_workspace(tmp_path / "clone", tmp_path / "elsewhere", SystemClock(), agent="Bea") as opened:
        yield opened


def test_a_clone_reads_what_it_was_given_keys_for(here: Workspace, clone: Workspace, tmp_path: Path) -> None:
    assert [row.inputs for row in search(clone, unseal=True).rows] == [None, None]
    assert [row.kind for row in log(clone, limit=30).rows].count("personal.viewed") == 0  # nothing could be shown
    assert (search(clone, subject="ann").rows, search(clone, subject="ann").strangers) == ((), 2)
    with pytest.raises(UnknownSubjectError) as unknown:
        export(clone, "ann")
    assert "keys receive" in str(unknown.value.hint)
    identity = keys.identity(clone).key
    assert identity == keys.identity(clone).key
    with pytest.raises(UsageError, match="this workspace itself"):
        keys.share(here, keys.identity(here).key, tmp_path / "own.keys")
    given = keys.share(here, identity, tmp_path / "ann.keys", subjects=["ann"])
    assert (given.subjects, given.texts) == (1, 0)
    taken = keys.receive(clone, tmp_path / "ann.keys")
    assert (taken.keys, taken.new, taken.sender) == (1, 1, keys.identity(here).key)
    found = search(clone, subject="ann")
    assert [row.inputs for row in found.rows] == [{"age": 30, "city": "Rome"}]
    assert (found.strangers, text.strangers(found).split()[0]) == (1, "1")
    assert [row.inputs for row in search(clone, unseal=True).rows][-1] is None
    keys.share(here, identity, tmp_path / "all.keys")
    assert keys.receive(clone, tmp_path / "all.keys").new > 1
    assert keys.receive(clone, tmp_path / "all.keys").new == 0
    assert None not in [row.inputs for row in search(clone, unseal=True).rows]
    assert search(clone, subject="cid").strangers == 0
    assert [(row.kind, row.what) for row in log(clone, limit=2).rows] == [
        ("personal.viewed", "predictions: 2 people"),
        ("keys.received", f"from {keys.identity(here).key}"),
    ]


def test_who_holds_a_persons_key_is_named_when_they_are_forgotten(
    here: Workspace, clone: Workspace, tmp_path: Path
) -> None:
    identity = keys.identity(clone).key
    keys.share(here, identity, tmp_path / "ann.keys", subjects=["ann"])
    (_, held) = reach(here, "ann").holders
    assert (held.kind, held.where, held.state) == ("clone", identity, "not confirmed")
    assert len(reach(here, "bob").holders) == 1
    forget(here, "ann")
    again = keys.receive(here, _shared_back(clone, here, tmp_path))
    assert again.refused == 1
    assert here.keys is not None
    assert here.keys.find_subjects("ann") == []
    assert search(here, subject="ann").strangers == 0  # who was forgotten is no stranger
    told = {row.kind: row.what for row in log(here, limit=20).rows}
    assert told["subject.forgotten"].startswith("s-")
    assert told["keys.shared"] == f"to {identity}"


def _shared_back(clone: Workspace, here: Workspace, tmp_path: Path) -> Path:
    keys.receive(clone, tmp_path / "ann.keys")
    keys.share(clone, keys.identity(here).key, tmp_path / "back.keys", subjects=["ann"])
    return tmp_path / "back.keys"


def test_a_file_of_keys_opens_only_for_whom_it_is_and_only_as_it_was(
    here: Workspace, clone: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "for.keys"
    keys.share(here, keys.identity(clone).key, path)
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(SharedKeysError, match="are for"):
        keys.receive(here, path)
    file = json.loads(path.read_text())
    for field, value in (
        ("from", NOBODY),
        ("ephemeral", NOBODY),
        ("format", "retrodict keys 2"),
        ("sealed", file["sealed"][:-8] + "AAAAAAA="),
        ("sealed", "!"),
        ("to", "x25519:short"),
    ):
        path.write_text(json.dumps(file | {field: value}))
        with pytest.raises(SharedKeysError):
            keys.receive(clone, path)
    path.write_text("not json")
    with pytest.raises(SharedKeysError):
        keys.receive(clone, path)
    with pytest.raises(UsageError, match="exists"):
        keys.share(here, keys.identity(clone).key, path)
    with pytest.raises(UsageError, match="read"):
        keys.receive(clone, tmp_path / "nothing")
    for wrong in ("", "x25519:", "x25519:AAAA", "x25519:" + "A" * 43 + "="):
        with pytest.raises(SharedKeysError):
            keys.share(here, wrong, tmp_path / "never")
    assert not (tmp_path / "never").exists()
