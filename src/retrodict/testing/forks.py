"""Processes that are forked, thousands of them: what they import is imported once, before."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress


def forked(work: Callable[[], int]) -> tuple[int, bytes]:
    """Do `work` in a process of its own, its standard output a pipe; return its exit code and what it wrote."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            os.dup2(writer, 1)
            code = work()
        except BaseException:
            os.write(1, b"#" + traceback.format_exc().encode().replace(b"\n", b"\n#") + b"\n")
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), told


def rehearse(work: Callable[[], object]) -> None:
    """Do `work` in a process of its own, and import here what it imported: nothing here has a store open."""

    def rehearsal() -> int:
        work()
        os.write(1, json.dumps(list(sys.modules)).encode())
        return 0

    code, told = forked(rehearsal)
    if code:
        raise RuntimeError(told.decode(errors="replace"))
    for module in json.loads(told.splitlines()[-1]):
        with suppress(ImportError):  # some are made at run time
            importlib.import_module(module)
    gc.freeze()  # a child that collects would copy every page of it
