"""A personal file is forgotten for a reason: what it reached is named and recorded, and nobody can read it again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from retrodict import datasets
from retrodict.actions.add import Added, add
from retrodict.actions.checkout import checkout
from retrodict.actions.explain import explain
from retrodict.actions.forget_files import forget, reach
from retrodict.actions.log import log
from retrodict.actions.open import open_workspace
from retrodict.actions.personal_files import ForgottenFileError
from retrodict.actions.register import register
from retrodict.actions.run import Ran, run
from retrodict.actions.show import show
from retrodict.actions.status import status
from retrodict.actions.verify import verify
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import UsageError
from retrodict.predictions.errors import ErasedError
from retrodict.serving import Service
from retrodict.testing.workbench import make_workspace
from retrodict.workspace import Workspace, sealed_key

SCRIPT = """
import pathlib
ages = [int(line.split(",")[1]) for line in open("people.csv").read().splitlines()[1:]]
open("model.py", "w").write(f"def predict(rows):\\n    return [{ages[0]}] * len(rows)\\n")
open("ages.txt", "w").write(str(ages))
print("oldest", max(ages))
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path) as made:
        (made.root / "people.csv").write_bytes(b"name,age\nann,71\n")
        (made.root / "train.py").write_text(SCRIPT)
        folder = made.root / "files"
        folder.mkdir()
        for name in ("ann", "bob", "eve"):
            (folder / f"{name}.csv").write_text(f"{name},71\n")
        yield made


def added(workspace: Workspace, name: str, **options: object) -> Added:
    return add(workspace, [workspace.root / name], **options)[-1]  # type: ignore[arg-type]


def ran(workspace: Workspace) -> Ran:
    return run(workspace, [sys.executable, "train.py"], cwd=workspace.root, environment=dict(os.environ))


@pytest.fixture
def model(workspace: Workspace) -> Ran:
    """A model made of a personal file, declared clean, that has answered once."""
    added(workspace, "people.csv", personal=True)
    done = ran(workspace)
    added(workspace, "model.py", personal=False, reason="one number")
    register(workspace, f"{workspace.root / 'model.py'}:predict", "mean")
    Service(workspace).predict("mean", [[1.0]])
    return done


def test_what_it_reaches_is_named_and_nothing_is_changed_before(workspace: Workspace, model: Ran) -> None:
    size = workspace.ledger.size()
    found = reach(workspace, "dataset:people.csv")
    assert workspace.ledger.size() == size
    assert found.versions == ("dataset:people.csv@v1",)
    assert found.runs == (model.entry,)
    assert {(item.path, item.state) for item in found.derived} == {("model.py", "sealed"), ("ages.txt", "sealed")}
    assert (found.models, found.predictions, found.printed, found.keys) == (("mean@v1",), 1, 1, 1)
    assert found.copies == ("people.csv",)
    assert [(holder.kind, holder.state) for holder in found.holders] == [("workspace", "confirmed")]
    checkout(workspace, "dataset:people.csv", workspace.root / "again.csv")


def test_a_forgotten_file_is_said_to_be_so_and_proofs_hold(workspace: Workspace, model: Ran) -> None:
    added(workspace, "ages.txt")
    done = forget(workspace, "dataset:people.csv", reason="order 7 K 12/26")
    assert (done.destroyed, done.reach.keys) == (1, 1)
    event = workspace.ledger.event(done.index).event
    assert (event.kind, event.body["derived"]) == ("file.forgotten", False)
    assert log(workspace, limit=1).rows[0].what == "dataset:people.csv@v1"
    out = workspace.root / "out.csv"
    record = checkout(workspace, "dataset:people.csv", out)
    said = f"by Ada <ada@example.org> (entry {done.index}): order 7 K 12/26"
    assert said in str(record.forgotten)
    assert not out.exists()
    assert said in (show(workspace, "dataset:people.csv").preview or "")
    shown = {edge.role: edge.state for edge in show(workspace, str(model.entry)).uses}
    assert shown["input"] == "erased"
    call = next(iter(workspace.ledger.entries_of("prediction.made")))
    assert said in repr(explain(workspace, str(call.index)))
    assert verify(workspace).answer == "yes"
    checkout(workspace, "dataset:ages.txt", workspace.root / "made.txt")  # it was only named
    with pytest.raises(UsageError, match="forgotten on"):
        forget(workspace, "dataset:people.csv", reason="again")
    later = forget(workspace, "dataset:people.csv", reason="what was made of it, too", derived=True)
    assert (later.destroyed, later.reach.versions) == (3, ("dataset:ages.txt@v1",))
    with pytest.raises(UsageError, match="forgotten on"):
        forget(workspace, "dataset:people.csv", reason="again", derived=True)
    (workspace.root / "people.csv").unlink()
    assert "people.csv" not in [item.path for item in status(workspace).paths]
    states = []
    for text in ("name,age\nann,71\n", "name,age\nbob,40\n"):
        (workspace.root / "people.csv").write_text(text)
        states += [item.state for item in status(workspace).paths if item.path == "people.csv"]
    assert states == ["forgotten", "changed"]


def test_what_was_derived_goes_with_it_when_that_is_asked_for(workspace: Workspace, model: Ran) -> None:
    added(workspace, "ages.txt")
    done = forget(workspace, "dataset:people.csv", reason="order", derived=True)
    assert done.reach.keys == done.destroyed == 4  # the file, two outputs, what was printed
    assert {item.state for item in done.reach.derived} == {"destroyed"}
    assert "dataset:ages.txt@v1" in done.reach.versions
    assert checkout(workspace, "dataset:ages.txt", workspace.root / "made.txt").forgotten is not None
    assert "erased by entry" in str((show(workspace, str(model.entry)).body or {})["stdout"])
    assert verify(workspace).answer == "yes"


def test_every_version_goes_when_that_is_asked_for(workspace: Workspace) -> None:
    added(workspace, "people.csv", personal=True)
    (workspace.root / "people.csv").write_bytes(b"name,age\nbob,3\n")
    added(workspace, "people.csv")
    done = forget(workspace, "dataset:people.csv", reason="order", all_versions=True)
    assert done.reach.versions == ("dataset:people.csv@v1", "dataset:people.csv@v2")
    assert done.destroyed == 2
    for version in "12":
        out = workspace.root / f"out{version}"
        assert checkout(workspace, f"dataset:people.csv@v{version}", out).forgotten is not None
    with pytest.raises(ForgottenFileError, match=r"very bytes that were forgotten on .*: order"):
        added(workspace, "people.csv")
    assert added(workspace, "people.csv", remember=True, reason="by mistake").version == 3  # a new key
    assert not added(workspace, "people.csv").is_new


def test_forgotten_bytes_are_known_again_wherever_they_lie(workspace: Workspace) -> None:
    added(workspace, "people.csv", personal=True)
    forget(workspace, "dataset:people.csv", reason="order")
    (workspace.root / "people.csv").rename(workspace.root / "files" / "old.csv")
    for path, options in (("files/old.csv", {"personal": False, "reason": "clean"}), ("files", {})):
        with pytest.raises(ForgottenFileError):
            added(workspace, path, **options)
    (workspace.root / "files" / "old.csv").rename(workspace.root / "copy.csv")
    (workspace.root / "train.py").write_text('print(len(open("copy.csv").read()))')
    done = ran(workspace)
    assert [warning for warning in done.warnings if "copy.csv was forgotten and lies there still" in warning]
    (read,) = [file for file in done.inputs if file.path == "copy.csv"]
    assert sealed_key(workspace, read.digest) is not None
    with pytest.raises(ForgottenFileError):
        added(workspace, "copy.csv")


def test_one_file_of_a_folder_goes_alone_in_all_versions_that_have_it(workspace: Workspace) -> None:
    added(workspace, "files", personal=True)
    (workspace.root / "files" / "new.csv").write_text("new,1\n")
    added(workspace, "files")
    with pytest.raises(UsageError, match=r"holds no ann\.txt"):
        reach(workspace, "dataset:files", files=["ann.txt"])
    done = forget(workspace, "dataset:files", files=["ann.csv"], reason="order")
    assert (done.reach.files, done.reach.versions) == (1, ("dataset:files@v1", "dataset:files@v2"))
    assert done.reach.copies == ("files/ann.csv",)
    for version in "12":
        out = workspace.root / f"out{version}"
        record = checkout(workspace, f"dataset:files@v{version}", out)
        assert list(record.left_out) == ["ann.csv"]
        assert (out / "bob.csv").read_text() == "bob,71\n"
        assert not (out / "ann.csv").exists()
    assert verify(workspace).answer == "yes"


def test_a_folder_goes_whole_with_its_names(workspace: Workspace) -> None:
    first = added(workspace, "files", personal=True)
    done = forget(workspace, "files", reason="order")
    assert (done.reach.files, done.destroyed) == (3, 4)
    assert checkout(workspace, "files").forgotten is not None
    assert "forgotten on" in (show(workspace, "files").preview or "")
    key = sealed_key(workspace, first.content)
    assert key is not None
    assert workspace.keys is not None
    assert workspace.keys.open_file(key, []) is None
    assert verify(workspace).answer == "yes"


def test_what_no_key_seals_cannot_be_forgotten(workspace: Workspace) -> None:
    added(workspace, "train.py")
    for reference in ("dataset:train.py", datasets.current(workspace.views.database(), "train.py")[0].content):
        with pytest.raises(UsageError, match="not personal"):
            reach(workspace, reference)
    added(workspace, "people.csv", personal=True)
    with pytest.raises(UsageError, match="reason"):
        forget(workspace, "people.csv", reason=" ")
    with pytest.raises(UsageError, match="no folder"):
        reach(workspace, "people.csv", files=["x"])


def test_a_crash_after_the_event_is_ended_by_the_next_open(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = added(workspace, "people.csv", personal=True).content
    key = sealed_key(workspace, content) or ""

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("retrodict.actions.forget_files.destroy_forgotten", killed)
        with pytest.raises(KeyboardInterrupt):
            forget(workspace, "people.csv", reason="order")
    assert workspace.keys is not None
    assert workspace.keys.holds(key)
    state = next(path for path in tmp_path.iterdir() if (path / workspace.id).is_dir())
    with open_workspace(workspace.root, state, SystemClock()) as again:
        assert again.keys is not None
        assert again.keys.holds(key) is False


def test_a_key_that_is_put_back_behind_an_edited_view_is_named(workspace: Workspace, tmp_path: Path) -> None:
    content = added(workspace, "people.csv", personal=True).content
    key, ring = sealed_key(workspace, content) or "", workspace.folder / "keys.db"
    before = ring.read_bytes()
    assert forget(workspace, "people.csv", reason="order").destroyed == 1
    assert workspace.keys is not None
    assert not workspace.keys.holds(key)
    views = apsw.Connection(str(workspace.folder / "views.db"))
    views.execute("DELETE FROM personal_forgotten")
    views.close()
    ring.write_bytes(before)
    state = next(path for path in tmp_path.iterdir() if (path / workspace.id).is_dir())
    with open_workspace(workspace.root, state, SystemClock()) as again:
        found = verify(again).findings
        assert [finding.what for finding in found if "is held here" in finding.message] == [f"key {key}"]
        assert [
            finding
            for finding in found
            if finding.what.startswith("view personal_forgotten") and finding.level != "note"
        ]
    (workspace.folder / "views.db").unlink()
    with open_workspace(workspace.root, state, SystemClock()) as again:
        assert again.keys is not None
        assert not again.keys.holds(key)


def test_an_object_can_be_forgotten_too(workspace: Workspace, model: Ran) -> None:
    ref = next(file.digest for file in model.outputs if file.path == "ages.txt")
    assert forget(workspace, ref, reason="order").destroyed == 1
    assert checkout(workspace, ref, workspace.root / "made.txt").forgotten is not None
    assert ErasedError.slug == "erased"
