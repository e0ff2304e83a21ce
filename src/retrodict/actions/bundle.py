"""`bundle`: what `push` would bring to a remote, in one file, for a machine without a network."""

from __future__ import annotations

from pathlib import Path

from retrodict.actions.arriving import Pulled, receive
from retrodict.actions.sending import Pushed, send
from retrodict.backups import Depot
from retrodict.kernel.protocols import Progress
from retrodict.objects import BundleRemote
from retrodict.workspace import Workspace


def bundle(workspace: Workspace, path: Path, *, progress: Progress | None = None) -> Pushed:
    """Write every log that is held here, as far as it is signed, with all objects, to a new file. No keys.

    Raises:
        UsageError: There is a file at `path`.
        UnavailableError: It cannot be written; or nothing of the own log is signed.
    """
    with BundleRemote.write(path) as remote:
        return send(workspace, str(path), Depot(remote), again=False, progress=progress)


def take_bundle(workspace: Workspace, path: Path, *, progress: Progress | None = None) -> Pulled:
    """Take what a bundle holds and this workspace does not; checked as what is pulled.

    Raises:
        UsageError: There is no file at `path`.
        FormatError: It is no bundle, or is damaged.
        OldStoreError, ForkError: It holds more, or another history, of the own log.
        DamagedRemoteError: A pack in it is altered; no log was taken.
    """
    with BundleRemote.read(path) as remote:
        return receive(workspace, str(path), Depot(remote), progress=progress)
