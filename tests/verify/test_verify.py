"""`verify` over a whole workspace: whatever is changed is named, and nothing is written or signed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from retrodict.actions.add import add
from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.actions.references import objects_named
from retrodict.actions.run import run
from retrodict.actions.verify import Verification, unreadable, verify
from retrodict.cli import main
from retrodict.kernel.clock import SystemClock, event_id, rfc3339
from retrodict.kernel.errors import IntegrityError
from retrodict.kernel.types import Digest, Event
from retrodict.ledger import Ledger
from retrodict.testing.clock import FixedClock
from retrodict.testing.flips import files, flip, rows_of
from retrodict.testing.workspaces import Built, build

DATABASES = ("ledger.db", "views.db", "keys.db", "objects/index.db", "objects/stat.db", "objects/folders.db")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Built:
    made = build(tmp_path_factory.mktemp("original"))
    with made.open() as workspace:
        workspace.views.database()
        for path in (made.root / "data").iterdir():
            workspace.objects.hash_file(path)
    return made


@pytest.fixture
def store(original: Built, tmp_path: Path) -> Iterator[Path]:
    """A workspace that may be altered, at the place that its key knows: what lay there is put back."""
    folder = original.root / ".retrodict"
    shutil.copytree(folder, tmp_path / "kept", symlinks=True)
    shutil.copytree(original.state, tmp_path / "state")
    yield folder
    shutil.rmtree(folder)
    shutil.rmtree(original.state)
    shutil.copytree(tmp_path / "kept", folder, symlinks=True)
    shutil.copytree(tmp_path / "state", original.state)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_uncommitted_changes_of_a_run_that_are_lost_are_named(tmp_path: Path) -> None:
    root, state = tmp_path / "project", tmp_path / "state"
    init(root, state, SystemClock(), agent="Ada")
    (root / "train.py").write_text("print(1)\n")
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "train.py"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    (root / "train.py").write_text("print(2)\n")
    with open_workspace(root, state, SystemClock(), agent="Ada") as workspace:
        ran = run(workspace, [sys.executable, "train.py"], cwd=root, environment=dict(os.environ))
        body = workspace.ledger.event(ran.entry).event.body
        diff = json.loads(workspace.objects.get(Digest(str(body["code_facts"]))))["diff"]
        assert b"+print(2)" in workspace.objects.get(diff)
        assert verify(workspace).answer == "yes"
    index = root / ".retrodict" / "objects" / "index.db"
    db = apsw.Connection(str(index))
    name = bytes.fromhex(diff.removeprefix("b3-"))
    rows: list[Any] = db.execute(
        "SELECT p.id, p.name, (SELECT count(*) FROM objects WHERE pack = p.id) FROM packs p "
        "WHERE p.id = (SELECT pack FROM objects WHERE name = ?)",
        (name,),
    ).fetchall()
    [(pack, key, count)] = rows
    assert count == 1
    (index.parent / "packs" / f"{key.hex()}.pack").unlink()
    db.execute("DELETE FROM objects WHERE pack = ?", (pack,))
    db.execute("DELETE FROM packs WHERE id = ?", (pack,))
    db.close()
    with open_workspace(root, state, SystemClock(), read_only=True) as workspace:
        found = verify(workspace)
    assert found.answer == "no"
    assert [finding.what for finding in found.findings] == [diff]


def test_the_sealed_files_of_a_run_are_looked_at_though_the_facts_about_its_code_are_lost(tmp_path: Path) -> None:
    root, state = tmp_path / "project", tmp_path / "state"
    init(root, state, SystemClock(), agent="Ada")
    (root / "people.csv").write_text("who,age\nada,36\n")
    with open_workspace(root, state, SystemClock(), agent="Ada") as workspace:
        add(workspace, [root / "people.csv"], personal=True)
        copy = "open('out.csv', 'w').write(open('people.csv').read())"
        ran = run(workspace, [sys.executable, "-c", copy], cwd=root, environment=dict(os.environ))
        sequenced = workspace.ledger.event(ran.entry)
        whole = set(objects_named(workspace, sequenced))
        lost = f"b3-{'0' * 64}"
        body = {**sequenced.event.body, "code_facts": lost}
        without = set(objects_named(workspace, replace(sequenced, draft=replace(sequenced.event, body=body))))
    files = {(digest, role) for digest, role in whole if role == "files"}
    assert files
    assert files <= without
    assert (lost, "code_facts") in without


def answer(built: Built, **options: str) -> Verification:
    try:
        with open_workspace(built.root, built.state, FixedClock(), read_only=True) as workspace:
            return verify(workspace, **options)  # type: ignore[arg-type]
    except IntegrityError as error:
        return unreadable(error)


def change(path: Path, sql: str, *values: object) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql, values)
    db.close()


def draft() -> Event:
    clock = SystemClock()
    at = rfc3339(clock.now_ns())
    return Event(id=event_id(clock), kind="thing.happened", at=at, agent="a-0", uses=(), makes=(), body={})


@pytest.mark.parametrize("name", DATABASES)
def test_any_flipped_byte_of_a_database_is_named_or_seen_by_no_reader(original: Built, store: Path, name: str) -> None:
    path = store / name
    size, expected, chosen = path.stat().st_size, rows_of(path), random.Random(name)
    schema_page = [chosen.randrange(3000, 4096) for _ in range(12)]
    for place in {0, 18, 47, 60, 63, 71, *schema_page, *(chosen.randrange(size) for _ in range(60))}:
        assert flip(original, path, place, expected) in ("named", "unseen"), place


def test_a_flipped_byte_in_the_list_of_views_or_at_the_head_of_a_page_is_named(original: Built, store: Path) -> None:
    path = store / "views.db"
    expected, size = rows_of(path), path.stat().st_size
    for place in (*range(7600, 8192, 11), *range(8035, 8045), *range(4096, size, 4096)):
        assert flip(original, path, place, expected) in ("named", "unseen"), place


def test_an_origin_that_is_no_text_is_named(original: Built, store: Path) -> None:
    path = store / "ledger.db"
    place = path.read_bytes().index(b"retrodict.local/", 4096) - 1  # the type of the row's only column
    assert flip(original, path, place, rows_of(path)) == "named"


@pytest.mark.parametrize(
    ("name", "table", "column", "named"),
    [("objects/index.db", "packs", "name", "index row of pack 1"), ("views.db", "views_meta", "applied", "views.db")],
)
def test_a_null_where_there_can_be_none_is_named(
    original: Built, store: Path, name: str, table: str, column: str, named: str
) -> None:
    """SQLite gives NULL for the columns of a damaged page."""
    schema = "PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name = ?"
    change(store / name, schema, "NOT NULL", "/*nonull*/", table)
    change(store / name, f"UPDATE {table} SET {column} = NULL")
    change(store / name, schema, "/*nonull*/", "NOT NULL", table)
    found = answer(original)
    assert found.answer == "no"
    assert named in {finding.what for finding in found.findings}


def test_any_flipped_byte_of_any_other_file_is_named(original: Built, store: Path) -> None:
    chosen = random.Random(1)
    others = [path for path in files(original) if path.suffix != ".db"]
    assert [path.name for path in others[:2]] == ["format.json", "format.json"]
    for path in [*others[:2], *chosen.sample(others[2:], 8)]:  # the two pages of format, and packs
        path.chmod(0o644)
        size = path.stat().st_size
        for place in {0, size - 2, chosen.randrange(size)}:
            assert flip(original, path, place, None) == "named", (path, place)
    assert answer(original).answer == "yes"


@pytest.mark.parametrize("name", DATABASES)
@pytest.mark.parametrize(
    "planted",
    [
        "CREATE TABLE planted (a)",
        "PRAGMA user_version = 9",
        """PRAGMA writable_schema = on; UPDATE sqlite_schema SET name = CAST(name AS BLOB)
        WHERE rowid = (SELECT max(rowid) FROM sqlite_schema WHERE type = 'table')""",
    ],
)
def test_what_is_planted_in_a_database_is_named(original: Built, store: Path, name: str, planted: str) -> None:
    change(store / name, planted)
    found = answer(original)
    assert found.answer == "no"
    assert any(Path(name).name in f.what + f.message or "planted" in f.what for f in found.findings)


def test_a_trigger_that_would_empty_the_index_is_named(original: Built, store: Path) -> None:
    change(store / "objects/index.db", "CREATE TRIGGER t AFTER INSERT ON packs BEGIN DELETE FROM objects; END")
    (finding,) = answer(original).findings
    assert (finding.level, finding.what) == ("altered", "objects/index.db")


def test_another_id_of_the_workspace_is_named(original: Built, store: Path) -> None:
    """With it the state directory is not found, and nothing else would tell."""
    path = store / "format.json"
    layout = json.loads(path.read_bytes())
    path.write_text(json.dumps({**layout, "workspace": "0" * 32}))
    found = answer(original)
    assert found.answer == "no"
    assert ("altered", "format.json") in [(f.level, f.what) for f in found.findings]


def test_a_lost_key_of_a_text_is_named_with_its_entry(original: Built, store: Path) -> None:
    change(store / "keys.db", "DELETE FROM keys")
    found = answer(original)
    assert found.answer == "no"
    assert {f.level for f in found.findings} == {"missing"}
    assert any("reason" in f.message for f in found.findings)


def test_a_lost_pseudonym_is_named_with_the_entry_that_gave_it(original: Built, store: Path) -> None:
    change(store / "keys.db", "DELETE FROM pseudonyms WHERE pseudonym = (SELECT max(pseudonym) FROM pseudonyms)")
    (finding,) = answer(original).findings
    assert finding.level == "missing"
    assert "pseudonym" in finding.message


def test_an_altered_entry_does_not_hide_what_else_is_wrong(original: Built, store: Path) -> None:
    change(store / "ledger.db", "UPDATE entries SET data = CAST(data || ' ' AS BLOB) WHERE idx = 3")
    pack = max((store / "objects/packs").iterdir(), key=lambda path: path.stat().st_size)
    pack.unlink()
    levels = {f.what.split(" (")[0]: f.level for f in answer(original).findings}
    assert levels["entry 3"] == "altered"
    assert levels[f"objects/packs/{pack.name}"] == "missing"
    assert answer(original, reference=original.model).answer == "no"


@pytest.fixture
def command(
    original: Built, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., object]:
    def run(*arguments: str) -> tuple[object, dict[str, object]]:
        monkeypatch.setenv("RETRODICT_STATE", str(original.state))
        monkeypatch.setattr("sys.argv", ["retrodict", "-C", str(original.root), *arguments, "--json"])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exited:
            main()
        return exited.value.code, json.loads(capfd.readouterr().out)

    return run


def test_verify_signs_nothing_and_writes_nothing(
    original: Built, store: Path, command: Callable[..., tuple[object, dict[str, object]]]
) -> None:
    ledger = Ledger.open(store / "ledger.db", FixedClock())
    ledger.append([draft(), draft()])
    ledger.close()
    (store / "objects/stat.db").write_bytes(b"no database")

    def files() -> dict[Path, bytes]:
        return {
            path: path.read_bytes()
            for folder in (store, original.state)
            for path in folder.rglob("*")
            if path.is_file() and not path.name.endswith(("-wal", "-shm"))
        }

    before = files()
    code, record = command("verify")
    assert record["unprotected"] == 2
    assert code == 1  # the stat cache
    assert files() == before
    assert command("log")[0] == 0  # any other command may sign, and does
    assert files() != before


def test_a_key_under_which_nothing_is_signed_says_nothing(
    original: Built, store: Path, command: Callable[..., tuple[object, dict[str, object]]]
) -> None:
    """Who rewrites the log need only remove the checkpoint to get rid of its signature."""
    with original.open() as workspace:
        assert workspace.state is not None
        key = str(workspace.state.verifier)
    assert command("verify", "--key", key)[0] == 0
    change(store / "ledger.db", "DELETE FROM checkpoint")
    code, record = command("verify", "--key", key)
    assert (code, record["answer"]) == (2, "could not tell")
    assert record["unprotected"] == record["entries"]
    assert command("verify")[0] == 0  # the checkpoint in the state directory still covers them


def test_a_store_that_cannot_be_opened_is_answered_as_a_record(
    store: Path, command: Callable[..., tuple[object, dict[str, object]]]
) -> None:
    (store / "ledger.db").write_bytes(b"no database, but long enough to look at" * 100)
    code, record = command("verify")
    assert (code, record["answer"]) == (1, "no")
    assert "ledger.db" in str(record["findings"])


def test_an_entry_that_is_moved_far_away_does_not_keep_verify_busy_for_ever(original: Built, store: Path) -> None:
    change(store / "ledger.db", "UPDATE entries SET idx = 9223372036854775807 WHERE idx = 4")
    what = [f.what.split(" (")[0] for f in answer(original).findings]
    assert {"entry 4", f"entry {(1 << 63) - 1}"} <= set(what)
