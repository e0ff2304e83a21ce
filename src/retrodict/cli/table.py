"""`retrodict table`: records with history."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import click

from retrodict.cli import door

if TYPE_CHECKING:
    from retrodict.actions.tabling import ChangeSet, How
    from retrodict.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])

_BRANCH = click.option(
    "--branch", metavar="LOG", help="A branch, by its log or a part of that (default: the main line)."
)
_IF_VERSION = click.option(
    "--if-version", metavar="V", help="Refuse to change a record that was changed since this version (v12)."
)


_VALID_FROM = click.option(
    "--valid-from", metavar="TIME", help="Since when it is true in the world (default: since it is recorded)."
)
_WHO = click.option("--who", metavar="NAME", help="Who does it (default: as for every command).")
_WHY = click.option("--why", "--reason", "why", metavar="TEXT", help="Why.")
_HOW = click.option("--how", "statement", metavar="TEXT", help="By which statement or program; sealed in the record.")
_ON_CONFLICT = click.option(
    "--on-conflict",
    type=click.Choice(["refuse", "keep"]),
    help="A change of a record that changed meanwhile: refuse it, or keep it beside the record until it is settled.",
)


def _changing(verb: str, *, by_writer: bool = True) -> Callable[[F], F]:
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

            with _writing(who) as workspace:
                record = function(workspace, _how(workspace, verb, why, statement, valid_from), **given)
            door.show(record, as_json=as_json, text=changed)
            if record.conflict is not None:
                sys.exit(1)

        made: Any = changes
        for option in (_HOW, _WHY, _WHO, *((_IF_VERSION, _VALID_FROM) if by_writer else ())):
            made = option(made)
        return cast("F", made)

    return wrap


@contextmanager
def _writing(who: str | None) -> Iterator[Workspace]:
    """Open the workspace for somebody; a record that was changed meanwhile is exit 1."""
    from retrodict.actions.tabling import RecordConflictError

    _arrow_alone()
    if who is not None:
        click.get_current_context().find_root().obj = who
    try:
        with door.workspace(writes=True) as workspace:
            yield workspace
    except RecordConflictError as error:
        click.echo(f"retrodict: {door.one_line(error.message)}. {error.hint}", err=True)
        sys.exit(1)


class _Neither:
    """Says that there is neither pandas nor numpy."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Find nothing, or refuse."""
        del path, target
        if name in ("pandas", "numpy"):
            raise ModuleNotFoundError(name)


class _Undocumented(ModuleType):
    """Stands for what reads docstrings: there is nothing in any."""

    @staticmethod
    def NumpyDocString(text: str) -> dict[str, list[object]]:  # noqa: N802 - as its name is there
        """Return no parameters."""
        del text
        return {"Parameters": []}


def _arrow_alone() -> None:
    """Keep pyarrow from what a command has no use for.

    From loading numpy (0.05 s), and pandas (0.3 s) to ask whether a list is a frame, as none is here; and from reading
    the docstrings of its options to write those of its functions (0.04 s), which nobody will read.
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _Neither())
        documents = "pyarrow.vendored.docscrape"
        if documents not in sys.modules:
            sys.modules[documents] = _Undocumented(documents)
        import pyarrow as pa  # 57 ms
        import pyarrow.compute

        pa.scalar(0)  # it looks for pandas once
        del sys.meta_path[0]
        if isinstance(sys.modules[documents], _Undocumented):
            del sys.modules[documents]


def _how(workspace: Workspace, verb: str, why: str | None, statement: str | None, valid_from: str | None = None) -> How:
    from retrodict.actions.tabling import how_of

    return how_of(
        workspace, verb, reason=why, statement=statement, valid_from=valid_from, run=os.environ.get("RETRODICT_RUN")
    )


def _pairs(words: Sequence[str]) -> dict[str, str | None]:
    """Return COL=VALUE as a mapping; `COL=` is null, `COL=""` the empty text."""
    found: dict[str, str | None] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{word!r} is not COL=VALUE")
        if name in found:
            raise click.UsageError(f"{name} is given twice")
        found[name] = None if value == "" else "" if value == '""' else value
    return found


@door.verb_group("table", example="retrodict table")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Tables with history: who changed which record, when, how and why; by itself, list them.

    A version is NAME@v3, NAME@OFFSET (after so many changes) or NAME@2020-11-07 (as known then).
    """
    if context.invoked_subcommand is None:
        _list(as_json)


@door.subverb(command, "list", example="retrodict table list")
def list_command(as_json: bool) -> None:
    """List tables, with the digest of each."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from retrodict.actions.tables import list_tables  # loaded when asked for
    from retrodict.render import tables

    with door.workspace() as workspace:
        record = list_tables(workspace)
    door.show(record, as_json=as_json, text=tables.listed)


@door.subverb(command, "show", example="retrodict table show loans")
@click.argument("name")
def show_command(name: str, as_json: bool) -> None:
    """Show one table: its columns, its last versions, its branches."""
    from retrodict.actions.tables import show  # loaded when asked for
    from retrodict.render import tables

    with door.workspace() as workspace:
        record = show(workspace, name)
    door.show(record, as_json=as_json, text=tables.shown)


@door.subverb(command, "log", example="retrodict table log loans\nretrodict table log loans --csv > loans-audit.csv")
@click.argument("name")
@_BRANCH
@click.option("--limit", type=click.IntRange(min=0), help="Only the last so many.")
@click.option("--csv", "as_csv", is_flag=True, help="For an auditor's spreadsheet: one line for each changed cell.")
def log_command(name: str, branch: str | None, limit: int | None, as_csv: bool, as_json: bool) -> None:
    """List every version of NAME: who made it, when, how and why; with --csv, every cell that it changed."""
    if as_csv:
        if as_json:
            raise click.UsageError("--csv and --json are two formats")
        from retrodict.actions.table_audit import audit  # loaded when asked for
        from retrodict.render.audit import to_csv

        with door.workspace(records=True) as workspace:
            for part in to_csv(audit(workspace, name, branch=branch, limit=limit)):
                door.echo_bytes(part)
        return
    from retrodict.actions.tables import log  # loaded when asked for
    from retrodict.render import tables

    with door.workspace() as workspace:
        record = log(workspace, name, branch=branch, limit=limit)
    door.show(record, as_json=as_json, text=tables.logged)


@door.subverb(
    command,
    "create",
    example="retrodict table create loans --key InquiryID --from loan-inquiries.csv\n"
    "retrodict table create users --key id --type name=text --type born=date\n"
    "retrodict table create patients --key id --from patients.csv --subject id --personal age",
)
@click.argument("name")
@click.option("--key", "key", multiple=True, required=True, metavar="COL", help="What names a record. Repeatable.")
@click.option(
    "--from",
    "source",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The first records: a file of CSV, JSON Lines, Parquet or Arrow.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="COL=TYPE",
    help="text, int64, float64, decimal(P,S), bool, date, timestamp, ... (default: what loses nothing). Repeatable.",
)
@click.option("--valid-from", metavar="COL", help="The column that says since when a record is true in the world.")
@click.option("--require-reason", is_flag=True, help="Refuse every change without a reason.")
@click.option("--require-approval", is_flag=True, help="Make a change only when somebody else has approved it.")
@click.option(
    "--subject", metavar="COL", help="The column that says about whom a record is: it is sealed, for that person."
)
@click.option(
    "--personal", multiple=True, metavar="COL", help="With --subject: what else is (default: all). Repeatable."
)
@_ON_CONFLICT
@_WHO
@_WHY
@_HOW
def create_command(
    name: str,
    key: tuple[str, ...],
    source: Path | None,
    types: tuple[str, ...],
    valid_from: str | None,
    require_reason: bool,
    require_approval: bool,
    subject: str | None,
    personal: tuple[str, ...],
    on_conflict: Literal["refuse", "keep"] | None,
    who: str | None,
    why: str | None,
    statement: str | None,
    as_json: bool,
) -> None:
    """Create the table NAME."""
    from retrodict.actions.table_change import create  # loaded when asked for
    from retrodict.actions.tabling import Policy
    from retrodict.render import tables

    kinds = {column: kind or "text" for column, kind in _pairs(types).items()}
    with _writing(who) as workspace:
        how = _how(workspace, "create", why, statement)
        record = create(
            workspace,
            name,
            key,
            source=source,
            types=kinds,
            policy=Policy(reason=require_reason, approval=require_approval, on_conflict=on_conflict or "refuse"),
            valid_from=valid_from,
            subject=subject,
            personal=personal,
            how=how,
        )
    door.show(record, as_json=as_json, text=tables.created)


@door.subverb(
    command,
    "put",
    example="retrodict table put loans InquiryID=1004 CustomerID=C77 Amount=1500.00 --why 'by telephone'\n"
    "retrodict table put loans --from corrected.csv",
)
@click.argument("name")
@click.argument("values", nargs=-1, metavar="[COL=VALUE]...")
@click.option(
    "--from", "source", type=click.Path(dir_okay=False, path_type=Path), help="A file with records, whole ones."
)
@_changing("put")
def put_command(
    workspace: Workspace,
    how: How,
    name: str,
    values: tuple[str, ...],
    source: Path | None,
    if_version: str | None,
) -> ChangeSet:
    """Put whole records into NAME: one that is there is replaced, what is not named becomes null.

    `COL=` is null, `COL=""` the empty text.
    """
    from retrodict.actions.table_change import put  # loaded when asked for

    if (source is None) == (not values):
        raise click.UsageError("give COL=VALUE..., or --from FILE")
    return put(workspace, name, source or _pairs(values), how=how, if_version=if_version)


@door.subverb(
    command,
    "update",
    example="retrodict table update loans 1003 Status=approved --why 'collateral was found' --if-version v12",
)
@click.argument("name")
@click.argument("key")
@click.argument("values", nargs=-1, required=True, metavar="COL=VALUE...")
@_changing("update")
def update_command(
    workspace: Workspace,
    how: How,
    name: str,
    key: str,
    values: tuple[str, ...],
    if_version: str | None,
) -> ChangeSet:
    """Change some values of the record KEY (of a key of several columns: A,B).

    `COL=` is null, `COL=""` the empty text.
    """
    from retrodict.actions.table_change import update  # loaded when asked for

    return update(workspace, name, key, _pairs(values), how=how, if_version=if_version)


@door.subverb(command, "delete", example="retrodict table delete loans 1003 --why 'entered twice'")
@click.argument("name")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@_changing("delete")
def delete_command(
    workspace: Workspace,
    how: How,
    name: str,
    keys: tuple[str, ...],
    if_version: str | None,
) -> ChangeSet:
    """Delete the records KEY...; what they were stays in the history."""
    from retrodict.actions.table_change import delete  # loaded when asked for

    return delete(workspace, name, keys, how=how, if_version=if_version)


@door.subverb(command, "import", example="retrodict table import loans loan-inquiries.csv --why 'the export of Monday'")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--keep-missing", is_flag=True, help="Records that are not in FILE stay.")
@_changing("import")
def import_command(
    workspace: Workspace,
    how: How,
    name: str,
    file: Path,
    keep_missing: bool,
    if_version: str | None,
) -> ChangeSet:
    """Bring NAME to what FILE says: works out which records are new, changed and gone."""
    from retrodict.actions.table_change import import_  # loaded when asked for

    return import_(workspace, name, file, how=how, keep_missing=keep_missing, if_version=if_version)


@door.subverb(
    command,
    "at",
    example="retrodict table at loans@v12\nretrodict table at loans@2020-11-07 --format csv\n"
    "retrodict table at loans@v12 --out data/loans.parquet\n"
    "retrodict table at loans --known 2020-11-07 --true 2020-10-01",
)
@click.argument("reference")
@_BRANCH
@click.option("--known", metavar="TIME", help="As it was known then: short for NAME@TIME.")
@click.option("--true", "true_at", metavar="TIME", help="What was true in the world then, rather than the last word.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "jsonl", "parquet", "arrow"]),
    help="How (default: a table to look at; for --out, what the file's name ends with).",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write a file whose lineage leads to this version."
)
@click.option("--why", "--reason", "why", metavar="TEXT", help="Why the file is written.")
def at_command(
    reference: str,
    branch: str | None,
    known: str | None,
    true_at: str | None,
    form: Literal["table", "csv", "jsonl", "parquet", "arrow"] | None,
    out: Path | None,
    why: str | None,
    as_json: bool,
) -> None:
    """Print the records of a version: NAME, NAME@v3, NAME@OFFSET, NAME@2020-11-07 (as known then)."""
    from retrodict.actions import table_read as action  # loaded when asked for
    from retrodict.actions.tabling import version_of
    from retrodict.render import tables

    with door.workspace(writes=out is not None, records=True) as workspace:
        if known is not None and "@" in reference:
            raise click.UsageError(f"{reference} says already when it was known")
        found = version_of(workspace, reference if known is None else f"{reference}@{known}", branch)
        if out is not None:
            written = action.format_of(out) if form is None or form == "table" else form
            record = action.write(workspace, found, out, written, reason=why, true_at=true_at)
            door.show(record, as_json=as_json, text=tables.read)
            return
        if as_json or form is None or form == "table":
            made = action.table_of(found, true_at=true_at, with_gaps=True)
            door.show(action.describe(workspace, found, made), as_json=as_json, text=tables.read)
        else:
            door.echo_bytes(action.text_of(action.table_of(found, true_at=true_at), form))


@door.subverb(
    command,
    "export",
    example="retrodict table export loans@v12 --to delta lake/loans\n"
    "retrodict table export loans --to duckdb loans.duckdb",
)
@click.argument("reference")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(["delta", "duckdb", "parquet"]), required=True, help="As what.")
@_BRANCH
@click.option("--true", "true_at", metavar="TIME", help="What was true in the world then, rather than the last word.")
@click.option("--overwrite", is_flag=True, help="Put it in the place of what is there.")
@_WHY
def export_command(
    reference: str,
    path: Path,
    form: Literal["delta", "duckdb", "parquet"],
    branch: str | None,
    true_at: str | None,
    overwrite: bool,
    why: str | None,
    as_json: bool,
) -> None:
    """Write a version for other programs: a Delta table, a DuckDB database, a Parquet file, whose metadata name it."""
    from retrodict.actions.table_export import export  # loaded when asked for
    from retrodict.render import tables

    with door.workspace(writes=True) as workspace:
        record = export(
            workspace, reference, form, path, branch=branch, true_at=true_at, overwrite=overwrite, reason=why
        )
    door.show(record, as_json=as_json, text=tables.exported)


@door.subverb(command, "history", example="retrodict table history loans 1003")
@click.argument("name")
@click.argument("key")
@_BRANCH
def history_command(name: str, key: str, branch: str | None, as_json: bool) -> None:
    """Print every change of the record KEY (of a key of several columns: A,B): who, when, what, why and how."""
    from retrodict.actions.table_read import history  # loaded when asked for
    from retrodict.render import tables

    with door.workspace(records=True) as workspace:
        record = history(workspace, name, key, branch=branch)
    door.show(record, as_json=as_json, text=tables.history)


@door.subverb(
    command,
    "page",
    example="retrodict table page loans\nretrodict table page loans --key 1003 --out inquiry-1003.html",
)
@click.argument("name")
@click.option("--key", "keys", multiple=True, metavar="K", help="Only this record. Repeatable.")
@_BRANCH
@click.option(
    "--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="The newest so many changes."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write (default: NAME-history.html)."
)
def page_command(
    name: str, keys: tuple[str, ...], branch: str | None, limit: int, out: Path | None, as_json: bool
) -> None:
    """Write a page to look at: the changes of NAME, who made each cell what it is, the history of each record."""
    from retrodict.actions.table_page import page  # loaded when asked for
    from retrodict.render import table_page

    with door.workspace(records=True) as workspace:
        record = page(workspace, name, keys=keys, branch=branch, limit=limit)
    if not as_json or out is not None:
        path = out or Path(f"{name.removeprefix('table:').replace('/', '-')}-history.html")
        door.write(path, table_page.to_html(record))
        click.echo(f"Written to {path}", err=True)
    if as_json:
        door.show(record, as_json=True, text=str)


@door.subverb(command, "diff", example="retrodict table diff loans@v1 loans@v3\nretrodict table diff loans@2020-11-07")
@click.argument("a")
@click.argument("b", required=False)
@_BRANCH
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="At most so many records.")
def diff_command(a: str, b: str | None, branch: str | None, limit: int, as_json: bool) -> None:
    """Say which records differ between the versions A and B (default: the newest), and in which cells."""
    from retrodict.actions.table_compare import diff  # loaded when asked for
    from retrodict.render import tables

    with door.workspace(records=True) as workspace:
        record = diff(workspace, a, b, branch=branch, limit=None if as_json else limit)
    door.show(record, as_json=as_json, text=tables.diff)


@door.subverb(command, "blame", example="retrodict table blame loans --key 1003\nretrodict table blame loans@v12")
@click.argument("reference")
@click.option("--key", "keys", multiple=True, metavar="K", help="Only this record. Repeatable.")
@_BRANCH
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="At most so many records.")
def blame_command(reference: str, keys: tuple[str, ...], branch: str | None, limit: int, as_json: bool) -> None:
    """Say of each cell who gave it its value, when, how and why, and what it was before."""
    from retrodict.actions.table_compare import blame  # loaded when asked for
    from retrodict.render import tables

    with door.workspace(records=True) as workspace:
        record = blame(workspace, reference, keys=keys, branch=branch, limit=None if as_json else limit)
    door.show(record, as_json=as_json, text=tables.blame)


@door.subverb(
    command,
    "revert",
    example="retrodict table revert loans --to v3 --key 1003 --why 'it was right before'\n"
    "retrodict table revert loans --to 2020-11-07 --where \"CustomerID = 'C42'\"",
)
@click.argument("name")
@click.option("--to", required=True, metavar="V", help="What they were in this version: v3, an offset, a time.")
@click.option("--key", "keys", multiple=True, metavar="K", help="This record. Repeatable.")
@click.option("--where", metavar="SQL", help="Records for which this holds, now or then.")
@_changing("revert", by_writer=False)
def revert_command(
    workspace: Workspace,
    how: How,
    name: str,
    to: str,
    keys: tuple[str, ...],
    where: str | None,
) -> ChangeSet:
    """Bring records of NAME (by itself, all) back to what they were: a new change, by which nothing is erased."""
    from retrodict.actions.table_compare import revert  # loaded when asked for

    return revert(workspace, name, to, how=how, keys=keys, where=where)


@door.subverb(
    command,
    "query",
    example='retrodict table query "select count(*) from loans@v12 where Approved"\n'
    'retrodict table query "select a.InquiryID from loans a join loans@2020-11-07 b using (InquiryID)"',
)
@click.argument("sql")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "jsonl"]), default="table", show_default=True, help="How."
)
def query_command(sql: str, form: Literal["table", "csv", "jsonl"], as_json: bool) -> None:
    """Answer a question in SQL (DuckDB) over tables and their versions: NAME, NAME@v12, NAME@2020-11-07."""
    from retrodict.actions.table_compare import answered, query  # loaded when asked for
    from retrodict.actions.table_read import text_of
    from retrodict.render import tables

    with door.workspace(records=True) as workspace:
        found, versions = query(workspace, sql)
    if form == "table" or as_json:
        door.show(answered(found, versions), as_json=as_json, text=tables.query)
    else:
        door.echo_bytes(text_of(found, form))


@door.subverb(
    command,
    "alter",
    example="retrodict table alter loans --add Officer=text --rename Note=Remark --why 'the new form'",
)
@click.argument("name")
@click.option("--add", multiple=True, metavar="COL=TYPE", help="A new column. Repeatable.")
@click.option("--drop", multiple=True, metavar="COL", help="A column that goes. Repeatable.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="A column's new name. Repeatable.")
@click.option("--type", "types", multiple=True, metavar="COL=TYPE", help="A column's new type. Repeatable.")
@_ON_CONFLICT
@_WHO
@_WHY
def alter_command(
    name: str,
    add: tuple[str, ...],
    drop: tuple[str, ...],
    rename: tuple[str, ...],
    types: tuple[str, ...],
    on_conflict: Literal["refuse", "keep"] | None,
    who: str | None,
    why: str | None,
    as_json: bool,
) -> None:
    """Give NAME other columns from now on (versions before keep theirs), or say what becomes of conflicts."""
    from retrodict.actions.table_alter import alter  # loaded when asked for
    from retrodict.render import tables

    def pairs(words: Sequence[str]) -> dict[str, str]:
        return {column: text or "text" for column, text in _pairs(words).items()}

    with _writing(who) as workspace:
        record = alter(
            workspace,
            name,
            add=pairs(add),
            drop=drop,
            rename=pairs(rename),
            types=pairs(types),
            on_conflict=on_conflict,
            reason=why,
        )
    door.show(record, as_json=as_json, text=tables.altered)


@door.subverb(command, "prove", example="retrodict table prove loans@v3 1003 --json > record-1003.json")
@click.argument("reference")
@click.argument("key")
def prove_command(reference: str, key: str, as_json: bool) -> None:
    """Print the record KEY of a version with the proof that it is in it, which shows none of the others."""
    from retrodict.actions.table_prove import prove  # loaded when asked for
    from retrodict.render import tables

    with door.workspace(writes=True) as workspace:
        record = prove(workspace, reference, key)
    door.show(record, as_json=as_json, text=tables.proof)


@door.subverb(command, "check-proof", example="retrodict table check-proof record-1003.json --root sha256:" + "5f" * 32)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--root", help="Of the version, as you know it (default: as the proof says, which proves less).")
def check_proof_command(file: Path, root: str | None, as_json: bool) -> None:
    """Check a proof that `table prove --json` printed; needs no workspace. Exit 1 if it does not hold."""
    from retrodict.actions.table_prove import check_proof  # loaded when asked for
    from retrodict.render import tables

    record = check_proof(door.read(file).decode("utf-8", "replace"), root)
    door.show(record, as_json=as_json, text=tables.proof_checked)
    sys.exit(record.answer != "yes")


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
@_WHO
@_WHY
def approve_command(name: str, proposal: str, who: str | None, why: str | None, as_json: bool) -> None:
    """Make the changes of the entry PROPOSAL, which somebody else has proposed."""
    from retrodict.actions.table_approve import approve  # loaded when asked for
    from retrodict.render.changed import changed

    with _writing(who) as workspace:
        record = approve(workspace, name, proposal, reason=why)
    door.show(record, as_json=as_json, text=changed)


@door.subverb(command, "reject", example="retrodict table reject loans 17 --why 'the form is not signed'")
@click.argument("name")
@click.argument("proposal")
@_WHO
@_WHY
def reject_command(name: str, proposal: str, who: str | None, why: str | None, as_json: bool) -> None:
    """Decide that the changes of the entry PROPOSAL are not made; who proposed them takes them back so, too."""
    from retrodict.actions.table_approve import reject  # loaded when asked for
    from retrodict.render import tables

    with _writing(who) as workspace:
        record = reject(workspace, name, proposal, reason=why)
    door.show(record, as_json=as_json, text=tables.rejected)


@door.subverb(command, "merge", example="retrodict table merge loans --why 'the laptop was offline'")
@click.argument("name")
@_BRANCH
@click.option(
    "--take",
    type=click.Choice(["ours", "theirs"]),
    help="Whose word counts for records that both have changed (default: nobody's: they are shown, exit 1).",
)
@_WHO
@_WHY
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

    with _writing(who) as workspace:
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
@_WHO
@_WHY
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

    with door.workspace() if take is None else _writing(who) as workspace:
        record = settle(workspace, name, entry, keys=keys, take=take, reason=why)
    door.show(record, as_json=as_json, text=tables.settled)
    sys.exit(record.answer != "yes")
