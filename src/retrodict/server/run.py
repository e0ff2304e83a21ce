"""Runs the endpoints under uvicorn, publishes checkpoints while it does, and stops gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from retrodict import workspace as workspaces
from retrodict.actions.serve import start_service
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.server.app import App, Limits
from retrodict.server.errors import AddressError, OpenServerError
from retrodict.server.measures import JsonFormatter
from retrodict.server.scheduler import THREADS
from retrodict.server.tokens import Tokens
from retrodict.workspace import Workspace

PUBLISH_EVERY_S = 1.0
GRACE_S = 10  # for answers under way when the server is told to stop
GIVE_UP_EVERY_S = 0.5  # how late who waits for too long may be told
RELOAD_EVERY_S = 0.25  # how soon a version that an alias was moved to is loaded, asked for or not

_log = logging.getLogger("retrodict.server")


class Server:
    """A server that is listening; `run` answers until `stop` is called, or SIGTERM or SIGINT comes."""

    def __init__(
        self,
        workspace: Workspace,
        models: Sequence[str],
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        token: str | None = None,
        tokens: Tokens | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Load the models and listen; `port` 0 takes any that is free.

        Raises:
            OpenServerError: Others could reach `host`, and there is no token.
            AddressError: The address is in use, or not this machine's.
            RetrodictError: A model cannot be loaded; nothing listens then.
        """
        tokens = tokens or Tokens.single(token)
        if not _is_loopback(host) and not tokens:
            raise OpenServerError(host)
        self._workspace = workspace
        self._stop = threading.Event()
        self._wake: Callable[[], object] = lambda: None
        self._limits = limits or Limits()
        self._socket = _listen(host, port)
        try:
            bound = self._socket.getsockname()
            shown = f"[{host}]" if ":" in host else host
            self.url = f"http://{shown}:{bound[1]}"
            started = start_service(workspace, models, address=self.url, variables=os.environ)
        except BaseException:
            self._socket.close()
            raise
        self.models = started.models
        self._service = started.service
        self._pool = ThreadPoolExecutor(THREADS * min(len(models), 8) + 4, thread_name_prefix="model")
        self._app = App(
            started.service,
            {model.name: model.requested for model in started.models},
            pool=self._pool,
            tokens=tokens,
            limits=self._limits,
        )

    def stop(self) -> None:
        """Finish what is under way, then return from `run`; callable from any thread."""
        self._stop.set()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._wake()

    def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Answer requests; `ready` is told the URL as soon as they are answered."""
        try:
            import uvloop  # 5 ms, and of no use elsewhere

            uvloop.run(self._run(ready))
        finally:
            self.close()
            workspaces.publish(self._workspace)

    def close(self) -> None:
        """Listen no more; `run` does this at its end."""
        self._pool.shutdown(wait=True)
        self._socket.close()

    async def _run(self, ready: Callable[[str], None] | None) -> None:
        import uvicorn  # 100 ms

        from retrodict.server.protocol import protocol  # uvicorn

        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(stopping.set)

        class Uvicorn(uvicorn.Server):
            async def main_loop(self) -> None:
                # Uvicorn's own wakes the loop ten times a second: each time takes the interpreter from the models.
                while not (await self.on_tick(0) or stopping.is_set()):  # sets the date that answers bear
                    await _pause(stopping, 1.0)

            @contextlib.contextmanager
            def capture_signals(self):  # type: ignore[no-untyped-def]
                # Uvicorn's own would raise the signal again at the end, before the last checkpoint is published.
                yield

        config = uvicorn.Config(
            self._app,
            lifespan="off",
            access_log=False,
            log_level="warning",
            log_config=None,
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
            http=protocol(self._limits.request_s, self._app.note_early),
            ws="none",
        )
        server = Uvicorn(config)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
        serving = asyncio.create_task(server.serve(sockets=[self._socket]))
        beside = [asyncio.create_task(self._publish()), asyncio.create_task(self._reload())]
        try:
            while not serving.done() and not server.started:
                await asyncio.sleep(0.005)
            if server.started and ready is not None:
                ready(self.url)
            while not serving.done() and not self._stop.is_set():
                await _pause(stopping, GIVE_UP_EVERY_S)
                self._app.give_up()
        finally:
            self._app.is_stopping = True
            server.should_exit = True
            stopping.set()
            await serving
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _publish(self) -> None:
        """Sign a checkpoint every second in which something was recorded."""
        published = -1
        while True:
            await asyncio.sleep(PUBLISH_EVERY_S)
            size = self._workspace.ledger.size()
            if size == published:
                continue
            try:
                await asyncio.to_thread(workspaces.publish, self._workspace)
                published = size
                self._app.measures.published.set(size)
            except RetrodictError as error:
                _log.error("no checkpoint was published", extra={"fields": {"reason": error.slug}})

    async def _reload(self) -> None:
        """Load what an alias was moved to before somebody asks for it; who asks sooner waits for the same load."""
        known = {model.requested: model.version for model in self.models}
        while True:
            await asyncio.sleep(RELOAD_EVERY_S)
            await asyncio.to_thread(self._load_moved, known)

    def _load_moved(self, known: dict[str, str]) -> None:
        """Load the versions that names mean now, where they are not those in `known`, and note them there."""
        for requested, before in known.items():
            try:
                version = self._service.resolve(requested)
                if version.label == before:
                    continue
                known[requested] = version.label
                self._service.load(requested)
                _log.info("loaded", extra={"fields": {"requested": requested, "version": version.label}})
            except RetrodictError as error:
                _log.error("not loaded", extra={"fields": {"requested": requested, "reason": error.slug}})


def serve(
    workspace: Workspace,
    models: Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    token: str | None = None,
    tokens: Tokens | None = None,
    limits: Limits | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve models until SIGTERM or SIGINT; see `Server`. Its log goes to the standard error, JSON a line."""
    log_to_stderr()
    Server(workspace, models, host=host, port=port, token=token, tokens=tokens, limits=limits).run(ready)


def log_to_stderr() -> None:
    """Let what the server and uvicorn have to say go to the standard error, one JSON object a line."""
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(JsonFormatter())
    for log, level in ((_log, logging.INFO), (logging.getLogger("uvicorn"), logging.WARNING)):
        if not log.handlers:
            log.addHandler(to_stderr)
            log.setLevel(level)
            log.propagate = False


async def _pause(event: asyncio.Event, seconds: float) -> None:
    """Wait for some time, or until the event is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressError(host, port, error) from error
    except OverflowError:
        raise UsageError(f"{port} is not a port") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise AddressError(host, port, error) from error
    except OverflowError:
        listener.close()
        raise UsageError(f"{port} is not a port") from None
    return listener
