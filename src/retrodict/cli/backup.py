"""`retrodict backup to`, `backup keys to` and `backup drill`."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retrodict.cli import door
from retrodict.cli.durations import Duration
from retrodict.kernel.errors import NoWorkspaceError, RetrodictError

if TYPE_CHECKING:
    from retrodict.actions.drill import Answer
    from retrodict.kernel.types import Finding
    from retrodict.workspace import Workspace

_FILE = click.Path(dir_okay=False, path_type=Path)


@door.verb_group("backup", example="retrodict backup to s3://backups/credit --every 60s")
@click.option("-n", "limit", type=click.IntRange(1), default=30, show_default=True, help="At most so many.")
@click.pass_context
def command(context: click.Context, limit: int, as_json: bool) -> None:
    """List the backups that were made, newest first; or make one, or try one.

    A place is a folder, or s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH (extra `backup`).
    """
    if context.invoked_subcommand is not None:
        return
    from retrodict.actions.backups import backups
    from retrodict.render import text

    with door.workspace() as workspace:
        record = backups(workspace, limit=limit)
    door.show(record, as_json=as_json, text=text.backups)


@door.subverb(command, "to", example="retrodict backup to /mnt/backup/credit --every 60s")
@click.argument("destination")
@click.option("--every", type=Duration(), help="Go on, once in so long (60s, 5m), until stopped by SIGTERM or Ctrl-C.")
@click.option("--keys-to", help="Back the keys up too, to this other place.")
@click.option("--passphrase-file", type=_FILE, help="Its first line seals the keys.")
def to(destination: str, every: float | None, keys_to: str | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Copy what is new to DESTINATION, and read it back.

    Only new entries and objects travel; nothing there is rewritten; what a backup that was cut off has copied is used.
    The keys are left out: `backup keys to` puts them elsewhere.

    Exit 0: all of it is there. 1: something here is altered and was not copied.
    """
    from retrodict.actions.backing import open_place  # loaded when asked for
    from retrodict.actions.backup import backup
    from retrodict.actions.backup_keys import backup_keys
    from retrodict.render import text
    from retrodict.render.json import to_json

    secret = door.passphrase(passphrase_file) if keys_to is not None else b""
    remote, keys_remote = open_place(destination), None if keys_to is None else open_place(keys_to)
    stop = threading.Event()
    if every is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    while True:
        code = 0
        try:
            with door.workspace(writes=True) as workspace, door.progress("backing up") as progress:
                record = backup(workspace, remote, progress=progress)
                if keys_remote is not None and record.is_new:
                    backup_keys(workspace, keys_remote, secret)
                    backup(workspace, remote, closing=True)
            code = 1 if record.findings else 0
            if record.is_new or every is None:
                if as_json:
                    door.echo(to_json(record, indent=None) + "\n")
                else:
                    door.draw(text.backed_up(record))
        except RetrodictError as error:
            if every is None:
                raise
            # The next one may find the network again; until then `status` warns.
            click.echo(f"retrodict: no backup: {door.one_line(error.message)}", err=True)
            code = 2
        if every is None or stop.wait(every):
            sys.exit(code)


@door.subverb(command, "keys", example="retrodict backup keys to /media/stick --passphrase-file ~/passphrase")
@click.argument("to", type=click.Choice(["to"]))
@click.argument("destination")
@click.option("--passphrase-file", type=_FILE, required=True, help="Its first line seals the keys.")
@click.option("--beside-the-store", is_flag=True, help="Allow a place that holds a backup of the store.")
def keys(to: str, destination: str, passphrase_file: Path, beside_the_store: bool, as_json: bool) -> None:
    """Write the signing key, the wrapping key and the keys of texts to DESTINATION, sealed under a passphrase.

    The keys that lay there before are removed: what was destroyed here must not live on there. Do it again after texts
    were sealed; the ones sealed since cannot be opened with an older backup of keys.
    """
    del to  # a word of the command
    from retrodict.actions.backing import open_place  # loaded when asked for
    from retrodict.actions.backup_keys import backup_keys
    from retrodict.render import text

    secret = door.passphrase(passphrase_file)
    with door.workspace(writes=True) as workspace:
        record = backup_keys(workspace, open_place(destination), secret, beside_the_store=beside_the_store)
    door.show(record, as_json=as_json, text=text.backed_up_keys)


@door.subverb(command, "drill", example="retrodict backup drill s3://backups/credit")
@click.argument("destination")
@click.option("--at", type=click.IntRange(1), metavar="NUMBER", help="Backup NUMBER there (default: the last).")
@door.key_option("--key", help_="The log's public key (default: that of the workspace here).")
@click.option("--keys", "keys_from", help="Where `backup keys to` wrote the keys: try whether they open.")
@click.option("--passphrase-file", type=_FILE, help="Its first line opens the keys.")
def drill_(
    destination: str,
    at: int | None,
    key: str | None,
    keys_from: str | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Restore into a temporary place, verify every byte, rebuild every view, and say what would have been lost.

    Exit 0: it verifies. 1: it does not. 2: it agrees with itself, and there is no key to check it with.
    """
    from retrodict.actions.backing import open_place  # loaded when asked for
    from retrodict.actions.drill import drill
    from retrodict.actions.verify import verify
    from retrodict.kernel.clock import SystemClock
    from retrodict.render import text

    secret = door.passphrase(passphrase_file) if keys_from is not None else b""

    def check(workspace: Workspace, key: str | None) -> tuple[Answer, int, tuple[Finding, ...]]:
        found = verify(workspace, key=key)
        return found.answer, found.objects, found.findings

    def run(workspace: Workspace | None) -> None:
        with door.progress("restoring") as progress:
            record = drill(
                open_place(destination),
                SystemClock(),
                verify=check,
                workspace=workspace,
                key=key,
                at=at,
                keys_from=None if keys_from is None else open_place(keys_from),
                passphrase=secret,
                progress=progress,
            )
        door.show(record, as_json=as_json, text=text.drilled)
        sys.exit(door.ANSWER_EXITS[record.answer])

    try:
        with door.workspace(read_only=True) as workspace:
            run(workspace)
    except NoWorkspaceError:
        run(None)
