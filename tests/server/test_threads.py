"""The threads beside the event loop: who takes the next work, in what order, and how they end."""

from __future__ import annotations

import threading
import time

import pytest

from retrodict.server.threads import Threads


def test_the_thread_that_fell_idle_last_takes_the_next_work() -> None:
    threads = Threads(4, "model")
    both = threading.Barrier(3)
    for call in [threads.submit(both.wait, 10) for _ in range(2)] + [threads.submit(both.wait, 10)]:
        call.result(10)
    time.sleep(0.05)  # until all three wait
    took = set()
    for _ in range(50):
        took.add(threads.submit(threading.get_ident).result(10))
        time.sleep(0.001)
    assert len(took) == 1
    threads.shutdown()


def test_what_finds_no_thread_free_waits_in_its_order_and_is_done_before_the_end() -> None:
    threads = Threads(1, "model")
    goes = threading.Event()
    done: list[int] = []
    first = threads.submit(goes.wait, 10)
    rest = [threads.submit(done.append, i) for i in range(100)]
    assert not any(future.done() for future in rest)
    goes.set()
    threads.shutdown()
    assert first.result(0)
    assert done == list(range(100))
    with pytest.raises(RuntimeError, match="no more work"):
        threads.submit(done.append, 100)


def test_what_is_cancelled_or_fails_spoils_no_other_work() -> None:
    threads = Threads(1, "model")
    goes = threading.Event()
    done: list[int] = []
    threads.submit(goes.wait, 10)
    failing, cancelled, fine = threads.submit(int, "x"), threads.submit(done.append, 1), threads.submit(done.append, 2)
    assert cancelled.cancel()
    goes.set()
    fine.result(10)
    assert isinstance(failing.exception(10), ValueError)
    assert done == [2]
    goes.clear()
    threads.submit(goes.wait, 10)
    left_out = threads.submit(done.append, 3)
    threads.shutdown(wait=False, cancel_futures=True)
    goes.set()
    threads.shutdown()
    assert left_out.cancelled()
    assert done == [2]


def test_no_work_is_lost_when_many_submit() -> None:
    threads = Threads(3, "model")
    found: list[int] = []

    def submit(start: int) -> None:
        for future in [threads.submit(found.append, i) for i in range(start, start + 500)]:
            future.result(10)

    submitters = [threading.Thread(target=submit, args=(500 * n,)) for n in range(4)]
    for submitter in submitters:
        submitter.start()
    for submitter in submitters:
        submitter.join(30)
    threads.shutdown()
    assert sorted(found) == list(range(2000))
