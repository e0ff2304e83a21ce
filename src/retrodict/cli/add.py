"""`retrodict add`."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@door.verb(
    "add", example='retrodict add data/german_credit.csv --source https://doi.org/10.24432/C5NC77 --reason "raw data"'
)
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--name", help="What the versions are called (default: the path in the workspace).")
@click.option("--source", help="Where the bytes come from.")
@click.option("--reason", help="Why they are added, or why they changed.")
@click.option(
    "--personal/--not-personal",
    default=None,
    help="They are about people: sealed whole, a folder with its names. Or not, or no longer: with a --reason.",
)
def command(
    paths: tuple[Path, ...],
    name: str | None,
    source: str | None,
    reason: str | None,
    personal: bool | None,
    as_json: bool,
) -> None:
    """Version the files and folders PATHS."""
    from retrodict.actions.add import add
    from retrodict.render import text

    with door.workspace(writes=True) as workspace, door.progress("adding") as progress:
        record = add(workspace, paths, name=name, source=source, reason=reason, personal=personal, progress=progress)
    door.show(record, as_json=as_json, text=text.added)
