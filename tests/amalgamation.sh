#!/bin/sh
# gor.h is what amalgamate.py makes of src/, byte for byte. TAP.
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD
mkdir -p "$dir" || exit 1
if have python3; then
    try 'gor.h is fresh' python3 ./amalgamate.py --check
else
    skip 'gor.h is fresh' 'no python3'
fi
finish
