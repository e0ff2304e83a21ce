"""A copied workspace begins a log of its own; what both write stays, and each is found and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import apsw
import pytest

from retrodict.actions.add import add
from retrodict.actions.log import log
from retrodict.actions.names import resolve
from retrodict.actions.open import open_workspace
from retrodict.actions.predict import predict
from retrodict.actions.status import status
from retrodict.actions.verify import verify
from retrodict.kernel.types import EntryNumber
from retrodict.testing.workspaces import AGENT, Built, build
from retrodict.workspace import CopiedWorkspaceError, Layout, Workspace, publish


@pytest.fixture
def built(tmp_path: Path) -> Built:
    return build(tmp_path / "original")


@pytest.fixture
def copy(built: Built, tmp_path: Path) -> Path:
    shutil.copytree(built.root, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def opened(built: Built, root: Path, *, writes: bool = True) -> Workspace:
    return open_workspace(root, built.state, built.clock, agent=AGENT, begins_log=writes)


def change(workspace: Workspace, text: str) -> int:
    path = workspace.root / "data" / "points.csv"
    path.write_text(text)
    index = add(workspace, [path], reason=text)[0].index
    publish(workspace)
    return index


def sound(workspace: Workspace) -> None:
    found = verify(workspace)
    assert found.answer == "yes", found.findings


def test_a_copy_is_read_as_it_is_and_begins_a_log_at_its_first_write(built: Built, copy: Path) -> None:
    before = (copy / ".retrodict" / "format.json").read_bytes()
    with opened(built, copy, writes=False) as workspace:
        size, origin = workspace.ledger.size(), workspace.ledger.origin
        assert workspace.is_copy
        sound(workspace)
        with pytest.raises(CopiedWorkspaceError):
            change(workspace, "x,y\n1,1\n")
    assert (copy / ".retrodict" / "format.json").read_bytes() == before
    with opened(built, copy) as workspace:
        assert workspace.copied is not None
        assert not workspace.is_copy
        own, other = workspace.logs.held()
        assert (other.ledger.origin, other.ledger.size()) == (origin, size)
        assert own.ledger.origin != origin
        first = own.ledger.event(0).event
        assert (first.kind, first.body["origin"], first.body["size"]) == ("workspace.copied", origin, size)
        change(workspace, "x,y\n1,1\n")
        found = verify(workspace)
        assert found.answer == "yes", found
        assert [(log.origin, log.entries, log.unprotected) for log in found.logs] == [(origin, size, 0)]
    with built.open() as workspace:  # which knows nothing of it
        change(workspace, "x,y\n2,2\n")
        assert workspace.ledger.origin == origin
        sound(workspace)


def test_what_was_recorded_before_the_copy_is_known_by_its_log(built: Built, copy: Path) -> None:
    with built.open() as workspace:
        event = workspace.ledger.event(2).event.id
        model = resolve(workspace, "line@champion").event
    with opened(built, copy) as workspace:
        change(workspace, "x,y\n1,1\n")
        other = workspace.logs.held()[1]
        number = EntryNumber.of(other.tag, 2)
        assert str(number) == f"{other.name}:2"
        for text in (str(number), event, f"{other.hash}:2"):
            found = resolve(workspace, text)
            assert (found.event, found.printed) == (event, str(number))
        assert resolve(workspace, "1").event != event
        assert resolve(workspace, "line@champion").event == model
        answer = predict(workspace, "line@champion", [{"x": 1.0}])
        assert answer.reference.split(".")[0].isdigit()
        assert {row.reason for row in log(workspace).rows} >= {"x,y\n1,1\n"}


def test_views_are_the_same_whether_folded_on_the_way_or_anew(built: Built, copy: Path) -> None:
    with opened(built, copy) as workspace:
        change(workspace, "x,y\n1,1\n")
        assert list(workspace.views.verify()) == []
        before = workspace.views.digest()
        workspace.views.rebuild()
        assert workspace.views.digest() == before


def test_a_copy_of_a_copy_begins_a_third_log(built: Built, copy: Path, tmp_path: Path) -> None:
    with opened(built, copy) as workspace:
        change(workspace, "x,y\n1,1\n")
    shutil.copytree(copy, tmp_path / "third", symlinks=True)
    with opened(built, tmp_path / "third") as workspace:
        change(workspace, "x,y\n3,3\n")
        assert len({log.ledger.origin for log in workspace.logs.held()}) == 3
        sound(workspace)
    with opened(built, copy) as workspace:
        assert len(workspace.logs.held()) == 2
        sound(workspace)


def test_texts_of_the_original_are_read_in_the_copy(built: Built, copy: Path) -> None:
    with built.open() as workspace:
        reasons = {row.reason for row in log(workspace).rows}
    with opened(built, copy) as workspace:
        change(workspace, "x,y\n1,1\n")
        copied = log(workspace, of=workspace.logs.held()[1].name)
        assert {row.reason for row in copied.rows} == reasons
        assert all(str(row.entry).startswith(workspace.logs.held()[1].name) for row in copied.rows)


@pytest.fixture
def copied_log(built: Built, copy: Path) -> Path:
    with opened(built, copy) as workspace:
        change(workspace, "x,y\n1,1\n")
    return copy


def test_a_changed_copied_log_is_named(built: Built, copied_log: Path) -> None:
    db = apsw.Connection(str(copied_log / ".retrodict" / "ledger.db"))
    db.execute("UPDATE entries SET data = CAST(replace(CAST(data AS TEXT), '\"at\"', '\"ta\"') AS BLOB) WHERE idx = 3")
    db.close()
    with opened(built, copied_log) as workspace:
        found = verify(workspace)
    assert found.answer == "no"
    assert any("ledger.db: entry 3" in finding.what for finding in found.findings)


def test_a_copied_log_that_is_cut_or_gone_is_named(built: Built, copied_log: Path) -> None:
    path = copied_log / ".retrodict" / "ledger.db"
    kept = path.read_bytes()
    path.unlink()
    with opened(built, copied_log) as workspace:
        found = verify(workspace)
        assert status(workspace).entries
    assert found.answer == "no"
    assert any(finding.what == "ledger.db" and finding.level == "missing" for finding in found.findings)
    path.write_bytes(kept)
    with opened(built, copied_log) as workspace:
        sound(workspace)


def test_a_changed_list_of_logs_is_named(built: Built, copied_log: Path) -> None:
    path = copied_log / ".retrodict" / "format.json"
    value = json.loads(path.read_bytes())
    value["logs"][1]["key"] = value["logs"][0]["key"]
    path.write_text(json.dumps(value))
    with opened(built, copied_log) as workspace:
        found = verify(workspace)
    assert found.answer == "no"
    assert any(finding.what == "format.json" for finding in found.findings)


def test_a_beginning_that_was_cut_off_is_begun_anew(built: Built, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Layout, "write", die)
        with pytest.raises(KeyboardInterrupt):
            opened(built, copy)
    with opened(built, copy, writes=False) as workspace:
        assert workspace.is_copy
    with opened(built, copy) as workspace:
        change(workspace, "x,y\n1,1\n")
        sound(workspace)
    assert len(list((copy / ".retrodict" / "logs").glob("*.db"))) == 1
