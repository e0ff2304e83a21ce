"""`retrodict cat`."""

from __future__ import annotations

import os
import sys

import click

from retrodict.cli import door


@click.command(
    "cat",
    cls=door.Worded,
    epilog="\b\nExample:\n"
    "  $ retrodict cat data/credit_codes.csv@v1 | head\n"
    "  $ retrodict cat data/images@v3/train/7.png",
)
@click.argument("references", metavar="REFERENCE...", nargs=-1, required=True, shell_complete=door.complete_reference)
def command(references: tuple[str, ...]) -> None:
    """Print the bytes of a file of any version, verified as they are read.

    What an attached bucket holds is fetched from it, once. Bytes are checked before they are printed, piece by piece:
    what is altered ends the output, with exit 2.
    """
    from retrodict.actions import located

    with door.workspace(records=True, is_silent=True) as workspace:
        for reference in references:
            found = located.locate(workspace, reference, environment=dict(os.environ))
            if found.kind == "pinned":
                found = located.bring(workspace, found, dict(os.environ))
            for piece in located.stream(workspace, found):
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
