"""Questions 1 to 3: is everything there, what went in, and which versions answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from retrodict import predictions
from retrodict.actions.contents import Row
from retrodict.actions.explain.reading import Reader, gap, listed, moment
from retrodict.actions.explanation import Fact, State, Table
from retrodict.actions.metrics import read_metrics
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.merkle import verify_inclusion
from retrodict.kernel.note import decode_checkpoint, verify_note
from retrodict.kernel.types import Digest, Evidence
from retrodict.kernel.words import count
from retrodict.ledger import Sequenced
from retrodict.models import records as models
from retrodict.models.records import ModelVersion
from retrodict.predictions import Call, Kept, SealedPayload
from retrodict.workspace import signed_log

if TYPE_CHECKING:
    from retrodict.replay import Replay, ReplayedCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One call, with what it is made of.

    Attributes:
        row: The row that is explained; None where a child's rows are not those of its parent.
        model: None where the version is only named, by another system.
        children: The calls that it was composed of.
    """

    call: Call
    sequenced: Sequenced
    row: int | None
    model: ModelVersion | None
    inputs: Kept
    outputs: Kept | None
    raw: Kept | None
    children: tuple[Served, ...]

    @property
    def ref(self) -> str:
        """What a person pastes."""
        return str(self.call.index) if self.row is None else f"{self.call.index}.{self.row}"

    @property
    def label(self) -> str:
        """The model, as people call it."""
        if self.is_third_party:
            return self.call.model_name
        return f"{self.call.model_name}@{self.call.model_version}" if self.model is None else self.model.label

    @property
    def is_third_party(self) -> bool:
        """Whether somebody else answered, asked over HTTP."""
        return self.call.kind == "fetched"

    def family(self) -> Iterator[Served]:
        """Yield this call and everything below it."""
        yield self
        for child in self.children:
            yield from child.family()

    def digest(self, name: str) -> Digest | None:
        """Return a digest of the entry's body."""
        found = self.sequenced.event.body.get(name)
        return None if found is None else Digest(str(found))


def served(reader: Reader, call: Call, row: int | None) -> Served:
    """Return a call with everything that it was composed of."""
    sequenced = reader.workspace.logs.event(call.index)
    inputs, outputs, raw = predictions.payloads(sequenced.event)
    children = predictions.calls(reader.database, parent=call.event)
    return Served(
        call=call,
        sequenced=sequenced,
        row=row,
        model=reader.model(call.model),
        inputs=inputs,
        outputs=outputs,
        raw=raw,
        children=tuple(served(reader, child, row if child.rows == call.rows else None) for child in children),
    )


# ---- question 1 ------------------------------------------------------------------------------------------------------


def protection(reader: Reader, sequenced: Sequenced) -> tuple[Fact, str]:
    """Return whether an entry is under a signed checkpoint, and that checkpoint as text."""
    log, index, verifiers = signed_log(reader.workspace, sequenced.index)
    note = log.ledger.checkpoint()
    if note is None:
        return gap(f"entry {sequenced.index} is under no signed checkpoint yet"), ""
    try:
        checkpoint = decode_checkpoint(note)
        if index >= checkpoint.size:
            says = f"entry {sequenced.index} is newer than the last signed checkpoint, of {checkpoint.size:,} entries"
            return gap(says), ""
        proof = log.ledger.inclusion_proof(index, checkpoint.size)
        is_included = verify_inclusion(index, checkpoint.size, sequenced.leaf_hash, proof, checkpoint.root)
        if verifiers:
            verify_note(checkpoint, verifiers)
    except RetrodictError as error:
        says = f"the proof that entry {sequenced.index} is in the log fails: {error.message}"
        return Fact(says=says, evidence="observed", state="altered", ref=str(sequenced.index)), ""
    if not is_included:
        says = f"entry {sequenced.index} is not what the signed checkpoint of {checkpoint.size:,} entries says"
        return Fact(says=says, evidence="observed", state="altered", ref=str(sequenced.index)), ""
    signed = (
        f"signature checked with the key {'in the state directory' if log.tag is None else 'that it came with'}"
        if verifiers
        else "the signature could not be checked: the key is not here"
    )
    says = (
        f"entry {sequenced.index} is proved to be in the log {checkpoint.origin}, by "
        f"{count(len(proof), 'hash', 'hashes')} up to its checkpoint of {count(checkpoint.size, 'entry', 'entries')}; "
        f"{signed}"
    )
    fact = Fact(says=says, evidence="observed", state="held", ref=str(sequenced.index))
    return fact, note.decode("utf-8", "replace")


def needed(reader: Reader, top: Served) -> tuple[Fact, ...]:
    """Return a line for everything that a replay needs."""
    facts: list[Fact] = []
    environments: dict[Digest, list[str]] = {}
    for part in top.family():
        if part.is_third_party:
            says = f"{part.label} is a third party and cannot be run again: a replay takes its answer from the record"
            alone = top.is_third_party or (top.model is not None and top.model.flavor == "remote")
            facts.append(gap(says) if alone else reader.entry_fact(says, part.sequenced, "observed"))
        elif part.model is None:
            facts.append(gap(f"{part.label} was answered by another system: its model is not held"))
        else:
            facts.append(reader.object_fact(f"the model {part.label}", part.model.content, "observed"))
        facts.append(_payload(reader, part, part.inputs, f"the inputs of {part.label}, as it saw them"))
        if part.outputs is not None:
            facts.append(_payload(reader, part, part.outputs, f"the answer of {part.label}"))
        environment = part.digest("environment")
        if environment is not None:
            environments.setdefault(environment, []).append(part.label)
        elif part.call.kind == "made":
            facts.append(gap(f"the libraries that {part.label} ran with are not on record"))
    facts += [
        reader.object_fact(f"the record of the libraries that {listed(labels)} ran with", digest, "observed")
        for digest, labels in environments.items()
    ]
    codes = {code for part in top.family() if (code := part.digest("serving_code")) is not None}
    facts += [reader.object_fact("the serving code", code, "observed") for code in sorted(codes)]
    return tuple(facts)


def _payload(reader: Reader, part: Served, kept: Kept, what: str) -> Fact:
    state: State = reader.payload_state(kept)
    if isinstance(kept, SealedPayload):
        says = f"{what}: {reader.unread(kept, None)}" if state != "held" else what
        return Fact(says=says, evidence="observed", state=state, kind=_kind(state), ref=str(part.call.index))
    return Fact(says=what, evidence="observed", state=state, ref=kept.batch[:15], digest=kept.batch)


def replayed_facts(replay: Replay) -> tuple[Fact, ...]:
    """Return what answering again has shown: where, each model's answer, and everything that is not as it was."""
    facts = []
    if replay.environment is not None:
        where = {"present": "in the present environment", "rebuilt": "in an environment rebuilt from the record"}
        times = count(replay.repetitions, "time")
        facts.append(_shown(f"answered again {times}, in an interpreter of its own, {where[replay.environment]}"))
    facts += [_replayed(call) for call in replay.calls]
    facts += [_shown(difference) for difference in replay.differences]
    lines = tuple(
        f"{d.name}: {d.recorded or 'none'} then, {d.present or 'none'} now" for d in replay.environment_differences
    )
    if lines:
        facts.append(replace(_shown("that environment differs from the one on record"), lines=lines[:20]))
    facts += [gap(f"not to be had: {item}") for item in replay.missing]
    return tuple(facts)


def _shown(says: str) -> Fact:
    return Fact(says=says, evidence="observed", state="held")


def _replayed(call: ReplayedCall) -> Fact:
    party = call.third_party
    if party is not None:
        says = f"{call.model}, a third party, answered then: {party.then}; whether it would now, nobody can tell"
        return replace(_shown(says), ref=call.reference)
    if call.status != "ok":
        return Fact(
            says=f"{call.model} {call.status}: {call.message}", evidence="observed", state="held", ref=call.reference
        )
    parts = []
    for what, found in (("input", call.inputs), ("answer", call.outputs)):
        if found is not None:
            same = "bit for bit the same" if not found.cells else f"{found.cells:,} of {found.of:,} values differ"
            parts.append(f"its {what} is {same}" if not found.cells else f"in its {what} {same}")
    says = f"{call.model}: {' and '.join(parts) or 'nothing to compare'}"
    return replace(_shown(says), ref=call.reference)


# ---- question 2 ------------------------------------------------------------------------------------------------------


def inputs(reader: Reader, top: Served) -> tuple[str, tuple[Fact, ...], tuple[Table, ...]]:
    """Return what was sent, and what each model saw and said."""
    tables: list[Table] = []
    facts: list[Fact] = []
    call = top.call
    if top.raw is not None:
        tables += _table(reader, top, top.raw, "as sent", facts)
        tables += _table(reader, top, top.inputs, f"as {top.label} saw it", facts)
    else:
        title = (
            f"as sent, and as {top.label} saw it"
            if call.kind != "declared"
            else "as the other system says it was asked"
        )
        tables += _table(reader, top, top.inputs, title, facts)
        if call.kind != "declared":
            says = "nothing was changed between what was sent and what the model saw"
            facts.append(reader.entry_fact(says, top.sequenced, "observed"))
        else:
            facts.append(gap("how the inputs reached the model is not on record: another system answered"))
    for child in top.children:
        for part in child.family():
            tables += _table(reader, part, part.inputs, f"as {part.label} saw it", facts)
            if part.outputs is not None:
                tables += _table(reader, part, part.outputs, f"what {part.label} answered", facts)
    asker = call.caller_of(top.row or 0)
    caller = f" by {reader.who(asker, top.sequenced)}" if asker else ""
    together = "alone" if call.rows == 1 else f"as row {top.row} of {call.rows:,} that were scored together"
    if len(call.parts) > 1:
        together += f", the questions of {len(call.parts)} callers"
    return f"sent {moment(call.received)}{caller}, {together}", tuple(facts), tuple(tables)


def _table(reader: Reader, part: Served, payload: Kept, title: str, facts: list[Fact]) -> list[Table]:
    state = reader.payload_state(payload, part.row)
    evidence: Evidence = "declared" if part.call.kind == "declared" else "observed"
    if part.row is None:
        facts.append(gap(f"{title}: its {part.call.rows:,} rows are not those of the call that it was part of"))
        return []
    row = reader.row(payload, part.row)
    if row is None:
        says = f"{title}: {reader.unread(payload, part.row)}"
        facts.append(Fact(says=says, evidence=evidence, state=state, kind=_kind(state), ref=part.ref))
        return []
    return [Table(title=title, columns=("name", "value"), rows=row, evidence=evidence, state=state, ref=part.ref)]


def _kind(state: State) -> Literal["fact", "gap"]:
    return "gap" if state in {"erased", "sealed"} else "fact"


def answer_of(reader: Reader, part: Served) -> Row:
    """Return what was answered for the row."""
    if part.outputs is None or part.row is None:
        return ()
    return reader.row(part.outputs, part.row) or ()


# ---- question 3 ------------------------------------------------------------------------------------------------------


def versions(reader: Reader, top: Served, *, is_part: bool = False) -> tuple[str, tuple[Fact, ...]]:
    """Return the versions that answered, as a tree, and (unless it is a part of another) the code that served them."""
    facts = [_version(reader, top), *([] if is_part else [_serving(reader, top)])]
    inside = [part.label for child in top.children for part in child.family()]
    says = f"{top.label}, asked for as {top.call.requested}"
    if inside:
        says += f", with {listed(inside)} inside"
    if _moves_since(reader, top):
        says += "; the alias has been moved since"
    return says, tuple(facts)


def _version(reader: Reader, part: Served) -> Fact:
    below = tuple(_version(reader, child) for child in part.children)
    if part.is_third_party:
        return _third_party(reader, part)
    if part.model is None:
        says = f"{part.label}, named by another system; nothing of that name is registered here"
        return gap(says, below)
    facts: list[Fact] = [reader.object_fact(f"content {part.model.content}", part.model.content, "observed")]
    registered = reader.find(part.model.event)
    if registered is not None:
        says = f"registered {reader.signed(registered)}"
        facts.append(reader.entry_fact(says, registered, "declared"))
    metrics = read_metrics(reader.workspace, part.model.metrics)
    if metrics and part.model.metrics is not None:
        said = listed([f"{name}={value}" for name, value in metrics.items()], 12)
        facts.append(reader.object_fact(f"measured, as its run wrote it: {said}", part.model.metrics, "observed"))
    facts += _alias(reader, part)
    state, rehashed = reader.state(part.model.content)
    return Fact(
        says=f"{part.label}, {part.model.flavor}, asked for as {part.call.requested}",
        evidence="observed" if part.call.kind == "made" else "declared",
        state=state,
        rehashed=rehashed,
        ref=part.label,
        digest=part.model.content,
        facts=(*facts, *below),
    )


def _third_party(reader: Reader, part: Served) -> Fact:
    """Return what is known of a third party: where it answers, what it says it is, what went there and came back."""
    body = part.sequenced.event.body
    claimed, status, headers = (body.get(name) for name in ("claimed_version", "http_status", "header_names"))
    came = "nothing came back" if status is None else f"HTTP status {status}"
    took = f"{body['method']} {body['endpoint']}: {came}, in {part.call.duration_ns / 1e6:.1f} ms"
    if isinstance(headers, list | tuple) and headers:
        took += f"; headers {listed([str(name) for name in headers])}, their values not recorded"
    facts = [reader.entry_fact(took, part.sequenced, "observed")]
    for role in ("request", "response"):
        digest = part.digest(role)
        if digest is not None:
            facts.append(reader.object_fact(f"the bytes of the {role}", digest, "observed"))
    facts.append(gap("its model, data and code are not here: whether it is still the same, nobody can tell"))
    version = "which does not say its version" if claimed is None else f"which calls itself {claimed}"
    says = f"{part.label}, a third party, {version}"
    return Fact(says=says, evidence="declared", state="held", ref=part.ref, facts=tuple(facts))


def _alias(reader: Reader, part: Served) -> Iterator[Fact]:
    name, _, alias = part.call.requested.removeprefix("model:").partition("@")
    moves = models.aliases(reader.database, name, alias) if alias else []
    before = [move for move in moves if reader.workspace.logs.precedes(move.index, part.call.index)]
    if before:
        yield _move(reader, before[-1], f"{name}@{alias} meant {{}} then, set")
    yield from _moves_since(reader, part)


def _moves_since(reader: Reader, part: Served) -> list[Fact]:
    name, _, alias = part.call.requested.removeprefix("model:").partition("@")
    moves = models.aliases(reader.database, name, alias) if alias else []
    since = [move for move in moves if reader.workspace.logs.precedes(part.call.index, move.index)]
    return [_move(reader, move, f"{name}@{alias} was moved to {{}} since,") for move in since]


def _move(reader: Reader, move: models.AliasMove, words: str) -> Fact:
    target, sequenced = reader.model(move.version_event), reader.find(move.event)
    assert sequenced is not None
    says = f"{words.format('an unknown version' if target is None else target.label)} {reader.signed(sequenced)}"
    return reader.entry_fact(says, sequenced, "declared")


def _serving(reader: Reader, top: Served) -> Fact:
    code = top.digest("serving_code")
    if code is None:
        if top.is_third_party:
            return gap("the code that served the answer is the third party's, and not on record")
        if top.call.kind == "declared":
            return gap("the code that served the answer is that of another system, and not on record")
        return Fact(
            says="no code of its own ran beside the models: they were served by retrodict alone",
            evidence="observed",
            state="held",
            ref=str(top.call.index),
        )
    files = [path for path, _ in reader.files(code)]
    return reader.object_fact(f"served by code of {count(len(files), 'file')}: {listed(files)}", code, "observed")


def by_name(top: Served) -> Mapping[str, Served]:
    """Return the calls of a family by the name of their model, the outermost of each name."""
    found: dict[str, Served] = {}
    for part in top.family():
        found.setdefault(part.call.model_name, part)
    return found
