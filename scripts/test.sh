#!/bin/sh
# Runs tap. `npm test` runs all files and asks for full coverage, which needs redis-server.
# `npm test -- FILE...` runs these files alone, without coverage.
set -eu

files=0
for argument; do
  case $argument in
    -*) ;;
    *) files=1 ;;
  esac
done
if [ $files = 1 ]; then
  set -- --disable-coverage --allow-empty-coverage "$@"
elif ! command -v redis-server >/dev/null; then
  set -- --allow-incomplete-coverage "$@"
fi
exec node --import ./test/run.ts node_modules/.bin/tap "$@"
