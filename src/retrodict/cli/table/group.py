"""`retrodict table` by itself: what the commands below it are commands of."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb_group("table", example="retrodict table")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Tables with history: who changed which record, when, how and why; by itself, list them.

    A version is NAME@v3, NAME@OFFSET (after so many changes) or NAME@2020-11-07 (as known then).
    """
    if context.invoked_subcommand is None:
        _list(as_json)


@door.subverb(command, "list", example="retrodict table list")
def list_command(as_json: bool) -> None:
    """List tables, with the digest of each."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from retrodict.actions.tables import list_tables  # loaded when asked for
    from retrodict.render import tables

    with door.workspace() as workspace:
        record = list_tables(workspace)
    door.show(record, as_json=as_json, text=tables.listed)
