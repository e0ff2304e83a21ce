#!/usr/bin/env bash
# Makes the environment of the tests of PyTorch, once, and prints its interpreter: PyTorch's build for processors alone
# (0.9 GB), and beside it whatever the project's own environment has.
# Usage: tests/heavy/environment.sh PYTHON, the interpreter of the project's environment.
set -euo pipefail
torch=2.13.0
python=$1
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
release=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cache="${XDG_CACHE_HOME:-$HOME/.cache}/retrodict/tests"
folder="$cache/torch-$torch-python$release"
mkdir -p "$cache"
exec 9>"$folder.lock"
flock 9
if [ ! -e "$folder/.made" ]; then
  rm -rf "$folder"
  "$python" -m venv "$folder"
  # PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu keeps CUDA away (5 GB) where pip has no such build at hand.
  "$folder/bin/python" -m pip install --quiet "torch==$torch" >&2
  touch "$folder/.made"
fi
echo "import site; site.addsitedir('$site')" >"$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
echo "$folder/bin/python"
