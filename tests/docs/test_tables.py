"""The pages about tables, command by command, with the code that they show."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
from tests.conftest import variables
from tests.docs.conftest import sessions

from retrodict.testing.commands import Commands

DOCS = Path(__file__).parents[2] / "docs"


class Reader:
    """Runs what pages show, commands and code in their order, in a workspace."""

    def __init__(self, commands: Commands, folder: Path) -> None:
        self._commands = commands
        self._env = variables(folder) | {"RETRODICT_AGENT": "reader"}
        self.project = folder / "project"

    def run(self, command: str, folder: Path | None = None) -> str:
        """Run a command, which must end with 0; return what it prints."""
        words = shlex.split(command)
        assert words.pop(0) == "retrodict"
        to = words.pop() if ">" in words else None
        words = [word for word in words if word != ">"]
        done = self._commands.run(words, cwd=folder or self.project, env=self._env)
        assert done.returncode == 0, f"$ {command}\n{done.stdout.decode()}{done.stderr.decode()}"
        if to is not None:
            (self.project / to).write_bytes(done.stdout)
        return done.stdout.decode()

    def follow(self, page: str) -> str:
        """Run the blocks of a page; return what they print."""
        told = ""
        for block in re.findall(r"^```(?:console|python)\n.*?^```$", page, re.MULTILINE | re.DOTALL):
            if block.startswith("```console"):
                told += "".join(self.run(command.text) for command in sessions(block))
            else:
                code = block.removeprefix("```python\n").removesuffix("```")
                words = [sys.executable, "-c", code]
                done = subprocess.run(
                    words, cwd=self.project, env=self._env, text=True, capture_output=True, check=False
                )
                assert done.returncode == 0, f"{code}\n{done.stderr}"
                told += done.stdout
        return told


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader with a new workspace."""
    with Commands() as commands:
        found = Reader(commands, tmp_path)
        found.project.mkdir()
        found.run("retrodict init")
        yield found


def test_every_command_about_tables_works(reader: Reader, tmp_path: Path) -> None:
    page = (DOCS / "tables.md").read_text()
    (loans,) = re.findall(r"^```\n(InquiryID,.*?)^```", page, re.MULTILINE | re.DOTALL)
    (reader.project / "loan-inquiries.csv").write_text(loans)
    (reader.project / "data").mkdir()
    before, several, after = page.partition("## Several people")
    told = reader.follow(before)
    assert "Approved false -> true" in told
    assert "this record is in loans@v3" in told
    audit = (reader.project / "loans-audit.csv").read_text("utf-8-sig").splitlines()
    line = "Grace Hopper,claimed,collateral was found,update,loans,1003,update,Approved,false,true"
    assert any(line in found for found in audit)
    assert (reader.project / "inquiry-1003.html").stat().st_size > 10_000
    # Something to merge: what was changed on a laptop that was offline.
    hub, laptop = tmp_path / "hub", tmp_path / "laptop"
    reader.run(f"retrodict remote add origin {hub}")
    reader.run("retrodict push")
    reader.run(f"retrodict clone {hub} {laptop}", tmp_path)
    reader.run("retrodict table update loans 1002 Amount=1.00", laptop)
    reader.run("retrodict push", laptop)
    reader.run("retrodict pull")
    assert "1 changed" in reader.follow(several + after)
    assert "Amount 12000.50 -> 1.00" in reader.run("retrodict table history loans 1002")


def test_what_comes_from_delta_and_temporal_tables_is_whole(reader: Reader) -> None:
    lake = reader.project / "lake" / "loans"
    for rows in (
        {"InquiryID": ["1001", "1003"], "CustomerID": ["C07", "C42"], "Amount": ["4500.00", "800.00"]},
        {"InquiryID": ["1003", "1004"], "CustomerID": ["C42", "C77"], "Amount": ["950.00", "1500.00"]},
    ):
        deltalake.write_deltalake(str(lake), pa.table(rows), mode="overwrite")
    (reader.project / "loans-history.csv").write_text(
        "InquiryID,Amount,ValidFrom,ValidTo\n"
        "1001,4500.00,2020-10-01,2020-10-20\n"
        "1003,800.00,2020-10-02,2020-10-15\n"
        "1003,950.00,2020-10-15,9999-12-31 23:59:59\n"
    )
    told = reader.follow((DOCS / "coming-from-delta.md").read_text())
    assert "WRITE in version 1 of lake/loans" in told
    assert "Amount 800.00 -> 950.00" in told
    (then,) = re.findall(r"(?s)InquiryID +Amount *\n(.*?)\n *\n", told)
    assert [line.split() for line in then.splitlines() if line.strip(" ─━")] == [
        ["1001", "4500.00"],
        ["1003", "800.00"],
    ]
    export = deltalake.DeltaTable(str(reader.project / "lake" / "loans-v2"))
    assert sorted(export.to_pyarrow_table()["InquiryID"].to_pylist()) == ["1003", "1004"]
