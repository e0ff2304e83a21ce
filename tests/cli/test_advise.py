"""Which strategy fits: measured on what the data really did."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command

LINES = [f'{{"id": {i}, "x": {random.Random(i).random()}}}\n' for i in range(20_000)]


@pytest.fixture
def workspace(retrodict: Command, project: Path) -> Path:
    retrodict("init")
    return project


def test_what_only_grows_is_a_stream(retrodict: Command, workspace: Path) -> None:
    for n in (5_000, 10_000, 20_000):
        Path("events.jsonl").write_text("".join(LINES[:n]))
        retrodict("add", "events.jsonl")
    advice = retrodict("advise", "events.jsonl", "--json").record
    assert (advice["recommended"], advice["versions"], advice["history"]) == ("offsets", 3, "the log")
    options = {option["strategy"]: option for option in advice["options"]}
    assert options["whole copies"]["stored_bytes"] == sum(len("".join(LINES[:n])) for n in (5_000, 10_000, 20_000))
    assert options["copies"]["stored_bytes"] < options["whole copies"]["stored_bytes"] / 2


def test_what_changes_in_the_middle_is_none(retrodict: Command, workspace: Path) -> None:
    for i in range(3):
        Path("events.jsonl").write_text("".join([*LINES[:100], f'{{"corrected": {i}}}\n', *LINES[101:]]))
        retrodict("add", "events.jsonl")
    advice = retrodict("advise", "events.jsonl", "--json").record
    assert advice["recommended"] == "copies"
    offsets = next(option for option in advice["options"] if option["strategy"] == "offsets")
    assert (offsets["stored_bytes"], "version 2" in offsets["says"]) == (None, True)


def test_what_is_cheap_to_make_is_derived(retrodict: Command, workspace: Path) -> None:
    Path("seed.txt").write_text("7")
    Path("make.py").write_text(
        "import random; open('big.bin', 'wb').write(random.Random(int(open('seed.txt').read())).randbytes(8_000_000))"
    )
    retrodict("add", "seed.txt")
    command = ("--code", "make.py", "--", sys.executable, "make.py")
    assert retrodict("derive", "big.bin", "--from", "seed.txt", *command).code == 0
    assert retrodict("advise", "big.bin", "--json").record["recommended"] == "derived"
    retrodict("run", "--", sys.executable, "make.py")
    retrodict("add", "big.bin", "--name", "ran")
    told = {option["strategy"]: option for option in retrodict("advise", "ran", "--json").record["options"]}
    assert "run make" in told["derived"]["says"]


def test_an_array_that_changes_a_little_is_a_tensor(retrodict: Command, workspace: Path) -> None:
    import numpy as np

    array = np.random.default_rng(1).random((64, 64, 256))
    for i in range(2):
        array[0, 0, i] = i
        np.save("field.npy", array)
        retrodict("add", "field.npy")
    advice = retrodict("advise", "field.npy", "--json").record
    assert advice["recommended"] == "tensors"
    tensors = next(option for option in advice["options"] if option["strategy"] == "tensors")
    assert tensors["stored_bytes"] < 1.2 * Path("field.npy").stat().st_size
    assert tensors["seconds"] > 0


def test_what_is_a_tensor_or_a_stream_is_known_for_one(retrodict: Command, workspace: Path) -> None:
    import numpy as np

    np.save("field.npy", np.random.default_rng(1).random((64, 64)))
    assert retrodict("tensor", "import", "field", "field.npy").code == 0
    advice = retrodict("advise", "field", "--json").record
    assert advice["recommended"] == "tensors"
    assert {o["strategy"]: o["seconds"] is None for o in advice["options"]}["tensors"] is False
    assert retrodict("stream", "create", "clicks", "--format", "jsonl", "--reason", "x").code == 0
    told = retrodict("advise", "clicks")
    assert (told.code, "is a stream" in told.err) == (2, True)


def test_a_path_that_git_knows_is_judged_by_its_commits(retrodict: Command, workspace: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True, capture_output=True
        )

    git("init")
    for n in (1_000, 2_000):
        Path("log.csv").write_text("".join(LINES[:n]))
        git("add", "log.csv")
        git("commit", "-m", "more")
    advice = retrodict("advise", "log.csv", "--json").record
    assert (advice["history"], advice["versions"], advice["recommended"]) == ("git", 2, "offsets")


def test_what_is_not_there_is_said(retrodict: Command, workspace: Path) -> None:
    missing = retrodict("advise", "nothing")
    assert (missing.code, "no dataset and no path" in missing.err) == (2, True)
    Path("folder").mkdir()
    Path("folder/a").write_text("a")
    assert retrodict("advise", "folder", "--json").record["recommended"] == "copies"
    assert retrodict("advise", ".", "--json").record["plain_bytes"] == 1  # the store is no data
