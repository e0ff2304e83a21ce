"""The tutorial, command by command, as it stands."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


@pytest.mark.long
def test_every_command_of_the_tutorial_prints_what_is_shown(
    tmp_path: Path, newcomer: dict[str, str], follow_page: Callable[[str, Path, Mapping[str, str]], str]
) -> None:
    for module in ("shap", "sklearn", "pandas"):
        pytest.importorskip(module)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])  # the only thing that is not as the page has it
    page = PAGE.read_text().replace("--port 8080", f"--port {port}").replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    follow_page(page, tmp_path, newcomer)
