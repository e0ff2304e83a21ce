"""`retrodict diff`."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from retrodict.cli import door


@door.verb(
    "diff",
    example="retrodict diff dataset:data/credit_codes.csv@v1 dataset:data/credit_codes.csv@v2 --key code\n"
    "retrodict diff data/images@v3/train",
)
@click.argument("before", required=False, shell_complete=door.complete_reference)
@click.argument("after", required=False, shell_complete=door.complete_reference)
@click.option("--key", multiple=True, metavar="COLUMN", help="Tell rows of tables apart by this column. Repeatable.")
@click.option("--names-only", is_flag=True, help="Only names: do not look into files.")
@click.option("--context", type=click.IntRange(min=0), default=3, show_default=True, help="Equal lines round changes.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=40,
    show_default=True,
    help="Rows and lines that are shown of each file; 0: all.",
)
@click.option("--exit-code", is_flag=True, help="Exit 1 when something changed.")
def command(
    before: str | None,
    after: str | None,
    key: tuple[str, ...],
    names_only: bool,
    context: int,
    limit: int,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Compare two versions, one version with the working copy, or everything versioned with the working copy.

    Of two, a name without @ that is a path means what lies there now; dataset:NAME means its current version.

    Of tensors it says which samples changed. After a folder's reference may stand a path in it: data/images@v3/train.
    Rows are found by --key; else by their order, round rows that are the same.
    """
    from retrodict.actions.diff import WORKING_COPY, diff
    from retrodict.actions.tensors import compared
    from retrodict.render import versions

    with door.workspace(is_silent=True) as workspace:
        record = diff(
            workspace,
            before,
            after,
            key=key,
            only_names=names_only,
            context=context,
            limit=limit or None,
            folder=Path.cwd(),
            environment=dict(os.environ),
        )
        is_of_versions = not any(side.endswith(WORKING_COPY) for side in (record.before, record.after))
        if record.is_changed and before is not None and after is not None and is_of_versions and not names_only:
            record = replace(record, samples=compared(workspace, before, after))
    door.show(record, as_json=as_json, text=versions.diff)
    sys.exit(1 if exit_code and record.is_changed else 0)
