"""`retrodict checkout`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from retrodict.cli import door


@door.verb("checkout", example="retrodict checkout dataset:data/credit_codes.csv@v1 /tmp/codes-1994.csv")
@click.argument("reference", shell_complete=door.complete_reference)
@click.argument("destination", required=False, type=click.Path(path_type=Path))
def command(reference: str, destination: Path | None, as_json: bool) -> None:
    """Write what REFERENCE names to DESTINATION (default: where the dataset lay), every byte verified.

    Exit 1: it was forgotten, or files in it were, which is said.
    """
    from retrodict.actions.checkout import checkout
    from retrodict.render import text

    with door.workspace(records=True) as workspace, door.progress("checking out") as progress:
        record = checkout(workspace, reference, destination, environment=dict(os.environ), progress=progress)
    door.show(record, as_json=as_json, text=text.checked_out)
    sys.exit(1 if record.forgotten or record.left_out else 0)
