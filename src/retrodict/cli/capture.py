"""`retrodict capture`: what other programs change."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import sleep

import click

from retrodict.cli import door
from retrodict.cli.arrow import arrow_alone
from retrodict.cli.durations import Duration


@door.verb_group("capture", example="retrodict capture")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Record who changed what, when, how and why in other programs' databases; by itself, list what is captured."""
    if context.invoked_subcommand is None:
        from retrodict.actions import capture_db as action
        from retrodict.render import captured

        with door.workspace() as workspace:
            record = action.sources(workspace)
        door.show(record, as_json=as_json, text=captured.sources)


def _names(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> list[str]:
    """Return names that were given with commas, or one by one: none of them may be dropped in silence."""
    del context, parameter
    return [name.strip() for names in value for name in names.split(",") if name.strip()]


@door.subverb(
    command,
    "db",
    example="retrodict capture db postgresql://app@db/shop --tables loans --install\n"
    "retrodict capture db postgresql://app@db/shop --follow\n"
    "retrodict capture db shop.sqlite --check",
)
@click.argument("url")
@click.option(
    "--tables", multiple=True, callback=_names, metavar="A,B", help="Which (default: all that are captured there)."
)
@click.option(
    "--install", is_flag=True, help="Begin: show the triggers' SQL, run it, and record the rows that are there."
)
@click.option(
    "--remove", is_flag=True, help="End: record what is new, show the SQL that takes the triggers out, run it."
)
@click.option("--yes", is_flag=True, help="Run the SQL without asking.")
@click.option("--as", "named", metavar="NAME", help="What the table is called here (default: as there).")
@click.option(
    "--key", multiple=True, callback=_names, metavar="A,B", help="What identifies a row (default: the primary key)."
)
@click.option(
    "--subject", metavar="COL", help="The column that says about whom a row is: it is sealed, for that person."
)
@click.option(
    "--personal", multiple=True, callback=_names, metavar="A,B", help="With --subject: what else is (default: all)."
)
@click.option("--follow", is_flag=True, help="Go on until it is stopped.")
@click.option("--every", type=Duration(), default="1s", show_default=True, help="With --follow: how often to look.")
@click.option("--check", is_flag=True, help="Compare the whole table afterwards; exit 1 if it was changed around us.")
@click.option("--mend", is_flag=True, help="With --check: record the differences, as found by comparing.")
@click.option("--reason", help="Why.")
def db_command(
    url: str,
    tables: list[str],
    install: bool,
    remove: bool,
    yes: bool,
    named: str | None,
    key: list[str],
    subject: str | None,
    personal: list[str],
    follow: bool,
    every: float,
    check: bool,
    mend: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Record what other programs changed in PostgreSQL or SQLite since the last time, as history of tables.

    URL is postgresql://USER@HOST/NAME, or the file of an SQLite database. --install shows the SQL of its triggers, and
    asks.
    """
    from retrodict.actions import capture_db as action
    from retrodict.render import captured

    if install and remove:
        raise click.UsageError("--install begins and --remove ends: give one of them")
    if mend and not check:
        raise click.UsageError("--mend is for --check")
    arrow_alone()
    with door.workspace(writes=True) as workspace:
        database = action.open_database(url, Path.cwd())
        try:
            if remove and not action.is_followed(workspace, database, tables, key=key):
                # An installation that nothing was ever recorded of.
                _run(action.plan(database, tables, remove=True), database.execute, yes=yes, as_json=as_json)
                return
            anew = False
            if install:
                action.check_names(workspace, database, tables, named=named, key=key)
                anew = _run(action.plan(database, tables, key=key), database.execute, yes=yes, as_json=as_json)

            def look(*, anew: bool = False) -> action.Captured:
                return action.catch_up(
                    workspace,
                    database,
                    tables,
                    key=key,
                    named=named,
                    subject=subject,
                    personal=personal,
                    compare=check,
                    mend=mend,
                    anew=anew,
                    reason=reason,
                )

            record = look(anew=anew)
            door.show(record, as_json=as_json, text=captured.captured)
            while follow:
                sleep(every)
                record = look()
                if any(table.changes or table.is_around for table in record.tables):
                    door.show(record, as_json=as_json, text=captured.captured)
            if remove:
                _run(action.plan(database, tables, remove=True), database.execute, yes=yes, as_json=as_json)
                action.end(workspace, database, tables, key=key)
        except KeyboardInterrupt:
            return
        finally:
            database.close()
    if check and any(table.is_around for table in record.tables):
        sys.exit(1)


def _run(planned: object, execute: Callable[[tuple[str, ...]], None], *, yes: bool, as_json: bool) -> bool:
    """Show statements, ask, and run them. Say whether there were any."""
    from retrodict.actions.capture_db import Planned
    from retrodict.render import captured

    assert isinstance(planned, Planned)
    if not planned.statements:
        return False
    click.echo(captured.statements(planned), err=as_json)
    if not yes and not click.confirm(f"Run this in {planned.database}?", err=True):
        raise click.UsageError("nothing was run", ctx=click.get_current_context())
    execute(planned.statements)
    return True
