"""`retrodict restore`."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@door.verb("restore", example="retrodict restore s3://backups/credit ~/credit")
@click.argument("source")
@click.argument("into", type=click.Path(file_okay=False, path_type=Path))
@click.option("--at", type=click.IntRange(1), metavar="NUMBER", help="Backup NUMBER there (default: the last).")
@click.option("--keys", "keys_from", help="Where `backup keys to` wrote the keys.")
@click.option(
    "--passphrase-file", type=click.Path(dir_okay=False, path_type=Path), help="Its first line opens the keys."
)
@click.option(
    "--new-log",
    is_flag=True,
    help="Go on under a new key, although later entries were signed and are lost; the log says so.",
)
def command(
    source: str,
    into: Path,
    at: int | None,
    keys_from: str | None,
    passphrase_file: Path | None,
    new_log: bool,
    as_json: bool,
) -> None:
    """Bring the workspace that is backed up in SOURCE back, into the folder INTO.

    Every byte is checked on the way. Keys that are on this machine are used; on another one, --keys brings them.
    Versioned files are then written with `retrodict checkout`.
    """
    from retrodict.actions.backing import open_place  # loaded when asked for
    from retrodict.actions.restore import restore
    from retrodict.kernel.clock import SystemClock
    from retrodict.render import text

    secret = door.passphrase(passphrase_file) if keys_from is not None else b""
    with door.progress("restoring") as progress:
        record = restore(
            open_place(source),
            into.resolve(),
            door.state_root(),
            SystemClock(),
            agent=door.agent(),
            at=at,
            keys_from=None if keys_from is None else open_place(keys_from),
            passphrase=secret,
            new_log=new_log,
            progress=progress,
        )
    door.show(record, as_json=as_json, text=text.restored)
