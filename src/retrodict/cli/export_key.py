"""`retrodict export-key`."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@door.verb("export-key", example="retrodict export-key /etc/retrodict/scoring.key")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def command(file: Path, as_json: bool) -> None:
    """Write this workspace's keys to FILE, for a service that runs as another user: `--key-file` takes it.

    The service can then sign the log and open what is sealed, as you can. FILE and what is written beside it
    (FILE.checkpoint, FILE.wrapping, FILE.place) belong together, in a folder that the service can write.
    """
    from retrodict.actions.export_key import export_key
    from retrodict.render import text

    with door.workspace() as workspace:
        record = export_key(workspace, file)
    door.show(record, as_json=as_json, text=text.key_exported)
