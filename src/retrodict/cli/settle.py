"""`retrodict settle`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("settle", example='retrodict settle credit@champion v4 --reason "trained on the corrected table"')
@click.argument("name")
@click.argument("choice")
@click.option("--reason", help="Why it is to mean that.")
def command(name: str, choice: str, reason: str | None, as_json: bool) -> None:
    """Let NAME, which was set on both sides, mean CHOICE: a version, or an entry, as `status` lists them.

    NAME is `dataset:NAME`, `model:NAME` or `NAME@ALIAS`. An alias is set again; of a dataset or a model a further
    version with the content that was chosen is added. What was not chosen stays on record.
    """
    from retrodict.actions.settle import settle
    from retrodict.render import exchange

    with door.workspace(writes=True) as workspace:
        record = settle(workspace, name, choice, reason=reason)
    door.show(record, as_json=as_json, text=exchange.settled)
