#!/usr/bin/env bash
# Installs what some tests need and this machine lacks, from Debian's packages: other makes of client and upstream, a
# browser, Prometheus, tools for images. Where that is not possible it says so and ends well: those tests are then skipped
# with the reason.
set -euo pipefail

missing=()
need() { # PACKAGE COMMAND-OR-FILE...: any of them will do
    local package=$1 each
    shift
    for each in "$@"; do
        if [ -e "$each" ] || PATH=$PATH:/usr/sbin:/sbin command -v "$each" >/dev/null; then return; fi
    done
    missing+=("$package")
}
need golang-go go
need golang-github-gorilla-websocket-dev /usr/share/gocode/src/github.com/gorilla/websocket
need nodejs node
need npm npm
need nginx-light nginx
need chromium-headless-shell chromium-headless-shell chromium chromium-browser google-chrome
need prometheus prometheus
need buildah buildah
need debootstrap debootstrap
need curl curl
need openssl openssl
need gcc gcc
need libc6-dev /usr/include/stdio.h
need libssl-dev /usr/include/openssl/ssl.h

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "not installed, and only root with apt-get can: ${missing[*]}"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2 || echo "the package lists could not be renewed"
# The tests start their own daemons: no package is to start one.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
for package in "${missing[@]}"; do
    # One by one: what cannot be had must not keep the others away.
    apt-get install --quiet=2 --yes --no-install-recommends "$package" >/dev/null || echo "could not be installed: $package"
done
