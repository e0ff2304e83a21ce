"""File systems of a kind of their own, in a file that is mounted: for what the one under the tests cannot do."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path


class NotMountedError(Exception):
    """It needs root, a program that makes the file system, a kernel that knows it, and a free loop device."""


@contextlib.contextmanager
def mounted(kind: str, folder: Path, size_bytes: int) -> Iterator[Path]:
    """Make an empty file system of `kind` ("btrfs", "xfs", "ext4") in `folder`; yield where it is mounted.

    Args:
        kind: What `mkfs.KIND` makes and `mount` knows.
        folder: Empty, and empty again afterwards.
        size_bytes: At least 128 MiB for btrfs, 320 MiB for xfs; only what is written takes room.

    Raises:
        NotMountedError: Why there is none here.
    """
    image, place = folder / "image", folder / "mounted"
    try:
        image.touch()
        os.truncate(image, size_bytes)
        place.mkdir()
        _run([f"mkfs.{kind}", "-q", str(image)])
        _run(["mount", "-o", "loop", str(image), str(place)])
        try:
            yield place
        finally:
            _run(["umount", str(place)])
    finally:
        image.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            place.rmdir()


def _run(argv: Sequence[str]) -> None:
    environment = {**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    except OSError as error:
        raise NotMountedError(f"{argv[0]}: {error.strerror}") from error
    if done.returncode:
        raise NotMountedError(f"{argv[0]}: {done.stderr.strip()}")
