"""`retrodict add`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from retrodict.cli import door

_ALL = "\0"  # `--personal` without a column; no name of a file or column


@door.verb(
    "add", example='retrodict add data/german_credit.csv --source https://doi.org/10.24432/C5NC77 --reason "raw data"'
)
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1)
@click.option("--name", help="What the versions are called (default: the path in the workspace).")
@click.option("--source", help="Where the bytes come from.")
@click.option("--reason", help="Why they are added, or why they changed.")
@click.option(
    "--personal",
    is_flag=False,
    flag_value=_ALL,
    multiple=True,
    metavar="[COLUMN]",
    help="They are about people: sealed whole, a folder with its names. With --subject: only this column. Repeatable.",
)
@click.option("--not-personal", is_flag=True, help="They are not, or no longer: with a --reason.")
@click.option("--subject", metavar="FIELD", help="The column that says whom a row is about: they are personal.")
@click.option("--remember", is_flag=True, help="Keep again what was forgotten: with a --reason.")
def command(
    paths: tuple[Path, ...],
    name: str | None,
    source: str | None,
    reason: str | None,
    personal: tuple[str, ...],
    not_personal: bool,
    subject: str | None,
    remember: bool,
    as_json: bool,
) -> None:
    """Version the files and folders PATHS."""
    from retrodict.actions.add import add
    from retrodict.render import lines

    # `--personal` takes a column only beside --subject, and only where PATHS are left: else it is a flag before a path.
    columns = [value for value in personal if value != _ALL]
    if columns and subject is None and not any(os.path.lexists(value) for value in columns):
        raise click.UsageError("--personal COLUMN goes with --subject FIELD")
    if columns and (subject is None or not paths):
        paths, columns = (*map(Path, columns), *paths), []
    if not paths:
        raise click.UsageError("Missing argument 'PATHS...'.")
    if personal and not_personal:
        raise click.UsageError("--personal and --not-personal contradict each other")
    with door.workspace(writes=True) as workspace, door.progress("adding") as progress:
        record = add(
            workspace,
            paths,
            name=name,
            source=source,
            reason=reason,
            personal=False if not_personal else bool(personal) or None,
            subject=subject,
            columns=columns or None,
            remember=remember,
            progress=progress,
        )
    door.show(record, as_json=as_json, text=lines.added)
