"""`retrodict table approve`, `reject`, `merge`, `settle`: changes that wait for somebody's decision."""

from __future__ import annotations

import sys
from typing import Literal

import click

from retrodict.cli import door
from retrodict.cli.table.group import command
from retrodict.cli.table.options import BRANCH, WHO, WHY
from retrodict.cli.table.writing import writing


@door.subverb(command, "proposals", example="retrodict table proposals loans")
@click.argument("name")
def proposals_command(name: str, as_json: bool) -> None:
    """List what was proposed for NAME, whose changes a second person has to approve."""
    from retrodict.actions.table_approve import listed  # loaded when asked for
    from retrodict.render import tables

    with door.workspace() as workspace:
        record = listed(workspace, name)
    door.show(record, as_json=as_json, text=tables.proposals)


@door.subverb(command, "approve", example="retrodict table approve loans 17 --who 'Grace Hopper' --why 'seen the form'")
@click.argument("name")
@click.argument("proposal")
@WHO
@WHY
def approve_command(name: str, proposal: str, who: str | None, why: str | None, as_json: bool) -> None:
    """Make the changes of the entry PROPOSAL, which somebody else has proposed."""
    from retrodict.actions.table_approve import approve  # loaded when asked for
    from retrodict.render.changed import changed

    with writing(who) as workspace:
        record = approve(workspace, name, proposal, reason=why)
    door.show(record, as_json=as_json, text=changed)


@door.subverb(command, "reject", example="retrodict table reject loans 17 --why 'the form is not signed'")
@click.argument("name")
@click.argument("proposal")
@WHO
@WHY
def reject_command(name: str, proposal: str, who: str | None, why: str | None, as_json: bool) -> None:
    """Decide that the changes of the entry PROPOSAL are not made; who proposed them takes them back so, too."""
    from retrodict.actions.table_approve import reject  # loaded when asked for
    from retrodict.render import tables

    with writing(who) as workspace:
        record = reject(workspace, name, proposal, reason=why)
    door.show(record, as_json=as_json, text=tables.rejected)


@door.subverb(command, "merge", example="retrodict table merge loans --why 'the laptop was offline'")
@click.argument("name")
@BRANCH
@click.option(
    "--take",
    type=click.Choice(["ours", "theirs"]),
    help="Whose word counts for records that both have changed (default: nobody's: they are shown, exit 1).",
)
@WHO
@WHY
def merge_command(
    name: str,
    branch: str | None,
    take: Literal["ours", "theirs"] | None,
    who: str | None,
    why: str | None,
    as_json: bool,
) -> None:
    """Bring what another clone changed on a branch to the main line, which this workspace must own."""
    from retrodict.actions.table_merge import merge  # loaded when asked for
    from retrodict.render import tables

    with writing(who) as workspace:
        record = merge(workspace, name, branch=branch, take=take, reason=why)
    door.show(record, as_json=as_json, text=tables.merged)
    sys.exit(record.answer != "yes")


@door.subverb(
    command,
    "settle",
    example="retrodict table settle loans\nretrodict table settle loans 17 --take theirs --why 'as the form has it'",
)
@click.argument("name")
@click.argument("entry", required=False)
@click.option("--key", "keys", multiple=True, metavar="K", help="Only this record. Repeatable.")
@click.option(
    "--take",
    type=click.Choice(["ours", "theirs"]),
    help="Leave the records as they are, or make the changes (default: neither: they are shown, exit 1).",
)
@WHO
@WHY
def settle_command(
    name: str,
    entry: str | None,
    keys: tuple[str, ...],
    take: Literal["ours", "theirs"] | None,
    who: str | None,
    why: str | None,
    as_json: bool,
) -> None:
    """Show the changes that ENTRY (by itself, all) keeps beside records of NAME, or settle them."""
    from retrodict.actions.table_settle import settle  # loaded when asked for
    from retrodict.render import tables

    with door.workspace() if take is None else writing(who) as workspace:
        record = settle(workspace, name, entry, keys=keys, take=take, reason=why)
    door.show(record, as_json=as_json, text=tables.settled)
    sys.exit(record.answer != "yes")
