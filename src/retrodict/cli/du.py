"""`retrodict du`."""

from __future__ import annotations

from retrodict.cli import door


@door.verb("du", example="retrodict du")
def command(as_json: bool) -> None:
    """Say what the store's bytes are for: of each dataset and model, what it takes, and what it alone takes."""
    from retrodict.actions.du import du
    from retrodict.render import keeping

    with door.workspace() as workspace, door.progress("weighing") as progress:
        record = du(workspace, progress=progress)
    door.show(record, as_json=as_json, text=keeping.disk_use)
