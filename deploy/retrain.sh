#!/usr/bin/env bash
# Learn from what happened: export the events, train on them, and serve the new runs without a restart. See docs/operation.md.
#
#   SEAREC_STORE        the store, as the service has it
#   SEAREC_KEY          an admin key of the service
#   SEAREC_URL          the service (http://127.0.0.1:8000)
#   SEAREC_HOME         where releases lie (/var/lib/searec), under the same path for the service
#   SEAREC_FEED_MODEL, SEAREC_SEARCH_MODEL    what is trained (sasrec, bm25)
#   SEAREC_FEED_ARGS, SEAREC_SEARCH_ARGS      more arguments of `searec train`, as "--set epochs=20"
#
# A release is releases/TIME with shop and a run folder for each model; `current` names the newest that is served.
set -euo pipefail

home=${SEAREC_HOME:-/var/lib/searec}
url=${SEAREC_URL:-http://127.0.0.1:8000}
feed=${SEAREC_FEED_MODEL:-sasrec}
search=${SEAREC_SEARCH_MODEL:-bm25}
read -ra feed_args <<<"${SEAREC_FEED_ARGS:-}"
read -ra search_args <<<"${SEAREC_SEARCH_ARGS:-}"

fail() {
    echo "retrain: $*" >&2
    exit 1
}

# the key goes through a pipe, not through arguments that others can read
call() {
    curl --silent --show-error --fail-with-body --max-time 1800 --config - "$@" <<<"header = \"X-API-Key: $SEAREC_KEY\""
}

[[ -n ${SEAREC_STORE:-} ]] || fail "SEAREC_STORE is not set: the address of the store"
[[ -n ${SEAREC_KEY:-} ]] || fail "SEAREC_KEY is not set: an admin key, made by searec keys add NAME --role admin"
[[ $home =~ ^/[A-Za-z0-9/._-]+$ ]] || fail "SEAREC_HOME is $home: expected an absolute path of letters, digits and / . _ -"
[[ $feed != "$search" ]] || fail "SEAREC_FEED_MODEL and SEAREC_SEARCH_MODEL are both $feed: expected two models"
[[ -d $home/current/shop ]] || fail "$home/current/shop is no folder: see docs/operation.md"

exec 9>"$home/retrain.lock"
flock --nonblock 9 || fail "another one is at work (it holds $home/retrain.lock)"

call --output /dev/null "$url/v1/deployment" || fail "$url does not let us deploy" # before hours of training

name=$(date --utc +%Y%m%dT%H%M%SZ)
release=$home/releases/$name
offered=
trap '[[ -n $offered ]] || rm -rf "$release"' EXIT

mkdir -p "$release"
searec export dataset "$home/current/shop" "$release/shop" --json "$release/export.json"
if grep -q '"events": 0,' "$release/export.json"; then
    echo "nothing happened since the last release"
    exit 0
fi
searec train "$feed" "$release/shop" --out "$release/$feed" "${feed_args[@]}"
searec train "$search" "$release/shop" --out "$release/$search" "${search_args[@]}"
searec evaluate "$release/$feed" "$release/shop" --task recommend --json "$release/recommend.json"
searec evaluate "$release/$search" "$release/shop" --task search --json "$release/search.json"
searec deploy "$release/shop" --recommend "$release/$feed" --search "$release/$search" --out "$release/deployment.json"

digest=$(grep -o '"fusion_digest": "[0-9a-f]*"' "$release/deployment.json")

offered=yes # from here on the service may read the release, whatever we hear of it
call --request PUT --header 'Content-Type: application/json' "$url/v1/deployment" \
    --data "{\"data\": \"$release/shop\", \"recommend\": [\"$release/$feed\"], \"search\": [\"$release/$search\"], \
             \"fusion\": \"$release/deployment.fusion.json\", $digest}"
echo

ln -sfn "releases/$name" "$home/current.new"
mv -T "$home/current.new" "$home/current"
echo "serving $release; now restart the worker, which reads $home/current/shop when it starts"
