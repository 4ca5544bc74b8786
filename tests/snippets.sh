#!/bin/sh
# Every piece of C in the documents compiles. TAP comes from docs/snippets.py.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
if ! have python3; then
    skip 'the documents' 'no python3'
    finish
fi
files=$(ls README.md docs/*.md 2>/dev/null)
exec python3 docs/snippets.py $files
