"""`retrodict why-kept`."""

from __future__ import annotations

import sys

import click

from retrodict.cli import door


@door.verb("why-kept", example="retrodict why-kept dataset:data/loans.csv@v1")
@click.argument("reference", shell_complete=door.complete_reference)
def command(reference: str, as_json: bool) -> None:
    """Say which entries need the bytes that REFERENCE names, and which folders and models they lie in.

    Exit 0: something needs them. 1: nothing does, and `gc` may let them go.
    """
    from retrodict.actions.why_kept import why_kept
    from retrodict.render import keeping

    with door.workspace() as workspace:
        record = why_kept(workspace, reference)
    door.show(record, as_json=as_json, text=keeping.kept)
    sys.exit(0 if record.is_needed else 1)
