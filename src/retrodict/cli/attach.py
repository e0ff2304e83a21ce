"""`retrodict attach`."""

from __future__ import annotations

import os
import sys

import click

from retrodict.cli import door

_PERIODS = ("instant", "second", "minute", "hour", "day", "month", "year")


@door.verb(
    "attach",
    example="retrodict attach s3://deliveries/loans --versioned --as loans\n"
    "retrodict attach loans\nretrodict attach s3://events --versioned --by day --since 2026-01-01",
)
@click.argument("what", metavar="s3://BUCKET[/PREFIX]|NAME")
@click.option("--versioned", is_flag=True, help="It is a bucket with versioning: pin its objects by VersionId.")
@click.option("--as", "name", metavar="NAME", help="What its versions are called (default: BUCKET[/PREFIX]).")
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
    name: str | None,
    by: str | None,
    since: str | None,
    no_history: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Pin what a versioned bucket of S3 holds, and what it held before, as versions; nothing is copied.

    Again, or by its NAME: what has changed since becomes further versions. The bytes come when they are asked for:
    `cat`, `checkout`, `fetch --only`. Exit 1: the bucket no longer has objects that are pinned and not held here.
    """
    from retrodict.actions.attach import attach
    from retrodict.render import versions

    if "://" in what and not versioned:
        raise click.UsageError("say --versioned: only a bucket with versioning can be attached")
    with door.workspace(writes=True) as workspace, door.progress("attaching") as progress:
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
