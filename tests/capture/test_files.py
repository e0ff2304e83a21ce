"""What counts as an input, an output, temporary, deleted, unchanged."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("seccomp")


def outputs(project: Any, capture: Any) -> set[str]:
    inherited = {i.target for i in capture.inherited}  # where the tests' own output goes
    names: set[str] = project.names(a for a in capture.outputs if a.path not in inherited)
    return names


def inputs(project: Any, capture: Any) -> dict[str, str]:
    return {next(iter(project.names([a]))): a.how for a in capture.inputs}


def test_reading_and_writing(project: Any) -> None:
    project.write("a.txt")
    capture = project.shell("cat a.txt > b.txt")
    assert inputs(project, capture) == {"a.txt": "read"}
    assert outputs(project, capture) == {"b.txt"}
    assert capture.outputs[0].how in ("new", "changed")


def test_a_file_made_by_the_run_is_no_input(project: Any) -> None:
    capture = project.shell("echo 1 > a.txt; cat a.txt > b.txt; cat b.txt a.txt > /dev/null")
    assert inputs(project, capture) == {}
    assert outputs(project, capture) == {"a.txt", "b.txt"}


def test_looking_is_not_reading(project: Any) -> None:
    project.write("a.txt")
    project.write("d/b.txt")
    capture = project.shell("test -f a.txt; ls -l . d; stat a.txt >/dev/null; cat missing.txt 2>/dev/null; true")
    assert inputs(project, capture) == {}
    assert outputs(project, capture) == set()


def test_a_rename_makes_the_target_an_output_and_the_source_temporary(project: Any) -> None:
    capture = project.shell("echo 1 > a.tmp && mv a.tmp a.txt")
    assert outputs(project, capture) == {"a.txt"}
    assert project.names(capture.temporary) == {"a.tmp"}


def test_moving_an_old_file_makes_it_an_input_under_its_old_name(project: Any) -> None:
    project.write("a.txt", "content")
    capture = project.shell("mv a.txt b.txt")
    assert inputs(project, capture) == {"a.txt": "moved"}
    assert outputs(project, capture) == {"b.txt"}
    assert project.names(capture.deleted) == {"a.txt"}
    assert capture.inputs[0].preserved == str(project.root / "b.txt")


def test_a_moved_folder_takes_its_unopened_files_along(project: Any) -> None:
    project.write("old/a.txt")
    project.write("old/b.txt")
    capture = project.shell("mv old new; cat new/a.txt")
    assert set(inputs(project, capture)) == {"old/a.txt", "old/b.txt"}
    assert outputs(project, capture) == {"new/a.txt", "new/b.txt"}


def test_a_rename_that_fails_changes_nothing(project: Any) -> None:
    project.write("a.txt")
    project.write("d/in-the-way.txt")
    capture = project.python("import os\ntry: os.rename('a.txt', 'd')\nexcept OSError: pass")
    assert outputs(project, capture) == set()
    assert "a.txt" not in project.names(capture.deleted)


def test_an_exclusive_rename_onto_an_existing_file_changes_nothing(project: Any) -> None:
    project.write("a.txt")
    project.write("b.txt")
    capture = project.shell("mv -n a.txt b.txt")
    assert outputs(project, capture) == set()


def test_deleting(project: Any) -> None:
    project.write("a.txt")
    project.write("b.txt", "was read")
    capture = project.shell("rm a.txt; cat b.txt; rm b.txt")
    assert project.names(capture.deleted) == {"a.txt", "b.txt"}
    assert inputs(project, capture) == {"b.txt": "read"}
    (access,) = capture.inputs
    assert Path(access.preserved).read_text() == "was read"


@pytest.mark.parametrize("call", ["truncate('a.txt', 2)", "ftruncate(os.open('a.txt', os.O_RDWR), 2)"])
def test_truncating_is_writing(project: Any, call: str) -> None:
    project.write("a.txt", "long")
    capture = project.python(f"import os\nos.{call}")
    assert outputs(project, capture) == {"a.txt"}


def test_opening_for_update_without_writing_leaves_an_input_unchanged(project: Any) -> None:
    project.write("a.txt", "as it was")
    capture = project.python("open('a.txt', 'r+').read()")
    assert inputs(project, capture) == {"a.txt": "read-write"}
    assert outputs(project, capture) == set()
    assert project.names(capture.unchanged) == {"a.txt"}


def test_sqlite_opened_for_writing_but_only_read_is_an_input_alone(project: Any) -> None:
    with sqlite3.connect(project.root / "a.db") as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    capture = project.python("import sqlite3; sqlite3.connect('a.db').execute('SELECT * FROM t').fetchall()")
    assert set(inputs(project, capture)) == {"a.db"}
    assert outputs(project, capture) == set()


def test_hard_links(project: Any) -> None:
    project.write("a.txt")
    capture = project.shell("ln a.txt b.txt")
    assert inputs(project, capture) == {"a.txt": "linked"}
    assert outputs(project, capture) == {"b.txt"}


def test_an_unnamed_file_that_is_linked_into_place_is_an_output(project: Any) -> None:
    code = """if True:
        import os
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR)
        os.write(fd, b"x")
        os.link(f"/proc/self/fd/{fd}", "a.txt", src_dir_fd=fd, follow_symlinks=True)
    """
    capture = project.python(code)
    assert (project.root / "a.txt").exists()
    assert outputs(project, capture) == {"a.txt"}
    assert inputs(project, capture) == {}


def test_links_are_followed_to_what_was_read(project: Any) -> None:
    project.write("real/a.txt")
    (project.root / "link.txt").symlink_to("real/a.txt")
    (project.root / "folder").symlink_to("real")
    capture = project.shell("cat link.txt folder/a.txt folder/../real/./a.txt; ln -s real made")
    assert set(inputs(project, capture)) == {"real/a.txt"}
    assert outputs(project, capture) == {"made"}


def test_writing_through_a_link_changes_its_target(project: Any) -> None:
    project.write("real.txt", "before")
    (project.root / "link.txt").symlink_to("real.txt")
    capture = project.shell("echo after > link.txt")
    assert outputs(project, capture) == {"real.txt"}


def test_names_that_are_not_utf8(project: Any) -> None:
    root = os.fsencode(project.root)
    with open(root + b"/\xff\n.csv", "w") as file:
        file.write("x")
    capture = project.python("import os\nopen(b'\\xfe.out', 'w').write(open(b'\\xff\\n.csv').read())")
    assert [a.path for a in capture.inputs] == [root + b"/\xff\n.csv"]
    assert root + b"/\xfe.out" in [a.path for a in capture.outputs]
    assert {"b64"} in [set(a["path"]) for a in capture.as_json()["inputs"]]


def test_relative_paths_after_a_change_of_folder(project: Any) -> None:
    project.write("sub/a.txt")
    capture = project.shell("cd sub && cat a.txt > ../b.txt && cat ../sub/a.txt ./a.txt")
    assert set(inputs(project, capture)) == {"sub/a.txt"}
    assert outputs(project, capture) == {"b.txt"}


def test_paths_relative_to_a_descriptor(project: Any) -> None:
    project.write("sub/a.txt")
    code = "import os\nd = os.open('sub', os.O_RDONLY)\nos.open('a.txt', os.O_RDONLY, dir_fd=d)\n"
    code += "os.open('b.txt', os.O_WRONLY | os.O_CREAT, dir_fd=d)"
    capture = project.python(code)
    assert set(inputs(project, capture)) == {"sub/a.txt"}
    assert outputs(project, capture) == {"sub/b.txt"}


def test_inherited_descriptors_are_inputs_and_outputs(project: Any) -> None:
    project.write("in.txt", "b\na\n")
    project.write("old.txt", "old\n")
    script = project.root.parent / "outer.py"
    script.write_text(
        "import os, json, sys\nfrom pathlib import Path\nfrom retrodict.capture import supervise\n"
        "c = supervise(['sort'], cwd=Path.cwd(), environment=os.environ)\n"
        "print(json.dumps(c.as_json()), file=sys.stderr)"
    )
    with (
        open(project.root / "in.txt") as source,
        open(project.root / "out.txt", "w") as out,
    ):
        answer = subprocess.run(
            [sys.executable, script], stdin=source, stdout=out, stderr=subprocess.PIPE, cwd=project.root, check=True
        )
    import json

    record = json.loads(answer.stderr)
    assert [(a["path"], a["how"]) for a in record["inputs"]] == [(str(project.root / "in.txt"), "inherited 0")]
    assert [a["path"] for a in record["outputs"]] == [str(project.root / "out.txt")]
    assert (project.root / "out.txt").read_text() == "a\nb\n"


def test_caches_devices_git_and_the_workspace_are_left_out(project: Any) -> None:
    project.write("m.py", "x = 1")
    for name in (".git/config", ".retrodict/ledger.db", ".cache/x", "__pycache__/y"):
        project.write(name)
    code = "import m\nfor n in ('.git/config', '.retrodict/ledger.db', '.cache/x', '__pycache__/y', '/proc/self/maps',"
    code += "'/dev/null'): open(n).read()\nopen('.cache/new', 'w')"
    capture = project.python(code, variables={"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": ""})
    assert inputs(project, capture) == {"m.py": "read"}
    assert capture.inputs[0].is_code
    assert outputs(project, capture) == set()


def test_what_is_left_out_can_be_changed(project: Any) -> None:
    from retrodict.capture import Ignore

    project.write(".cache/x")
    project.write("skip/y")
    capture = project.shell("cat .cache/x skip/y", ignore=Ignore(noise_parts=(b"/skip/",)))
    assert set(inputs(project, capture)) == {".cache/x"}


def test_below_dev_shm_keys_and_caches_are_left_out_like_any_others_and_files_are_files() -> None:
    from retrodict.capture import Ignore

    places = {"RETRODICT_STATE": "/dev/shm/state", "XDG_CACHE_HOME": "/dev/shm/cache"}
    rules = Ignore().within(b"/dev/shm/project", places)
    noise = (b"/dev/null", b"/dev/shm/state/a/signing.key", b"/dev/shm/cache/x", b"/dev/shm/project/.git/HEAD")
    assert [path for path in noise if not rules.is_noise(path)] == []
    assert not rules.is_noise(b"/dev/shm/project/data.csv")


def test_the_virtual_environment_of_a_project_is_environment(project: Any) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project.root / ".venv"], check=True)
    project.write(".venv/share/model.bin")
    project.write("a.py", "open('.venv/share/model.bin').read(); import json")
    capture = project.run(".venv/bin/python", "a.py")
    assert inputs(project, capture) == {"a.py": "read"}
    assert any(p.endswith(b"pyvenv.cfg") for p in capture.environment_files)
    assert any(p.endswith(b"model.bin") for p in capture.environment_files)


@pytest.mark.parametrize("suffix", ["", ".sh"])
def test_scripts_and_programs_are_code_and_data_is_not(project: Any, suffix: str) -> None:
    project.write(f"step{suffix}", "cat data.csv\n")
    project.write("tool", "#!/bin/sh\ncat data.csv\n").chmod(0o755)
    project.write("data.csv", "1")
    capture = project.shell(f"sh step{suffix}; ./tool")
    assert project.names(a for a in capture.inputs if a.is_code) == {f"step{suffix}", "tool"}
    assert project.names(a for a in capture.inputs if not a.is_code) == {"data.csv"}
    assert any(p.argv[1:] == (b"data.csv",) for p in capture.programs)


@pytest.mark.parametrize(
    "command",
    [
        "{python} -W ignore step data.csv",
        "sh -e -o noglob step data.csv",
        "{python} -m step data.csv",
        "./step data.csv",
    ],
)
def test_the_arguments_of_a_script_are_no_code(project: Any, command: str) -> None:
    text = "import sys; open(sys.argv[1]).read()" if "python" in command else "cat $1"
    project.write("step.py" if "-m" in command else "step", text if "./" not in command else "#!/bin/sh\n" + text)
    for file in project.root.glob("step*"):
        file.chmod(0o755)
    project.write("data.csv")
    capture = project.shell(command.format(python=sys.executable))
    assert project.names(a for a in capture.inputs if not a.is_code) == {"data.csv"}
    assert project.names(a for a in capture.inputs if a.is_code) <= {"step", "step.py"}
    assert len(capture.inputs) == 2


def test_the_interpreter_that_a_first_line_names_is_a_program(project: Any) -> None:
    shutil.copy("/bin/sh", project.root / "mysh")
    project.write("step", f"#!{project.root}/mysh\nexit 0\n").chmod(0o755)
    capture = project.run("./step")
    assert inputs(project, capture) == {"step": "executed", "mysh": "executed"}


def test_connections_are_named(project: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        accepting = threading.Thread(target=lambda: server.accept()[0].close())
        accepting.start()
        capture = project.python(f"import socket; socket.create_connection(('127.0.0.1', {port}))")
        accepting.join()
    assert f"127.0.0.1:{port}" in capture.connections


def test_another_view_of_the_file_system_is_said(project: Any) -> None:
    capture = project.shell("unshare -m true 2>/dev/null; true")
    assert any("another view" in w for w in capture.warnings)


def test_a_file_that_something_else_changes_meanwhile_is_said(project: Any) -> None:
    path = project.write("a.txt", "before")

    def change(_: int, data: bytes) -> None:
        path.write_text("after, longer")

    capture = project.shell("cat a.txt; sleep 0.3", output=change)
    (access,) = capture.inputs
    assert access.changed_while_read
    assert not access.lost


def test_the_record_is_json_without_floats(project: Any) -> None:
    import json

    def refuse(text: str) -> None:
        raise AssertionError(text)

    project.write("a.txt")
    capture = project.shell("cat a.txt > b.txt")
    text = json.dumps(capture.as_json())
    assert json.loads(text, parse_float=refuse)["mode"] == "seccomp"


def test_what_it_took_is_told(project: Any) -> None:
    capture = project.python("x = bytearray(60_000_000); sum(range(3_000_000))")
    assert capture.resources.peak_rss_bytes > 60_000_000
    assert 0.01 < capture.resources.user_s < 20
    assert capture.resources.wall_s >= 0.01
    assert capture.finished_ns > capture.started_ns


def test_what_lies_among_installed_software_and_leads_out_of_it_is_an_input(project: Any) -> None:
    packages = "lib/python3.11/site-packages"
    project.write(f"{packages}/package/plain.txt")
    project.write("data.csv", "1")
    project.write("folder/more.csv", "2")
    (project.root / packages / "package/link.csv").symlink_to(project.root / "data.csv")
    (project.root / packages / "linked").symlink_to(project.root / "folder")
    code = f"""if True:
        import os
        at = os.path.abspath("{packages}")
        for name in ("package/plain.txt", "package/link.csv", "linked/more.csv", "package/missing.txt") * 2:
            os.path.exists(at + "/" + name) and open(at + "/" + name).read()
        open(at + "/package/missing.txt", "w").write("now it is there")
        open(at + "/package/missing.txt").read()
        os.remove(at + "/linked")
        os.rename(at + "/package", at + "/linked")
        os.symlink(os.path.abspath("folder"), at + "/package")
        open("folder/late.csv", "a").close()
        open(at + "/package/more.csv").read()
    """
    project.write("folder/late.csv", "3")
    capture = project.python(
        code.replace('open("folder/late.csv", "a").close()', 'open(at + "/package/late.csv").read()')
    )
    assert set(inputs(project, capture)) == {"data.csv", "folder/more.csv", "folder/late.csv"}
    assert f"{packages}/package/plain.txt" in project.names(capture.environment_files)


def test_two_programs_in_one_process_are_read_each_in_its_own_memory(project: Any) -> None:
    for i in range(3):
        project.write(f"in{i}.txt", "x" * i)
    code = "import os, sys\nopen('in0.txt').read()\nos.execv('/bin/sh', ['sh', '-c', 'cat in1.txt; exec cat in2.txt'])"
    capture = project.python(code)
    assert {"in0.txt", "in1.txt", "in2.txt"} == set(inputs(project, capture))
    assert not [w for w in capture.warnings if "could not be read" in w]
