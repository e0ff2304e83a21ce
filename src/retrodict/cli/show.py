"""`retrodict show`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("show", example="retrodict show credit@champion")
@click.argument("reference", shell_complete=door.complete_reference)
def command(reference: str, as_json: bool) -> None:
    """Show REFERENCE: an entry (12), a row (12.3), a name (credit@v2, dataset:codes.csv), an id, an object (b3-...)."""
    from retrodict.actions.show import show

    with door.workspace(records=True) as workspace:
        record = show(workspace, reference)
    door.show(record, as_json=as_json, text="text.shown")
