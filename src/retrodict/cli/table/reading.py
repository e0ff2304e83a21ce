"""`retrodict table show`, `log`, `at`, `history`, `diff`, ...: what tables hold and held, printed or written."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from retrodict.cli import door
from retrodict.cli.arrow import arrow_alone
from retrodict.cli.table.group import command
from retrodict.cli.table.options import BRANCH, WHY


@door.subverb(command, "show", example="retrodict table show loans")
@click.argument("name")
def show_command(name: str, as_json: bool) -> None:
    """Show one table: its columns, its last versions, its branches."""
    from retrodict.actions.tables import show  # loaded when asked for
    from retrodict.render import tables

    with door.workspace() as workspace:
        record = show(workspace, name)
    door.show(record, as_json=as_json, text=tables.shown)


@door.subverb(command, "log", example="retrodict table log loans\nretrodict table log loans --csv > loans-audit.csv")
@click.argument("name")
@BRANCH
@click.option("--limit", type=click.IntRange(min=0), help="Only the last so many.")
@click.option("--csv", "as_csv", is_flag=True, help="For an auditor's spreadsheet: one line for each changed cell.")
def log_command(name: str, branch: str | None, limit: int | None, as_csv: bool, as_json: bool) -> None:
    """List every version of NAME: who made it, when, how and why; with --csv, every cell that it changed."""
    if as_csv:
        if as_json:
            raise click.UsageError("--csv and --json are two formats")
        from retrodict.actions.table_audit import audit  # loaded when asked for
        from retrodict.render.audit import to_csv

        arrow_alone()
        with door.workspace(records=True) as workspace:
            for part in to_csv(audit(workspace, name, branch=branch, limit=limit)):
                door.echo_bytes(part)
        return
    from retrodict.actions.tables import log  # loaded when asked for
    from retrodict.render import tables

    with door.workspace() as workspace:
        record = log(workspace, name, branch=branch, limit=limit)
    door.show(record, as_json=as_json, text=tables.logged)


@door.subverb(
    command,
    "at",
    example="retrodict table at loans@v12\nretrodict table at loans@2020-11-07 --format csv\n"
    "retrodict table at loans@v12 --out data/loans.parquet\n"
    "retrodict table at loans --known 2020-11-07 --true 2020-10-01",
)
@click.argument("reference")
@BRANCH
@click.option("--known", metavar="TIME", help="As it was known then: short for NAME@TIME.")
@click.option("--true", "true_at", metavar="TIME", help="What was true in the world then, rather than the last word.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "jsonl", "parquet", "arrow"]),
    help="How (default: a table to look at; for --out, what the file's name ends with).",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write a file whose lineage leads to this version."
)
@click.option("--why", "--reason", "why", metavar="TEXT", help="Why the file is written.")
def at_command(
    reference: str,
    branch: str | None,
    known: str | None,
    true_at: str | None,
    form: Literal["table", "csv", "jsonl", "parquet", "arrow"] | None,
    out: Path | None,
    why: str | None,
    as_json: bool,
) -> None:
    """Print the records of a version: NAME, NAME@v3, NAME@OFFSET, NAME@2020-11-07 (as known then)."""
    from retrodict.actions import table_read as action  # loaded when asked for
    from retrodict.actions.tabling import version_of
    from retrodict.render import tables

    arrow_alone()
    with door.workspace(writes=out is not None, records=True) as workspace:
        if known is not None and "@" in reference:
            raise click.UsageError(f"{reference} says already when it was known")
        found = version_of(workspace, reference if known is None else f"{reference}@{known}", branch)
        if out is not None:
            written = action.format_of(out) if form is None or form == "table" else form
            record = action.write(workspace, found, out, written, reason=why, true_at=true_at)
            door.show(record, as_json=as_json, text=tables.read)
            return
        if as_json or form is None or form == "table":
            made = action.table_of(found, true_at=true_at, with_gaps=True)
            door.show(action.describe(workspace, found, made), as_json=as_json, text=tables.read)
        else:
            door.echo_bytes(action.text_of(action.table_of(found, true_at=true_at), form))


@door.subverb(command, "history", example="retrodict table history loans 1003")
@click.argument("name")
@click.argument("key")
@BRANCH
def history_command(name: str, key: str, branch: str | None, as_json: bool) -> None:
    """Print every change of the record KEY (of a key of several columns: A,B): who, when, what, why and how."""
    from retrodict.actions.table_read import history  # loaded when asked for
    from retrodict.render import tables

    arrow_alone()
    with door.workspace(records=True) as workspace:
        record = history(workspace, name, key, branch=branch)
    door.show(record, as_json=as_json, text=tables.history)


@door.subverb(
    command,
    "page",
    example="retrodict table page loans\nretrodict table page loans --key 1003 --out inquiry-1003.html",
)
@click.argument("name")
@click.option("--key", "keys", multiple=True, metavar="K", help="Only this record. Repeatable.")
@BRANCH
@click.option(
    "--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="The newest so many changes."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write (default: NAME-history.html)."
)
def page_command(
    name: str, keys: tuple[str, ...], branch: str | None, limit: int, out: Path | None, as_json: bool
) -> None:
    """Write a page to look at: the changes of NAME, who made each cell what it is, the history of each record."""
    from retrodict.actions.table_page import page  # loaded when asked for
    from retrodict.render import table_page

    arrow_alone()
    with door.workspace(records=True) as workspace:
        record = page(workspace, name, keys=keys, branch=branch, limit=limit)
    if not as_json or out is not None:
        path = out or Path(f"{name.removeprefix('table:').replace('/', '-')}-history.html")
        door.write(path, table_page.to_html(record))
        click.echo(f"Written to {path}", err=True)
    if as_json:
        door.show_json(record)


@door.subverb(command, "diff", example="retrodict table diff loans@v1 loans@v3\nretrodict table diff loans@2020-11-07")
@click.argument("a")
@click.argument("b", required=False)
@BRANCH
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="At most so many records.")
def diff_command(a: str, b: str | None, branch: str | None, limit: int, as_json: bool) -> None:
    """Say which records differ between the versions A and B (default: the newest), and in which cells."""
    from retrodict.actions.table_compare import diff  # loaded when asked for
    from retrodict.render import tables

    arrow_alone()
    with door.workspace(records=True) as workspace:
        record = diff(workspace, a, b, branch=branch, limit=None if as_json else limit)
    door.show(record, as_json=as_json, text=tables.diff)


@door.subverb(command, "blame", example="retrodict table blame loans --key 1003\nretrodict table blame loans@v12")
@click.argument("reference")
@click.option("--key", "keys", multiple=True, metavar="K", help="Only this record. Repeatable.")
@BRANCH
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="At most so many records.")
def blame_command(reference: str, keys: tuple[str, ...], branch: str | None, limit: int, as_json: bool) -> None:
    """Say of each cell who gave it its value, when, how and why, and what it was before."""
    from retrodict.actions.table_compare import blame  # loaded when asked for
    from retrodict.render import tables

    arrow_alone()
    with door.workspace(records=True) as workspace:
        record = blame(workspace, reference, keys=keys, branch=branch, limit=None if as_json else limit)
    door.show(record, as_json=as_json, text=tables.blame)


@door.subverb(
    command,
    "query",
    example='retrodict table query "select count(*) from loans@v12 where Approved"\n'
    'retrodict table query "select a.InquiryID from loans a join loans@2020-11-07 b using (InquiryID)"',
)
@click.argument("sql")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "jsonl"]), default="table", show_default=True, help="How."
)
def query_command(sql: str, form: Literal["table", "csv", "jsonl"], as_json: bool) -> None:
    """Answer a question in SQL (DuckDB) over tables and their versions: NAME, NAME@v12, NAME@2020-11-07."""
    from retrodict.actions.table_compare import answered, query  # loaded when asked for
    from retrodict.actions.table_read import text_of
    from retrodict.render import tables

    with door.workspace(records=True) as workspace:
        found, versions = query(workspace, sql)
    if form == "table" or as_json:
        door.show(answered(found, versions), as_json=as_json, text=tables.query)
    else:
        door.echo_bytes(text_of(found, form))


@door.subverb(
    command,
    "export",
    example="retrodict table export loans@v12 --to delta lake/loans\n"
    "retrodict table export loans --to duckdb loans.duckdb",
)
@click.argument("reference")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(["delta", "duckdb", "parquet"]), required=True, help="As what.")
@BRANCH
@click.option("--true", "true_at", metavar="TIME", help="What was true in the world then, rather than the last word.")
@click.option("--overwrite", is_flag=True, help="Put it in the place of what is there.")
@WHY
def export_command(
    reference: str,
    path: Path,
    form: Literal["delta", "duckdb", "parquet"],
    branch: str | None,
    true_at: str | None,
    overwrite: bool,
    why: str | None,
    as_json: bool,
) -> None:
    """Write a version for other programs: a Delta table, a DuckDB database, a Parquet file, whose metadata name it."""
    from retrodict.actions.table_export import export  # loaded when asked for
    from retrodict.render import tables

    with door.workspace(writes=True) as workspace:
        record = export(
            workspace, reference, form, path, branch=branch, true_at=true_at, overwrite=overwrite, reason=why
        )
    door.show(record, as_json=as_json, text=tables.exported)
