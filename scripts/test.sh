#!/bin/sh
# Runs tap. `npm test` runs all files and requires full coverage if redis-server is installed.
# `npm test -- FILE...` runs only these files, without coverage.
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
