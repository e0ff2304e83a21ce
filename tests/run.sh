#!/usr/bin/env bash
# Everything the tests need, then the tests. System packages come through apt where that is possible; otherwise the
# tests that need them are named as skipped. In CI nothing is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
bin="${VENV:-.venv}/bin"

missing=()
command -v strace >/dev/null || missing+=(strace)
command -v git >/dev/null || missing+=(git)
command -v git-lfs >/dev/null || missing+=(git-lfs)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v go >/dev/null || missing+=(golang-go)
[ -d /usr/share/gocode/src/golang.org/x/mod/sumdb ] || missing+=(golang-golang-x-mod-dev)
command -v b3sum >/dev/null || missing+=(b3sum)
command -v openssl >/dev/null || missing+=(openssl)
command -v ssh-keygen >/dev/null || missing+=(openssh-client)
[ -n "$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || missing+=(postgresql)
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
if [ "$(id -u)" = 0 ]; then # only root can mount what they make
  command -v mkfs.xfs >/dev/null || missing+=(xfsprogs)
  command -v mkfs.btrfs >/dev/null || missing+=(btrfs-progs)
fi
if [ ${#missing[@]} -gt 0 ]; then
  sudo=""
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  if command -v apt-get >/dev/null && $sudo true 2>/dev/null; then
    echo "Installing ${missing[*]}"
    $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
      echo "Could not install: ${missing[*]}" >&2
  else
    echo "Not installed, and no way to install them here: ${missing[*]}; the tests that need them are skipped." >&2
  fi
fi
unset PYTHONDONTWRITEBYTECODE # what one process has compiled serves hundreds of others
# Work is stolen, not dealt: the tests of a file stay together, so that what they share is made once. There is one process
# more than processors, as some always wait: for a server to start, for a writer to be killed.
exec bash tests/memory.sh "$bin/python" -m pytest -n "${WORKERS:-$(($(nproc) + 1))}" --dist worksteal "$@"
