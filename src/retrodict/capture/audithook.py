"""The last resort: a Python audit hook in the command's own interpreters.

It sees what Python's own functions open, not what compiled code opens (every Parquet, Arrow, polars, DuckDB and Lance
access), nor other programs, nor interpreters started with -I or -E. Hence the grade "in-process".
A folder with a `sitecustomize.py` goes first on PYTHONPATH; it installs the hook and then runs the site's own
`sitecustomize`, if there is one.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from retrodict.capture import records as r
from retrodict.capture.running import Recording, Setting, run_child
from retrodict.capture.spool import parse

_VARIABLE = "RETRODICT_CAPTURE_SPOOL"
_HOOK = """\
def _install():
    import importlib.machinery, importlib.util, marshal, os, sys, time

    here = os.path.dirname(os.path.abspath(__file__))
    spool = os.open(os.environ["RETRODICT_CAPTURE_SPOOL"], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    lstat, realpath, fsencode, write = os.lstat, os.path.realpath, os.fsencode, os.write
    dumps, now, getpid, fspath, dirname, join, basename = (
        marshal.dumps, time.time_ns, os.getpid, os.fspath, os.path.dirname, os.path.join, os.path.basename)
    known, busy = set(), [False]
    watched = {
        "open", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate", "sqlite3.connect",
        "socket.connect", "subprocess.Popen", "os.exec", "os.posix_spawn",
    }

    def status(path):
        try:
            s = lstat(path)
        except (OSError, ValueError):
            return None
        return (s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_mode, s.st_nlink)

    def put_out(record):
        data = dumps(record)
        write(spool, len(data).to_bytes(4, sys.byteorder) + data)

    def put(*record):
        pid = getpid()
        if pid not in known:
            known.add(pid)
            put_out(("P", now(), pid, pid, os.getppid()))
        put_out((record[0], now(), pid, *record[1:]))

    def place(path, base=None, follow=False):
        path = fsencode(fspath(path))
        if isinstance(base, int) and base >= 0:
            path = join(os.readlink(b"/proc/self/fd/%d" % base), path)
        if follow:
            return realpath(path)
        return join(realpath(dirname(path) or b"."), basename(path))

    def hook(event, args):
        if busy[0] or event not in watched:
            return
        busy[0] = True
        try:
            if event == "open":
                path, mode, flags = args
                if isinstance(path, int):
                    return
                flags = flags or 0
                path = place(path, follow=not flags & os.O_NOFOLLOW)
                found = status(path)
                if found is None and not flags & os.O_CREAT:
                    return
                put("o", flags & 0xFFFFFFFF, path, found)
            elif event == "sqlite3.connect":
                name = args[0]
                if isinstance(name, (str, bytes)) and name not in (":memory:", "", b":memory:", b""):
                    path = place(name, follow=True)
                    put("o", os.O_RDWR | os.O_CREAT, path, status(path))
            elif event == "os.rename":
                a, b = place(args[0], args[2]), place(args[1], args[3])
                put("m", 0, a, status(a), b, status(b))
            elif event == "os.link":
                a, b = place(args[0], args[2]), place(args[1], args[3])
                put("l", 0, a, status(a), b, status(b))
            elif event == "os.remove":
                path = place(args[0], args[1])
                put("d", path, status(path))
            elif event == "os.symlink":
                path = place(args[1], args[2])
                put("s", path, status(path))
            elif event == "os.truncate" and not isinstance(args[0], int):
                path = place(args[0], follow=True)
                put("t", path, status(path))
            elif event == "socket.connect":
                address = args[1]
                if isinstance(address, tuple) and len(address) >= 2:
                    put("c", "%s:%s" % (address[0], address[1]))
                elif isinstance(address, (str, bytes)):
                    put("c", "unix:" + os.fsdecode(address))
            elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
                program, argv = args[0], args[1]
                if isinstance(argv, (str, bytes)):
                    argv = [argv]
                import shutil
                where = shutil.which(os.fsdecode(program if program is not None else argv[0]))
                if where:
                    path = realpath(fsencode(where))
                    put("x", path, status(path), [fsencode(fspath(a))[:200] for a in argv[:32]])
        except Exception:
            pass
        finally:
            busy[0] = False

    executable = realpath(fsencode(sys.executable or ""))
    arguments = [fsencode(a)[:200] for a in getattr(sys, "orig_argv", [])[:32]]
    put("x", executable, status(executable), arguments)
    # The interpreter reads its script by itself, and says so to no hook in some versions.
    sys.addaudithook(hook)
    sys.path[:] = [p for p in sys.path if p != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_install()
del _install
"""


def record(setting: Setting) -> Recording:
    """Run the command with the hook in every Python that it starts."""
    recording = Recording(mode="audit-hook", completeness="in-process")
    recording.notes.append("only what Python's own functions opened was seen")
    with tempfile.TemporaryDirectory(prefix="retrodict-hook-") as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(_HOOK)
        spool = folder / "spool"
        spool.touch()
        variables = dict(setting.command.environment)
        path = variables.get("PYTHONPATH")
        variables["PYTHONPATH"] = name + (os.pathsep + path if path else "")
        variables[_VARIABLE] = str(spool)
        recording.records.append(setting.invocation())
        child, recording.exit_code = run_child(setting, replace(setting.command, environment=variables))
        hooked = [
            record
            for record in parse(spool.read_bytes())
            if not any(isinstance(field, bytes) and field.startswith(folder.as_posix().encode()) for field in record)
        ]
        if not hooked:
            recording.notes.append("the command is not Python, or Python without its environment: nothing was seen")
            recording.records.append((r.THREAD, setting.clock.now_ns(), child, child, os.getpid()))
        recording.records += hooked
    return recording
