#!/usr/bin/env bash
# Runs a command; its temporary files lie on an ext4 in memory where that can be mounted, by root and where there is room.
# To the tests it is a file system like the one they would have, but nothing waits for a disk: that was a third of their
# time. Only this command sees it, and it goes when the last process of it ends, however that comes about.
# Usage: memory.sh COMMAND...
set -euo pipefail
mkfs="$(PATH="$PATH:/usr/sbin:/sbin" command -v mkfs.ext4 || true)"
free="$(df --output=avail -BG /dev/shm 2>/dev/null | tail -1 | tr -dc 0-9 || true)"
if [ -n "${TMPDIR:-}" ] || [ "$(id -u)" != 0 ] || [ "${free:-0}" -lt 10 ] ||
  [ -z "$mkfs" ] || ! unshare --mount true 2>/dev/null; then
  exec "$@"
fi
image="$(mktemp /dev/shm/retrodict-tests-XXXXXX)"
place="$(mktemp -d /tmp/retrodict-XXXX)"
trap 'rm -f "$image"; rmdir "$place"' EXIT
truncate -s 10G "$image"
"$mkfs" -q -O ^has_journal -m 0 "$image"
unshare --mount bash -c '
  if mount -o loop,discard "$0" "$1"; then rm "$0"; chmod 1777 "$1"; export TMPDIR="$1"; fi
  exec "${@:2}"' "$image" "$place" "$@"
