"""Whoever an explanation names is claimed or authenticated, name by name, and its last line says which."""

from __future__ import annotations

import html
import json
import subprocess
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from retrodict.actions.dispute import dispute
from retrodict.actions.explain import explain
from retrodict.actions.explanation import Explanation
from retrodict.actions.signers import add_signer
from retrodict.keys import SshSigner
from retrodict.render.explanation import to_html, to_text
from retrodict.render.json import to_json
from retrodict.serving import Service
from retrodict.testing.workbench import AGENT, make_workspace, register_source

CLAIMED = "Names of people are as claimed."
MIXED = "Names of people are as claimed, except where (authenticated) follows"
PROVED = "Every name is authenticated"


def drawn(record: Explanation) -> str:
    console = Console(width=200, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(to_text(record))
    return captured.get()


def test_every_name_says_how_it_is_known_and_the_last_line_what_is_true_of_all(
    ssh_keygen: None, tmp_path: Path
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "ada")], check=True)
    signer = SshSigner.open(tmp_path / "ada")
    with make_workspace(tmp_path) as plain:
        signing = replace(plain, signer=signer)
        add_signer(signing, "ada@example.org", signer.public_key.text)
        register_source(signing, "twice", "def predict(x):\n    return x * 2\n")
        alone = Service(signing).predict("twice@v1", 3, caller=AGENT)
        told = explain(plain, str(alone.index))
        assert {(named.name, named.authorship) for named in told.named} == {(AGENT, "authenticated")}
        for page in (drawn(told), to_html(told)):
            assert PROVED in page
            assert f" by {AGENT} (authenticated)" in html.unescape(page)

        dispute(plain, str(alone.index), reason="not signed")
        told = explain(plain, str(alone.index))
        complaint = told.subject.disputes[0].says
        assert complaint.startswith(f"disputed by {AGENT}, ")
        assert {row["authorship"] for row in json.loads(to_json(told))["named"]} == {"claimed", "authenticated"}
        for page in (drawn(told), to_html(told)):
            assert MIXED in page

        # Who asked is said by whoever answered: it is proved only where both are the same.
        asked = Service(signing).predict("twice@v1", 3, caller="branch 7")
        told = explain(plain, str(asked.index))
        assert [n.authorship for n in told.named if n.name == "branch 7"] == ["claimed"]
        assert "branch 7 (authenticated)" not in drawn(told) + to_html(told)


def test_without_a_signature_names_are_claimed(plain: Explanation) -> None:
    assert {named.authorship for named in plain.named} == {"claimed"}
    for page in (drawn(plain), to_html(plain)):
        assert CLAIMED in page
        assert "authenticated" not in page
        for named in plain.named:
            assert named.name in page
