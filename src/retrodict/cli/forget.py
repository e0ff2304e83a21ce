"""`retrodict forget`."""

from __future__ import annotations

import os
import sys

import click

from retrodict.cli import door


@door.verb("forget", example='retrodict forget --subject c-1017 --reason "asked to be forgotten"')
@click.option("--subject", required=True, metavar="ID", help="Who, as it stands in the field of the questions.")
@click.option("--reason", help="Why; it is kept, so it should not name the person.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
def command(subject: str, reason: str | None, yes: bool, as_json: bool) -> None:
    """Destroy a person's keys: their values, and texts about them, can never be read again; every proof still holds.

    First says what that reaches, and asks. Predictions that are about others, too, are made again before, and the
    verdicts recorded: afterwards nobody can. Exit 1: it was not done.
    """
    from retrodict.actions.forget import forget, reach  # loaded when asked for
    from retrodict.render import text

    with door.workspace(writes=True) as workspace, door.progress("forgetting") as progress:
        if not yes:
            planned = reach(workspace, subject)
            door.show(planned, as_json=as_json, text=text.reach)
            if not sys.stdin.isatty() or not click.confirm("This cannot be undone. Forget?", err=True):
                click.echo("Nothing was done; --yes does it without asking.", err=True)
                sys.exit(1)
        record = forget(
            workspace,
            subject,
            reason=reason,
            variables=os.environ,
            uv_cache=door.cache_root() / "environments",
            progress=progress,
        )
    door.show(record, as_json=as_json, text=text.forgotten)
