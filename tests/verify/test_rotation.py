"""A new key takes the place of the one that signs: whoever has either of them still verifies, after a crash too."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrodict import keys
from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.actions.rotate_key import Rotated, rotate_key
from retrodict.actions.verify import verify
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import FormatError
from retrodict.kernel.note import SignatureError, decode_checkpoint, read_rotation, sign_rotation
from retrodict.keys import LogSigner, LogVerifier, StateDirectory
from retrodict.ledger import ReplacedKeyError
from retrodict.workspace import Batch, Workspace, publish

Open = Callable[[], Workspace]
CLOCK = SystemClock()


@pytest.fixture
def first(tmp_path: Path) -> str:
    """A workspace in `project`; its first public key."""
    return init(tmp_path / "project", tmp_path / "state", CLOCK, agent="Ada").key


@pytest.fixture
def opened(first: str, tmp_path: Path) -> Iterator[Open]:
    held: list[Workspace] = []

    def again() -> Workspace:
        held.append(open_workspace(tmp_path / "project", tmp_path / "state", CLOCK, agent="Ada"))
        return held[-1]

    yield again
    for workspace in held:
        workspace.__exit__()


def say(workspace: Workspace, text: str) -> None:
    batch = Batch(workspace)
    batch.event("thing.happened", uses=(), makes=(), body={"text": text})
    batch.append()


def answers(workspace: Workspace, *given: str) -> list[str]:
    return [verify(workspace).answer, *(verify(workspace, key=key).answer for key in given)]


def key_files(tmp_path: Path) -> set[str]:
    return {path.name for path in tmp_path.glob("state/*/*key*")}


def test_the_old_key_leads_to_the_new_ones(first: str, opened: Open, tmp_path: Path) -> None:
    workspace = opened()
    say(workspace, "before")
    second = rotate_key(workspace, reason="it was seen by others")
    assert second.before == first
    note = workspace.ledger.checkpoint()
    assert note is not None
    assert len(decode_checkpoint(note).signatures) == 2
    assert answers(workspace, first, second.key) == ["yes", "yes", "yes"]
    third = rotate_key(workspace)
    say(workspace, "after")
    publish(workspace)
    assert verify(workspace, key=first).unprotected == 0
    assert answers(opened(), first, second.key, third.key) == ["yes"] * 4
    assert workspace.ledger.origin in third.key  # the log keeps its name, which contains the hash of the first key
    assert key_files(tmp_path) == {"signing.key"}
    stranger = str(LogVerifier(workspace.ledger.origin, bytes(range(32))))
    assert verify(workspace, key=stranger).answer == "no"


def test_only_a_statement_by_the_key_itself_is_followed(first: str, opened: Open) -> None:
    """Who can write the store, but has no key, cannot make another key count."""
    workspace = opened()
    origin = workspace.ledger.origin
    impostor = LogSigner(origin, b"i" * 32)
    assert workspace.state is not None
    honest = workspace.state.signer
    assert honest is not None
    forged = sign_rotation(origin, str(impostor.verifier), impostor)
    misplaced = sign_rotation("example.com/other", str(impostor.verifier), honest)
    for note in (forged, misplaced):
        batch = Batch(workspace)
        body = keys.rotation_body(key=impostor.verifier, before=honest.verifier, note=note)
        batch.event("key.rotated", uses=(), makes=(), body=body)
        batch.append()
    chain = workspace.ledger.key_chain(honest.verifier, LogVerifier.from_text)
    assert [str(verifier) for verifier in chain] == [first]
    assert verify(workspace, key=str(impostor.verifier)).answer == "no"
    with pytest.raises(SignatureError):
        read_rotation(forged.encode(), origin, [honest.verifier])
    with pytest.raises(FormatError, match="rotation"):
        read_rotation(misplaced.encode(), origin, [honest.verifier])
    with pytest.raises(FormatError, match="rotation"):
        read_rotation(
            workspace.ledger.publish(honest, workspace.state, follow=LogVerifier.from_text).encode(),
            origin,
            [honest.verifier],
        )


KILLED = """
import os, signal, sys
from pathlib import Path
from retrodict.actions.open import open_workspace
from retrodict.actions.rotate_key import rotate_key
from retrodict.kernel.clock import SystemClock

root, state, renames, opens = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
seen = [0, 0]

def die(event, arguments):
    seen[0] += event == "os.rename"
    seen[1] += event == "open" and seen[0] == renames
    if event != "os.kill" and (seen[0] > renames or (opens and seen[1] == opens)):
        os.kill(os.getpid(), signal.SIGKILL)

workspace = open_workspace(root, state, SystemClock(), agent="Ada")
sys.addaudithook(die)
rotate_key(workspace)
"""


@pytest.mark.parametrize(
    ("renames", "opens", "in_force"),
    [
        (0, 0, "old"),  # before the new key is kept
        (1, 0, "old"),  # the event is in the log, and no checkpoint that says so
        (2, 1, "new"),  # the checkpoint with both signatures is kept apart, and not shown
        (2, 0, "new"),  # it is shown, and the old key is still there
    ],
)
def test_a_rotation_that_is_killed_leaves_one_key_in_force(
    renames: int, opens: int, in_force: str, first: str, opened: Open, tmp_path: Path
) -> None:
    publish(opened())
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(tmp_path / "project"),
        str(tmp_path / "state"),
        str(renames),
        str(opens),
    ]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert "signing.key" in key_files(tmp_path)
    again = opened()
    assert again.state is not None
    assert (str(again.state.verifier) == first) == (in_force == "old")
    say(again, "and on it goes")
    publish(again)
    assert answers(again, first) == ["yes", "yes"]
    rotated: Rotated = rotate_key(again)
    say(again, "and on")
    publish(again)
    assert answers(opened(), first, rotated.key) == ["yes"] * 3
    assert key_files(tmp_path) >= {"signing.key"}
    assert "signing.key.next" not in key_files(tmp_path)


def test_a_process_that_has_the_old_key_signs_with_the_new_one(opened: Open) -> None:
    server, other = opened(), opened()
    rotated = rotate_key(other)
    say(server, "answered meanwhile")
    publish(server)
    assert server.state is not None
    assert str(server.state.verifier) == rotated.key
    assert answers(server, rotated.key) == ["yes", "yes"]


def test_processes_that_rotate_at_once_take_turns(first: str, opened: Open, tmp_path: Path) -> None:
    rotate = (
        "import sys; from pathlib import Path; from retrodict.actions.open import open_workspace; "
        "from retrodict.actions.rotate_key import rotate_key; from retrodict.kernel.clock import SystemClock; "
        "workspace = open_workspace(Path(sys.argv[1]), Path(sys.argv[2]), SystemClock(), agent='Ada'); "
        "[rotate_key(workspace) for _ in range(3)]; workspace.__exit__()"
    )
    command = [sys.executable, "-c", rotate, str(tmp_path / "project"), str(tmp_path / "state")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    workspace = opened()
    say(workspace, "after")
    publish(workspace)
    assert answers(workspace, first) == ["yes", "yes"]
    assert workspace.state is not None
    assert len(workspace.ledger.key_chain(LogVerifier.from_text(first), LogVerifier.from_text)) == 10


def test_a_key_file_of_a_service_signs_no_more(opened: Open, tmp_path: Path) -> None:
    workspace = opened()
    assert workspace.state is not None
    workspace.state.export_key_file(tmp_path / "service.key")
    rotate_key(workspace)
    say(workspace, "more")
    service = StateDirectory.from_key_file(tmp_path / "service.key", workspace.id, workspace.folder)
    assert service.signer is not None
    service.save_checkpoint(workspace.ledger.checkpoint() or b"")
    with pytest.raises(ReplacedKeyError):
        workspace.ledger.publish(service.signer, service, follow=LogVerifier.from_text)
