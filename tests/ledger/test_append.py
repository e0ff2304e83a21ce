"""What was acknowledged is there, in order, whoever wrote beside it and however it died."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from retrodict.kernel import entry, merkle
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import IntegrityError, ReadOnlyStoreError, RetrodictError, UnavailableError, UsageError
from retrodict.kernel.types import Digest, Event, EventId
from retrodict.keys import LogVerifier, StateDirectory
from retrodict.ledger import DuplicateEventError, Ledger, LedgerStoppedError
from retrodict.testing.clock import FixedClock

Draft = Callable[..., Event]
BLOB = Digest("b3-" + "ab" * 32)


def test_what_was_appended_is_read_back(ledger: Ledger, path: Path, draft: Draft, clock: SystemClock) -> None:
    drafts = [draft(n=n) for n in range(600)]
    sequenced = [ledger.append([drafts[0]])[0], *ledger.append(drafts[1:], {BLOB: b"payload"})]
    again = Ledger.open(path, clock)
    assert list(again.read()) == sequenced
    assert [s.index for s in sequenced] == list(range(600))
    for s in sequenced[:3]:
        assert again.event(s.index) == again.find(s.event.id) == s
        assert again.entry(s.index) == s.data == entry.encode(s.event)
        assert s.leaf_hash == merkle.leaf_hash(s.data)
    assert [dataclasses.replace(s.event, tick=0) for s in sequenced] == drafts
    assert list(again.read(10, 12)) == sequenced[10:12]
    assert list(again.read(600)) == []
    assert again.blob(BLOB) == b"payload"
    assert again.blob(Digest("b3-" + "cd" * 32)) is None
    assert list(again.blobs()) == [(BLOB, b"payload")]
    again.close()


def test_ticks_rise_strictly_even_when_the_clock_goes_back(tmp_path: Path, draft: Draft) -> None:
    clock = FixedClock()
    ledger = Ledger.create(tmp_path / "l.db", "example.com/log", clock)
    ledger.append([draft(), draft()])
    clock.set(1)
    ledger.append([draft()])
    ticks = [s.event.tick for s in ledger.read()]
    assert ticks == sorted(set(ticks))
    ledger.close()


def test_an_id_is_taken_once_and_the_refused_call_writes_nothing(ledger: Ledger, draft: Draft) -> None:
    first = draft()
    ledger.append([first])
    fresh = draft()
    with pytest.raises(DuplicateEventError) as caught:
        ledger.append([fresh, first], {BLOB: b"payload"})
    assert caught.value.event_id == first.id
    with pytest.raises(DuplicateEventError):
        ledger.append([fresh, fresh])
    assert ledger.size() == 1
    assert ledger.find(fresh.id) is None
    assert ledger.blob(BLOB) is None
    assert ledger.append([fresh])[0].index == 1


def test_a_refused_call_leaves_its_neighbours_in_the_group_alone(ledger: Ledger, path: Path, draft: Draft) -> None:
    taken = draft()
    ledger.append([taken])
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")  # holds the group back until all have queued
    calls = [[draft()], [draft(), taken], [draft(), draft()], [taken], []]
    futures = [ledger.submit(call) for call in calls]
    other.execute("ROLLBACK")
    results = [future.exception(10) or [s.index for s in future.result()] for future in futures]
    assert [type(r) if isinstance(r, Exception) else r for r in results] == [
        [1], DuplicateEventError, [2, 3], DuplicateEventError, []
    ]  # fmt: skip
    assert ledger.size() == 4
    other.close()


def test_a_cancelled_call_is_not_written_and_disturbs_nobody(ledger: Ledger, path: Path, draft: Draft) -> None:
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    first = ledger.submit([draft()])
    while not first.running():  # its commit waits for the lock: too late to cancel
        time.sleep(0.001)
    assert not first.cancel()
    second, third = ledger.submit([draft()]), ledger.submit([draft()])
    assert second.cancel()
    other.execute("ROLLBACK")
    assert [first.result(10)[0].index, third.result(10)[0].index] == [0, 1]
    assert ledger.size() == 2
    other.close()


def test_a_malformed_event_is_refused_before_anything_is_written(ledger: Ledger, draft: Draft) -> None:
    with pytest.raises(UsageError):
        ledger.append([draft(), dataclasses.replace(draft(), kind="no")])
    with pytest.raises(UsageError):
        ledger.append([draft()], {Digest("b3-12"): b""})
    assert ledger.size() == 0
    assert ledger.append([]) == []


def test_threads_share_commits_and_every_event_is_there_once(ledger: Ledger, draft: Draft) -> None:
    acknowledged: list[EventId] = []
    commits = 0

    def count() -> bool:
        nonlocal commits
        commits += 1
        return False

    ledger.append([draft()])
    ledger._database._writer.set_commit_hook(count)  # type: ignore[union-attr]

    def write() -> None:
        for _ in range(20):
            acknowledged.extend(s.event.id for s in ledger.append([draft(), draft()]))

    threads = [threading.Thread(target=write) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(acknowledged) == sorted(s.event.id for s in ledger.read(1))
    assert len(acknowledged) == 16 * 20 * 2
    assert commits < 16 * 20
    assert list(ledger.verify(None))[-1].level == "unprotected"


def test_what_was_submitted_is_written_before_the_log_closes(
    ledger: Ledger, path: Path, draft: Draft, clock: SystemClock
) -> None:
    futures = [ledger.submit([draft()]) for _ in range(50)]
    ledger.close()
    assert sorted(future.result(0)[0].index for future in futures) == list(range(50))
    with pytest.raises(RetrodictError, match="closed"):
        ledger.append([draft()])
    with pytest.raises(RetrodictError, match="closed"):
        ledger.size()


WRITER = """
import os, sys
from pathlib import Path
from retrodict.kernel.clock import SystemClock, event_id, rfc3339
from retrodict.kernel.types import Digest, Event
from retrodict.ledger import Ledger
clock = SystemClock()
ledger = Ledger.open(Path(sys.argv[1]), clock)
for _ in range(int(sys.argv[2])):
    at = rfc3339(clock.now_ns())
    events = [
        Event(id=event_id(clock), kind="thing.happened", at=at, agent="a", uses=(), makes=(), body={}) for _ in range(2)
    ]
    ledger.append(events, {Digest("b3-" + events[0].id.replace("-", "") * 2): events[0].id.encode() * 20})
    os.write(1, f"{events[0].id} {events[1].id}\\n".encode())  # acknowledged
"""


def start(path: Path, rounds: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, path, str(rounds)], stdout=subprocess.PIPE)


def test_processes_that_are_killed_while_they_write_lose_nothing_acknowledged(
    ledger: Ledger, path: Path, state: StateDirectory, clock: SystemClock
) -> None:
    assert state.signer
    writers = [start(path, 1_000_000) for _ in range(4)]
    for writer in writers:
        assert writer.stdout
        writer.stdout.readline()  # all of them are at work
    anchor = ledger.publish(state.signer, state, follow=LogVerifier.from_text).encode()
    time.sleep(0.7)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
    acknowledged = []
    for writer in writers:
        lines = writer.communicate()[0].decode().splitlines(keepends=True)
        acknowledged += [line.split() for line in lines if line.endswith("\n")]
    again = Ledger.open(path, clock)
    for first, second in acknowledged:
        found = again.find(EventId(first))
        assert found is not None
        assert again.event(found.index + 1).event.id == second  # all of a call or nothing
        assert again.blob(Digest("b3-" + first.replace("-", "") * 2)) == first.encode() * 20
    assert len(acknowledged) >= 4
    assert {f.level for f in again.verify(state.verifier, anchor=anchor)} == {"unprotected"}
    again.publish(state.signer, state, follow=LogVerifier.from_text)
    assert list(again.verify(state.verifier, anchor=state.checkpoint())) == []
    again.close()


def test_processes_that_write_at_once_make_one_log(ledger: Ledger, path: Path) -> None:
    writers = [start(path, 40) for _ in range(4)]
    ids = [word for writer in writers for word in writer.communicate()[0].decode().split()]
    assert sorted(ids) == sorted(s.event.id for s in ledger.read())
    assert len(ids) == 4 * 40 * 2


def test_after_a_failed_write_nothing_more_is_written(
    ledger: Ledger, path: Path, draft: Draft, clock: SystemClock
) -> None:
    ledger.append([draft()])
    writer = ledger._database._writer
    assert writer is not None
    writer.set_commit_hook(lambda: True)  # SQLite is made to refuse the commit
    with pytest.raises(LedgerStoppedError):
        ledger.append([draft()])
    writer.set_commit_hook(None)
    with pytest.raises(LedgerStoppedError):
        ledger.append([draft()])
    assert ledger.size() == 1
    again = Ledger.open(path, clock)  # a new process may
    again.append([draft()])
    again.close()


def test_a_prefix_finds_ids_with_and_without_dashes(ledger: Ledger, draft: Draft) -> None:
    ids = [s.event.id for s in ledger.append([draft() for _ in range(5)])]
    for prefix in (ids[2], ids[2][:30], ids[2].replace("-", "")[:31], ids[2].upper()):
        assert ids[2] in ledger.find_prefix(prefix)
    assert sorted(ledger.find_prefix(ids[0][:9])) == sorted(i for i in ids if i.startswith(ids[0][:9]))
    assert len(ledger.find_prefix(ids[0][:4], limit=2)) == 2
    assert ledger.find_prefix("") == ledger.find_prefix("xyz") == ledger.find_prefix("%") == []
    assert ledger.find(EventId("nothing")) is None


def test_a_look_tells_how_long_the_log_is_and_what_is_new_in_it(ledger: Ledger, draft: Draft) -> None:
    assert ledger.look(0, (b"x",)) == (0, False)
    ledger.append([draft(n=1), draft(n=2), draft(n=3)])
    assert ledger.look(0, (b"nothing", b'"n":2')) == (3, True)
    assert ledger.look(1, (b'"n":2',)) == (3, True)
    assert ledger.look(2, (b'"n":2', b'"n":1')) == (3, False)
    assert ledger.look(3, (b'"n":2',)) == (3, False)


def test_there_is_no_entry_beyond_the_end(ledger: Ledger) -> None:
    for index in (0, -1, 2**70):
        with pytest.raises(UsageError, match="no entry"):
            ledger.event(index)


def test_a_log_opened_to_be_read_refuses_to_write(ledger: Ledger, path: Path, draft: Draft, clock: SystemClock) -> None:
    ledger.append([draft()])
    reader = Ledger.open(path, clock, read_only=True)
    assert reader.size() == 1
    with pytest.raises(ReadOnlyStoreError):
        reader.append([draft()])
    with pytest.raises(ReadOnlyStoreError):
        reader.submit([draft()])
    ledger.append([draft()])
    assert reader.size() == 2  # a reader follows the writer
    reader.close()


def test_a_full_disk_stops_the_log_and_loses_nothing(
    ledger: Ledger, path: Path, draft: Draft, clock: SystemClock
) -> None:
    before = ledger.append([draft()])
    writer = ledger._database._writer
    assert writer is not None
    writer.execute("PRAGMA max_page_count=20").fetchall()
    with pytest.raises(LedgerStoppedError, match="full"):
        ledger.append([draft(), draft()], {BLOB: bytes(200_000)})
    with pytest.raises(LedgerStoppedError):
        ledger.submit([draft()]).result(10)
    again = Ledger.open(path, clock)
    assert list(again.read()) == before
    assert again.append([draft()])[0].index == 1
    assert [f.level for f in again.verify(None)] == ["unprotected"]
    again.close()


def test_a_log_can_lie_at_a_path_of_any_bytes(tmp_path: Path, draft: Draft, clock: SystemClock) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a?b#c %41 \xff"))
    folder.mkdir()
    ledger = Ledger.create(folder / "l.db", "example.com/log", clock)
    ledger.append([draft()])
    ledger.close()
    assert [p.name for p in folder.iterdir()] == ["l.db"]
    again = Ledger.open(folder / "l.db", clock, read_only=True)
    assert again.size() == 1
    again.close()


READER = """
import sys
from pathlib import Path
from retrodict.kernel.clock import SystemClock, event_id, rfc3339
from retrodict.kernel.errors import ReadOnlyStoreError
from retrodict.kernel.types import Event
from retrodict.ledger import Ledger
clock = SystemClock()
ledger = Ledger.open(Path(sys.argv[1]), clock)
try:
    ledger.append([
        Event(id=event_id(clock), kind="a.b", at=rfc3339(clock.now_ns()), agent="a", uses=(), makes=(), body={})
    ])
except ReadOnlyStoreError as error:
    print(error.message.endswith("read-only"))
ledger.close()
ledger = Ledger.open(Path(sys.argv[1]), SystemClock(), read_only=True)
print(len(list(ledger.read())), [f.level for f in ledger.verify(None)])
"""


def read_without_rights(path: Path) -> subprocess.CompletedProcess[str]:
    """Read a log in a file system that is read-only: in a mount namespace of its own."""
    command = 'mount --bind "$2" "$2" && mount -o remount,bind,ro "$2" && exec "$0" -c "$1" "$3"'
    argv = ["unshare", "-m", "sh", "-c", command, sys.executable, READER, str(path.parent), str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.mark.skipif(
    subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0,
    reason="mount namespaces are not to be had",
)
@pytest.mark.parametrize("clean", [True, False])
def test_everything_can_be_read_on_a_read_only_file_system(
    ledger: Ledger, path: Path, draft: Draft, clean: bool
) -> None:
    ledger.append([draft() for _ in range(300)])
    if clean:
        ledger.close()
    assert path.with_name("ledger.db-wal").exists() is not clean
    result = read_without_rights(path)
    assert (result.stdout, result.stderr) == ("True\n300 ['unprotected']\n", "")
    if not clean:
        path.with_name("ledger.db-shm").unlink()
        result = read_without_rights(path)
        assert "not closed cleanly" in result.stderr


@pytest.mark.parametrize("data", [b"", b"not a database, but long enough to look at" * 100, b"SQLite format 3\0" * 300])
def test_a_file_that_is_no_log_is_refused_as_such(tmp_path: Path, clock: SystemClock, data: bytes) -> None:
    (tmp_path / "l.db").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"l\.db"):
        Ledger.open(tmp_path / "l.db", clock)


def test_another_database_is_no_log(tmp_path: Path, clock: SystemClock) -> None:
    db = apsw.Connection(str(tmp_path / "l.db"))
    db.execute("CREATE TABLE x (y)")
    db.close()
    with pytest.raises(IntegrityError, match="not a log"):
        Ledger.open(tmp_path / "l.db", clock)


def test_a_log_is_made_once_and_opened_where_it_is(ledger: Ledger, path: Path, clock: SystemClock) -> None:
    with pytest.raises(UsageError, match="exists"):
        Ledger.create(path, "example.com/log", clock)
    with pytest.raises(UsageError, match="name"):
        Ledger.create(path.with_name("other.db"), "a b", clock)
    with pytest.raises(UnavailableError, match="no log"):
        Ledger.open(path.with_name("nothing.db"), clock)
    assert Ledger.open(path, clock).origin == ledger.origin
