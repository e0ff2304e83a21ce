"""A personal folder is sealed whole: each file under a key of its own, and every name in it, too."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrodict import provenance
from retrodict.actions.add import Added, add
from retrodict.actions.checkout import checkout
from retrodict.actions.personal_files import PersonalFileError, PersonalFiles
from retrodict.actions.run import run
from retrodict.actions.show import show
from retrodict.actions.status import status
from retrodict.actions.verify import verify
from retrodict.kernel.errors import FormatError, UsageError
from retrodict.kernel.types import Ref
from retrodict.keys import Member, decode_folder, encode_folder
from retrodict.testing.workbench import make_workspace
from retrodict.workspace import Workspace, sealed_key

NEEDLES = (b"PLANTED", b"918273645")
SCRIPT = """
import pathlib
ages = [path.read_text(errors="replace").split(",")[-1] for path in sorted(pathlib.Path("people").rglob("*.csv"))]
pathlib.Path("made.txt").write_text("".join(ages))
pathlib.Path("people/copied.txt").write_text(ages[0])
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path) as made:
        people = made.root / "people"
        (people / "PLANTED-ward" / "empty").mkdir(parents=True)
        (people / "PLANTED-ann.csv").write_bytes(b"PLANTED-ANN,918273645\n")
        (people / "PLANTED-ward" / "bob.csv").write_bytes(b"PLANTED-BOB,40\n")
        (people / "PLANTED-ward" / "twin.csv").write_bytes(b"PLANTED-BOB,40\n")
        (people / "PLANTED-link").symlink_to("PLANTED-ann.csv")
        (people / os.fsdecode(b"PLANTED-\xff.csv")).write_bytes(os.urandom(300_000) + b",7\n")
        (people / "tool.sh").write_bytes(b"#!/bin/sh\n")
        (people / "tool.sh").chmod(0o755)
        (made.root / "count.py").write_text(SCRIPT)
        yield made


def added(workspace: Workspace, name: str = "people", **options: object) -> Added:
    return add(workspace, [workspace.root / name], **options)[-1]  # type: ignore[arg-type]


def in_the_clear(workspace: Workspace) -> list[str]:
    found = []
    for i in range(256):
        for digest in workspace.objects.resolve_prefix(f"b3-{i:02x}"):
            data = b"".join(workspace.objects.stream(digest))
            found += [f"{digest}: {needle!r}" for needle in NEEDLES if needle in data]
    for path in workspace.folder.rglob("*"):
        data = os.fsencode(path.relative_to(workspace.folder)) + (path.read_bytes() if path.is_file() else b"")
        found += [f"{path}: {needle!r}" for needle in NEEDLES if needle in data]
    return found


def laid_out(folder: Path) -> dict[bytes, tuple[str, bytes]]:
    found = {}
    for path in folder.rglob("*"):
        kind = "link" if path.is_symlink() else "folder" if path.is_dir() else oct(path.stat().st_mode & 0o100)
        data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[os.fsencode(path.relative_to(folder))] = (kind, data)
    return found


def test_a_personal_folder_comes_back_and_none_of_its_names_stands_in_the_clear(workspace: Workspace) -> None:
    first = added(workspace, personal=True)
    assert (first.is_personal, first.type, first.files) == (True, "tree", 6)
    assert in_the_clear(workspace) == []
    assert not added(workspace).is_new
    assert not status(workspace).is_changed
    before = workspace.ledger.size()
    checkout(workspace, "dataset:people", workspace.root / "again")
    assert workspace.ledger.event(before).event.kind == "personal.viewed"
    assert laid_out(workspace.root / "again") == laid_out(workspace.root / "people")
    assert "personal" in (show(workspace, "dataset:people").preview or "")
    assert verify(workspace).answer == "yes"
    assert in_the_clear(workspace) == []


def test_a_changed_folder_keeps_the_keys_of_the_files_that_are_the_same(workspace: Workspace) -> None:
    first = added(workspace, personal=True)
    (workspace.root / "people" / "PLANTED-new.csv").write_bytes(b"PLANTED-NEW,7\n")
    assert [item.state for item in status(workspace).paths] == ["changed"]
    second = added(workspace)
    assert (second.version, second.is_personal, second.new_bytes < 5_000) == (2, True, True)
    files = PersonalFiles(workspace)
    old, new = (
        {m.path: m.key for m in files.members(version.content, sealed_key(workspace, version.content) or "")}
        for version in (first, second)
    )
    assert {name for name in new if name not in old} == {b"PLANTED-new.csv"}
    assert all(new[name] == key for name, key in old.items())
    assert old[b"PLANTED-ward/bob.csv"] == old[b"PLANTED-ward/twin.csv"]
    checkout(workspace, "dataset:people@v1", workspace.root / "old")
    assert not (workspace.root / "old" / "PLANTED-new.csv").exists()
    assert in_the_clear(workspace) == []


def test_a_checkout_loses_nothing_and_follows_no_link(workspace: Workspace, tmp_path: Path) -> None:
    added(workspace, personal=True)
    people, elsewhere = workspace.root / "people", tmp_path / "elsewhere"
    (people / "PLANTED-ann.csv").write_bytes(b"PLANTED-CHANGED\n")
    with pytest.raises(UsageError, match="not versioned"):
        checkout(workspace, "dataset:people")
    assert (people / "PLANTED-ann.csv").read_bytes() == b"PLANTED-CHANGED\n"
    (people / "PLANTED-ann.csv").unlink()
    elsewhere.mkdir()
    (elsewhere / "bob.csv").write_bytes(b"another's")
    (people / "PLANTED-ward").rename(workspace.root / "aside")
    (people / "PLANTED-ward").symlink_to(elsewhere)
    checkout(workspace, "dataset:people")
    assert (elsewhere / "bob.csv").read_bytes() == b"another's"
    assert (people / "PLANTED-ward" / "bob.csv").read_bytes() == b"PLANTED-BOB,40\n"
    assert not (people / "PLANTED-ward").is_symlink()
    assert in_the_clear(workspace) == []


def test_what_a_run_makes_of_a_personal_folder_is_personal_and_leads_back_to_it(workspace: Workspace) -> None:
    first = added(workspace, personal=True)
    done = run(workspace, [sys.executable, "count.py"], cwd=workspace.root, environment=os.environ)
    read = [file for file in done.inputs if file.role == "input"]
    assert read
    assert all(file.maker == first.index for file in read)
    assert len(done.outputs) == 2
    assert all(sealed_key(workspace, file.digest) for file in done.outputs)
    graph = provenance.upstream(workspace.views.database(), Ref(done.event))
    assert Ref(first.event) in {node.ref for node in graph.nodes}
    assert in_the_clear(workspace) == []
    assert added(workspace).version == 2  # with what the run wrote into it
    assert verify(workspace).answer == "yes"


def test_a_folder_is_personal_until_somebody_declares_it_clean_for_a_reason(workspace: Workspace) -> None:
    first = added(workspace, personal=True)
    with pytest.raises(UsageError, match="reason"):
        added(workspace, personal=False)
    clean = added(workspace, personal=False, reason="nobody is in it any more")
    assert (clean.is_personal, clean.version) == (False, 2)
    event = workspace.ledger.event(clean.index).event
    assert first.content in {getattr(edge, "ref", None) for edge in event.uses if edge.role == "sealed-as"}  # type: ignore[union-attr]
    assert not added(workspace).is_new
    assert verify(workspace).answer == "yes"


def test_a_folder_above_a_personal_one_is_refused(workspace: Workspace) -> None:
    (workspace.root / "data").mkdir()
    (workspace.root / "people").rename(workspace.root / "data" / "people")
    added(workspace, "data/people", personal=True)
    with pytest.raises(PersonalFileError):
        added(workspace, "data")
    assert in_the_clear(workspace) == []


@pytest.mark.parametrize("path", [b"../out", b"/out", b"a/../b", b"", b"a//b", b"a\0b", b"not/listed"])
def test_a_listing_with_a_name_that_leads_out_is_refused(path: bytes) -> None:
    listing = encode_folder([Member(path=path, kind="file", ref="b3-" + "0" * 64, key="k")])
    with pytest.raises(FormatError):
        decode_folder(listing)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format":"retrodict folder 1","entries":[{}]}', b"\xff"])
def test_what_is_no_listing_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_folder(data)


def test_a_listing_comes_back_whatever_the_names_are() -> None:
    members = (
        Member(path=b"\xff", kind="tree"),
        Member(path=b"\xff/\xe4", kind="symlink", target=b"\xfe"),
        Member(path="ä".encode(), kind="executable", ref="b3-" + "1" * 64, key="k", size=7),
    )
    assert set(decode_folder(encode_folder(reversed(members)))) == set(members)
    assert encode_folder(members) == encode_folder(reversed(members))


def test_the_listing_on_the_page_is_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "formats" / "keys.md"
    example = page.read_text().partition("## A folder sealed whole")[2].partition("```json\n")[2].partition("\n```")[0]
    assert encode_folder(decode_folder(example.encode())) == example.encode()
