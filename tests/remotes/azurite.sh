#!/usr/bin/env bash
# Installs Azurite, Microsoft's emulator of Azure's blobs (186 MB, from npm), once, and prints its program.
set -euo pipefail
version=3.37.0
folder="${XDG_CACHE_HOME:-$HOME/.cache}/retrodict/tests/azurite-$version"
mkdir -p "$folder"
exec 9>"$folder.lock"
flock 9
if [ ! -e "$folder/.made" ]; then
  npm install --prefix "$folder" --silent --no-audit --no-fund "azurite@$version" >&2
  touch "$folder/.made"
fi
echo "$folder/node_modules/.bin/azurite-blob"
