"""Two people who work on one thing, each with keys of their own, and a place between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.backups.conftest import S3, azure, gcs, s3, s3_server

from retrodict.actions.add import add
from retrodict.actions.arriving import Pulled
from retrodict.actions.clone import Cloned, clone
from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.actions.pull import pull
from retrodict.actions.push import push
from retrodict.actions.remote import add_remote
from retrodict.actions.sending import Pushed
from retrodict.actions.verify import verify
from retrodict.kernel.clock import SystemClock
from retrodict.workspace import Workspace, publish

__all__ = ["S3", "azure", "gcs", "s3", "s3_server"]


@dataclass
class Person:
    """Somebody with a workspace, and the place that they push to."""

    name: str
    root: Path
    state: Path
    url: str

    @contextmanager
    def open(self) -> Iterator[Workspace]:
        with open_workspace(self.root, self.state, SystemClock(), agent=self.name, begins_log=True) as workspace:
            yield workspace

    def begin(self) -> Person:
        init(self.root, self.state, SystemClock(), agent=self.name)
        with self.open() as workspace:
            add_remote(workspace, "origin", self.url, folder=self.root)
        return self

    def clone(self) -> Cloned:
        return clone(self.url, self.root, self.state, SystemClock(), agent=self.name, folder=self.root)

    def write(self, text: str, path: str = "data.csv") -> int:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)
        with self.open() as workspace:
            return add(workspace, [self.root / path], reason=f"{self.name}: {len(text)}")[0].index

    def push(self, *, again: bool = False) -> Pushed:
        with self.open() as workspace:
            return push(workspace, again=again)

    def pull(self, *, only_logs: bool = False) -> Pulled:
        with self.open() as workspace:
            return pull(workspace, only_logs=only_logs)

    def origin(self) -> str:
        with self.open() as workspace:
            return workspace.ledger.origin

    def sound(self) -> None:
        with self.open() as workspace:
            publish(workspace)
            found = verify(workspace)
            assert found.answer == "yes", found.findings

    def order(self) -> list[str]:
        """The events of all logs in their order."""
        with self.open() as workspace:
            logs = workspace.logs
            return [entry.event.id for _, entry in logs.read({}, logs.counts())]


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def ada(tmp_path: Path, hub: Path) -> Person:
    return Person("Ada", tmp_path / "ada", tmp_path / "ada-keys", str(hub)).begin()


@pytest.fixture
def bob(tmp_path: Path, hub: Path) -> Person:
    """Not begun: he clones."""
    return Person("Bob", tmp_path / "bob", tmp_path / "bob-keys", str(hub))
