"""Question 5: what code trained a model, how, with which libraries, and has feature extraction changed since."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from retrodict import environments, runs
from retrodict.actions.explain.reading import Reader, count, gap, listed
from retrodict.actions.explain.upstream import Upstream, path_of
from retrodict.actions.explanation import Fact
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Digest
from retrodict.ledger import Sequenced
from retrodict.models.records import ModelVersion
from retrodict.runs import Run

_SHOWN_DIFF: Final = 60
_COMPARED_BYTES: Final = 512 * 1024
_SHOWN_LIBRARIES: Final = 12
# What packaging a model writes beside its code: no counterpart in training is to be expected.
_PACKAGING: Final = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCode:
    """Whether what computes features now is what did so in training: "same", "changed" or "cannot tell"."""

    verdict: str
    fact: Fact


def trained_by(
    reader: Reader, up: Upstream, model: ModelVersion, serving_code: Digest | None, now: Mapping[str, object] | None
) -> tuple[str, tuple[Fact, ...], FeatureCode]:
    """Return the code, commands, parameters and libraries behind a model, and how its features are computed now.

    Args:
        reader: Of the workspace.
        up: What is behind the model.
        model: The model.
        serving_code: The tree of the code that ran beside the models when the answer was given.
        now: The present environment; None: the libraries are not compared.
    """
    features = _features(reader, up, model, serving_code)
    if not up.trained_by:
        return (
            "unknown: no run on record made this model",
            (
                gap("no run on record made this model, so the code that trained it is not known"),
                features.fact,
            ),
            features,
        )
    facts = [_run(reader, run, sequenced) for run, sequenced in up.runs]
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


def _run(reader: Reader, run: Run, sequenced: Sequenced) -> Fact:
    facts: list[Fact] = [_code(reader, run)]
    facts += _parameters(reader, run, sequenced)
    failed = "" if run.exit_code == 0 else f", which ended with exit code {run.exit_code}"
    says = f"run {run.name}: {runs.command_line(run.argv)}{failed}; {reader.signed(sequenced)}"
    return reader.entry_fact(says, sequenced, "observed", facts=tuple(facts))


def _code(reader: Reader, run: Run) -> Fact:
    if run.code is None:
        return gap("its code is not on record")
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
    files = [path for path, _ in reader.files(run.code)]
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
    if run.environment is None:
        return gap("the libraries of the training run are not on record")
    return library_fact(reader, run.environment, now, f"the libraries of run {run.name} (entry {sequenced.index})")


def library_fact(reader: Reader, environment: Digest, now: Mapping[str, object] | None, of: str) -> Fact:
    """Return which libraries of a recorded environment differ from the present one."""
    recorded = reader.json(environment)
    if not recorded:
        return reader.object_fact(f"{of} cannot be read", environment, "observed")
    if now is None:
        return reader.object_fact(f"{of} are on record", environment, "observed")
    found = environments.compare(recorded, now)
    if not found:
        return reader.object_fact(f"{of} are those of now", environment, "observed")
    lines = [str(difference) for difference in found]
    rest = len(lines) - _SHOWN_LIBRARIES
    shown = tuple(lines) if rest <= 0 else (*lines[:_SHOWN_LIBRARIES], f"... and {rest} more")
    return reader.object_fact(
        f"{of} differ from now in {count(len(found), 'place')}", environment, "observed", lines=shown
    )


# ---- feature extraction ----------------------------------------------------------------------------------------------


def _features(reader: Reader, up: Upstream, model: ModelVersion, serving_code: Digest | None) -> FeatureCode:
    """Compare, by file name, what the model carries (and what ran beside it) with what its runs read."""
    trained: dict[str, dict[Digest, str]] = {}
    for run, sequenced in up.runs:
        for path, digest in reader.files(run.code):
            trained.setdefault(os.path.basename(path), {})[digest] = f"{path} of run {run.name} ({sequenced.index})"
        for edge in reader.edges(sequenced):
            if edge.role in {"input", "params", "code-input"} and edge.ref.startswith("b3-"):
                path = path_of(reader, edge)
                entry = f"{path} of run {run.name} ({sequenced.index})"
                trained.setdefault(os.path.basename(path), {}).setdefault(Digest(edge.ref), entry)
    made = {str(edge.ref) for _, sequenced in up.runs for edge in reader.edges(sequenced, "makes")}
    facts: list[Fact] = []
    verdicts: list[str] = []
    for place, tree in (("the model's folder", model.content), ("the serving code", serving_code)):
        for path, digest in reader.files(tree):
            name = os.path.basename(path)
            if name in _PACKAGING or (digest in made and name not in trained):
                continue
            if not name.endswith(".py") and name not in trained:
                continue
            verdict, fact = _counterpart(reader, f"{path} in {place}", digest, trained.get(name, {}))
            verdicts.append(verdict)
            facts.append(fact)
    code = [fact for fact in facts if fact.kind != "gap"]
    if "changed" in verdicts:
        says, verdict = "feature extraction has changed since the model was trained", "changed"
    elif code:
        says, verdict = "feature extraction has not changed since the model was trained", "same"
    else:
        says, verdict = (
            "whether feature extraction has changed since the model was trained cannot be told",
            "cannot tell",
        )
        facts.append(
            gap("the model carries no code or table that its runs read too: it takes the features as they come")
        )
    facts += _in_the_project(reader, up)
    state = next((s for s in ("altered", "missing") if any(f.state == s and f.kind != "gap" for f in facts)), "held")
    if verdict == "cannot tell":
        return FeatureCode(verdict=verdict, fact=gap(says, tuple(facts)))
    return FeatureCode(
        verdict=verdict,
        fact=Fact(says=says, evidence="inferred", state=state, facts=tuple(facts)),  # type: ignore[arg-type]
    )


def _counterpart(reader: Reader, what: str, digest: Digest, trained: Mapping[Digest, str]) -> tuple[str, Fact]:
    if digest in trained:
        return "same", reader.object_fact(f"{what} is, to the byte, {trained[digest]}", digest, "observed")
    if not trained:
        return "alone", gap(f"{what} has no counterpart in the code that trained the model")
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
    root, changed, gone, same = reader.workspace.root, [], [], 0
    for run, _ in up.runs:
        for path, digest in reader.files(run.code):
            file = root / path
            try:
                if not file.is_file():
                    gone.append(path)
                elif reader.workspace.objects.hash_file(file) == digest:
                    same += 1
                else:
                    changed.append(path)
            except (OSError, RetrodictError):
                gone.append(path)
    if not (changed or gone):
        return (
            [Fact(says="in the project folder that code is unchanged", evidence="observed", state="held")]
            if same
            else []
        )
    said = [f"changed: {listed(sorted(set(changed)))}"] if changed else []
    said += [f"not there any more: {listed(sorted(set(gone)))}"] if gone else []
    return [
        Fact(
            says=f"in the project folder, the code that trained the model is now partly {' and '.join(said)}",
            evidence="observed",
            state="held",
        )
    ]


def _cut(lines: list[str]) -> tuple[str, ...]:
    rest = len(lines) - _SHOWN_DIFF
    return tuple(lines) if rest <= 0 else (*lines[:_SHOWN_DIFF], f"... and {count(rest, 'line')} more")
