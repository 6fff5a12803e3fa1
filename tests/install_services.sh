#!/bin/sh
# Install the programs that tests start as they run in production: a Redis-protocol server, PostgreSQL, Chromium and shellcheck.
# What is there already is left alone. Without root or apt-get, the tests that need a missing program are skipped and name it.
set -u
missing=
command -v redis-server > /dev/null || command -v valkey-server > /dev/null || missing="$missing redis-server"
ls /usr/lib/postgresql/*/bin/postgres > /dev/null 2>&1 || missing="$missing postgresql"
command -v chromium > /dev/null || missing="$missing chromium"
command -v shellcheck > /dev/null || missing="$missing shellcheck"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # a list of package names
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing > /dev/null; then
        exit 0
    fi
fi
echo "not installed:$missing. Tests that need them are skipped." >&2
