"""The bank is built once for all tests; those that change it put it back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrodict.testing.bank import Bank, build


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    before = Path.cwd()
    made = build(tmp_path_factory.mktemp("explain"))
    os.chdir(before)
    yield made
    made.workspace.__exit__()
