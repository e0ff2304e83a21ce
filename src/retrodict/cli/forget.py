"""`retrodict forget`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from retrodict.cli import door


@door.verb(
    "forget", example='retrodict forget --subject c-1017 --reason "asked to be forgotten"\nretrodict forget --status'
)
@click.argument("reference", required=False, shell_complete=door.complete_reference)
@click.option("--subject", metavar="ID", help="A person, as it stands in the field of questions and files.")
@click.option("--file", "files", multiple=True, metavar="NAME", help="Of a folder: only this file, or all below it.")
@click.option("--all-versions", is_flag=True, help="Every version of that file or folder.")
@click.option("--derived", is_flag=True, help="Also what runs made of it and sealed, and what they printed.")
@click.option("--reason", help="Why; it is kept, so it should not name the person. A file is forgotten for a reason.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@click.option(
    "--status", is_flag=True, help="Say who has confirmed; of one forgetting, whose entry REFERENCE is, or all."
)
def command(
    reference: str | None,
    subject: str | None,
    files: tuple[str, ...],
    all_versions: bool,
    derived: bool,
    reason: str | None,
    yes: bool,
    status: bool,
    as_json: bool,
) -> None:
    """Destroy the keys of a person (--subject), or of the personal file or folder REFERENCE; every proof still holds.

    What they had sealed can never be read again. First says what that reaches, and asks. Predictions that are about
    others than the person, too, are made again before, and the verdicts recorded: afterwards nobody can. Exit 1: it was
    not done, or rows of the person stay in files that hold others', too.

    With --status: who else held the keys, and whose log has confirmed since that they are destroyed there. Exit 1: not
    all of them have.
    """
    from retrodict.actions import forget, forget_files  # loaded when asked for
    from retrodict.render import text

    if status:
        if subject is not None or files or all_versions or derived or reason is not None or yes:
            raise click.UsageError("--status takes the entry of a forgetting, or nothing")
        from retrodict.actions.forget_status import forget_status

        with door.workspace() as workspace:
            record = forget_status(workspace, reference)
        door.show(record, as_json=as_json, text=text.forget_status)
        sys.exit(0 if record.is_confirmed else 1)
    if (reference is None) == (subject is None):
        raise click.UsageError("name either a personal file (dataset:NAME) or a person (--subject ID)")
    if subject is not None and (files or all_versions):
        raise click.UsageError("--file and --all-versions are for files, not for a person")
    with door.workspace(writes=True) as workspace, door.progress("forgetting") as progress:
        if subject is not None:
            if not yes:
                _ask(
                    lambda: door.show(
                        forget.reach(workspace, subject, derived=derived), as_json=as_json, text=text.reach
                    )
                )
            person = forget.forget(
                workspace,
                subject,
                reason=reason,
                derived=derived,
                variables=os.environ,
                uv_cache=door.cache_root() / "environments",
                progress=progress,
            )
            door.show(person, as_json=as_json, text=text.forgotten)
            if not person.reach.is_whole:
                sys.exit(1)
        elif reference is not None:
            if not yes:
                planned = forget_files.reach(
                    workspace, reference, files=files, all_versions=all_versions, derived=derived
                )
                _ask(lambda: door.show(planned, as_json=as_json, text=text.files_reach))
            done = forget_files.forget(
                workspace, reference, reason=reason or "", files=files, all_versions=all_versions, derived=derived
            )
            door.show(done, as_json=as_json, text=text.files_forgotten)


def _ask(show: Callable[[], None]) -> None:
    show()
    if not sys.stdin.isatty() or not click.confirm("This cannot be undone. Forget?", err=True):
        click.echo("Nothing was done; --yes does it without asking.", err=True)
        sys.exit(1)
