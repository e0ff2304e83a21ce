"""`retrodict attach`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from retrodict.cli import door

_PERIODS = ("instant", "second", "minute", "hour", "day", "month", "year")


@door.verb(
    "attach",
    example="retrodict attach warehouse/loans --as loans\nretrodict attach loans\n"
    "retrodict attach postgresql://app@db/shop --table loans --keep\n"
    "retrodict attach s3://deliveries/loans --versioned --by day --since 2026-01-01",
)
@click.argument("what", metavar="PATH|URL|NAME")
@click.option("--versioned", is_flag=True, help="It is a bucket with versioning: pin its objects by VersionId.")
@click.option("--table", metavar="TABLE", help="It is a database, by its file or address: pin this table of it.")
@click.option(
    "--key", metavar="COLUMN,...", help="What tells the rows of a database's table apart (default: its primary key)."
)
@click.option("--keep", is_flag=True, help="Keep the rows of a database's table, too, as Parquet.")
@click.option(
    "--as", "name", metavar="NAME", help="What its versions are called (default: the bucket's or table's name)."
)
@click.option(
    "--by",
    type=click.Choice(_PERIODS),
    help="Changes in one of these (UTC) make one version (default: the finest that gives at most 100).",
)
@click.option("--since", metavar="TIME", help="Make no version of what was over before this (RFC 3339).")
@click.option("--no-history", is_flag=True, help="Pin only what it holds now.")
@click.option("--reason", help="Why it is attached.")
def command(
    what: str,
    versioned: bool,
    table: str | None,
    key: str | None,
    keep: bool,
    name: str | None,
    by: str | None,
    since: str | None,
    no_history: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Pin a table or a versioned bucket where it lies, and what it was before, as versions; nothing is copied.

    A Delta or Iceberg table (its folder, here or in a bucket): each version that its log still shows, every file by its
    digest. A table of PostgreSQL, SQLite or DuckDB (--table): all its rows, by one digest. A bucket of S3
    (--versioned): every object, by its VersionId.

    Again, or by its NAME: what has changed since becomes further versions. The bytes come when they are asked for:
    `cat`, `checkout`, `fetch --only`. Exit 1: something that is pinned and not held here is gone, or altered.
    """
    from retrodict.actions.attach import attach
    from retrodict.actions.attach_table import attach_table
    from retrodict.actions.attaching import is_bucket
    from retrodict.render import versions

    if versioned and (table or key or keep):
        raise click.UsageError("a bucket has no --table, --key or --keep")
    with door.workspace(writes=True) as workspace, door.progress("attaching") as progress:
        if not versioned and not is_bucket(workspace, what):
            if by is not None:
                raise click.UsageError("--by is for a bucket: a table has versions of its own")
            pinned = attach_table(
                workspace,
                what,
                name=name,
                table=table,
                key=[] if key is None else key.split(","),
                keep=keep,
                folder=Path.cwd(),
                environment=dict(os.environ),
                since=since,
                history=not no_history,
                reason=reason,
                progress=progress,
            )
            door.show(pinned, as_json=as_json, text=versions.attached_table)
            sys.exit(1 if pinned.gone_files or pinned.altered else 0)
        record = attach(
            workspace,
            what,
            name=name,
            environment=dict(os.environ),
            by=by,
            since=since,
            history=not no_history,
            reason=reason,
            progress=progress,
        )
    door.show(record, as_json=as_json, text=versions.attached)
    sys.exit(1 if record.gone_objects else 0)
