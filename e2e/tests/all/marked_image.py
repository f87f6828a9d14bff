"""Writes an OCI archive of an image with busybox, a file that marks it, an entrypoint and a user. Arguments: its path, its name."""
import hashlib, io, json, sys, tarfile

out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w") as tar:
    def add(name, content=b"", kind=tarfile.REGTYPE, link="", mode=0o755):
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.type, entry.linkname = len(content), mode, kind, link
        tar.addfile(entry, io.BytesIO(content))
    for name in ("bin", "etc", "srv", "usr", "usr/bin", "www"):
        add(name, kind=tarfile.DIRTYPE)
    add("tmp", kind=tarfile.DIRTYPE, mode=0o1777)
    add("bin/busybox", open("/bin/busybox", "rb").read())
    for name in ("sh", "cat", "echo", "id", "pwd", "sleep", "httpd", "tail", "env", "test", "touch", "printf", "seq", "grep", "mkdir", "stty"):
        add("bin/" + name, kind=tarfile.SYMTYPE, link="busybox")
    add("usr/bin/env", kind=tarfile.SYMTYPE, link="../../bin/busybox")
    add("marker", b"of the image\n", mode=0o644)
    add("www/index.html", b"served from the image\n", mode=0o644)
    add("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nservice:x:1234:1234:s:/srv:/bin/sh\n", mode=0o644)
    add("etc/group", b"root:x:0:\nservice:x:1234:\n", mode=0o644)
layer = out.getvalue()
digest = lambda content: "sha256:" + hashlib.sha256(content).hexdigest()
blobs = {digest(layer): layer}
def blob(media, content):
    blobs[digest(content)] = content
    return {"mediaType": media, "digest": digest(content), "size": len(content)}
kind = "application/vnd.oci.image."
runs = {"Entrypoint": ["/bin/echo", "entrypoint"], "Cmd": ["command"], "WorkingDir": "/srv", "User": "service",
        "Env": ["PATH=/bin:/of/the/image"]}
config = {"architecture": "amd64", "os": "linux", "config": runs, "rootfs": {"type": "layers", "diff_ids": [digest(layer)]}}
manifest = {"schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
    "config": blob(kind + "config.v1+json", json.dumps(config).encode()), "layers": [blob(kind + "layer.v1.tar", layer)]}
entry = blob(kind + "manifest.v1+json", json.dumps(manifest).encode())
entry["annotations"] = {"io.containerd.image.name": sys.argv[2], "org.opencontainers.image.ref.name": "1"}
with tarfile.open(sys.argv[1], "w") as tar:
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()}
    files.update({"blobs/sha256/" + name[7:]: content for name, content in blobs.items()})
    for name, content in files.items():
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
