"""The credit case: a wrong code table, the people it declined, and the way back from one of them to the table.

Everything is real: the data, the error in the published code table and its correction (`credit/data/README.md`), the
pipeline, the HTTP server. The applicants' complaints and the bank's people are made up.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from retrodict.demo.credit.cases import DISPUTED, VERSUS, Applicant, read_applicants
from retrodict.demo.story import DemonstrationError, Story, warm_up
from retrodict.kernel.errors import MissingExtraError, UnavailableError, UsageError

if TYPE_CHECKING:
    import httpx

CASE = Path(__file__).parent / "credit"
MARKER = ".retrodict-demonstration"
DATA_OFFICE = "Dana Keller <dana.keller@bank.example>"
SCIENCE = "Sam Ortiz <sam.ortiz@bank.example>"
COMPLAINTS = "Lee Novak <lee.novak@bank.example>"
SOURCE = "https://doi.org/10.24432/C5NC77 (UCI, Statlog German Credit Data, H. Hofmann, 1994, CC BY 4.0)"
CORRECTION = "U. Groemping, South German Credit Data, Report 4/2019, Beuth University of Applied Sciences Berlin"
MODELS = ("expected-amount", "decision", "credit")


def run(folder: Path, *, keep: bool, console: Console, main: Callable[[], None]) -> Path:
    """Do the main job in `folder`; return where it was done.

    Args:
        folder: Made anew; what an earlier demonstration left there is replaced.
        keep: Leave an earlier demonstration alone, and use a new folder beside it.
        main: The command line, for the story's commands.

    Raises:
        UsageError: `folder` holds something else.
        MissingExtraError: The packages of `retrodict[demo]` are not installed.
        UnavailableError: There is no git.
        DemonstrationError: A step did not do what it shows.
    """
    if shutil.which("git") is None:
        raise UnavailableError("the demonstration needs git, and there is none", hint="Retrodict itself works without.")
    console.print("Loading the libraries that the models need ...", style="dim")
    try:
        import httpx  # noqa: F401

        warm_up()
    except ImportError as error:
        raise MissingExtraError("the demonstration", "demo") from error
    folder = _fresh(folder.absolute(), keep=keep)
    story = Story(folder, console, main)
    began = time.monotonic()
    _set_up(story)
    story.step(
        "Train: three scripts that have never heard of retrodict",
        "What they read and write, their code, parameters and libraries are found by watching them.",
    )
    _train(story, "first model")
    story.step(
        "Serve: a chain of two models, over HTTP",
        "`credit` asks `expected-amount` which credit is usual for such an applicant, and `decision` with that.",
    )
    for model in MODELS:
        story.retrodict("alias", f"{model}@champion", "v1", "--reason", "the first one", agent=SCIENCE)
    with _Server(story) as client:
        answers = _ask_everybody(story, client)
    disputed = answers[DISPUTED]["prediction"]
    _complain(story, answers)
    _explain(story, disputed, answers[VERSUS]["prediction"])
    _correct(story)
    _compare(story, disputed)
    _fix(story, disputed, answers)
    _prove(story, disputed)
    _tamper(story)
    _try_next(story, disputed, answers[VERSUS]["prediction"])
    story.say(f"\nDone in {time.monotonic() - began:.0f} s.")
    return folder


def _fresh(folder: Path, *, keep: bool) -> Path:
    if keep:
        number, base = 2, folder
        while folder.exists():
            folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise UsageError(f"{folder} is not empty", hint="Give the demonstration a folder of its own with --dir.")
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be used: {error.strerror}", hint="Give the demonstration a folder of its own with --dir."
        ) from error
    (folder / MARKER).write_text("Made by `retrodict demo credit`; replaced by the next one.\n")
    for part in ("pipeline", "chain"):
        shutil.copytree(CASE / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    (folder / ".gitignore").write_text(f"{MARKER}\n__pycache__/\ndata/\nwork/\nmodels/\nmetrics.json\n*.html\n")
    shutil.copy(CASE / "params.json", folder)
    shutil.copy(CASE / "data/german_credit.csv", folder / "data")
    shutil.copy(CASE / "data/credit_codes_1994.csv", folder / "data/credit_codes.csv")
    return folder


def _set_up(story: Story) -> None:
    story.step(
        "A bank's project, in git, with 1,000 real credits",
        "The German credit data, as thousands of papers have used it. For 25 years the published table that says what "
        "its codes mean was wrong. The bank, which is made up, does not know that yet.",
    )
    identity = ("-c", "user.name=Sam Ortiz", "-c", "user.email=sam.ortiz@bank.example")
    story.command("git", "init", "--quiet")
    story.command("git", "add", ".")
    story.command("git", *identity, "commit", "--quiet", "-m", "A credit model: prepare, featurize, train")
    story.retrodict("init", agent=DATA_OFFICE)
    story.retrodict(
        "add",
        "data/german_credit.csv",
        "--source",
        SOURCE,
        "--reason",
        "raw data for credit scoring",
        agent=DATA_OFFICE,
    )
    story.retrodict(
        "add", "data/credit_codes.csv", "--source", SOURCE, "--reason", "code table as published", agent=DATA_OFFICE
    )


def _train(story: Story, reason: str) -> None:
    for script in ("prepare", "featurize", "train"):
        story.retrodict("run", "--reason", reason, "--", "python", f"pipeline/{script}.py", agent=SCIENCE, lines=14)
    for model in MODELS:
        path = f"models/{model.replace('-', '_')}"
        story.retrodict("register", path, model, "--metrics", "metrics.json", "--reason", reason, agent=SCIENCE)


class _Server:
    """`retrodict serve` in a process of its own."""

    def __init__(self, story: Story) -> None:
        self._story = story
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]

    def __enter__(self) -> httpx.Client:
        import httpx

        story = self._story
        story.announce(f"retrodict serve credit@champion --port {self._port} &")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "retrodict", "serve", "credit@champion", "--port", str(self._port)],
            cwd=story.folder,
            env={**story.environment, "RETRODICT_AGENT": "credit service"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=30, trust_env=False)
        for _ in range(300):
            try:
                if client.get("/v2/health/ready").status_code == httpx.codes.OK:
                    return client
            except httpx.TransportError:
                time.sleep(0.1)
            if self._process.poll() is not None:
                break
        self._process.kill()
        assert self._process.stderr is not None
        raise DemonstrationError(f"the server did not start: {self._process.stderr.read().decode()[-500:]}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def _request(applicant: Applicant) -> dict[str, Any]:
    """Return an application as the Open Inference Protocol v2 sends it."""
    return {
        "inputs": [
            *(
                {"name": name, "shape": [1], "datatype": "BYTES", "data": [value]}
                for name, value in applicant.codes.items()
            ),
            *(
                {"name": name, "shape": [1], "datatype": "INT64", "data": [value]}
                for name, value in applicant.amounts.items()
            ),
        ]
    }


def _ask(client: httpx.Client, applicant: Applicant) -> dict[str, Any]:
    answer = client.post("/v2/models/credit/infer", json=_request(applicant))
    if answer.status_code != 200:
        raise DemonstrationError(f"applicant {applicant.number}: HTTP {answer.status_code} {answer.text}")
    body = answer.json()
    values = {output["name"]: output["data"][0] for output in body["outputs"]}
    return {**values, "prediction": body["parameters"]["prediction"]}


def _ask_everybody(story: Story, client: httpx.Client) -> dict[int, dict[str, Any]]:
    applicants = read_applicants(story.folder)
    with ThreadPoolExecutor(4) as pool:
        asked = pool.map(lambda a: _ask(client, a), applicants)
        answered = list(story.watch(asked, "asking", len(applicants)))
    answers = {applicant.number: answer for applicant, answer in zip(applicants, answered, strict=True)}
    declined = sum(answer["decision"] == "decline" for answer in answers.values())
    story.say(
        f"{len(answers)} applications sent over HTTP by a plain client; {declined} are declined. Every answer was on "
        "disk before it was given, with the answers of the two models that it was made of."
    )
    return answers


def _complain(story: Story, answers: dict[int, dict[str, Any]]) -> None:
    disputed, versus = answers[DISPUTED], answers[VERSUS]
    story.step(
        "An applicant disputes the answer",
        f"Declined, with a limit of {disputed['credit_limit']} DM; somebody with a similar application got "
        f"{versus['credit_limit']} DM, {versus['credit_limit'] / disputed['credit_limit']:.0f} times as much.",
    )
    story.retrodict("predictions", "--where", f"credit_limit = {disputed['credit_limit']}", agent=COMPLAINTS, lines=6)
    story.retrodict(
        "dispute",
        disputed["prediction"],
        "--reason",
        "I have repaid every credit that I ever had. Why a twentieth of the limit of others?",
        agent=COMPLAINTS,
    )


def _explain(story: Story, disputed: str, versus: str) -> None:
    story.step("One command: everything that caused the answer")
    story.retrodict("explain", disputed, agent=COMPLAINTS)
    story.step(
        "Why twenty times? Two answers side by side",
        "The figures need the models to run, so they come with --replay.",
    )
    command = ("explain", disputed, "--versus", versus, "--replay", "--sample", "100")
    story.retrodict(*command, agent=COMPLAINTS, since=f"{disputed} versus", lines=30)
    story.say(
        "Account status and housing carry most of it: two codes, and the table data/credit_codes.csv says what they "
        "mean. Somebody looks them up. Repayment rises from A11 to A14, and A14 is 'no account': those without an "
        "account pay best? The table is wrong, and a report has said so since 2019. Whom did it reach?"
    )
    story.retrodict("lineage", "dataset:data/credit_codes.csv@v1", "--down", "--limit", "3", agent=COMPLAINTS)


def _correct(story: Story) -> None:
    story.step("Correct the table: who, when, why, on whose word")
    shutil.copy(CASE / "data/credit_codes_2019.csv", story.folder / "data/credit_codes.csv")
    story.retrodict("status", agent=DATA_OFFICE)
    story.retrodict(
        "add",
        "data/credit_codes.csv",
        "--source",
        CORRECTION,
        "--reason",
        "the published meanings of 50 codes were wrong",
        agent=DATA_OFFICE,
    )
    story.step("Train again: the same three commands")
    _train(story, "corrected code table")


def _compare(story: Story, disputed: str) -> None:
    story.step("What would version 2 answer: to this applicant, and to all the others?")
    command = ("explain", disputed, "--replay", "--sample", "100", "--html", "explanation.html")
    story.retrodict(*command, agent=SCIENCE, since="9 ", lines=28)


def _fix(story: Story, disputed: str, answers: dict[int, dict[str, Any]]) -> None:
    story.step("Put version 2 in its place, and settle the complaint")
    for model in MODELS:
        story.retrodict(
            "alias", f"{model}@champion", "v2", "--reason", "corrected code table, see the report", agent=SCIENCE
        )
    _compare_all(story, answers)
    with _Server(story) as client:
        applicant = next(a for a in read_applicants(story.folder) if a.number == DISPUTED)
        answer = _ask(client, applicant)
    story.say(f"The same applicant now: {answer['decision']}, a limit of {answer['credit_limit']} DM.")
    story.retrodict(
        "dispute",
        disputed,
        "--resolve",
        "approved by the corrected model; everybody whom the table had reached was written to",
        "--fixed-by",
        "credit@v2",
        agent=COMPLAINTS,
    )
    story.retrodict("disputes", agent=COMPLAINTS)


def _compare_all(story: Story, answers: dict[int, dict[str, Any]]) -> None:
    """Ask the new version about everybody whom the first one answered."""
    asked = ("predict", "credit@champion", "--input", "work/applicants.csv", "--caller", "comparison", "--json")
    now = json.loads(story.retrodict(*asked, agent=SCIENCE, lines=0))["outputs"]
    pairs = [
        (answers[a.number]["decision"], new["decision"])
        for a, new in zip(read_applicants(story.folder), now, strict=True)
    ]
    approved, declined = pairs.count(("decline", "approve")), pairs.count(("approve", "decline"))
    story.say(
        f"Of the {len(pairs)} whom version 1 answered, {approved + declined} get another decision: {approved} who were "
        f"declined are approved, and {declined} who were approved would not have been."
    )


def _prove(story: Story, disputed: str) -> None:
    story.step("Years later: the disputed answer again, to the bit, from the record alone")
    story.retrodict("replay", disputed, agent=COMPLAINTS)


def _tamper(story: Story) -> None:
    story.step("And if somebody touches the record? One byte of stored data is altered, in a copy")
    story.retrodict("verify", agent=COMPLAINTS)
    copy = Path(tempfile.mkdtemp(prefix="retrodict-altered-"))
    shutil.copytree(story.folder / ".retrodict", copy / ".retrodict", symlinks=True)
    pack = max((copy / ".retrodict/objects").rglob("*.pack"), key=lambda path: path.stat().st_size)
    os.chmod(pack, 0o644)
    with pack.open("r+b") as file:
        middle = pack.stat().st_size // 2
        file.seek(middle)
        byte = file.read(1)
        file.seek(middle)
        file.write(bytes([byte[0] ^ 1]))
    story.list([f"(one bit at byte {middle} of {pack.relative_to(copy / '.retrodict')})"])
    story.retrodict("-C", str(copy), "verify", agent=COMPLAINTS, expect=1)
    shutil.rmtree(copy)


def _try_next(story: Story, disputed: str, versus: str) -> None:
    page = shlex.quote(str(story.folder / "explanation.html"))
    story.step("To try next", f"The page for the customer's lawyer is {page}; a browser shows it without a network.")
    beside = os.path.dirname(sys.executable)
    on_path = shutil.which("retrodict") == os.path.join(beside, "retrodict")
    story.list(
        [
            *([] if on_path else [f"export PATH={shlex.quote(beside)}:$PATH"]),
            f"cd {shlex.quote(str(story.folder))}",
            f"retrodict explain {disputed}",
            f"retrodict explain {disputed} --versus {versus} --replay --html versus.html",
            "retrodict show dataset:data/credit_codes.csv",
            "retrodict lineage credit@v1 --up",
            "retrodict predictions --where \"decision = 'decline' and credit_limit < 300\"",
            "retrodict models",
            "retrodict log",
            "retrodict verify",
        ]
    )
