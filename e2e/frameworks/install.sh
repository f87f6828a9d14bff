#!/bin/sh
# Creates a Python environment with unmodified pymesos, and PySpark if `--with-spark` follows, in the given directory. A second
# run does nothing.
#
# http-parser 0.9.0, which pymesos needs, ships C code that Cython generated for older Pythons; it is generated again from its source.
set -eu

dir=${1:?usage: install.sh DIRECTORY [--with-spark]}
python=${PYTHON:-python3}
pip="$dir/bin/pip --quiet --disable-pip-version-check"
stamp="$dir/.pymesos-0.3.15"

# PySpark is 318 MB and its wheel takes a while to build, so it is installed once, after pymesos.
install_spark() {
    [ "${1:-}" = --with-spark ] || return 0
    [ -e "$dir/.pyspark-3.5.9" ] && return 0
    $pip install pyspark==3.5.9
    "$dir/bin/python" -c 'import pyspark'
    : > "$dir/.pyspark-3.5.9"
}

if [ -e "$stamp" ]; then
    install_spark "${2:-}"
    exit 0
fi

mkdir -p "$dir"
"$python" -m venv "$dir"
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
install_spark "${2:-}"
