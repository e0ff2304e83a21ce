"""The examples on the page of keys are what this release writes and reads."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from retrodict.keys import SharedKey, exchange
from retrodict.keys.files import open_chunks

PAGE = Path(__file__).parents[2] / "docs" / "formats" / "keys.md"


def test_the_example_on_the_page_opens() -> None:
    file, plain, _ = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found = exchange.open_shared(file.encode(), bytes(range(100, 132)))
    assert found.sender == exchange.public_text(bytes(range(32)))
    (listed,) = json.loads(plain)
    identity = base64.b64decode(listed.pop("identity")).decode()
    secret = base64.b64decode(listed.pop("secret"))
    assert found.keys == (SharedKey(secret=secret, identity=identity, **listed),)


def test_the_file_on_the_page_opens() -> None:
    section = PAGE.read_text().split("## A file sealed whole")[1]
    (sealed,) = re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    key = "53be36780f131e59fc67a3d0a08a70b2"
    assert b"".join(open_chunks(bytes(range(32)), key, [base64.b64decode(sealed)])) == b"name,age\nAnn,30\n"


def test_the_proof_on_the_page_is_what_both_make_and_nobody_else() -> None:
    section = PAGE.read_text().split("## Whose log it is")[1].split("\n## ")[0]
    (proof,) = re.findall(r"^```\n(.*?)\n^```", section, re.MULTILINE | re.DOTALL)
    (origin,) = re.findall(r"`(retrodict\.local/[^`]*)`", section)
    ours, theirs = bytes(range(32)), bytes(range(100, 132))
    assert exchange.prove_holder(ours, exchange.public_text(theirs), origin) == proof
    assert exchange.prove_holder(theirs, exchange.public_text(ours), origin) == proof
    assert exchange.prove_holder(bytes(32), exchange.public_text(ours), origin) != proof
