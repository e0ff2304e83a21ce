"""A repository made by the real DVC comes over whole, is never written, and what is missing or altered is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Command, project, retrodict
from tests.dvc.conftest import Shell

__all__ = ["project", "retrodict"]  # fixtures


def _state(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """Return everything that can be seen of a folder: names, modes, times, bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (stat.st_mode, stat.st_mtime_ns, stat.st_ctime_ns, digest)
    return found


@pytest.fixture(autouse=True)
def _workspace(project: Path, retrodict: Command) -> None:
    assert retrodict("init").code == 0


def test_every_version_of_every_commit_comes_over(repository: Path, project: Path, retrodict: Command) -> None:
    before = _state(repository)
    done = retrodict("import", "dvc", repository, "--json")
    assert done.code == 0, done.err + done.out
    assert _state(repository) == before  # never written
    record = done.record
    assert (record["commits"], record["missing"]) == (3, [])
    by_path: dict[str, list[str]] = {}
    for version in record["versions"]:
        by_path.setdefault(version["path"], []).append(version["author"].partition(" ")[0])
    assert by_path == {
        "data.csv": ["Ada", "Cem", "Bob"],
        "images": ["Ada", "Bob"],
        "clean.csv": ["Ada", "Cem", "Bob"],
        "model.txt": ["Ada", "Cem", "Bob"],
        "metrics.json": ["Ada"],
    }
    assert retrodict("cat", "data.csv@v1").out == "id,x\n1,a\n2,b\n"
    assert retrodict("cat", "data.csv").out == "id,x\n1,a\n2,c\n"
    assert retrodict("cat", "images@v1/deep/two.txt").out in ("two\r\n", "two\n")  # capfd may translate
    assert retrodict("checkout", "images@v2").code == 0
    assert sorted(p.name for p in (project / "images").iterdir()) == ["deep", "three.txt"]
    assert (project / "images" / "deep" / "two.txt").read_bytes() == b"two\r\n"
    history = retrodict("history", "data.csv", "--json").record["versions"]
    assert [(v["author"], v["authored"][:10]) for v in history] == [
        ("Bob <bob@example.org>", "2024-02-02"),
        ("Cem <cem@example.org>", "2024-01-15"),
        ("Ada <ada@example.org>", "2024-01-01"),
    ]


def test_stages_are_runs_as_declared_and_lineage_leads_through_them(repository: Path, retrodict: Command) -> None:
    assert retrodict("import", "dvc", repository).code == 0
    runs = retrodict("runs", "--json").record["rows"]
    assert [(r["name"], r["completeness"], r["exit_code"]) for r in runs].count(("train", "self-reported", 0)) == 3
    assert sum(r["name"] == "prepare" for r in runs) == 3
    up = retrodict("lineage", "dataset:model.txt@v1", "--up")
    assert up.code == 0, up.err
    for name in ("clean.csv", "data.csv", "src/train.py", "src/prepare.py"):
        assert name in up.out, up.out
    shown = retrodict("show", str(next(r["entry"] for r in runs if r["name"] == "train")))
    assert shown.code == 0, shown.err
    assert "python src/train.py" in shown.out
    assert "declared" in shown.out


def test_again_takes_only_what_is_new(repository: Path, retrodict: Command, shell: Shell) -> None:
    assert retrodict("import", "dvc", repository).code == 0
    entries = retrodict("status", "--json").record["entries"]
    again = retrodict("import", "dvc", repository, "--json").record
    assert (again["versions"], again["runs"], again["missing"]) == ([], [], [])
    assert again["known"] > 0
    assert retrodict("status", "--json").record["entries"] == entries
    (repository / "data.csv").write_text("id,x\n3,c\n")
    shell("dvc commit -q -f data.csv.dvc; git commit -qam third", repository, "2024-03-03T10:00:00+00:00")
    more = retrodict("import", "dvc", repository, "--json").record
    assert [v["reference"] for v in more["versions"]] == ["dataset:data.csv@v4"]
    assert retrodict("cat", "data.csv").out == "id,x\n3,c\n"


def test_what_is_missing_is_named_and_taken_later_without_displacing(
    repository: Path, retrodict: Command, shell: Shell
) -> None:
    md5 = hashlib.md5(b"id,x\n1,a\n2,b\n", usedforsecurity=False).hexdigest()
    cached = repository / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    kept = cached.read_bytes()
    cached.unlink()
    done = retrodict("import", "dvc", repository, "--json")
    assert done.code == 1
    assert [(m["path"], m["md5"]) for m in done.record["missing"]] == [("data.csv", md5)]
    assert "not held" in done.record["missing"][0]["why"]
    current = retrodict("cat", "data.csv").out
    cached.write_bytes(kept)
    later = retrodict("import", "dvc", repository, "--json")
    assert later.code == 0
    assert [v["path"] for v in later.record["versions"]] == ["data.csv"]
    assert retrodict("cat", "data.csv").out == current
    assert retrodict("cat", later.record["versions"][0]["reference"]).out == "id,x\n1,a\n2,b\n"


def test_a_flipped_bit_in_the_cache_is_never_taken(repository: Path, retrodict: Command) -> None:
    md5 = hashlib.md5(b"\0one", usedforsecurity=False).hexdigest()
    cached = repository / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    cached.chmod(0o644)
    cached.write_bytes(b"\0onE")
    done = retrodict("import", "dvc", repository, "--json")
    assert done.code == 1
    [missing] = done.record["missing"]
    assert missing["path"] == "images"
    assert "another md5" in missing["why"]
    assert {v["path"] for v in done.record["versions"]} >= {"data.csv", "images"}


def test_a_remote_stands_in_for_the_cache(repository: Path, retrodict: Command, shell: Shell) -> None:
    shell("for c in $(git rev-list --all); do git checkout -q $c; dvc push -q; done; git checkout -q main", repository)
    shutil.rmtree(repository / ".dvc" / "cache")
    assert retrodict("import", "dvc", repository, "--no-remotes").code == 1
    done = retrodict("import", "dvc", repository, "--json")
    assert done.code == 0, done.out
    assert retrodict("cat", "images@v1/one.bin").code == 0


def test_a_listing_cannot_lead_out(repository: Path, project: Path, retrodict: Command, shell: Shell) -> None:
    inside = hashlib.md5(b"three\n", usedforsecurity=False).hexdigest()
    listing = json.dumps([{"md5": inside, "relpath": "../../escaped"}]).encode()
    md5 = hashlib.md5(listing, usedforsecurity=False).hexdigest()
    cached = repository / ".dvc" / "cache" / "files" / "md5" / md5[:2] / f"{md5[2:]}.dir"
    cached.parent.mkdir(exist_ok=True)
    cached.write_bytes(listing)
    (repository / "evil.dvc").write_text(f"outs:\n- md5: {md5}.dir\n  hash: md5\n  path: evil\n")
    (repository / "out.dvc").write_text(f"outs:\n- md5: {inside}\n  hash: md5\n  path: ../../outside.txt\n")
    (repository / "broken.dvc").write_text("outs: [\n")
    (repository / "list.dvc").write_text("- 1\n")
    shell(
        "git add -f evil.dvc out.dvc broken.dvc list.dvc; git commit -qm evil", repository, "2024-04-04T10:00:00+00:00"
    )
    done = retrodict("import", "dvc", repository, "--json")
    assert done.code == 1
    why = {m["path"]: m["why"] for m in done.record["missing"]}
    assert "leads out" in why["evil"]
    assert "outside of the repository" in why["../../outside.txt"]
    assert "no YAML" in why["broken.dvc"]
    assert "list.dvc" in why
    assert not list(project.parent.rglob("escaped"))


def test_what_is_no_repository_is_refused(project: Path, retrodict: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    done = retrodict("import", "dvc", project)
    assert (done.code, "no DVC repository" in done.err) == (2, True)
    (project / ".dvc").mkdir()
    done = retrodict("import", "dvc", project)
    assert (done.code, "no git repository" in done.err) == (2, True)
