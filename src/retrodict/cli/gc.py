"""`retrodict gc`, `gc release` and `gc undelete`."""

from __future__ import annotations

import click

from retrodict.cli import door
from retrodict.cli.durations import Duration


@door.verb_group("gc", example="retrodict gc --apply")
@click.option("--apply", is_flag=True, help="Do it. (Default: only say what would go.)")
@click.option(
    "--grace",
    "grace_s",
    type=Duration(or_none=True),
    default="7d",
    show_default=True,
    help="How long what goes stays doomed.",
)
@click.pass_context
def command(context: click.Context, apply: bool, grace_s: float, as_json: bool) -> None:
    """Let go of bytes that nothing in the record needs.

    What is found is doomed first: it can still be read, and `gc undelete` takes it back. The next `gc --apply` after
    the grace removes it. `--grace 0s` is for when nobody else writes to the store.
    """
    if context.invoked_subcommand is not None:
        return
    from retrodict.actions.gc import gc
    from retrodict.render import keeping

    with door.workspace(writes=apply) as workspace, door.progress("looking") as progress:
        record = gc(workspace, apply=apply, grace_s=grace_s, progress=progress)
    door.show(record, as_json=as_json, text=keeping.collection)


@door.subverb(
    command, "release", example='retrodict gc release dataset:raw@v1 --reason "its licence has ended" --apply'
)
@click.argument("reference")
@click.option("--reason", help="Why.")
@click.option("--apply", is_flag=True, help="Do it. (Default: only say what it would free, and what would be lost.)")
def release(reference: str, reason: str | None, apply: bool, as_json: bool) -> None:
    """Let the bytes of REFERENCE go, on purpose; what is recorded of them stays.

    Says first which models and answers lean on them. They go with the next `gc --apply` after the grace.
    """
    from retrodict.actions.release import release as let_go
    from retrodict.render import keeping

    with door.workspace(writes=apply) as workspace, door.progress("looking") as progress:
        record = let_go(workspace, reference, reason=reason, apply=apply, progress=progress)
    door.show(record, as_json=as_json, text=keeping.released)


@door.subverb(command, "undelete", example="retrodict gc undelete")
def undelete(as_json: bool) -> None:
    """Take back everything that is doomed and not yet removed."""
    from retrodict.actions.undelete import undelete as take_back
    from retrodict.render import keeping

    with door.workspace(writes=True) as workspace:
        record = take_back(workspace)
    door.show(record, as_json=as_json, text=keeping.undeleted)
