"""The workspace as it is opened to change a table: by whom, why and how; and what a conflict comes to."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from retrodict.cli import door
from retrodict.cli.arrow import arrow_alone
from retrodict.cli.table.options import HOW, IF_VERSION, VALID_FROM, WHO, WHY

if TYPE_CHECKING:
    from retrodict.actions.tabling import How
    from retrodict.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])


def changing(verb: str, *, by_writer: bool = True) -> Callable[[F], F]:
    """Make a command of what changes a table, which it says; where a change conflicts, exit 1.

    Args:
        by_writer: The changes are the writer's own: with --valid-from and --if-version.
    """

    def wrap(function: F) -> F:
        @functools.wraps(function)
        def changes(
            *,
            who: str | None,
            why: str | None,
            statement: str | None,
            as_json: bool,
            valid_from: str | None = None,
            **given: object,
        ) -> None:
            from retrodict.render.changed import changed  # loaded when asked for

            with writing(who) as workspace:
                record = function(workspace, how_by(workspace, verb, why, statement, valid_from), **given)
            door.show(record, as_json=as_json, text=changed)
            if record.conflict is not None:
                sys.exit(1)

        made: Any = changes
        for option in (HOW, WHY, WHO, *((IF_VERSION, VALID_FROM) if by_writer else ())):
            made = option(made)
        return cast("F", made)

    return wrap


@contextmanager
def writing(who: str | None) -> Iterator[Workspace]:
    """Open the workspace for somebody; a record that was changed meanwhile is exit 1."""
    from retrodict.actions.tabling import RecordConflictError

    arrow_alone()
    if who is not None:
        click.get_current_context().find_root().obj = who
    try:
        with door.workspace(writes=True) as workspace:
            yield workspace
    except RecordConflictError as error:
        click.echo(f"retrodict: {door.one_line(error.message)}. {error.hint}", err=True)
        sys.exit(1)


def how_by(
    workspace: Workspace, verb: str, why: str | None, statement: str | None, valid_from: str | None = None
) -> How:
    """Return how a change is made: by which verb, why, by which statement, and in which run."""
    from retrodict.actions.tabling import how_of

    return how_of(
        workspace, verb, reason=why, statement=statement, valid_from=valid_from, run=os.environ.get("RETRODICT_RUN")
    )
