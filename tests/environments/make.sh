#!/usr/bin/env bash
# Makes the environment tests/environments/NAME.txt describes, and prints its interpreter. What is too heavy for the
# test environment lives so: made once, kept under the digest of its description, so that a changed one is made anew.
set -euo pipefail
name="$1"
here="$(cd "$(dirname "$0")" && pwd)"
bin="$here/../../${VENV:-.venv}/bin"
digest="$(sha256sum "$here/$name.txt" | cut -c1-12)"
folder="${RETRODICT_TEST_ENVIRONMENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/retrodict/test-environments}/$name-$digest"
if [ ! -e "$folder/.made" ]; then
  rm -rf "$folder"
  "$bin/uv" venv --quiet --python "$bin/python" "$folder" >&2
  "$bin/uv" pip install --quiet --python "$folder/bin/python" --requirement "$here/$name.txt" >&2
  touch "$folder/.made"
fi
echo "$folder/bin/python"
