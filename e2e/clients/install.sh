#!/bin/sh
# Installs the official Kubernetes client libraries of Python and JavaScript into DIRECTORY/python and DIRECTORY/node. A second run does
# nothing.
set -eu

dir=${1:?usage: install.sh DIRECTORY}
python=${PYTHON:-python3}
# The newest that run with the machine's Python and Node.js (18 or newer).
python_client=kubernetes==37.0.2
node_client=@kubernetes/client-node@1.4.0
stamp="$dir/.clients-37.0.2-1.4.0"
[ -e "$stamp" ] && exit 0

if ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 18 ? 1 : 0)'; then
    echo "install.sh: the JavaScript client needs Node.js 18 or newer; this is $(node --version)" >&2
    exit 1
fi
mkdir -p "$dir/node"
"$python" -m venv "$dir/python"
if ! "$dir/python/bin/pip" --quiet --disable-pip-version-check install "$python_client"; then
    echo "install.sh: could not install $python_client; is PyPI reachable?" >&2
    exit 1
fi
if ! npm install --silent --no-audit --no-fund --prefix "$dir/node" "$node_client"; then
    echo "install.sh: could not install $node_client; is the npm registry reachable?" >&2
    exit 1
fi
"$dir/python/bin/python" -c 'import kubernetes.leaderelection.resourcelock.leaselock'
: > "$stamp"
