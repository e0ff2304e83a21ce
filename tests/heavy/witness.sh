#!/usr/bin/env bash
# Makes the environment of a witness that others have written (aics-witness, C2SP tlog-witness; pinned by its digests),
# once, and prints its program. Beside it stands whatever the project's own environment has.
# Usage: tests/heavy/witness.sh PYTHON, the interpreter of the project's environment.
set -euo pipefail
python=$1
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
release=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cache="${XDG_CACHE_HOME:-$HOME/.cache}/retrodict/tests"
folder="$cache/witness-0.1.0-python$release"
mkdir -p "$cache"
exec 9>"$folder.lock"
flock 9
if [ ! -e "$folder/.made" ]; then
  rm -rf "$folder"
  "$python" -m venv "$folder"
  cat >"$folder/requirements.txt" <<END
aics-tlog==0.2.1 --hash=sha256:e8cd2be003001576353bbd1a139b68252baf85df8e5d356c5ff26f3c417efdfc
aics-witness==0.1.0 --hash=sha256:cd3f5acd2e79a8e29411a5a810b65ad7c5709d468cf1e889533bb0d5e5fe8400
END
  # It asks for Python 3.12, and runs on 3.11 as well.
  "$folder/bin/python" -m pip install --quiet --no-deps --ignore-requires-python --require-hashes \
    -r "$folder/requirements.txt" >&2
  touch "$folder/.made"
fi
echo "import site; site.addsitedir('$site')" >"$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
echo "$folder/bin/aics-witness"
