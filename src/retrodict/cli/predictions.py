"""`retrodict predictions` and `retrodict predictions import`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from retrodict.cli import door


@click.group(
    "predictions",
    cls=door.WordedGroup,
    invoke_without_command=True,
    epilog="\b\nExample:\n  $ retrodict predictions --where \"decision = 'decline' and duration_in_month > 24\" --csv",
)
@click.option("--where", help="An SQL condition over input and output names and date, model, version, caller, status.")
@click.option("--model", help="Only of this model (NAME, NAME@v2 or NAME@ALIAS).")
@click.option("--version", help="Only of this version.")
@click.option("--caller", help="Only asked by this caller.")
@click.option("--since", help="From this time on (2026-11-07, or with a time of day and a zone).")
@click.option("--until", help="Before this time.")
@click.option("-n", "limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many rows.")
@click.option("--parts", is_flag=True, help="List the parts of composed answers too.")
@click.option(
    "--subject", metavar="ID", help="Only about this person, with their personal values; the look is recorded."
)
@click.option("--unseal", is_flag=True, help="Open everybody's personal values; the look is recorded.")
@click.option("--csv", "as_csv", is_flag=True, help="Print date, model, model version, feature inputs, output as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.pass_context
def command(ctx: click.Context, /, as_csv: bool, as_json: bool, **options: Any) -> None:
    """Search the audit trail, newest first; `predictions import` takes over an old log."""
    if ctx.invoked_subcommand is not None:
        return
    if as_csv and as_json:
        raise click.UsageError("Give either --csv or --json.")
    from retrodict.actions.predictions import search, to_csv  # loaded when asked for
    from retrodict.render import text
    from retrodict.render.json import to_json

    with door.workspace(records=True) as workspace:
        record = search(workspace, **options)
    if as_csv:
        door.echo(to_csv(record))
    elif as_json:
        door.echo("".join(f"{to_json(row, indent=None)}\n" for row in record.rows))
    else:
        door.draw(text.predictions(record))
    if record.strangers:
        door.echo(text.strangers(record), to_stderr=True)


@command.command(
    "import",
    cls=door.Worded,
    epilog="\b\nExample:\n  $ retrodict predictions import old-log.csv --system mainframe",
)
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--system", help="Who kept the log (default: the file's name).")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="FIELD=COLUMNS",
    help="Where date, model, version, inputs, outputs or caller is, for a CSV of another form: a column, several with "
    "commas, * for the rest, or =TEXT for the same in every line.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON instead of text.")
def import_command(log: Path, system: str | None, mapping: tuple[str, ...], as_json: bool) -> None:
    """Take over the answers in the CSV file LOG, as declared: date, model, model version, feature inputs, output."""
    from retrodict.actions.import_log import import_log  # loaded when asked for
    from retrodict.render import text

    with door.workspace(writes=True) as workspace:
        record = import_log(workspace, log, columns=_columns(mapping), system=system)
    door.show(record, as_json=as_json, text=text.imported)


def _columns(mapping: tuple[str, ...]) -> Mapping[str, str] | None:
    columns = {}
    for item in mapping:
        field, separator, value = item.partition("=")
        if not separator:
            raise click.UsageError(f"--map {item!r} is not FIELD=COLUMNS")
        columns[field] = value
    return columns or None
