"""A personal file is kept as its ciphertext, known again by its bytes, and makes personal what is made from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from retrodict.actions import table_change
from retrodict.actions.add import Added, add
from retrodict.actions.checkout import checkout
from retrodict.actions.personal_files import PersonalFileError
from retrodict.actions.predict import predict, read_input
from retrodict.actions.register import register
from retrodict.actions.run import Ran, run
from retrodict.actions.show import show
from retrodict.actions.status import status
from retrodict.actions.verify import verify
from retrodict.kernel.errors import UsageError
from retrodict.objects import digest_of
from retrodict.predictions.errors import SealedValuesError
from retrodict.tables.changes import How
from retrodict.testing.workbench import make_workspace, register_source
from retrodict.workspace import Workspace, sealed_key

ROWS = b"name,age\nPLANTED-PERSON,918273645\n"
SCRIPT = """
import json
ages = [int(line.split(",")[1]) for line in open("people.csv").read().splitlines()[1:]]
open("model.py", "w").write(f"def predict(rows):\\n    return [{ages[0]}] * len(rows)\\n")
open("metrics.json", "w").write(json.dumps({"mean": sum(ages) / len(ages)}))
print("oldest", max(ages))
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path) as made:
        (made.root / "people.csv").write_bytes(ROWS)
        (made.root / "other.csv").write_bytes(b"code,text\n1,one\n")
        (made.root / "train.py").write_text(SCRIPT)
        yield made


def added(workspace: Workspace, *names: str, **options: object) -> Added:
    return add(workspace, [workspace.root / name for name in names], **options)[-1]  # type: ignore[arg-type]


def ran(workspace: Workspace) -> Ran:
    return run(workspace, [sys.executable, "train.py"], cwd=workspace.root, environment=os.environ)


PLAIN = bytes.fromhex(digest_of(ROWS)[3:])
NEEDLES = (b"PLANTED", b"918273645", PLAIN, PLAIN.hex().encode())


def in_the_clear(workspace: Workspace) -> list[str]:
    """Return where planted values, or the digest of what they stand in, are kept."""
    found = []
    for i in range(256):
        for digest in workspace.objects.resolve_prefix(f"b3-{i:02x}"):
            data = b"".join(workspace.objects.stream(digest))
            found += [f"{digest}: {needle!r}" for needle in NEEDLES if needle in data]
    for path in workspace.folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        found += [f"{path}: {needle!r}" for needle in NEEDLES if needle in data]
    return found


def test_a_personal_file_is_named_by_its_ciphertext_and_comes_back(workspace: Workspace) -> None:
    first = added(workspace, "people.csv", personal=True)
    assert first.content != digest_of(ROWS)
    assert first.is_personal
    assert not added(workspace, "people.csv").is_new
    assert not status(workspace).is_changed
    assert in_the_clear(workspace) == []
    (workspace.root / "people.csv").unlink()
    assert [item.state for item in status(workspace).paths] == ["missing"]
    before = workspace.ledger.size()
    checkout(workspace, "dataset:people.csv")
    assert (workspace.root / "people.csv").read_bytes() == ROWS
    assert workspace.ledger.event(before).event.kind == "personal.viewed"
    assert show(workspace, "dataset:people.csv").preview == "(personal: `retrodict checkout` opens it)"
    assert verify(workspace).answer == "yes"
    with pytest.raises(SealedValuesError, match="recorded"):
        checkout(replace(workspace, agent=""), "dataset:people.csv")


def test_a_changed_personal_file_is_a_personal_version_with_a_key_of_its_own(workspace: Workspace) -> None:
    first = added(workspace, "people.csv", personal=True)
    (workspace.root / "people.csv").write_bytes(ROWS + b"PLANTED-OTHER,7\n")
    assert [item.state for item in status(workspace).paths] == ["changed"]
    second = added(workspace, "people.csv")
    assert (second.version, second.is_personal) == (2, True)
    assert sealed_key(workspace, first.content) != sealed_key(workspace, second.content)
    assert in_the_clear(workspace) == []
    (workspace.root / "people.csv").write_bytes(b"PLANTED-LOST,7\n")
    with pytest.raises(UsageError, match="not versioned"):
        checkout(workspace, "dataset:people.csv@v1")
    assert in_the_clear(workspace) == []


def test_what_a_run_makes_of_personal_files_is_personal(workspace: Workspace) -> None:
    sealed = added(workspace, "people.csv", personal=True)
    added(workspace, "other.csv")
    done = ran(workspace)
    assert [(file.path, file.digest) for file in done.inputs if file.role == "input"] == [
        ("people.csv", sealed.content)
    ]
    assert done.inputs[0].maker is not None
    assert {file.path for file in done.outputs} == {"model.py", "metrics.json"}
    assert all(sealed_key(workspace, file.digest) for file in done.outputs)
    assert in_the_clear(workspace) == []
    assert verify(workspace).answer == "yes"
    assert added(workspace, "metrics.json").is_personal
    for path, options in (("model.py:predict", {}), ("train.py:predict", {"metrics": workspace.root / "metrics.json"})):
        with pytest.raises(PersonalFileError, match="personal"):
            register(workspace, str(workspace.root / path), "mean", **options)  # type: ignore[arg-type]
    assert in_the_clear(workspace) == []


def test_it_is_personal_until_somebody_declares_it_clean_for_a_reason(workspace: Workspace) -> None:
    added(workspace, "people.csv", personal=True)
    done = ran(workspace)
    with pytest.raises(UsageError, match="reason"):
        added(workspace, "model.py", personal=False)
    clean = added(workspace, "model.py", personal=False, reason="a mean of thousands")
    assert (clean.is_personal, clean.content) == (False, digest_of((workspace.root / "model.py").read_bytes()))
    found = register(workspace, f"{workspace.root / 'model.py'}:predict", "mean")
    assert found.run_entry == done.entry
    assert not added(workspace, "model.py").is_new


def test_personal_files_are_not_kept_by_way_of_a_folder_or_as_code(workspace: Workspace) -> None:
    (workspace.root / "data").mkdir()
    (workspace.root / "people.csv").rename(workspace.root / "data" / "people.csv")
    added(workspace, "data/people.csv", personal=True)
    (workspace.root / "data" / "copy.csv").write_bytes(ROWS)
    with pytest.raises(PersonalFileError, match="personal"):
        added(workspace, "data")
    assert added(workspace, "data/copy.csv").is_personal
    assert in_the_clear(workspace) == []


def test_rows_of_a_personal_file_are_not_kept_in_a_table_or_a_question_about_nobody(workspace: Workspace) -> None:
    added(workspace, "people.csv", personal=True)
    register_source(workspace, "model", "def predict(frame):\n    return frame\n")
    path, how = workspace.root / "people.csv", How(verb="put")
    with pytest.raises(PersonalFileError):
        table_change.create(workspace, "rows", ["name"], source=path)
    table_change.create(workspace, "rows", ["name"], types={"age": "int64"})
    for change in (table_change.put, table_change.import_):
        with pytest.raises(PersonalFileError):
            change(workspace, "rows", path, how=how)
    with pytest.raises(PersonalFileError):
        predict(workspace, "model", read_input(path), source=path)
    assert in_the_clear(workspace) == []
    table_change.create(workspace, "people", ["name"], source=path, subject="name")
    assert in_the_clear(workspace) == []


def test_a_large_file_is_sealed_whole(workspace: Workspace) -> None:
    data = os.urandom(3_000_000) + ROWS
    (workspace.root / "large.bin").write_bytes(data)
    first = added(workspace, "large.bin", personal=True)
    assert first.size_bytes == len(data)
    (workspace.root / "large.bin").unlink()
    checkout(workspace, "dataset:large.bin")
    assert (workspace.root / "large.bin").read_bytes() == data
    assert verify(workspace).answer == "yes"
