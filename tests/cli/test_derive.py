"""Derived versions: made from what is named and nothing else, made again bit for bit, or the reason why not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from retrodict.datasets import Recipe
from retrodict.kernel.errors import FormatError

LOANS = "id,amount,purpose\n1,100,car\n2,250,car\n3,7,tv\n"
CLEAN = """
import csv, sys
import limits
with open(sys.argv[1]) as source, open("clean.csv", "w") as target:
    for row in csv.reader(source):
        if row[1] == "amount" or int(row[1]) > limits.LEAST:
            print(*row, sep=",", file=target)
"""


@pytest.fixture
def loans(retrodict: Command, project: Path) -> Path:
    """A project with one dataset, and a script of two files that cleans it."""
    retrodict("init")
    Path("loans.csv").write_text(LOANS)
    Path("clean.py").write_text(CLEAN)
    Path("limits.py").write_text("LEAST = 50\n")
    Path("other.py").write_text("nobody reads this\n")
    retrodict("add", "loans.csv")
    subprocess.run(["git", "init", "-q"], check=True)
    return project


def derive(retrodict: Command, *more: str) -> dict[str, object]:
    made = retrodict(
        "derive", "clean.csv", "--from", "loans.csv", "--json", *more, "--", sys.executable, "clean.py", "loans.csv"
    )
    assert made.code == 0, made.err
    record: dict[str, object] = made.record
    return record


def test_a_query_without_its_database_says_what_to_install(
    loans: Path, retrodict: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    refused = retrodict("derive", "total", "--from", "loans.csv", "--sql", "select 1 as n")
    assert (refused.code, "retrodict[sql]" in refused.err) == (2, True), loans


def test_a_version_is_made_and_made_again(retrodict: Command, loans: Path) -> None:
    made = derive(retrodict, "--reason", "small loans are noise")
    assert (made["reference"], made["is_new"], made["warnings"]) == ("dataset:clean.csv@v1", True, [])
    assert Path("clean.csv").read_text() == "id,amount,purpose\n1,100,car\n2,250,car\n"
    again = retrodict("derive", "verify", "clean.csv", "--json")
    assert (again.code, again.record["verdict"], again.record["made"]) == (0, "replicated", made["content"])
    listed = retrodict("derive", "--json").record["rows"]
    assert [(row["reference"], row["verdict"], row["state"]) for row in listed] == [
        ("dataset:clean.csv@v1", "replicated", "held")
    ]
    assert retrodict("verify").code == 0


def test_its_options_may_come_before_its_name(retrodict: Command, loans: Path) -> None:
    made = retrodict("derive", "--from", "loans.csv", "copy.csv", "--", "cp", "loans.csv", "copy.csv")
    assert (made.code, Path("copy.csv").read_text()) == (0, LOANS)
    assert retrodict("derive", "--frm", "loans.csv", "copy.csv").code == 2
    assert retrodict("derive", "--json").record["rows"][0]["reference"] == "dataset:copy.csv@v1"


def test_it_is_made_again_without_the_project(retrodict: Command, loans: Path) -> None:
    derive(retrodict)
    for name in ("loans.csv", "clean.py", "limits.py", "clean.csv"):
        Path(name).unlink()
    assert retrodict("derive", "verify", "clean.csv").code == 0


def test_a_recipe_is_what_was_read_and_nothing_else(retrodict: Command, loans: Path) -> None:
    first = derive(retrodict)
    Path("other.py").write_text("changed, and nobody reads it\n")
    assert derive(retrodict)["is_new"] is False
    Path("limits.py").write_text("LEAST = 200\n")
    second = derive(retrodict)
    assert (second["is_new"], second["version"]) == (True, 2)
    assert second["recipe"] != first["recipe"]


def test_an_older_version_can_be_derived_from(retrodict: Command, loans: Path) -> None:
    Path("loans.csv").write_text("id,amount,purpose\n9,900,boat\n")
    retrodict("add", "loans.csv")
    command = (sys.executable, "clean.py", "loans.csv")
    old = retrodict("derive", "clean.csv", "--from", "loans.csv@v1", "--json", "--", *command).record
    content = retrodict("checkout", old["reference"], "old.csv")
    assert content.code == 0
    assert "250" in Path("old.csv").read_text()


def test_lineage_leads_to_the_source(retrodict: Command, loans: Path) -> None:
    derive(retrodict)
    told = retrodict("lineage", "clean.csv").out
    assert "dataset:loans.csv@v1" in told
    assert "clean.csv@v1" in retrodict("lineage", "loans.csv", "--down").out


def test_what_is_not_named_cannot_be_read(retrodict: Command, loans: Path) -> None:
    Path("secret.csv").write_text("x")
    copies = [f"cat {loans}/secret.csv > clean.csv"]
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as in_memory:  # no device, for all that it lies below /dev
        copies.append(f"cat {in_memory.name} > clean.csv")
        for command in (*(("sh", "-c", copy) for copy in copies), ("cat", "secret.csv"), ("true",)):
            before = retrodict("log", "--json").out
            failed = retrodict("derive", "clean.csv", "--from", "loans.csv", "--", *command)
            assert failed.code == 2, command
            assert len(failed.err.splitlines()) <= 2  # the command's own line, and ours
            assert retrodict("log", "--json").out == before
        assert not Path("clean.csv").exists()
    assert (
        "secret.csv, which is not among"
        in retrodict("derive", "c", "--from", "loans.csv", "--", "sh", "-c", copies[0]).err
    )


def test_without_git_the_code_is_what_is_named(retrodict: Command, loans: Path) -> None:
    shutil.rmtree(".git")
    command = ("derive", "clean.csv", "--from", "loans.csv")
    failed = retrodict(*command, "--", sys.executable, "clean.py", "loans.csv")
    assert (failed.code, "limits" in failed.err) == (2, True)
    made = retrodict(*command, "--code", "limits.py", "--", sys.executable, "clean.py", "loans.csv")
    assert made.code == 0
    assert retrodict("derive", "verify", "clean.csv").code == 0


def test_a_folder_is_made_and_compared_file_by_file(retrodict: Command, loans: Path) -> None:
    script = (
        "import os, random; os.mkdir('parts'); open('parts/a', 'w').write('a'); "
        "open('parts/b', 'w').write(str(random.random()))"
    )
    Path("parts.py").write_text(script)
    made = retrodict("derive", "parts", "--from", "loans.csv", "--json", "--", sys.executable, "parts.py")
    assert (made.code, made.record["files"]) == (0, 2)
    again = retrodict("derive", "verify", "parts", "--json")
    assert (again.code, again.record["verdict"], again.record["changed"]) == (1, "nondeterministic", ["b"])


def test_another_environment_is_named(retrodict: Command, loans: Path) -> None:
    Path("tell.py").write_text("import os; open('out', 'w').write(os.environ.get('TOLD', 'nothing'))")
    os.environ["TOLD"] = "one"
    try:
        derived = retrodict("derive", "out", "--from", "loans.csv", "--", sys.executable, "tell.py")
        assert derived.code == 0
        os.environ["TOLD"] = "two"
        again = retrodict("derive", "verify", "out", "--json")
    finally:
        del os.environ["TOLD"]
    assert (again.code, again.record["verdict"]) == (1, "differs")


def test_a_missing_input_is_named(retrodict: Command, loans: Path) -> None:
    derive(retrodict)
    for pack in Path(".retrodict/objects").rglob("*.pack"):
        os.truncate(pack, 64)
    again = retrodict("derive", "verify", "clean.csv", "--json")
    assert (again.code, again.record["verdict"]) == (2, "could not tell")
    assert again.record["reason"]


def test_a_query_is_a_recipe_too(retrodict: Command, loans: Path) -> None:
    query = "select purpose, sum(amount)::bigint as total from loans group by all order by all"
    made = retrodict("derive", "totals", "--from", "loans.csv", "--sql", query, "--json")
    assert made.code == 0, made.err
    import pyarrow.parquet as parquet

    assert parquet.read_table("totals.parquet").to_pylist() == [
        {"purpose": "car", "total": 350},
        {"purpose": "tv", "total": 7},
    ]
    assert retrodict("derive", "verify", "totals").code == 0
    wrong = retrodict("derive", "bad", "--from", "loans.csv", "--sql", "select * from nothing")
    assert wrong.code == 2
    assert "nothing" in wrong.err
    assert "Traceback" not in wrong.err
    kept = Path("kept.csv").absolute()
    for query in (
        "select * from read_csv('/etc/passwd')",  # what is installed, and no source
        f"copy (select 1) to '{kept}'",
        "set enable_external_access = true; select 1",
    ):
        refused = retrodict("derive", "bad", "--from", "loans.csv", "--sql", query)
        assert (refused.code, "configuration" in refused.err) == (2, True), refused.err
    assert not kept.exists()


def test_what_cannot_be_derived_is_said_before_anything_runs(retrodict: Command, loans: Path) -> None:
    for arguments, said in (
        (("x", "--from", "loans.csv"), "a command or by a query"),
        (("x", "--from", "nobody", "--", "true"), "nobody"),
        (("x", "--from", "loans.csv", "--out", "../x", "--", "true"), "does not lie below"),
        (("x", "--from", "loans.csv", "--from", "loans.csv", "--", "true"), "same path"),
    ):
        failed = retrodict("derive", *arguments)
        assert (failed.code, said in failed.err) == (2, True), failed.err
    Path("people.csv").write_text("name\nAda\n")
    retrodict("add", "people.csv", "--personal")
    refused = retrodict("derive", "x", "--from", "people.csv", "--", "true")
    assert (refused.code, "personal" in refused.err) == (2, True)
    assert retrodict("derive", "verify", "loans.csv").code == 2


def test_bytes_that_nobody_holds_are_not_overwritten(retrodict: Command, loans: Path) -> None:
    Path("clean.csv").write_text("written by hand")
    derive(retrodict)
    assert Path("clean.csv").read_text() == "written by hand"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", ".", "a\0b"])
def test_a_recipe_never_leads_outside(path: str) -> None:
    recipe = Recipe(command=("true",), cwd="", output=path, inputs=(), code=None)
    with pytest.raises(FormatError):
        Recipe.decode(recipe.encode())


def test_explain_goes_through_a_derived_version_to_its_source(retrodict: Command, loans: Path) -> None:
    derive(retrodict)
    Path("train.py").write_text(
        "rows = open('clean.csv').read().splitlines()\n"
        "open('model.py', 'w').write(f'def predict(frame):\\n    return frame.amount > {len(rows)}\\n')\n"
    )
    assert retrodict("run", "--", sys.executable, "train.py").code == 0
    assert retrodict("register", "model.py", "m").code == 0
    Path("in.json").write_text('[{"amount": 5}]')
    assert retrodict("predict", "m", "--input", "in.json").code == 0
    told = retrodict("explain", str(_last_prediction(retrodict)))
    assert told.code == 0
    text = " ".join(told.out.split())
    assert "dataset:clean.csv@v1, derived" in text
    assert "loans.csv: dataset:loans.csv@v1" in text
    assert "retrodict derive clean.csv --from loans.csv -- " in text


def _last_prediction(retrodict: Command) -> int:
    return int(retrodict("log", "-n", "1", "--kind", "prediction", "--json").record["rows"][0]["entry"])


def test_where_versions_are_pinned_for_git_a_derived_one_is_too(retrodict: Command, loans: Path) -> None:
    assert retrodict("lock").code == 0
    before = {path.name for path in Path("retrodict.lock").iterdir()}
    derive(retrodict)
    added = {path.name for path in Path("retrodict.lock").iterdir()} - before
    assert len(added) == 1
    assert "clean.csv" in (Path("retrodict.lock") / added.pop()).read_text()


def test_what_was_evicted_comes_back_by_the_interpreter_that_made_it(
    retrodict: Command, loans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("duckdb")
    query = "select purpose, sum(amount) as total from loans group by all order by all"
    assert retrodict("derive", "totals", "--from", "loans.csv", "--sql", query).code == 0
    assert retrodict("gc", "release", "totals", "--apply", "--reason", "it can be made again").code == 0
    assert retrodict("gc", "--apply", "--grace", "0s").code == 0
    folder = loans / "bin"  # another `python` comes first, which has nothing of what the query needs
    folder.mkdir()
    (folder / "python").write_text("#!/bin/sh\nexit 3\n")
    (folder / "python").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    done = retrodict("checkout", "totals", "totals.parquet")
    assert done.code == 0, done.err
