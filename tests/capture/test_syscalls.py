"""The filter, interpreted in Python: every number of every architecture gets the answer that the tables say."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrodict.capture.syscalls import ALLOW, CALLS, NO_SYSCALL, NOTIFY, TABLES, calls, filter_program


def answer(program: list[tuple[int, int, int, int]], architecture: int, number: int, flags: int = 0) -> int:
    at, loaded = 0, 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        match code:
            case 0x20:
                loaded = {0: number, 4: architecture, 32: flags}[operand]
            case 0x54:
                loaded &= operand
            case 0x15:
                at += if_true if loaded == operand else if_false
            case 0x35:
                at += if_true if loaded >= operand else if_false
            case 0x06:
                return operand


@pytest.mark.parametrize("machine", sorted(TABLES))
def test_watched_calls_are_sent_and_no_others(machine: str) -> None:
    program = filter_program(machine)
    assert len(program) < 4096
    assert all(0 <= jump < 256 for _, a, b, _ in program for jump in (a, b))
    for architecture, table in TABLES[machine].items():
        for number in range(600):
            expected = NOTIFY if number in table.values() else NO_SYSCALL if 425 <= number <= 427 else ALLOW
            assert answer(program, architecture, number) == expected, (machine, number)
        assert answer(program, architecture, (1 << 30) + 2) == NO_SYSCALL


@pytest.mark.parametrize(("machine", "folder"), [("x86_64", 0o200000), ("aarch64", 0o40000)])
def test_only_an_open_that_can_make_and_read_no_file_passes(machine: str, folder: int) -> None:
    program = filter_program(machine)
    for architecture, table in TABLES[machine].items():
        for name, number in table.items():
            expected = ALLOW if name == "openat" else NOTIFY
            assert answer(program, architecture, number, folder | os.O_CLOEXEC | os.O_NONBLOCK) == expected
        for flags in (0, os.O_CLOEXEC, folder | os.O_RDWR, folder | os.O_CREAT, folder | 0o20000000 | os.O_WRONLY):
            assert answer(program, architecture, table["openat"], flags) == NOTIFY


@given(architecture=st.integers(0, 2**32 - 1), number=st.integers(0, 2**32 - 1))
def test_unknown_architectures_pass(architecture: int, number: int) -> None:
    for machine, tables in TABLES.items():
        if architecture not in tables:
            assert answer(filter_program(machine), architecture, number) == ALLOW


@pytest.mark.parametrize("machine", sorted(TABLES))
def test_every_watched_call_says_where_its_arguments_stand(machine: str) -> None:
    for call in calls(machine).values():
        assert call.operation in "otmlsdrnxcN"
        if call.operation not in "Nct":
            assert call.path >= 0
        if call.operation in "ml":
            assert call.path2 > call.path


def test_this_machine_is_known() -> None:
    assert CALLS, "no table for this machine"
