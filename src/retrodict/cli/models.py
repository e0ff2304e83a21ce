"""`retrodict models`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("models", example="retrodict models credit")
@click.argument("name", required=False, shell_complete=door.complete_reference)
def command(name: str | None, as_json: bool) -> None:
    """List the versions of the models (of NAME), their metrics, and who moved which alias when and why."""
    from retrodict.actions.models import models
    from retrodict.render import text

    with door.workspace() as workspace:
        record = models(workspace, name)
    door.show(record, as_json=as_json, text=text.models)
