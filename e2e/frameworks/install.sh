#!/bin/sh
# Creates a Python environment with unmodified pymesos in the given directory. A second run does nothing.
#
# http-parser 0.9.0, which pymesos needs, ships C code that Cython generated for older Pythons; it is generated again from its source.
set -eu

dir=${1:?usage: install.sh DIRECTORY}
python=${PYTHON:-python3}
stamp="$dir/.pymesos-0.3.15"
[ -e "$stamp" ] && exit 0

mkdir -p "$dir"
"$python" -m venv "$dir"
pip="$dir/bin/pip --quiet --disable-pip-version-check"
$pip install wheel 'setuptools<70' 'cython<3'

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
$pip download --no-deps --no-build-isolation --no-binary :all: --dest "$build" http-parser==0.9.0
tar -xzf "$build"/http-parser-0.9.0.tar.gz -C "$build"
cd "$build/http-parser-0.9.0"
"$dir/bin/cython" http_parser/parser.pyx
$pip install --no-build-isolation .
cd /
$pip install pymesos==0.3.15
"$dir/bin/python" -c 'import pymesos'
: > "$stamp"
