#!/bin/sh
# Install what `make bench` can use, on Debian and its kin: compilers and libraries by apt, the
# crates of the tokio program, and matplotlib in a virtual environment below build/.
set -e
cd "$(dirname "$0")/.."
packages='gcc g++ make python3 python3-venv hyperfine libboost-fiber-dev libboost-context-dev
libtbb-dev'
command -v "${GO:-go}" >/dev/null || packages="$packages golang-go"
command -v "${CARGO:-cargo}" >/dev/null || packages="$packages cargo"
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -q
# shellcheck disable=SC2086
$sudo apt-get install -q -y --no-install-recommends $packages

(cd bench/tokio && "${CARGO:-cargo}" fetch --locked) ||
    echo 'bench-setup: no crates for tokio, which will be left out' >&2
mkdir -p build/bench
python3 -m venv build/bench/venv
build/bench/venv/bin/pip install --quiet matplotlib ||
    echo 'bench-setup: no matplotlib, so no plots' >&2
