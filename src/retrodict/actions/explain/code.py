"""Question 5: what code trained a model, how, with which libraries, and has feature extraction changed since."""

from __future__ import annotations

import difflib
import itertools
import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from retrodict import runs
from retrodict.actions.explain.reading import Reader, gap, listed, worst
from retrodict.actions.explain.upstream import Upstream, path_of
from retrodict.actions.explanation import Fact
from retrodict.environments.difference import by_name, compare, normalised
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Digest
from retrodict.kernel.words import count
from retrodict.ledger import Sequenced
from retrodict.models.records import ModelVersion
from retrodict.runs import Run

_SHOWN_DIFF: Final = 60
_COMPARED_BYTES: Final = 512 * 1024
_SHOWN_LIBRARIES: Final = 12
_MOST_FILES: Final = 5_000
_DISTRIBUTION: Final = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)\.dist-info\Z")
# What packaging a model writes beside its code: no counterpart in training is to be expected.
_PACKAGING: Final = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCode:
    """Whether what computes features now is what did so in training: "same", "changed" or "cannot tell"."""

    verdict: str
    fact: Fact


def trained_by(
    reader: Reader,
    up: Upstream,
    model: ModelVersion,
    serving_code: Digest | None,
    now: Mapping[str, object] | None,
    within: str | None,
) -> tuple[str, tuple[Fact, ...], FeatureCode]:
    """Return the code, commands, parameters and libraries behind a model, and how its features are computed now.

    Args:
        reader: Of the workspace.
        up: What is behind the model.
        model: The model.
        serving_code: The tree of the code that ran beside the models when the answer was given.
        now: The present environment; None: a quick look at what is installed.
        within: The composed model that it was asked by, where one did.
    """
    features = feature_code(reader, up, model, serving_code, within)
    if not up.trained_by:
        return (
            "unknown: no run on record made this model",
            (
                gap("no run on record made this model, so the code that trained it is not known"),
                features.fact,
            ),
            features,
        )
    facts = []
    told: dict[Digest, str] = {}
    for run, sequenced in up.runs:
        facts.append(_run(reader, run, sequenced, told))
        if run.code is not None:
            told.setdefault(run.code, f"run {run.name} ({sequenced.index})")
    libraries = _libraries(reader, up, now)
    facts += [features.fact, libraries]
    commits = sorted({_commit(reader, run)[0] for run, _ in up.runs} - {""})
    says = [listed([f"commit {c[:10]}" for c in commits]) if commits else "code kept as files, without a git commit"]
    if any(_commit(reader, run)[1] for run, _ in up.runs):
        says[0] += " with uncommitted changes"
    says.append(f"command {runs.command_line(up.trained_by[0][0].argv)}")
    says.append(
        {
            "same": "feature extraction has not changed since training",
            "changed": "FEATURE EXTRACTION HAS CHANGED since training",
        }.get(features.verdict, "whether feature extraction has changed since cannot be told")
    )
    return "; ".join(says), tuple(facts), features


def _commit(reader: Reader, run: Run) -> tuple[str, bool]:
    facts = reader.json(run.code_facts)
    return str(facts.get("commit") or ""), bool(facts.get("diff"))


def _run(reader: Reader, run: Run, sequenced: Sequenced, told: Mapping[Digest, str]) -> Fact:
    facts: list[Fact] = [_code(reader, run, told)]
    facts += _parameters(reader, run, sequenced)
    failed = "" if run.exit_code == 0 else f", which ended with exit code {run.exit_code}"
    says = f"run {run.name}: {runs.command_line(run.argv)}{failed}; run {reader.signed(sequenced)}"
    return reader.entry_fact(says, sequenced, "observed", facts=tuple(facts))


def _code(reader: Reader, run: Run, told: Mapping[Digest, str]) -> Fact:
    if run.code is None:
        return gap("its code is not on record")
    if run.code in told:
        return reader.object_fact(f"the same code as {told[run.code]}", run.code, "observed")
    known = reader.json(run.code_facts)
    commit, branch, remote = (known.get(key) for key in ("commit", "branch", "remote"))
    said = f"code at commit {str(commit)[:12]}" if commit else "code, kept as files: it was under no git commit"
    if branch:
        said += f" of {branch}"
    if remote:
        said += f" ({remote})"
    diff = known.get("diff")
    text = reader.blob(Digest(str(diff)), _COMPARED_BYTES) if diff else None
    lines: tuple[str, ...] = ()
    if diff:
        said += ", with uncommitted changes"
        lines = (
            ("(the changes are not held, or large)",)
            if text is None
            else _cut(text.decode("utf-8", "replace").splitlines())
        )
    elif commit:
        said += ", nothing uncommitted"
    files = [path for path, _ in itertools.islice(reader.files(run.code), _MOST_FILES)]
    return reader.object_fact(
        f"{said}; {count(len(files), 'file')}: {listed(files)}", run.code, "observed", lines=lines
    )


def _parameters(reader: Reader, run: Run, sequenced: Sequenced) -> list[Fact]:
    facts = []
    if run.params:
        said = listed([f"{key}={value}" for key, value in run.params.items()], 40)
        facts.append(reader.entry_fact(f"hyperparameters, as given: {said}", sequenced, "declared"))
    for edge in reader.edges(sequenced):
        if edge.role == "params":
            digest = Digest(edge.ref)
            said = _flat(reader.blob(digest, _COMPARED_BYTES))
            facts.append(
                reader.object_fact(f"hyperparameters read from {path_of(reader, edge)}{said}", digest, "observed")
            )
    return facts or [
        gap("no hyperparameters were given or read from a file that is named so; they may stand in the code")
    ]


def _flat(data: bytes | None) -> str:
    try:
        value = json.loads(data) if data is not None else None
    except ValueError:
        return ""
    if not isinstance(value, dict):
        return ""
    return ": " + listed([f"{key}={json.dumps(item)}" for key, item in value.items()], 40)


# ---- libraries -------------------------------------------------------------------------------------------------------


def _libraries(reader: Reader, up: Upstream, now: Mapping[str, object] | None) -> Fact:
    run, sequenced = up.trained_by[0]
    of = f"the libraries of run {run.name} ({sequenced.index})"
    recorded = {} if run.environment is None else reader.json(run.environment)
    if run.environment is None or not recorded:
        return gap(f"{of} are not on record here")
    with_python = f"Python {recorded.get('python', '?')} and {count(len(by_name(recorded)), 'distribution')}"
    if now is None:
        # Variables and processor are left to a snapshot, which takes another interpreter to make.
        now, recorded = installed(), {key: recorded[key] for key in ("python", "distributions") if key in recorded}
    found = compare(recorded, now)
    if not found:
        return reader.object_fact(
            f"{of}, {with_python}, are those of the Python that explains this", run.environment, "observed"
        )
    lines = [f"{item.name}: {item.recorded or 'none'} then, {item.present or 'none'} now" for item in found]
    rest = len(lines) - _SHOWN_LIBRARIES
    shown = tuple(lines) if rest <= 0 else (*lines[:_SHOWN_LIBRARIES], f"... and {rest} more")
    says = f"{of}, {with_python}, differ from those of the Python that explains this in {count(len(found), 'place')}"
    return reader.object_fact(says, run.environment, "observed", lines=shown)


def installed() -> dict[str, object]:
    """Return version of Python and distributions of this interpreter, from the names of their folders."""
    found: dict[str, dict[str, object]] = {}
    for folder in sys.path:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            match = _DISTRIBUTION.match(name)
            if match is None or normalised(match["name"]) in found:
                continue
            origin = _origin(os.path.join(folder, name, "direct_url.json"))
            found[normalised(match["name"])] = {
                "name": match["name"],
                "version": match["version"],
                "direct_url": origin,
                "editable": bool(origin.get("dir_info", {}).get("editable")),
            }
    return {"python": platform.python_version(), "distributions": list(found.values())}


def _origin(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


# ---- feature extraction ----------------------------------------------------------------------------------------------


def feature_code(
    reader: Reader, up: Upstream, model: ModelVersion, serving_code: Digest | None, within: str | None
) -> FeatureCode:
    """Compare, by file name, what the model carries (and what ran beside it) with what its runs read.

    Args: as for `trained_by`.
    """
    trained = _read_in_training(reader, up)
    facts: list[Fact] = []
    verdicts: list[str] = []
    for place, tree in (("the model's folder", model.content), ("the serving code", serving_code)):
        alone = []
        for path, digest in reader.files(tree):
            name = os.path.basename(path)
            if name in trained and name not in _PACKAGING:
                verdict, fact = _counterpart(reader, f"{path} in {place}", digest, trained[name])
                verdicts.append(verdict)
                facts.append(fact)
            elif name.endswith(".py"):
                alone.append(path)
        if alone:
            facts.append(
                gap(f"{listed(alone)} in {place}: no file of that name trained the model, so nothing to compare")
            )
    if "changed" in verdicts:
        says, verdict = "feature extraction has changed since the model was trained", "changed"
    elif verdicts:
        says, verdict = "feature extraction has not changed since the model was trained", "same"
    elif within is not None:
        says, verdict = f"it carries no code: its features were computed by {within}, see there", "same"
    else:
        says, verdict = (
            "whether feature extraction has changed since the model was trained cannot be told",
            "cannot tell",
        )
        facts.append(
            gap("the model carries no code or table that its runs read too: it takes the features as they come")
        )
    if within is None:
        facts += _in_the_project(reader, up)
    if verdict == "cannot tell":
        return FeatureCode(verdict=verdict, fact=gap(says, tuple(facts)))
    return FeatureCode(
        verdict=verdict, fact=Fact(says=says, evidence="inferred", state=worst(facts), facts=tuple(facts))
    )


def _read_in_training(reader: Reader, up: Upstream) -> dict[str, dict[Digest, str]]:
    """Return what the runs behind a model read: by file name, each content and where it was read."""
    found: dict[str, dict[Digest, str]] = {}
    for run, sequenced in up.runs:
        read = [
            (path_of(reader, edge), Digest(edge.ref))
            for edge in reader.edges(sequenced)
            if edge.role in {"input", "params", "code-input"} and edge.ref.startswith("b3-")
        ]
        for path, digest in (*read, *itertools.islice(reader.files(run.code), _MOST_FILES)):
            where = f"{path} of run {run.name} ({sequenced.index})"
            found.setdefault(os.path.basename(path), {}).setdefault(digest, where)
    return found


def _counterpart(reader: Reader, what: str, digest: Digest, trained: Mapping[Digest, str]) -> tuple[str, Fact]:
    if digest in trained:
        return "same", reader.object_fact(f"{what} is, to the byte, {trained[digest]}", digest, "observed")
    other, entry = next(iter(trained.items()))
    lines = _unified(reader, other, digest, entry, what)
    return "changed", reader.object_fact(f"{what} differs from {entry}", digest, "observed", lines=lines)


def _unified(reader: Reader, old: Digest, new: Digest, old_name: str, new_name: str) -> tuple[str, ...]:
    before, after = reader.blob(old, _COMPARED_BYTES), reader.blob(new, _COMPARED_BYTES)
    if before is None or after is None:
        return ("(one of the two is not held, or large)",)
    try:
        texts = before.decode().splitlines(), after.decode().splitlines()
    except UnicodeDecodeError:
        return ("(the bytes differ; they are no text)",)
    return _cut(list(difflib.unified_diff(*texts, old_name, new_name, lineterm="", n=1)))


def _in_the_project(reader: Reader, up: Upstream) -> list[Fact]:
    """Compare the code that trained the model with what lies in the project folder now."""
    changed: set[str] = set()
    gone: set[str] = set()
    same: set[str] = set()
    for _, sequenced in up.runs:
        for edge in reader.edges(sequenced):
            if edge.role != "code-input" or edge.path is None:
                continue
            file = reader.workspace.root / edge.path
            try:
                present = reader.workspace.objects.hash_file(file) if file.is_file() else None
            except (OSError, RetrodictError):
                present = None
            (gone if present is None else same if str(edge.ref) == present else changed).add(edge.path)
    said = [
        f"{word}: {listed(sorted(paths))}"
        for word, paths in (("changed", changed), ("not there any more", gone), ("unchanged", same))
        if paths
    ]
    if not said:
        return []
    says = f"in the project folder now, of the code that trained the model: {'; '.join(said)}"
    return [Fact(says=says, evidence="observed", state="held")]


def _cut(lines: list[str]) -> tuple[str, ...]:
    rest = len(lines) - _SHOWN_DIFF
    return tuple(lines) if rest <= 0 else (*lines[:_SHOWN_DIFF], f"... and {count(rest, 'line')} more")
