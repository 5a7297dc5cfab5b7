#!/bin/sh
# Installs what Qwodel's build and tests need on Debian or Ubuntu. Run as root, or with sudo there.
set -eu
packages="cmake ninja-build g++ pkg-config git ca-certificates
  libhwy-dev libtbb-dev libfmt-dev nlohmann-json3-dev libcli11-dev libpcre2-dev
  libutf8proc-dev libdnnl-dev libopenblas-dev liblapacke-dev libxxhash-dev libyaml-cpp-dev libprotobuf-dev protobuf-compiler
  libgtest-dev libgmock-dev libbenchmark-dev clang-14 libclang-rt-14-dev python3-venv"
missing=""
for package in $packages; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
as_root=""
[ "$(id -u)" = 0 ] || as_root=sudo
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
$as_root apt-get install -y -qq --no-install-recommends $missing
