"""`retrodict advise`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from retrodict.cli import door


@door.verb("advise", example="retrodict advise data/loans.csv")
@click.argument("what", metavar="NAME|PATH")
def command(what: str, as_json: bool) -> None:
    """Say what each strategy of versioning would cost for a dataset or a path and its history, and which fits."""
    from retrodict.actions.advise import advise
    from retrodict.render import keeping

    with door.workspace() as workspace:
        record = advise(workspace, what, cwd=Path.cwd(), environment=dict(os.environ))
    door.show(record, as_json=as_json, text=keeping.advice)
