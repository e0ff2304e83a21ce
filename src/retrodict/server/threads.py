"""Threads for what must not run in the event loop.

The standard library's pool gives its threads work in turn, and each that takes some wakes the next one to look: for a
lone caller two threads would wake for each question, with nothing of it in their caches, and want the interpreter.
Here the thread that fell idle last gets the next work, and nobody else wakes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Work:
    """One call, and who waits for it."""

    __slots__ = ("call", "future")

    def __init__(self, call: Callable[[], Any], future: Future[Any]) -> None:
        self.call = call
        self.future = future

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.call()
        except BaseException as error:  # noqa: BLE001 - handed to who waits
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class _Worker:
    """An idle thread: it waits for its lock, which whoever gives it work releases."""

    __slots__ = ("given", "work")

    def __init__(self) -> None:
        self.given = threading.Lock()
        self.given.acquire()
        self.work: _Work | None = None  # None: it is to end


class Threads(Executor):
    """Runs what is submitted in threads of its own; what finds none free is run in the order in which it came."""

    def __init__(self, most: int, name: str) -> None:
        """`most`: how many threads there may be; each is started when it is first needed."""
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._waiting: deque[_Work] = deque()
        self._idle: list[_Worker] = []
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in a thread, soon.

        Raises:
            RuntimeError: `shutdown` was called.
        """
        future: Future[T] = Future()
        work = _Work(lambda: fn(*args, **kwargs), future)
        with self._lock:
            if self._is_closed:
                raise RuntimeError("these threads take no more work")
            if self._idle:
                worker = self._idle.pop()
                worker.work = work
                worker.given.release()
            elif len(self._threads) < self._most:
                name = f"{self._name}_{len(self._threads)}"
                thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
                thread.start()
                self._threads.append(thread)
            else:
                self._waiting.append(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; end the threads when they have done what they have.

        Args:
            wait: Return when they have ended.
            cancel_futures: Leave out what no thread has begun.
        """
        with self._lock:
            self._is_closed = True
            if cancel_futures:
                for work in self._waiting:
                    work.future.cancel()
            for worker in self._idle:
                worker.given.release()
            self._idle.clear()
        if wait:
            for thread in self._threads:
                thread.join()

    def _run(self, first: _Work) -> None:
        worker = _Worker()
        work: _Work | None = first
        del first
        while work is not None:
            work.run()
            work = worker.work = None  # an idle thread holds on to no question
            with self._lock:
                if self._waiting:
                    work = self._waiting.popleft()
                    continue
                if self._is_closed:
                    return
                self._idle.append(worker)
            worker.given.acquire()
            work = worker.work
