#!/usr/bin/env bash
# Sends mixed traffic to a Storage API and counts the responses by status code.
#
#   BASE_URL=http://localhost:5000 DURATION=180 RATE=100 scripts/generate_traffic.sh
#
# DURATION is in seconds, RATE in requests per second. If AUTH_TOKEN is set, it is the bearer token.
# The first 401 ends the traffic, because every request would get it.
# Ctrl-C ends the traffic and prints the counts. Requires bash 3.2 and curl 7.67 or later.
set -euo pipefail

BASE_URL=${BASE_URL:-http://localhost:5000}
BASE_URL=${BASE_URL%/}
# More than half of the 5 minutes that the dashboard shows.
DURATION=${DURATION:-180}
RATE=${RATE:-100}
AUTH_TOKEN=${AUTH_TOKEN:-}

# Few ids, so that most requests find an object.
IDS=50
# How long the script waits for a service that is starting.
WAIT_SECONDS=10
# How often the script prints its progress if the output is not a terminal.
REPORT_SECONDS=30
# More than any value of MAX_OBJECT_BYTES allows.
OVERSIZED_BYTES=$((1024 * 1024 * 1024 + 1))

fail() {
  echo "generate_traffic: $*" >&2
  exit 1
}

[[ $DURATION =~ ^[1-9][0-9]*$ ]] || fail "DURATION must be a positive number of seconds, not \"$DURATION\""
[[ $RATE =~ ^[1-9][0-9]*$ ]] || fail "RATE must be a positive integer, not \"$RATE\""
ready() {
  curl --silent --show-error --noproxy '*' --fail --max-time 5 --output /dev/null "$BASE_URL/readyz"
}
for ((attempt = 1; attempt < WAIT_SECONDS; attempt++)); do
  ready 2>/dev/null && break
  sleep 1
done
ready || fail "no Storage API is ready at $BASE_URL. Start one, or set BASE_URL."

# request METHOD PATH [LINE...]: prints one request as lines of a curl configuration.
request() {
  local method=$1 path=$2
  shift 2
  printf '%s\n' "url = \"$BASE_URL$path\"" "request = $method" path-as-is silent 'output = /dev/null' \
    'write-out = "%{http_code}\n"' 'max-time = 10' ${AUTH_TOKEN:+"header = \"Authorization: Bearer $AUTH_TOKEN\""} "$@"
}

# Of 100 requests, 40 are PUTs (2 of them expire after 10 seconds), 36 GETs, 2 GETs of a range, 2
# conditional GETs, 8 DELETEs, 2 lists, 4 of unknown ids, 2 PUTs of oversized objects, and 4 others.
requests() {
  local i id
  for ((i = 0; i < RATE; i++)); do
    if ((i > 0)); then echo next; fi
    id=/api/buckets/object-$((RANDOM % IDS))
    case $((RANDOM % 100)) in
      [0-9] | [12][0-9] | 3[0-7]) request PUT "$id" "data-binary = \"$RANDOM$RANDOM$RANDOM\"" ;;
      3[89]) request PUT "$id?ttl=10" "data-binary = \"$RANDOM$RANDOM$RANDOM\"" ;;
      [4-6][0-9] | 7[0-5]) request GET "$id" ;;
      7[67]) request GET "$id" 'header = "Range: bytes=0-1"' ;;
      7[89]) request GET "$id" 'header = "If-None-Match: *"' ;;
      8[0-7]) request DELETE "$id" ;;
      8[89]) request GET "/api/buckets?prefix=object-1&limit=5" ;;
      90 | 91) request GET "/api/buckets/unknown-$RANDOM" ;;
      92 | 93) request DELETE "/api/buckets/unknown-$RANDOM" ;;
      94 | 95) request PUT "$id" "header = \"Content-Length: $OVERSIZED_BYTES\"" 'header = "Connection: close"' 'data-binary = "x"' ;;
      96) request POST "$id" 'data-binary = "x"' ;;
      97) request GET "/wp-login.php?$RANDOM" ;;
      98) request GET /api/buckets/%zz ;;
      99) request HEAD "$id" head ;;
    esac
  done
}

tally=()
sent=0
answered=0
reported=0
# The exit status after a signal. A signal ends the loop below.
signalled=0
trap 'signalled=130' INT
trap 'signalled=143' TERM

# Rewrites one line on a terminal. Elsewhere prints a line from time to time.
progress() {
  local line="$SECONDS of $DURATION s: $sent requests sent"
  if [[ -t 2 ]]; then
    printf '\r%s' "$line" >&2
  elif ((SECONDS >= reported + REPORT_SECONDS)); then
    echo "$line" >&2
    reported=$SECONDS
  fi
}

echo "$RATE requests per second to $BASE_URL for $DURATION s. Press Ctrl-C to stop." >&2
# Each second one curl sends the requests one after another, because --parallel of curl before 7.70
# loses requests. A machine that is too busy sends fewer requests.
SECONDS=0
while :; do
  # In the background, so that a signal ends the sleep at once.
  sleep 1 &
  pause=$!
  statuses=$(requests | curl --noproxy '*' --config -) || true
  sent=$((sent + RATE))
  for status in $statuses; do
    status=$((10#$status))
    tally[status]=$((${tally[status]:-0} + 1))
    if ((status > 0)); then answered=$((answered + 1)); fi
  done
  progress
  if ((signalled > 0 || ${tally[401]:-0} > 0 || SECONDS + 1 >= DURATION)); then break; fi
  wait "$pause" || true
  if ((signalled > 0)); then break; fi
done
{ kill "$pause" && wait "$pause"; } 2>/dev/null || true
if [[ -t 2 ]]; then echo >&2; fi

for status in "${!tally[@]}"; do
  if ((status > 0)); then echo "$status: ${tally[status]}"; fi
done
if ((signalled > 0)); then exit "$signalled"; fi
((${tally[401]:-0} == 0)) || fail "401: set AUTH_TOKEN to one of the service's AUTH_TOKENS"
((answered == sent)) || fail "$((sent - answered)) of $sent requests got no answer"
cat <<END

The script sends requests that get 4xx on purpose: 404 for an id or a path that does not exist, 413
for an object that is too large, 405 for a method that is not supported, 400 for a malformed URL.
It sends nothing that should get 5xx. If you see one, docs/500s.md shows how to find the cause.
Now look at the dashboard: http://127.0.0.1:3000/d/storage-api, or on your GRAFANA_PORT.
END
