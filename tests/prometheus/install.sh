#!/usr/bin/env bash
# Installs Prometheus and promtool from Debian's package where they are missing. Where that is not possible it says so
# and ends well: those tests are then skipped with the reason.
set -euo pipefail

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "not installed, and only root with apt-get can: prometheus"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2 || echo "the package lists could not be renewed"
# The tests start their own: the package must not start one.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
apt-get install --quiet=2 --yes --no-install-recommends prometheus >/dev/null || echo "could not be installed: prometheus"
