"""`retrodict lock`."""

from __future__ import annotations

from retrodict.cli import door


@door.verb("lock", example="retrodict lock")
def command(as_json: bool) -> None:
    """Pin the current version of everything that is tracked in retrodict.lock/, a small file for each name.

    Commit the folder. From then on `add`, `untrack` and `import-url` keep it in step, and after a `git checkout` or
    merge, `retrodict checkout` brings the data to what it says.
    """
    from retrodict.actions.lock import lock
    from retrodict.render import versions

    with door.workspace() as workspace:
        record = lock(workspace)
    door.show(record, as_json=as_json, text=versions.locked)
