"""Receipts, publication, witnesses' keys and signatures from the command line, with good and bad input."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SIGNING = (Path(__file__).parents[2] / "docs" / "signing.md").read_text()
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(newcomer: dict[str, str], tmp_path: Path) -> Run:
    """Runs a line for the shell, in a workspace."""
    (tmp_path / "w").mkdir()
    environment = {**newcomer, "RETRODICT_AGENT": "Ada <ada@example.org>"}

    def shell(command: str, *, code: int = 0, folder: str = "w") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path / folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    shell("retrodict init && echo 1 > a.txt && retrodict add a.txt && retrodict log key > ../log.vkey")
    return shell


def test_a_receipt_is_checked_where_there_is_no_workspace(run: Run, tmp_path: Path) -> None:
    run("retrodict log proof 2 --out ../elsewhere/r.tlog-proof", code=2)
    (tmp_path / "elsewhere").mkdir()
    run("retrodict log proof 2 --out ../elsewhere/r.tlog-proof")
    check = "retrodict log check-proof r.tlog-proof"
    told = json.loads(run(f"{check} --key ../log.vkey --json", folder="elsewhere").stdout)
    assert (told["answer"], told["index"], told["kind"]) == ("yes", 2, "dataset.added")
    assert "anybody could have made it" in run(check, code=2, folder="elsewhere").stdout
    run(f"{check} --key $(cat ../log.vkey) --leaf {told['leaf_hash']}", folder="elsewhere")
    run(f"{check} --key ../log.vkey --leaf {'0' * 64}", code=1, folder="elsewhere")
    again = run(f"retrodict log proof {told['leaf_hash'][:16]} --out again.tlog-proof").stdout  # as explain prints it
    assert again.startswith("entry 2 ")
    run("retrodict log proof 0123456789abcdef", code=2)
    for bad in ("--leaf 12", "--leaf xyz", "--entry absent.json", "--key nonsense", "--witness ../log.vkey"):
        said = run(f"{check} {bad}", code=2, folder="elsewhere").stderr
        assert said.count("\n") == 1, said
        assert said.startswith("retrodict: ")
    entry = tmp_path / "elsewhere" / "r.json"
    entry.write_bytes(entry.read_bytes() + b"\n")
    assert "does not lead" in run(f"{check} --key ../log.vkey", code=1, folder="elsewhere").stdout
    # What is no receipt is called that, whether or not something lies beside it.
    run("retrodict log checkpoint > ../elsewhere/kept")
    assert "a receipt begins with" in run(f"{check[:-12]} kept", code=1, folder="elsewhere").stdout
    assert "was not given" in run(f"cp r.tlog-proof alone && {check[:-12]} alone", code=2, folder="elsewhere").stderr
    # An entry of the same name is never written over, and without --out the receipt is named after its entry.
    assert "is something else" in run("retrodict log proof 2 --out ../elsewhere/r.tlog-proof", code=2).stderr
    run("retrodict log proof dataset:a.txt@v1 && retrodict log check-proof entry-2.tlog-proof --key ../log.vkey")
    run("cp a.txt entry-1.json && retrodict log proof 1", code=2)
    content = json.loads(run("retrodict show 2 --json").stdout)["body"]["content"]
    assert "no entry of its own" in run(f"retrodict log proof {content}", code=2).stderr


def test_the_log_is_published_and_held_to_what_it_said(run: Run, tmp_path: Path) -> None:
    run("retrodict log checkpoint > ../kept && retrodict log proof 1 --out ../receipt && retrodict log publish ../www")
    run("echo 2 > b.txt && retrodict add b.txt")
    told = json.loads(run("retrodict log publish ../www --json").stdout)
    assert (told["before"], told["size"]) == (3, 4)
    assert "The 4 entries go on from the 3" in run("retrodict verify --since ../kept").stdout
    assert "The 4 entries go on from the 3" in run("retrodict verify --since ../receipt").stdout
    assert "no witness has cosigned" in run("retrodict log publish ../other --witnessed", code=2).stderr
    unreached = run("retrodict log witness http://127.0.0.1:9", code=2).stderr
    assert "cannot be reached" in unreached
    assert "public key" not in unreached  # it is not what helps
    assert "cannot be read" in run("retrodict verify --since ../absent", code=2).stderr
    assert "no checkpoint" in run("retrodict verify --since a.txt", code=2).stderr
    forged = (tmp_path / "kept").read_text().replace("\n3\n", "\n2\n")
    (tmp_path / "forged").write_text(forged)
    assert "contradict" in run("retrodict verify --since ../forged", code=1).stdout
    assert run("retrodict log -n 1 --kind dataset").stdout.count("dataset.added") == 1


def test_the_page_on_signing_runs_as_it_stands(ssh_keygen: None, run: Run) -> None:
    run("mkdir -p ~/.ssh && ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519 && echo x > data.csv")
    blocks = re.findall(r"^```sh\n(.*?)^```", SIGNING, re.M | re.S)
    first, _, revoke, others = blocks
    run("set -e\n" + first)
    assert "Ada (authenticated)" in run("retrodict log -n 2").stdout
    entry = json.loads(run("retrodict log -n 1 --json").stdout)["rows"][0]["entry"]
    done = run("set -e\n" + others.replace("proof 41 ", f"proof {entry} "))
    assert 'Good "retrodict" signature for ada@example.org' in done.stdout + done.stderr
    run("retrodict verify --signers allowed_signers")
    assert "signed by authors, 0 authenticated" in run("retrodict verify --signers /dev/null").stdout
    run(revoke.splitlines()[0])
    assert run("retrodict signers export").stdout == ""
    assert "not from entry" in run("retrodict signers").stdout


def test_python_signs_with_the_key_in_the_environment(ssh_keygen: None, run: Run) -> None:
    run("ssh-keygen -q -t ed25519 -N '' -f ../key && retrodict signers add ada@example.org ../key.pub")
    record = "rd.record_prediction(system='mainframe', model='m', model_version='1', inputs={'a': [1]}, outputs=[1])"
    run(f'RETRODICT_SIGNING_KEY=../key python -c "import retrodict as rd; {record}"')
    run(f'python -c "import retrodict as rd; {record}"')
    rows = json.loads(run("retrodict log -n 2 --kind prediction --json").stdout)["rows"]
    assert [row["authorship"] for row in rows] == ["claimed", "authenticated"]
    refused = run(f'RETRODICT_SIGNING_KEY=absent python -c "import retrodict as rd; {record}"', code=1)
    assert "the signing key" in refused.stderr


def test_a_key_that_cannot_sign_records_nothing(run: Run) -> None:
    before = run("retrodict log --json").stdout
    run("echo 3 > c.txt")
    for key in ("absent", "a.txt", "git"):
        said = run(f"retrodict --sign-with {key} add c.txt", code=2).stderr
        assert said.startswith("retrodict: ")
        assert said.count("\n") == 1
    assert run("retrodict log --json").stdout == before
    run("retrodict signers add ada@example.org a.txt", code=2)
    run("retrodict signers revoke nobody --reason x", code=2)


def test_who_signs_with_a_key_that_is_not_recorded_is_told_so_and_no_private_key_is_shown(
    ssh_keygen: None, run: Run, tmp_path: Path
) -> None:
    run("ssh-keygen -q -t rsa -m PEM -N '' -f ../key && ssh-keygen -q -t ed25519 -N '' -f ../other")
    said = run("retrodict signers add ada@example.org ../key", code=2).stderr
    assert "a private one" in said
    assert not any(line in said for line in (tmp_path / "key").read_text().split() if len(line) > 20)
    add = "retrodict --sign-with ../other add b.txt"
    signed = run(f"echo 1 > b.txt && {add}")
    assert "stays claimed: signed with a key that is not recorded for this agent" in signed.stderr
    assert "claimed" not in run(f"{add}").stderr  # nothing was recorded
    key = "retrodict --sign-with ../other signers add 'Ada <ada@example.org>' ../other.pub --reason mine"
    assert run(key).stderr == ""
    assert "claimed" not in run(f"echo 2 > b.txt && {add}").stderr
