"""The bank is built once for all tests; those that change it put it back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrodict.actions.explain import explain
from retrodict.actions.explanation import Explanation
from retrodict.testing.bank import Bank, build


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    before = Path.cwd()
    made = build(tmp_path_factory.mktemp("explain"))
    os.chdir(before)
    yield made
    made.workspace.__exit__()


@pytest.fixture(scope="session")
def plain(bank: Bank) -> Explanation:
    return explain(bank.workspace, bank.disputed)


@pytest.fixture(scope="session")
def replayed(bank: Bank) -> Explanation:
    return explain(bank.workspace, bank.disputed, versus=bank.other, replay=True, sample=6)
