"""`retrodict get`."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@door.verb("get", example="retrodict get s3://bucket/codes.csv lookup/codes.csv")
@click.argument("url")
@click.argument("destination", required=False, type=click.Path(path_type=Path))
def command(url: str, destination: Path | None, as_json: bool) -> None:
    """Fetch URL (http, https, s3, gs, az) to DESTINATION, with its origin on record.

    It is no dataset then, but what reads it can be traced to the URL; `import-url` versions it as well.
    """
    from retrodict.actions.get import get
    from retrodict.render import versions

    with door.workspace(writes=True) as workspace, door.progress("fetching") as progress:
        record = get(workspace, url, destination, folder=Path.cwd(), progress=progress)
    door.show(record, as_json=as_json, text=versions.got)
