"""`import retrodict as rd`: the Python door. See `docs/python.md`.

The workspace is the one round RETRODICT_WORKSPACE or the working directory, unless one is given; it is opened when it
is first needed, and published and closed when the process ends.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retrodict.actions.add import Added
from retrodict.actions.init import Initialized
from retrodict.actions.record import Recorded
from retrodict.api import world
from retrodict.api.arguments import checked
from retrodict.kernel.errors import MissingExtraError, UsageError
from retrodict.models import remote
from retrodict.models.session import Predictor, current_loader
from retrodict.serving import Answer, Service
from retrodict.workspace import Workspace, refuse_writing

if TYPE_CHECKING:
    from retrodict.actions.stream_append import StreamAppended
    from retrodict.actions.tensors import TensorShown
    from retrodict.api.arrays import NewVersion
    from retrodict.api.running import Run
    from retrodict.api.tables import Table
    from retrodict.render.explanation import ShownExplanation
    from retrodict.tensors.samples import Samples

__all__ = [
    "Model",
    "add",
    "append_stream",
    "explain",
    "init",
    "load",
    "new_version",
    "open",
    "open_array",
    "read",
    "read_stream",
    "record_prediction",
    "remote_step",
    "run",
    "samples",
    "search_predictions",
    "table",
    "write_array",
]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model, by the name that it was asked for; the name is looked up again for each question."""

    service: Service
    reference: str

    @property
    def version(self) -> str:
        """Who answers now: `credit@v2`."""
        return self.service.resolve(self.reference).label

    @property
    def signature(self) -> Any:
        """What it takes and gives; None where it is not known."""
        return self.service.signature(self.reference)

    def predict(self, data: Any, *, subject: str | Sequence[str] | None = None) -> Any:
        """Return what the model answers; the answer is durably on record before this returns.

        Args:
            data: Rows as the model takes them; for a model that was registered with `--subject FIELD`, with that field.
            subject: Whom the rows are about, where `data` (an array, say) has no place for the field.

        Raises:
            InputError: `data` is not what the model takes; nothing is recorded.
            ModelFailedError: The model raised; that is on record.
        """
        return self.ask(data, subject=subject).output

    def ask(
        self,
        data: Any,
        *,
        caller: str | None = None,
        subject: str | Sequence[str] | None = None,
        traceparent: str | None = None,
    ) -> Answer:
        """Answer as `predict` does, and say where the answer is on record (`.index`, `.prediction`, `.leaf_hash`).

        Args:
            caller: Who asks; recorded under a pseudonym.
            traceparent: The span that asks, as W3C Trace Context writes it; what is malformed is ignored, as it says.
        """
        from retrodict.serving import parse_traceparent

        trace, span = parse_traceparent(traceparent)
        return self.service.predict(self.reference, data, caller=caller, trace=trace, parent_span=span, subject=subject)


@checked
def init(path: StrPath = ".", *, agent: str | None = None) -> Initialized:
    """Make a workspace in the folder `path`.

    Raises:
        UsageError: There is one already.
    """
    from retrodict.actions import init as action

    return action.init(Path(path).absolute(), world.state_root(), world.CLOCK, agent=agent or world.agent())


@checked
def open(path: StrPath | None = None, *, agent: str | None = None) -> Workspace:  # noqa: A001 - the word of the API
    """Open the workspace that `path` lies in, to be given to the other functions; close it with `with`.

    Raises:
        NoWorkspaceError: There is none.
        StateDirectoryError, ForeignKeyFileError: The key file cannot be read, or is another workspace's.
    """
    from retrodict.actions.open import open_workspace

    start = world.folder() if path is None else Path(path).absolute()
    return open_workspace(
        start,
        world.state_root(),
        world.CLOCK,
        agent=agent or world.agent(),
        key_file=world.key_file(),
        run=world.innermost_run,
    )


@checked
def add(
    *paths: StrPath,
    name: str | None = None,
    source: str | None = None,
    reason: str | None = None,
    personal: bool | Sequence[str] | None = None,
    subject: str | None = None,
    remember: bool = False,
    workspace: Workspace | None = None,
) -> tuple[Added, ...]:
    """Version files and folders.

    Args:
        name: Of the dataset; by default its path.
        source: Where the bytes come from.
        reason: Why they are added, or why they changed.
        personal: They are files about people, and sealed; False: no longer, for a reason. None: as they were. Beside
            `subject` the columns that are personal; else all are.
        subject: The column of tables that says whom a row is about: they are personal.
        remember: Keep again what was forgotten, for a reason.

    Raises:
        UsageError: A path does not exist, or holds something that cannot be kept, or that was forgotten.
    """
    from retrodict.actions import add as action

    if not paths:
        raise UsageError("there is nothing to add", hint="Name files or folders.")
    used = world.current(workspace, writes=True)
    refuse_writing(used)
    columns = None if personal is None or isinstance(personal, bool) else tuple(personal)
    added = action.add(
        used,
        [Path(path) for path in paths],
        name=name,
        source=source,
        reason=reason,
        personal=personal if personal is None or isinstance(personal, bool) else True,
        subject=subject,
        columns=columns,
        remember=remember,
    )
    world.publish(used)
    return added


@checked
def run(
    name: str | None = None,
    *,
    params: Mapping[str, object] | None = None,
    reason: str | None = None,
    workspace: Workspace | None = None,
) -> Run:
    """Record what this process does as a run: `with retrodict.run("train", params={"C": 1}) as run: ...`.

    It sees what Python's own functions open in this process (grade "in-process"); `retrodict run` sees everything.

    Args:
        name: What it is called; the script's name unless given.
        params: Recorded as text; more by `run.log_params`.
        reason: Why it is run.
    """
    from retrodict.api.running import Run

    return Run(world.current(workspace, writes=True), name, params, reason)


@checked
def append_stream(
    name: str, records: Any, *, reason: str | None = None, workspace: Workspace | None = None
) -> StreamAppended:
    """Append records to a stream, all or none; they are durable when this returns.

    Args:
        name: Of the stream; `retrodict stream create` makes one.
        records: JSON Lines: values that JSON can hold. CSV: mappings with the columns of the header. Arrow: an Arrow
            table, a pandas frame, or mappings.

    Raises:
        UnknownReferenceError: There is no such stream.
        RecordError: Something is no record of its format.
    """
    from retrodict.actions import stream_append as action

    used = world.current(workspace, writes=True)
    refuse_writing(used)
    done = action.append_values(used, name, records, reason=reason)
    world.publish(used)
    return done


@checked
def read(
    reference: str,
    *,
    form: Literal["pandas", "polars", "arrow"] = "pandas",
    branch: str | None = None,
    workspace: Workspace | None = None,
) -> Any:
    """Return a table's version or a stream's records, followed: a run that reads them records which it used.

    A row is left out only where a filter or a join that looks at one row at a time has dropped it; whatever else is
    done to the frame has used all the rows that it holds then (`docs/row-lineage.md`).

    Args:
        reference: Of a table `NAME`, `NAME@v3`, `NAME@OFFSET`, `NAME@2020-11-07`; of a stream as for `read_stream`,
            with `stream:` before it where a table has that name.
        form: "pandas": a DataFrame, whose index is the identity of each row; "polars": a LazyFrame; "arrow": a table,
            of which all rows are used.
        branch: Its log, or a part of that.

    Raises:
        UnknownReferenceError, OffsetError: There is no such table or version.
        MissingExtraError: What the form needs is not installed.
    """
    if form not in {"pandas", "polars", "arrow"}:
        raise UsageError(f"rows come as 'pandas', 'polars' or 'arrow', not {form!r}")
    from retrodict.api import readings

    return readings.read(world.current(workspace), reference, form, branch)


@checked
def read_stream(
    reference: str,
    *,
    form: Literal["records", "arrow", "pandas"] = "records",
    branch: str | None = None,
    workspace: Workspace | None = None,
) -> Any:
    """Return records of a stream; in a run, they become one of its inputs.

    Args:
        reference: `NAME`, `NAME@OFFSET` (those before it), `NAME@FROM:TO`, `NAME@-100:` (the last 100).
        form: "records": values of JSON Lines, or mappings; "arrow": a table; "pandas": a frame.
        branch: Its log, or a part of that.

    Raises:
        UnknownReferenceError, OffsetError: There is no such stream, or it does not go so far.
    """
    from retrodict.actions import stream_read as action

    if form not in {"records", "arrow", "pandas"}:
        raise UsageError(f"records come as 'records', 'arrow' or 'pandas', not {form!r}")
    used = world.current(workspace)
    found = action.read(used, reference, branch=branch)
    if (run_ := world.run_under_way(used)) is not None:
        action.note_read(used, found, run_)
    return action.values(found, form)


@checked
def table(name: str, *, branch: str | None = None, workspace: Workspace | None = None) -> Table:
    """Return a table: its records at any version, the history of each, and what changes them.

    Args:
        branch: Its log, or a part of that.

    Raises:
        UnknownReferenceError: There is none; `retrodict table create` makes one.
    """
    from retrodict.api.tables import Table

    return Table(world.current(workspace, writes=True), name, branch)


@checked
def open_array(reference: str, *, path: str = "", workspace: Workspace | None = None) -> Any:
    """Return a version of a tensor as a Zarr v3 array, read-only: slices are read without a checkout, and verified.

    In a run, the version becomes one of its inputs.

    Args:
        reference: `images` (its newest version), `images@v3`; any versioned folder that is a Zarr v3 array.
        path: Of an array in a group.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        NoTensorError: It holds no array.
        MissingExtraError: zarr is not installed.
    """
    from retrodict.api.arrays import opened

    return opened(world.current(workspace), reference, path)


@checked
def new_version(
    name: str,
    *,
    ids: Sequence[str | int] | None = None,
    reason: str | None = None,
    workspace: Workspace | None = None,
) -> NewVersion:
    """Write the next version of a tensor: `with rd.new_version("images") as array: array[7] = ...`.

    Only chunks that change are stored. It is recorded when the block ends; after an error nothing is.

    Args:
        ids: For each sample, where they change: after `array.resize`, say.

    Raises:
        UnknownReferenceError: There is no such tensor.
        TensorConflictError: At the end of the block: another version changed the same chunks in between.
    """
    from retrodict.api.arrays import NewVersion

    return NewVersion(world.current(workspace, writes=True), name, ids, reason)


@checked
def write_array(
    name: str,
    values: Any,
    *,
    chunks: Sequence[int] | None = None,
    ids: Sequence[str | int] | None = None,
    personal: bool | None = None,
    reason: str | None = None,
    workspace: Workspace | None = None,
) -> TensorShown:
    """Record an array as the next version of a tensor, or as its first; only chunks that are new are stored.

    Args:
        values: A numpy array, or what numpy makes one of.
        chunks: The shape of chunks; by default as the version before it has, else at most 64 KiB.
        ids: For each sample along the first axis.
        personal: It is about people: sealed, as personal folders are. False: it is not, or no longer, for a reason that
            is given. None: as the version before it.

    Raises:
        UsageError: No such array can be, there are other ids than samples, or no reason is given.
        MissingExtraError: zarr is not installed.
    """
    from retrodict.actions import tensors as action

    used = world.current(workspace, writes=True)
    refuse_writing(used)
    done = action.write_array(used, name, values, chunks=chunks, ids=ids, personal=personal, reason=reason)
    world.publish(used)
    return done


@checked
def samples(reference: str, *, workspace: Workspace | None = None) -> Samples:
    """Return a version of a tensor as a sequence of numpy arrays, one for each sample; `.torch()` for PyTorch.

    Raises as `open_array` does.
    """
    from retrodict.api.arrays import samples as made

    return made(workspace, reference)


@checked
def load(reference: str, *, workspace: Workspace | None = None) -> Model | Predictor:
    """Return a registered model: `credit` (its newest version), `credit@v2`, `credit@champion`.

    While another model answers, the answers of this one become parts of that answer.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UnloadableModelError: It cannot be loaded here.
    """
    loader = current_loader.get()
    if loader is not None and workspace is None:
        return loader(reference)
    service = world.service(workspace)
    service.load(reference)
    return Model(service, reference)


@checked
def remote_step(
    name: str,
    url: str,
    request: Any,
    *,
    version: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = remote.TIMEOUT_S,
    method: str = "POST",
    workspace: Workspace | None = None,
) -> Any:
    """Ask a third party over HTTP, and return its answer, once both sides are on record.

    While a model answers, this is a part of its answer; by itself it is a prediction of its own. In a replay the answer
    on record is given again: a third party cannot be versioned here.

    Args:
        name: What to call it here.
        url: Its end-point; recorded without user, password, and parameters that are named like secrets.
        request: Sent as JSON; bytes and text as they are; with GET a dict becomes the query.
        version: What the third party says it is.
        headers: Sent; only their names are recorded.
        timeout_s: When to give up, in all.
        method: "POST", "GET", "PUT" or "PATCH".

    Returns:
        Of JSON what it says, of text the text, else the bytes.

    Raises:
        ThirdPartyError: No answer, or an HTTP status other than 2xx; that is on record.
        UsageError: The address or the request cannot be used.
        MissingExtraError: httpx is not installed.
    """
    asked = remote.question(name, url, request, version=version, headers=headers, timeout_s=timeout_s, method=method)
    exchange = remote.current_exchange.get()
    if exchange is None or workspace is not None:
        exchange = world.service(workspace).fetch
    return remote.ask(exchange, asked)


@checked
def record_prediction(
    *,
    system: str,
    model: str,
    inputs: Any,
    outputs: Any,
    model_version: str | None = None,
    caller: str | None = None,
    at: str | None = None,
    trace: str | None = None,
    subject: str | Sequence[str] | None = None,
    workspace: Workspace | None = None,
) -> Recorded:
    """Record an answer that another system gave, as declared.

    Args:
        system: Who gave the answer.
        model: The model's name there; without `model_version` a reference to a version in this workspace.
        inputs: What was asked, one or many rows: a frame, an array, a list of rows.
        outputs: What was answered, as many rows.
        caller: Who asked.
        at: When (RFC 3339); now unless given.
        trace: W3C trace, 32 hex digits.
        subject: Whom the rows are about (one person, or one for each): inputs and outputs are sealed then.
    """
    from retrodict.actions import record as action

    used = world.current(workspace, writes=True)
    refuse_writing(used)
    return action.record_prediction(
        used,
        system=system,
        model=model,
        inputs=inputs,
        outputs=outputs,
        model_version=model_version,
        caller=caller,
        at=at,
        trace=trace,
        subject=subject,
    )


@checked
def explain(
    reference: str,
    *,
    versus: str | None = None,
    replay: bool = False,
    sample: int | None = None,
    seed: int = 0,
    workspace: Workspace | None = None,
) -> ShownExplanation:
    """Answer the nine questions about a prediction; shows itself in a notebook.

    Args:
        reference: `41.0`, or `41` where the call has one row.
        versus: Another prediction, to set beside it.
        replay: Run the models: for the verdict, and for what must be computed.
        sample: How many other logged calls are asked again for each way to fix it; 200 unless given.
        seed: Of every sampling.
    """
    from retrodict.actions import explain as action
    from retrodict.render.explanation import displayed

    used = world.current(workspace)
    found = action.explain(
        used,
        reference,
        versus=versus,
        replay=replay,
        sample=action.SAMPLE if sample is None else sample,
        seed=seed,
        variables=world.variables(),
    )
    return displayed(found)


@checked
def search_predictions(
    where: str | None = None,
    *,
    model: str | None = None,
    version: str | None = None,
    caller: str | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: int = 1000,
    parts: bool = False,
    subject: str | None = None,
    unseal: bool = False,
    form: Literal["pandas", "arrow"] = "pandas",
    workspace: Workspace | None = None,
) -> Any:
    """Return rows of the audit trail, newest first, as a pandas frame or an Arrow table.

    The columns: reference, date, model, version, caller, status, kind, subject (a pseudonym), then
    `input.NAME` and `output.NAME`.

    Args:
        where: An SQL condition over the columns of inputs and outputs and those facts.
        model: A name, or a reference to one version.
        since: First instant that counts; `until` the first that no longer does.
        limit: At most so many rows.
        parts: List the parts of composed answers too.
        subject: Only rows about this person, with their personal values; the look is recorded.
        unseal: Open everybody's personal values; the look is recorded.

    Raises:
        UsageError: The condition is not SQL, or names a column that there is not.
    """
    from retrodict.actions import predictions as action

    if form not in {"pandas", "arrow"}:
        raise UsageError(f"predictions come as 'pandas' or 'arrow', not {form!r}")
    found = action.search(
        world.current(workspace),
        where=where,
        model=model,
        version=version,
        caller=caller,
        since=since,
        until=until,
        limit=limit,
        parts=parts,
        subject=subject,
        unseal=unseal,
    )
    facts = ("reference", "date", "model", "version", "caller", "status", "kind", "subject")
    rows = [
        {
            **{fact: getattr(row, fact) for fact in facts},
            **{f"input.{name}": value for name, value in (row.inputs or {}).items()},
            **{f"output.{name}": value for name, value in (row.outputs or {}).items()},
        }
        for row in found.rows
    ]
    columns = list(dict.fromkeys([*facts, *(name for row in rows for name in row)]))
    table = {name: [row.get(name) for row in rows] for name in columns}
    if form == "arrow":
        import pyarrow as pa  # 57 ms

        return pa.table({name: _arrow(values) for name, values in table.items()})
    try:
        import pandas as pd  # 300 ms
    except ModuleNotFoundError as error:
        raise MissingExtraError("a pandas frame", "models") from error
    return pd.DataFrame(table)


def _arrow(values: list[Any]) -> Any:
    """Return a column; as text where it holds values of several types, or of one that Arrow has not."""
    import pyarrow as pa  # 57 ms

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):  # the latter for an integer above 2^64
        return pa.array([None if value is None else str(value) for value in values])
