"""`retrodict signers`: whose keys sign whose events."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@door.verb_group("signers", example="retrodict signers")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the keys with which people and services sign; add, revoke and export them.

    What an agent's own key in force has signed is *authenticated*; everything else is *claimed*.
    """
    if context.invoked_subcommand is not None:
        return
    from retrodict.actions.signers import signers
    from retrodict.render import trust

    with door.workspace() as workspace:
        record = signers(workspace)
    door.show(record, as_json=as_json, text=trust.signers)


@door.subverb(command, "add", example="retrodict signers add ada@example.org ~/.ssh/id_ed25519.pub")
@click.argument("name")
@click.argument("public_key", type=click.Path(dir_okay=False, path_type=Path), metavar="KEY.pub")
@click.option("--service", is_flag=True, help="It is a service's: the key and its signatures stand in the clear.")
@click.option("--reason", help="Why it is trusted to be theirs.")
def add(name: str, public_key: Path, service: bool, reason: str | None, as_json: bool) -> None:
    """Record whose key it is.

    The key in KEY.pub signs for the agent NAME from now on: as `show` prints them, or the mail address in that.
    """
    from retrodict.actions.signers import add_signer
    from retrodict.render import trust

    text = door.read(public_key).decode(errors="replace")
    with door.workspace(writes=True) as workspace:
        record = add_signer(workspace, name, text, service=service, reason=reason)
    door.show(record, as_json=as_json, text=trust.signer_added)


@door.subverb(command, "revoke", example='retrodict signers revoke ada@example.org --reason "the laptop was stolen"')
@click.argument("which", metavar="ENTRY|FINGERPRINT|NAME")
@click.option("--since", metavar="ENTRY", help="The first entry whose signature does not count (default: from now on).")
@click.option("--reason", required=True, help="Why it counts no more.")
def revoke(which: str, since: str | None, reason: str, as_json: bool) -> None:
    """Record that a key signs no more.

    What it signed before stays authenticated, unless --since says otherwise.
    """
    from retrodict.actions.signers import revoke_signer
    from retrodict.render import trust

    with door.workspace(writes=True) as workspace:
        record = revoke_signer(workspace, which, since=since, reason=reason)
    door.show(record, as_json=as_json, text=trust.signer_revoked)


@door.subverb(command, "export", example="retrodict signers export > allowed_signers")
def export(as_json: bool) -> None:
    """Print the keys in force for `ssh-keygen`.

    It is an allowed_signers file, as `ssh-keygen -Y verify` and `retrodict verify --signers` read it.
    """
    from retrodict.actions.signers import signers

    with door.workspace() as workspace:
        record = signers(workspace)
    if as_json:
        door.show_json(record)
    else:
        door.echo(record.allowed_signers())
