#!/usr/bin/env bash
# Sends mixed traffic to a Storage API, and tallies the answers by status code.
#
#   BASE_URL=http://localhost:5000 REQUESTS=2000 RATE=100 CONCURRENCY=8 scripts/generate_traffic.sh
#
# RATE is in requests a second: slow enough for a graph. AUTH_TOKEN is sent where it is set. Needs bash (3.2 or later) and curl (7.67 or later).
set -euo pipefail

BASE_URL=${BASE_URL:-http://localhost:5000}
BASE_URL=${BASE_URL%/}
REQUESTS=${REQUESTS:-2000}
RATE=${RATE:-100}
CONCURRENCY=${CONCURRENCY:-8}

# So few ids that most requests find what an earlier one has put.
IDS=50
# How long a service that is starting is waited for.
WAIT_SECONDS=10
# No setting of MAX_OBJECT_BYTES allows it.
OVERSIZED_BYTES=$((1024 * 1024 * 1024 + 1))

AUTH_TOKEN=${AUTH_TOKEN:-}

fail() {
  echo "generate_traffic: $*" >&2
  exit 1
}

[[ $REQUESTS =~ ^[1-9][0-9]*$ ]] || fail "REQUESTS must be a positive integer, not \"$REQUESTS\""
[[ $RATE =~ ^[1-9][0-9]*$ ]] || fail "RATE must be a positive integer, not \"$RATE\""
[[ $CONCURRENCY =~ ^[1-9][0-9]{0,2}$ ]] || fail "CONCURRENCY must be an integer from 1 to 999, not \"$CONCURRENCY\""
ready() {
  curl --silent --show-error --noproxy '*' --fail --max-time 5 --output /dev/null "$BASE_URL/readyz"
}
for ((attempt = 1; attempt < WAIT_SECONDS; attempt++)); do
  ready 2>/dev/null && break
  sleep 1
done
ready || fail "no Storage API is ready at $BASE_URL: start one, or set BASE_URL"

# request METHOD PATH [LINE...]: one request, as lines of a curl configuration.
request() {
  local method=$1 path=$2
  shift 2
  printf '%s\n' "url = \"$BASE_URL$path\"" "request = $method" path-as-is silent 'output = /dev/null' \
    'write-out = "%{http_code}\n"' 'max-time = 10' ${AUTH_TOKEN:+"header = \"Authorization: Bearer $AUTH_TOKEN\""} "$@"
}

# Of 100 requests: 40 PUT, 2 of them for 10 seconds, 36 GET, 2 for a part, 2 conditional, 8 DELETE, 2 listings, 4 of ids
# that were never put, 2 oversized, 4 odd.
requests() {
  local count=$1 i id
  for ((i = 0; i < count; i++)); do
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

# One curl a second, and no pause after the last.
send() {
  local left count
  for ((left = REQUESTS; left > 0; left -= RATE)); do
    count=$((left < RATE ? left : RATE))
    if ((left > RATE)); then sleep 1 & fi
    requests "$count" | curl --noproxy '*' --parallel --parallel-max "$CONCURRENCY" --no-progress-meter --config - || true
    wait
  done
}

tally=()
answered=0
while read -r status; do
  status=$((10#$status))
  tally[status]=$((${tally[status]:-0} + 1))
  answered=$((answered + 1))
  if ((answered % 50 == 0 || answered == REQUESTS)); then printf '\r%d of %d' "$answered" "$REQUESTS" >&2; fi
done < <(send)
echo >&2

for status in "${!tally[@]}"; do
  if ((status == 0)); then echo "no answer: ${tally[0]}"; else echo "$status: ${tally[status]}"; fi
done
((answered == REQUESTS && ${tally[0]:-0} == 0)) || fail "$((REQUESTS - answered + ${tally[0]:-0})) of $REQUESTS requests got no answer"
