"""`register`: make a version of a model from what a run left behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrodict import exposure, models, provenance
from retrodict.actions.metrics import flattened
from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.places import workspace_path
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.models import records
from retrodict.models.records import Personal
from retrodict.models.remote import Address as Address  # for the doors
from retrodict.models.remote import public_address
from retrodict.objects.errors import ChangedFileError
from retrodict.workspace import Batch, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A new version.

    Attributes:
        reference: `NAME@vN`.
        run: The `run.finished` event that made the artifact, None where none is on record; `run_entry` its entry.
        personal: Whom its questions are about; None where they are about nobody.
        is_new: False where the newest version has the same bytes: nothing was recorded then.
    """

    reference: str
    name: str
    version: int
    event: EventId
    index: int
    content: Digest
    flavor: str
    signature: Mapping[str, object] | None
    run: EventId | None
    run_entry: int | None
    metrics: Digest | None
    personal: Personal | None
    is_new: bool


def register(
    workspace: Workspace,
    path: str,
    name: str,
    *,
    reason: str | None = None,
    metrics: Path | None = None,
    example: Path | None = None,
    method: str = "predict",
    row_wise: bool | None = None,
    threads: int | None = None,
    remote: Address | None = None,
    subject: str | None = None,
    personal: Sequence[str] | None = None,
    is_personal: bool = True,
) -> Registered:
    """Register what lies at `path` as the next version of `name`.

    Args:
        path: A pickled model, a file of XGBoost, LightGBM, ONNX or PyTorch, a folder with an `MLmodel` file, or
            `FILE.py` or `FILE.py:CALLABLE`.
        metrics: A JSON file that says how good it is; its bytes are kept as they are.
        example: A CSV, JSON or Parquet file with an input; the signature is taken from it.
        method: For a pickled estimator: which of its methods answers.
        row_wise: Whether a row's answer depends on that row alone, so that a server may score the rows of several
            callers together; None: as the model's kind has it (scikit-learn's own estimators are, others are not).
        threads: How many threads compute an answer of XGBoost, LightGBM, ONNX or PyTorch; None: 1.
        remote: A third party that answers in place of a file; `path` is its address then.
        subject: The field of a question that says whom each row is about; values are sealed per person then. Taken
            over from the newest version unless given.
        personal: The input columns that are personal, beside `subject`; None: all. Outputs always are.
        is_personal: False: questions of this version are about nobody, whatever earlier versions said.

    Raises:
        UsageError: The path, the metrics or the example does not exist; the metrics say nothing.
        UnloadableModelError: It cannot be read as a model.
        ChangedFileError: A file of it changed meanwhile.
        PersonalFileError: A file that would be kept is personal, or was made by a run that had read personal values.
        ExposedError: This run has read personal values, and the address of a third party may tell of them.
    """
    records.check_name(name, "model")
    declared = _personal(workspace, name, subject, personal, is_personal)
    if metrics is not None and not metrics.is_file():
        raise UsageError(f"there is no metrics file {metrics}")
    if metrics is not None and not flattened(metrics.read_bytes()):
        raise UsageError(
            f"{metrics} says no metrics: it is not a JSON object of names and figures",
            hint='Write them as {"accuracy": 0.93}.',
        )
    if example is not None and not example.is_file():
        raise UsageError(f"there is no example {example}")
    file, _, attribute = path.partition(":")
    source = Path(file)
    if remote is None and path.startswith(("http://", "https://")):
        raise UsageError(f"{public_address(path)} is an address", hint="--remote registers the third party behind it.")
    if remote is None and not source.exists():
        raise UsageError(f"there is no {file}", hint="Give the model's file or folder.")
    files = PersonalFiles(workspace)
    for given in (source, metrics, None if declared is not None else example):
        if given is not None:
            files.refuse(given)
    if remote is not None:
        exposure.refuse(workspace, f"where {name} answers")
    elif files.is_any:
        for taken in models.sources(source):
            files.refuse(taken)
    artifacts = [source] if source.is_file() else []
    if remote is None and not artifacts:
        artifacts = sorted(p for p in source.rglob("*") if _is_content(p))
    then = {artifact: workspace.objects.hash_file(artifact) for artifact in artifacts}
    batch = Batch(workspace)
    folder = Path(tempfile.mkdtemp(prefix="register-", dir=workspace.folder))
    try:
        if remote is not None:
            packaged = models.package_remote(
                folder / "model",
                name,
                remote,
                example=example,
                subject=None if declared is None else declared.subject,
            )
        else:
            packaged = models.package(
                source,
                folder / "model",
                attribute=attribute or None,
                example=example,
                method=method,
                row_wise=row_wise,
                threads=threads,
                subject=None if declared is None else declared.subject,
            )
        stored = workspace.objects.add(folder / "model")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    database = workspace.views.database()
    edges: list[Edge] = []
    for artifact in artifacts:
        relative = workspace_path(workspace, artifact)
        digest = workspace.objects.put_file(artifact)
        if digest != then[artifact]:  # what was packaged may be neither
            raise ChangedFileError(str(artifact))
        maker = provenance.maker(database, Ref(digest), relative)
        edges.append(Edge(ref=Ref(digest), role="artifact", evidence="observed", path=relative, made_by=maker))
    run = next((_run(workspace, edge.made_by) for edge in edges if edge.made_by is not None), None)
    heads = [version for version in records.versions(database, name) if version.is_current]
    metrics_digest = None
    if metrics is not None:
        metrics_digest = workspace.objects.put_file(metrics)
        relative = workspace_path(workspace, metrics)
        maker = provenance.maker(database, Ref(metrics_digest), relative)
        edges.append(Edge(ref=Ref(metrics_digest), role="metrics", evidence="declared", path=relative, made_by=maker))
    same = [v for v in heads if (v.content, v.metrics, v.personal) == (stored.digest, metrics_digest, declared)]
    if len(heads) == 1 and same:
        known = heads[0]
        return Registered(
            reference=known.label,
            name=name,
            version=known.version,
            event=known.event,
            index=known.index,
            content=known.content,
            flavor=known.flavor,
            signature=known.signature,
            run=known.run,
            run_entry=_entry(workspace, known.run),
            metrics=known.metrics,
            personal=known.personal,
            is_new=False,
        )
    version = max((v.version for v in records.versions(database, name)), default=0) + 1
    event = batch.event(
        "model.registered",
        uses=edges,
        makes=(Edge(ref=Ref(stored.digest), role="model", evidence="observed"),),
        body=records.registered_body(
            name=name,
            version=version,
            content=stored.digest,
            flavor=packaged.flavor,
            signature=packaged.signature,
            metrics=metrics_digest,
            metrics_path=None if metrics is None else workspace_path(workspace, metrics),
            run=run,
            personal=declared,
        ),
        reason=reason,
        replaces=[head.event for head in heads],
    )
    index = batch.append()[-1].index
    return Registered(
        reference=f"{name}@v{version}",
        name=name,
        version=version,
        event=event.id,
        index=index,
        content=stored.digest,
        flavor=packaged.flavor,
        signature=packaged.signature,
        run=run,
        run_entry=_entry(workspace, run),
        metrics=metrics_digest,
        personal=declared,
        is_new=True,
    )


def _personal(
    workspace: Workspace, name: str, subject: str | None, columns: Sequence[str] | None, is_personal: bool
) -> Personal | None:
    """Return what the new version says of people: what was given, else what the newest version says."""
    if subject is not None:
        if not is_personal:
            raise UsageError("--subject and --not-personal contradict each other")
        return Personal(subject=subject, columns=tuple(columns) if columns else None)
    if columns:
        raise UsageError("--personal names columns, and nothing says whom they are about", hint="Add --subject FIELD.")
    current = [v for v in records.versions(workspace.views.database(), name) if v.is_current]
    return current[-1].personal if current and is_personal else None


def _run(workspace: Workspace, maker: EventId) -> EventId:
    """Return the run behind bytes that were declared clean: that event leads to what it had sealed."""
    event = workspace.logs.find(maker)
    for edge in () if event is None else event.event.uses:
        if isinstance(edge, Edge) and edge.role == "sealed-as":
            made = [item.path for item in event.event.makes if isinstance(item, Edge)] if event is not None else []
            found = [provenance.maker(workspace.views.database(), edge.ref, path) for path in made]
            return next((run for run in found if run is not None), maker)
    return maker


def _entry(workspace: Workspace, event: EventId | None) -> int | None:
    found = None if event is None else workspace.logs.find(event)
    return None if found is None else found.index


def _is_content(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
