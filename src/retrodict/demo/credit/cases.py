"""Who of the test applicants complains, and whom that applicant points at."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

# What `choose` answers for the data and parameters that ship (a test holds it to that): the complaint comes before the
# second version exists, so the demonstration cannot ask `choose`.
DISPUTED = 703
VERSUS = 491


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """One applicant of the test split.

    Attributes:
        number: Row of the raw file, from 1, its header not counted.
        codes: The inputs that are codes, as published.
        amounts: The inputs that are whole numbers: months, DM, 1 to 4.
        repaid: What became of the credit that was in fact given.
    """

    number: int
    codes: Mapping[str, str]
    amounts: Mapping[str, int]
    repaid: bool

    @property
    def application(self) -> dict[str, str | int]:
        """What is sent to the chain."""
        return {**self.codes, **self.amounts}


class Answer(TypedDict):
    """One row of what the chain answers."""

    probability: float  # of repayment
    decision: str  # "approve" or "decline"
    credit_limit: int  # DM


def read_applicants(folder: Path) -> list[Applicant]:
    """Return the test applicants, in the order of `work/applicants.csv`, after prepare.py has run in `folder`."""
    with (folder / "work" / "prepared.csv").open(newline="") as file:
        tested = [row for row in csv.DictReader(file) if row["split"] == "test"]
    with (folder / "work" / "applicants.csv").open(newline="") as file:
        applications = list(csv.DictReader(file))
    return [
        Applicant(
            number=int(row["applicant"]),
            codes={name: value for name, value in application.items() if not value.isdecimal()},
            amounts={name: int(value) for name, value in application.items() if value.isdecimal()},
            repaid=row["repaid"] == "1",
        )
        for row, application in zip(tested, applications, strict=True)
    ]


def choose(
    applicants: Sequence[Applicant],
    first: Sequence[Answer],
    second: Sequence[Answer],
    *,
    times: float = 20,
) -> tuple[int, int]:
    """Return the numbers of the applicant with the best complaint, and of the one to compare with.

    The complaint: repaid, declined by the first version, approved by the second, and there is somebody whom the first
    version approved with at least `times` the limit. Of these, the one whose probability of repayment rose most. To
    compare with: of those somebodies, the one with the most similar application.

    Args:
        applicants: n test applicants.
        first: n answers of the chain, version 1.
        second: n answers of version 2.
        times: How many times the limit.

    Raises:
        ValueError: There is no such pair.
    """
    ranges = _ranges(applicants)
    complaints = []
    for i, applicant in enumerate(applicants):
        if not (applicant.repaid and first[i]["decision"] == "decline" and second[i]["decision"] == "approve"):
            continue
        envied = [
            (_distance(applicant, other, ranges), other.number)
            for other, answer in zip(applicants, first, strict=True)
            if answer["decision"] == "approve" and answer["credit_limit"] >= times * first[i]["credit_limit"]
        ]
        if envied:
            complaints.append((second[i]["probability"] - first[i]["probability"], applicant.number, min(envied)[1]))
    if not complaints:
        raise ValueError(f"nobody was wrongly declined beside somebody with {times:g} times the limit")
    _, disputed, versus = max(complaints)
    return disputed, versus


def _ranges(applicants: Sequence[Applicant]) -> dict[str, int]:
    """Return, for each input that is a number, how far it ranges."""
    columns = {name: [applicant.amounts[name] for applicant in applicants] for name in applicants[0].amounts}
    return {name: max(column) - min(column) for name, column in columns.items()}


def _distance(one: Applicant, other: Applicant, ranges: Mapping[str, int]) -> float:
    """Return Gower's distance, not divided by the number of inputs: 1 for another code, else the share of the range."""
    codes = sum(code != other.codes[name] for name, code in one.codes.items())
    return codes + sum(abs(amount - other.amounts[name]) / ranges[name] for name, amount in one.amounts.items())
