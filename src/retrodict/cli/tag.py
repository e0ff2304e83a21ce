"""`retrodict tag`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("tag", example='retrodict tag data/credit_codes.csv@v2 audited --reason "signed off by the auditors"')
@click.argument("reference", metavar="NAME@VERSION", shell_complete=door.complete_reference)
@click.argument("label")
@click.option("--reason", required=True, help="Why this version has a name.")
@click.option("--move", is_flag=True, help="The tag may stand at another version until now.")
def command(reference: str, label: str, reason: str, move: bool, as_json: bool) -> None:
    """Let NAME@LABEL mean the version NAME@VERSION. A tag never moves unless that is asked for."""
    from retrodict.actions.tag import tag
    from retrodict.render import versions

    with door.workspace(writes=True) as workspace:
        record = tag(workspace, reference, label, reason=reason, move=move)
    door.show(record, as_json=as_json, text=versions.tagged)
