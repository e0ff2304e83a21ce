"""A server in a thread of the test's process."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx

from retrodict.server import Server
from retrodict.workspace import Workspace


class Running:
    """A server that answers, and a client of it."""

    def __init__(self, workspace: Workspace, models: list[str], **options: Any) -> None:
        self.workspace = workspace
        self.server = Server(workspace, models, port=0, **options)
        started = threading.Event()
        self.thread = threading.Thread(target=self.server.run, args=(lambda _url: started.set(),))
        self.thread.start()
        assert started.wait(30)
        self.url = self.server.url
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def stop(self) -> None:
        self.client.close()
        self.server.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def infer(self, model: str, body: object, **headers: str) -> httpx.Response:
        """Post as tritonclient does: without a Content-Type."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(f"/v2/models/{model}/infer", content=content, headers=headers)

    def is_well(self) -> bool:
        """Say whether it still answers."""
        return bool(self.client.get("/v2/health/ready").json() == {"ready": True})


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}
