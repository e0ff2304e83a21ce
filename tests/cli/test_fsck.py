"""`fsck` as people type it: what it prints, and its exit codes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from retrodict.testing.stores import patch


@pytest.fixture
def pack(retrodict: Command, project: Path) -> Path:
    """The pack of a project, of which there is a backup."""
    retrodict("init")
    Path("data.csv").write_text("x\n" + "1\n" * 1000)
    retrodict("add", "data.csv")
    assert retrodict("backup", "to", "../backup").code == 0
    (found,) = Path(".retrodict/objects/packs").iterdir()
    return found.absolute()


def test_a_flipped_byte_is_named_and_mended(retrodict: Command, pack: Path) -> None:
    whole = retrodict("fsck")
    assert (whole.code, whole.out) == (0, "No object is altered or missing.\n")
    patch(pack, 70, 1)
    named = retrodict("fsck")
    assert (named.code, "--repair-from" in named.out, "altered" in named.out) == (1, True, True)
    mended = retrodict("fsck", "--repair-from", "../backup")
    assert (mended.code, mended.out.startswith("1 object is good again")) == (0, True)
    assert retrodict("verify").code == 0
    Path("data.csv").unlink()
    assert retrodict("checkout", "data.csv").code == 0
    assert retrodict("log", "-n", "1", "--json").record["rows"][0]["kind"] == "store.repaired"


def test_what_cannot_be_mended_is_a_no_and_a_wrong_source_a_misuse(retrodict: Command, pack: Path) -> None:
    pack.unlink()
    (backed_up,) = Path("../backup/packs").iterdir()
    patch(backed_up, 70, 1)
    tried = retrodict("fsck", "--repair-from", "../backup", "--json")
    assert (tried.code, tried.record["answer"], tried.record["repaired"]) == (1, "no", 0)
    told = retrodict("fsck", "--repair-from", "../backup").out
    assert "has no good copy" in " ".join(told.split())  # where a line ends depends on how long the paths are
    shutil.rmtree("../backup")
    missing = retrodict("fsck", "--repair-from", "../backup")
    assert (missing.code, missing.out) == (2, "")
