"""`retrodict checkout`."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import click

from retrodict.cli import door


@door.verb(
    "checkout",
    example="retrodict checkout dataset:data/credit_codes.csv@v1 /tmp/codes-1994.csv\n"
    "retrodict checkout data/images@v3/train\nretrodict checkout",
)
@click.argument("reference", required=False, shell_complete=door.complete_reference)
@click.argument("destination", required=False, type=click.Path(path_type=Path))
def command(reference: str | None, destination: Path | None, as_json: bool) -> None:
    """Write what REFERENCE names to DESTINATION (default: where it lay), every byte verified.

    After a folder's reference may stand a path in it. Without a REFERENCE, the working copy is brought to what
    retrodict.lock/ says. Exit 1: it was forgotten, or files in it were, which is said.
    """
    from retrodict.actions.checkout import checkout
    from retrodict.render import lines

    gc.disable()  # much is remembered of many files, without cycles: looking for those takes 2 % of the time
    with door.workspace(records=True) as workspace, door.progress("checking out") as progress:
        if reference is None:
            from retrodict.actions.checkout_pinned import checkout_pinned

            pinned = checkout_pinned(workspace, environment=dict(os.environ), progress=progress)
        else:
            record = checkout(workspace, reference, destination, environment=dict(os.environ), progress=progress)
    if reference is None:
        from retrodict.render import versions  # 40 ms, with rich

        door.show(pinned, as_json=as_json, text=versions.checked_out_pinned)
        return
    door.show(record, as_json=as_json, text=lines.checked_out)
    sys.exit(1 if record.forgotten or record.left_out else 0)
