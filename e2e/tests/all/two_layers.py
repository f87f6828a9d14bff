"""Writes an OCI archive of an image with two layers. Arguments: its path, the name of the image."""
import hashlib, io, json, sys, tarfile

def layer(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            if name.endswith("/"):
                entry.type, entry.size = tarfile.DIRTYPE, 0
            if content.startswith(b"->"):
                entry.type, entry.size, entry.linkname = tarfile.SYMTYPE, 0, content[2:].decode()
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()

layers = [
    layer([("data/", b""), ("data/first", b"of the lower layer\n"), ("data/both", b"lower\n")]),
    layer([("data/both", b"upper\n"), ("tool", b"#!/bin/sh\necho runs\n"), ("out", b"->/proc")]),
]
digest = lambda content: "sha256:" + hashlib.sha256(content).hexdigest()
blobs = {digest(content): content for content in layers}
def blob(media, content):
    blobs[digest(content)] = content
    return {"mediaType": media, "digest": digest(content), "size": len(content)}
kind = "application/vnd.oci.image."
config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest(l) for l in layers]}}
manifest = {"schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
    "config": blob(kind + "config.v1+json", json.dumps(config).encode()),
    "layers": [blob(kind + "layer.v1.tar", l) for l in layers]}
entry = blob(kind + "manifest.v1+json", json.dumps(manifest).encode())
entry["annotations"] = {"io.containerd.image.name": sys.argv[2], "org.opencontainers.image.ref.name": "1"}
with tarfile.open(sys.argv[1], "w") as tar:
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()}
    files.update({"blobs/sha256/" + name[7:]: content for name, content in blobs.items()})
    for name, content in files.items():
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
