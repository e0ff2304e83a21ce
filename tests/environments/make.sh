#!/usr/bin/env bash
# Makes the environment that tests/environments/NAME.txt describes, and prints its interpreter. What is too heavy for the
# test environment lives so: made once, kept under the digest of its description, so that a changed one is made anew.
# Usage: make.sh NAME [beside]; beside: what the project's own environment has can be imported there, too.
set -euo pipefail
name="$1"
here="$(cd "$(dirname "$0")" && pwd)"
bin="$here/../../${VENV:-.venv}/bin"
digest="$(sha256sum "$here/$name.txt" | cut -c1-12)"
folder="${RETRODICT_TEST_ENVIRONMENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/retrodict/test-environments}/$name-$digest"
site="$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
packages="$folder/lib/$(basename "$(dirname "$site")")/site-packages" # of the same release of Python
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock" # the tests' processes ask at the same time
flock 9
if [ ! -e "$folder/.made" ] || [ ! -e "$packages" ]; then
  rm -rf "$folder"
  "$bin/uv" venv --quiet --python "$bin/python" "$folder" >&2
  # Where pip was told of wheels that lie at hand, they will do.
  UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}" \
    "$bin/uv" pip install --quiet --python "$folder/bin/python" --requirement "$here/$name.txt" >&2
  touch "$folder/.made"
fi
[ "${2:-}" != beside ] || echo "import site; site.addsitedir('$site')" >"$packages/project.pth"
echo "$folder/bin/python"
