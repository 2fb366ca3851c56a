#!/usr/bin/env bash
# Installs what the conversations with other makes need and this machine lacks: Go, gorilla/websocket and Chromium, from
# Debian's packages. Where that is not possible it says so and ends well: those tests are then skipped with the reason.
set -euo pipefail

missing=()
command -v go >/dev/null || missing+=(golang-go)
[ -d /usr/share/gocode/src/github.com/gorilla/websocket ] || missing+=(golang-github-gorilla-websocket-dev)
if ! command -v chromium-headless-shell >/dev/null && ! command -v chromium >/dev/null \
    && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
    missing+=(chromium-headless-shell)
fi

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "not installed, and only root with apt-get can: ${missing[*]}"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2 || echo "the package lists could not be renewed"
for package in "${missing[@]}"; do
    # One by one: what cannot be had must not keep the others away.
    apt-get install --quiet=2 --yes --no-install-recommends "$package" >/dev/null || echo "could not be installed: $package"
done
