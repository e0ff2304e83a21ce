"""`retrodict alias`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("alias", example='retrodict alias credit@champion v2 --reason "corrected code table"')
@click.argument("reference", metavar="NAME@ALIAS", shell_complete=door.complete_reference)
@click.argument("version")
@click.option("--reason", required=True, help="Why it moves.")
def command(reference: str, version: str, reason: str, as_json: bool) -> None:
    """Point NAME@ALIAS at VERSION (2, v2 or another alias)."""
    from retrodict.actions.alias import alias
    from retrodict.render import text

    with door.workspace(writes=True) as workspace:
        record = alias(workspace, reference, version, reason=reason)
    door.show(record, as_json=as_json, text=text.aliased)
