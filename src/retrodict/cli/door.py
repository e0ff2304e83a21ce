"""What every command shares: the lazy group, the workspace, `--json`, errors in one line, exit codes.

Exit 0: the answer is yes; 1: the answer is no; 2: it could not be answered. Only doors read the environment, the
working directory and the clock.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from retrodict import __version__
from retrodict.kernel.errors import RetrodictError, UnavailableError
from retrodict.render.printable import is_unicode, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from retrodict.kernel.protocols import Progress
    from retrodict.workspace import Workspace

# By section of the help. A verb's module is loaded when the verb is asked for; its command is called `command` there.
_SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Begin": {
        "init": ("init", "Make a workspace."),
        "demo": ("demo", "Do the main job on real data."),
        "completion": ("completion", "Print the shell's completion script."),
    },
    "Data": {
        "add": ("add", "Version files and folders."),
        "status": ("status", "Say what has changed since it was versioned."),
        "diff": ("diff", "Say what changed: names, rows, cells, numbers, lines."),
        "history": ("history", "List the versions of a dataset."),
        "ls": ("ls", "List what is versioned, or what lies in a version."),
        "cat": ("cat", "Print the bytes of a file of any version."),
        "checkout": ("checkout", "Write any version back."),
        "tag": ("tag", "Give a version a name of its own."),
        "untrack": ("untrack", "Follow a file or folder no longer."),
        "import-url": ("import_url", "Version a file that lies at a URL."),
        "get": ("get", "Fetch a file, with its origin on record."),
        "attach": ("attach", "Pin a table or a versioned bucket where it lies."),
        "import": ("import_", "Take over what another system has versioned."),
        "derive": ("derive", "Make a version by a recipe, and again."),
        "lock": ("lock", "Pin what is tracked, for git to keep."),
        "hooks": ("hooks", "Let git bring the data along."),
        "advise": ("advise", "Say which strategy fits some data."),
    },
    "Data that change record by record": {
        "table": ("table", "Keep records with their history."),
        "stream": ("stream", "Append to streams, and read them by offset."),
        "tensor": ("tensor", "Keep arrays by version, and read slices of any."),
        "capture": ("capture", "Record what other programs change in their database."),
    },
    "Runs and models": {
        "run": ("run", "Run a command, and find what it read and wrote."),
        "runs": ("runs", "List what was run."),
        "register": ("register", "Register a version of a model."),
        "models": ("models", "List models, their metrics and their aliases."),
        "alias": ("alias", "Point an alias at a version."),
    },
    "Predictions": {
        "predict": ("predict", "Answer, and log the answer first."),
        "serve": ("serve", "Answer over HTTP (Open Inference Protocol v2)."),
        "predictions": ("predictions", "Search the audit trail; take over an old log."),
        "explain": ("explain", "Answer the nine questions about a prediction."),
        "replay": ("replay", "Make a prediction again, and compare."),
        "dispute": ("dispute", "Record a complaint, or how it ended."),
        "disputes": ("disputes", "List complaints."),
        "audit": ("audit", "Look for answers beside the record."),
    },
    "The record": {
        "log": ("log", "List the entries of the log."),
        "show": ("show", "Show one thing, with its bytes, neighbours and history."),
        "lineage": ("lineage", "Walk to what caused something, or what it reached."),
        "verify": ("verify", "Re-derive every claim of the record."),
        "fsck": ("fsck", "Name altered and missing objects; mend them."),
        "signers": ("signers", "Say whose keys sign whose events."),
    },
    "People": {
        "export": ("export", "Write down what is held about a person."),
        "forget": ("forget", "Destroy a person's keys; proofs stay whole."),
        "keys": ("keys", "Share the keys of sealed values with another clone."),
    },
    "Working with others": {
        "remote": ("remote", "Name the places that push and pull go to."),
        "push": ("push", "Bring what is recorded here to a remote."),
        "pull": ("pull", "Take what others have pushed."),
        "fetch": ("fetch", "Take objects that are not held here."),
        "clone": ("clone", "Make a workspace of what a remote holds."),
        "bundle": ("bundle", "Carry logs and objects in one file."),
        "settle": ("settle", "End a conflict of names."),
    },
    "Upkeep": {
        "du": ("du", "Say what the store's bytes are for."),
        "why-kept": ("why_kept", "Say who needs an object."),
        "gc": ("gc", "Let go of what nothing needs."),
        "backup": ("backup", "Copy the record to another place."),
        "restore": ("restore", "Bring a workspace back from a backup."),
        "rotate-key": ("rotate_key", "Let a new key sign the log."),
    },
}
VERBS = {name: verb for verbs in _SECTIONS.values() for name, verb in verbs.items()}


_SIGN_WITH = "retrodict.sign_with"
_KEY_FILE = "retrodict.key_file"


class LazyGroup(click.Group):
    """A group that knows its verbs by name and loads the one that is asked for.

    Attributes:
        asked: The verb that was asked for; "" before it is known.
    """

    asked = ""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the verbs in the order in which they are told."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load a verb."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"retrodict.cli.{VERBS[cmd_name][0]}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the verbs by section without loading them."""
        width = max(map(len, VERBS))
        for title, verbs in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, (_, text) in verbs.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; a mistyped one gets near matches."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}", ctx)
        self.asked = args[0]
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="retrodict")
@click.option(
    "-C", "folder", type=click.Path(file_okay=False, path_type=Path), help="Work as if started in this folder."
)
@click.option("--agent", help="Who acts, as the record will claim (default: git's user.name and email, or the login).")
@click.option(
    "--sign-with",
    metavar="KEYFILE",
    help="An SSH key that signs what you record; `git`: the one that git signs with (default: RETRODICT_SIGNING_KEY).",
)
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keys that `keys export-signing` wrote, in place of the state directory (default: RETRODICT_KEY_FILE).",
)
@click.pass_context
def cli(
    ctx: click.Context, folder: Path | None, agent: str | None, sign_with: str | None, key_file: Path | None
) -> None:
    """From any prediction back to everything that caused it, proved by running it again."""
    if folder is not None:
        try:
            os.chdir(folder)
        except OSError as error:
            raise click.UsageError(f"{folder}: {error.strerror}") from error
    try:
        os.getcwd()
    except OSError as error:
        raise click.UsageError("this folder is not there any more") from error
    ctx.obj = agent
    ctx.meta[_SIGN_WITH] = sign_with
    ctx.meta[_KEY_FILE] = key_file


class Worded(click.Command):
    """A command whose words can be recorded and printed: bytes that are not UTF-8 are refused, except in paths."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, then look at every text."""
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            if isinstance(parameter.type, click.types.StringParamType):
                value = ctx.params.get(parameter.name or "")
                for text in value if isinstance(value, tuple) else (value,):
                    if isinstance(text, str) and not is_unicode(text):
                        raise click.BadParameter(f"{printable(text)} is not UTF-8", ctx, parameter)
        return rest


class WordedGroup(Worded, click.Group):
    """The same, with commands below it."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, each with its whole first sentence: click cuts it off at the line's end."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(1000)) for name, one in commands if one is not None])


ANSWER_EXITS = {"yes": 0, "no": 1, "could not tell": 2}

F = TypeVar("F", bound=Callable[..., Any])


def verb(name: str, *, example: str, epilog: str = "") -> Callable[[F], click.Command]:
    """Make a command of a function: `--json`, and a help text that ends with an example."""

    def wrap(function: F) -> click.Command:
        command = click.command(
            name,
            cls=Worded,
            epilog="\b\nExample:\n" + "\n".join(f"  $ {line}" for line in example.splitlines()) + epilog,
        )(function)
        command.params.append(
            click.Option(["--json", "as_json"], is_flag=True, help="Print the record as JSON instead of text.")
        )
        return command

    return wrap


def verb_group(name: str, *, example: str, cls: type[WordedGroup] = WordedGroup) -> Callable[[F], click.Group]:
    """Make a command that has further commands below it, and does something of its own without one of them."""

    def wrap(function: F) -> click.Group:
        epilog = "\b\nExample:\n" + "\n".join(f"  $ {line}" for line in example.splitlines())
        group = click.group(name, cls=cls, epilog=epilog, invoke_without_command=True)(function)
        group.params.append(
            click.Option(["--json", "as_json"], is_flag=True, help="Print the record as JSON instead of text.")
        )
        return group

    return wrap


def subverb(group: click.Group, name: str, *, example: str) -> Callable[[F], click.Command]:
    """Make a command below a group, as `verb` makes one."""

    def wrap(function: F) -> click.Command:
        command = verb(name, example=example)(function)
        group.add_command(command)
        return command

    return wrap


def key_option(name: str, *parameter: str, help_: str, multiple: bool = False) -> Callable[[F], F]:
    """Return an option that takes a public key: its text, or the file that holds it."""
    return click.option(name, *parameter, type=click.Path(), metavar="KEY|FILE", multiple=multiple, help=help_)


def state_root() -> Path:
    """Return where keys live: RETRODICT_STATE, else XDG_STATE_HOME/retrodict, else ~/.local/state/retrodict."""
    if own := os.environ.get("RETRODICT_STATE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser().absolute() / "retrodict"


def agent() -> str:
    """Return who acts: `--agent`, RETRODICT_AGENT, git's author, or the login name."""
    given = click.get_current_context().find_root().obj or os.environ.get("RETRODICT_AGENT")
    if given:
        return str(given)
    import subprocess  # 4 ms, which commands that record nothing spare

    try:
        author = subprocess.run(
            ["git", "var", "GIT_AUTHOR_IDENT"], capture_output=True, text=True, timeout=5, check=False
        )
        if author.returncode == 0 and ">" in author.stdout:
            return author.stdout[: author.stdout.index(">") + 1]
    except (OSError, subprocess.SubprocessError):
        pass
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def sign_with() -> str | None:
    """Return the key that signs the agent's events, as it was named: `--sign-with`, RETRODICT_SIGNING_KEY, or none."""
    given = click.get_current_context().meta.get(_SIGN_WITH) or os.environ.get("RETRODICT_SIGNING_KEY")
    return None if not given else str(given)


def passphrase(path: Path | None) -> bytes:
    """Return the first line of a file.

    Raises:
        UsageError: It cannot be read.
    """
    from retrodict.kernel.errors import UsageError

    if path is None:
        raise UsageError("keys are sealed under a passphrase", hint="Give --passphrase-file.")
    try:
        return path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def key_file() -> Path | None:
    """Return the key file in place of the state directory: `--key-file`, RETRODICT_KEY_FILE, or none."""
    context = click.get_current_context(silent=True)  # none while the shell completes
    given = (context and context.meta.get(_KEY_FILE)) or os.environ.get("RETRODICT_KEY_FILE")
    return Path(given).expanduser().absolute() if given else None


def cache_root() -> Path:
    """Return where rebuilt environments are kept: XDG_CACHE_HOME/retrodict, else ~/.cache/retrodict."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "retrodict"


@contextmanager
def workspace(
    *, writes: bool = False, records: bool = False, read_only: bool = False, is_silent: bool = False
) -> Iterator[Workspace]:
    """Open the workspace round the working directory; publish and close it at the end.

    Args:
        read_only: Write nothing, and sign nothing.
        writes: The command's work is to record something: a store that cannot be written is refused.
        records: The command records what it found out, where the store can be written.
        is_silent: Do not say where the keys are not to be had.
    """
    from retrodict.actions.open import open_signer, open_workspace
    from retrodict.actions.places import RUN_VARIABLE
    from retrodict.kernel.clock import SystemClock
    from retrodict.workspace import refuse_without_keys, refuse_writing

    who = agent() if writes or records else ""
    own_key = sign_with() if writes or records else None
    signer = None if own_key is None else open_signer(own_key)
    is_done = False

    def open_here(*, read_only: bool) -> Workspace:
        return open_workspace(
            Path.cwd(),
            state_root(),
            SystemClock(),
            agent=who,
            signer=signer,
            read_only=read_only,
            key_file=key_file(),
            begins_log=writes,
            run=lambda: os.environ.get(RUN_VARIABLE),
        )

    try:
        try:
            found = open_here(read_only=read_only)
        except UnavailableError:
            if writes or not records:
                raise
            found = open_here(read_only=True)  # what it finds out needs no room on the disk
        with found as opened:
            if opened.copied is not None:
                name, size = opened.copied.name, opened.copied.ledger.size()
                click.echo(
                    f"retrodict: this is a copy of a workspace that is still there: it has begun a log of its own; "
                    f"entry {size - 1} of the log that it copied is {name}:{size - 1} from now on",
                    err=True,
                )
            if writes:
                refuse_writing(opened)
                refuse_without_keys(opened)
            elif opened.keyless is not None and not is_silent:
                click.echo(f"retrodict: nothing can be opened or signed: {one_line(opened.keyless)}", err=True)
            before = 0 if signer is None else opened.ledger.size()
            yield opened
            is_done = True
            if signer is not None:
                _say_unproved(opened, before)
            for note in opened.notes:
                click.echo(f"retrodict: {one_line(note)}", err=True)
    except RetrodictError as error:
        if writes or not is_done:
            raise
        # What was asked for has been read; only signing what others recorded has failed.
        click.echo(f"retrodict: nothing was signed: {one_line(error.message)}", err=True)


def _say_unproved(workspace: Workspace, before: int) -> None:
    """Say on stderr that what was recorded since entry `before` is signed, and that this proves nothing."""
    from retrodict.actions.authorship import unproved  # loaded when asked for

    with suppress(RetrodictError):  # what cannot be read is named elsewhere
        because = unproved(workspace, before)
        if because is not None:
            click.echo(f"retrodict: what was recorded stays claimed: {one_line(because)}", err=True)


def warn_unsaved(workspace: Workspace) -> None:
    """Say on stderr that something has lain only here for a day or more."""
    from retrodict.actions.unsaved import find_unsaved  # loaded when asked for
    from retrodict.render.lines import unsaved

    with suppress(RetrodictError):  # what cannot be read is named elsewhere
        found = find_unsaved(workspace)
        if found.entries and found.is_old:
            click.echo(f"retrodict: {unsaved(found)}", err=True)


def complete_reference(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete names of datasets, models and runs; of models only where a model is asked for."""
    from retrodict.actions import names

    del ctx
    with suppress(RetrodictError, OSError), workspace(is_silent=True) as opened:
        only_models = param.name in ("model", "models", "name")
        return [CompletionItem(name) for name in names.written(opened, incomplete, only_models=only_models)]
    return []


def _draw_nothing(done: int, total: int | None, what: str) -> None:
    del done, total, what


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """Draw a bar on a terminal for anything that takes over a second; draw nothing elsewhere."""
    if not sys.stderr.isatty():
        yield _draw_nothing
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn, TimeElapsedColumn  # noqa: I001 - 40 ms

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    started = False
    from time import monotonic

    begin = monotonic()
    bar = Bar(*columns, transient=True)
    task = bar.add_task(title, total=None)

    def tell(done: int, total: int | None, what: str) -> None:
        nonlocal started
        if not started and monotonic() - begin > 1:
            bar.start()
            started = True
        bar.update(task, completed=done, total=total, description=what)

    try:
        yield tell
    finally:
        if started:
            bar.stop()


def show(record: object, *, as_json: bool, text: Callable[[Any], RenderableType] | str) -> None:
    """Print a record: as JSON, or as `text` renders it.

    Args:
        text: A renderer, or where it is below `render` ("text.log"): rich, 20 ms, is loaded only for a text then.
    """
    if as_json:
        show_json(record)
        return
    if isinstance(text, str):
        module, _, name = text.partition(".")
        text = cast(
            "Callable[[Any], RenderableType]", getattr(importlib.import_module(f"retrodict.render.{module}"), name)
        )
    draw(text(record))


def show_json(record: object) -> None:
    """Print a record as JSON, where its renderer need not be loaded."""
    from retrodict.render.json import to_json

    echo(to_json(record))


def echo(text: str, *, to_stderr: bool = False) -> None:
    """Print a text that is data: nothing in it is changed."""
    with _printing():
        click.echo(text, nl=not text.endswith("\n") and text != "", err=to_stderr)


def echo_bytes(data: bytes) -> None:
    """Print bytes that are data, as they are."""
    with _printing():
        sys.stdout.buffer.write(data)


def draw(rendered: RenderableType, *, to_stderr: bool = False) -> None:
    """Print what a renderer returned."""
    stream = sys.stderr if to_stderr else sys.stdout
    if isinstance(rendered, str):  # lines that need no drawing
        with _printing():
            stream.write(printable(rendered) + "\n")
        return
    from rich.console import Console

    from retrodict.render.text import Printable

    # A pipe has no width: lines are kept long there, so that what is grepped stays on one line; COLUMNS says otherwise.
    width = None if stream.isatty() or os.environ.get("COLUMNS", "").isdigit() else 200
    with _printing():
        Console(file=stream, width=width, highlight=False, emoji=False).print(Printable(rendered), crop=False)


@contextmanager
def _printing() -> Iterator[None]:
    """Turn a full disk under the output into one line."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _abandon_output()
        raise UnavailableError(f"what was found cannot be printed: {error.strerror}") from error


def _abandon_output() -> None:
    """Let what is still to be written go nowhere, so that the interpreter can end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def read(path: Path) -> bytes:
    """Read a file that was named.

    Raises:
        UsageError: It cannot be read.
    """
    from retrodict.kernel.errors import UsageError

    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file that was asked for, whole or not at all; a pipe or a device is written to.

    Raises:
        UsageError: It cannot be written.
    """
    from retrodict.kernel.durable import write_named
    from retrodict.kernel.errors import UsageError

    try:
        write_named(path, (memoryview(text.encode()),), mode=mode)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


class _Warnings:
    """Shows what libraries warn of: each thing once, on one line of stderr. It is recorded nowhere."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self.is_answering = False

    def show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Take the place of `warnings.showwarning`."""
        del line
        text = one_line(str(message))
        if self.is_answering:  # it may quote what somebody asked, and a server's stderr is kept
            text = f"{category.__name__} at {filename}:{lineno}, while a model answered"
        if text not in self._told:
            self._told.add(text)
            click.echo(f"warning: {text}", file=file, err=file is None)


_warnings = _Warnings()


def withhold_warnings() -> None:
    """Say from now on only where a warning comes from: others' questions are being answered."""
    _warnings.is_answering = True


def main() -> None:
    """Run the command line; every failure ends in one line and exit 2 (`run`: 125)."""
    _open_streams()
    warnings.showwarning = _warnings.show
    code: object = 2
    try:
        code = cli.main(standalone_mode=False, prog_name="retrodict")
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
    except click.UsageError as error:
        verb = error.ctx.command_path if error.ctx else "retrodict"
        _fail(f"{verb}: {_sentence(error.format_message())} See `{verb} --help`.")
        code = _failure()
    except click.ClickException as error:
        _fail(f"retrodict: {_sentence(error.format_message())}")
        code = _failure()
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted")
        code = 130
    except RetrodictError as error:
        _fail(f"retrodict: {_sentence(error.message)} {error.hint}")
        code = _failure()
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; what we had to say was said.
        _abandon_output()
        code = 0
    except Exception as error:
        if os.environ.get("RETRODICT_DEBUG"):
            raise
        where = _sentence(f"{type(error).__name__}: {error}")
        _fail(f"retrodict: unexpected: {where} Set RETRODICT_DEBUG=1 to see where, and report it.")
        code = _failure()
    finally:
        gc.freeze()  # nor is there anything to gain from looking for garbage at the end: 17 ms
    sys.exit(code if isinstance(code, int) else 0)


def _open_streams() -> None:
    """Open standard streams that are closed, before a file of the store takes their numbers; print UTF-8 anywhere."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _failure() -> int:
    """Return the exit code of a failure: 125, which commands hardly use, where their own codes are passed through."""
    return 125 if cli.asked == "run" else 2


def _fail(line: str) -> None:
    click.echo(printable(" ".join(line.split())), err=True)


def _sentence(text: str) -> str:
    """Return `text` with a stop at its end."""
    return text if text.rstrip().endswith(("?", "!", ".")) else f"{text}."


def one_line(text: str) -> str:
    """Return `text` on one line without its final stop."""
    return printable(" ".join(text.split()).removesuffix("."))
