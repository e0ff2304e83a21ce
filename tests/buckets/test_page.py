"""The page about buckets, command by command."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.backups.conftest import S3, s3, s3_server
from tests.buckets.test_attach import Source, deliveries, pause
from tests.conftest import variables
from tests.docs.conftest import Shell, open_shell, walk

__all__ = ["deliveries", "open_shell", "s3", "s3_server"]  # fixtures

PAGE = Path(__file__).parents[2] / "docs" / "buckets.md"


def test_every_command_of_the_page_works(
    tmp_path: Path,
    deliveries: tuple[Source, dict[str, str]],
    s3: S3,
    open_shell: Callable[[Path, Mapping[str, str]], Shell],
) -> None:
    source, _ = deliveries
    source.put("loans/2026/may.csv", b"id,amount\n1,100\n")
    pause()
    source.put("loans/2026/june.csv", b"id,amount\n2,7\n")
    pause()
    source.put("loans/2026/may.csv", b"id,amount\n1,101\n")
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    shell = open_shell(tmp_path, variables(tmp_path) | aws | {"RETRODICT_AGENT": "reader"})
    assert shell.run("retrodict init")[1] == 0
    told = walk(PAGE.read_text(), shell, compare=True)
    assert "1 changed" in told
    assert (tmp_path / "data" / "2026" / "may.csv").read_text() == "id,amount\n1,101\n"
