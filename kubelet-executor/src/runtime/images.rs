//! Images built on this machine without a registry or a compiler: one layer with busybox, as an OCI archive.
//!
//! The sandbox image and the example image are built here. busybox must be static (Debian: `busybox-static`).

mod tar;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::json;
use sha2::{Digest, Sha256};

use self::tar::Tar;

const BUSYBOX: &str = "/bin/busybox";
/// The containerd namespace of the CRI plugin.
const CONTAINERD_NAMESPACE: &str = "k8s.io";

/// Why an image cannot be built or imported.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ImageError {
    #[error("reading {BUSYBOX} (Debian's package busybox-static has it)")]
    Busybox(#[source] std::io::Error),
    #[error("writing {0}")]
    Write(PathBuf, #[source] std::io::Error),
    #[error("running ctr (Debian's package containerd has it)")]
    Ctr(#[source] std::io::Error),
    #[error("importing {0}: {1}")]
    Import(PathBuf, String),
}

/// Builds the archive of an image with busybox, its applets, extra files (path without a leading slash, content,
/// mode) and a command.
pub fn build_busybox_image(
    name: &str,
    extra_files: &[(&str, &[u8], u32)],
    command: &[&str],
) -> Result<Vec<u8>, ImageError> {
    let busybox = std::fs::read(BUSYBOX).map_err(ImageError::Busybox)?;
    let mut layer = Tar::default();
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "usr", "usr/bin", "var", "var/tmp"] {
        layer.directory(dir, 0o755);
    }
    layer.directory("tmp", 0o1777);
    layer.file("bin/busybox", &busybox, 0o755);
    for applet in applets() {
        layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    layer.symlink("usr/bin/env", "../../bin/busybox");
    layer.file(
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        0o644,
    );
    layer.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644);
    let mut made = std::collections::BTreeSet::new();
    for (path, content, mode) in extra_files {
        for (slash, _) in path.match_indices('/') {
            if made.insert(path[..slash].to_owned()) {
                layer.directory(&path[..slash], 0o755);
            }
        }
        layer.file(path, content, *mode);
    }
    Ok(archive(name, &layer.finish(), command))
}

/// Builds the archive of the sandbox image: a shell that waits, reaps zombies and ends on SIGTERM.
pub fn build_pause_image(name: &str) -> Result<Vec<u8>, ImageError> {
    let busybox = std::fs::read(BUSYBOX).map_err(ImageError::Busybox)?;
    let mut layer = Tar::default();
    layer.directory("bin", 0o755);
    layer.file("bin/busybox", &busybox, 0o755);
    for applet in ["sh", "sleep"] {
        layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    // PID 1 of a namespace ignores signals without a handler, hence the trap.
    let script = "trap 'exit 0' TERM INT; while :; do sleep 2147483647 & wait; done";
    Ok(archive(name, &layer.finish(), &["/bin/sh", "-c", script]))
}

/// The applets of this busybox. If it does not list them, the essential ones.
fn applets() -> Vec<String> {
    let listed = std::process::Command::new(BUSYBOX).arg("--list").stdin(Stdio::null()).output();
    match listed {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter(|applet| *applet != "busybox" && !applet.is_empty() && !applet.contains('/'))
            .map(str::to_owned)
            .collect(),
        _ => {
            ["sh", "cat", "echo", "ls", "sleep", "true", "false", "httpd", "wget"].map(str::to_owned).to_vec()
        }
    }
}

/// Builds an OCI archive with one layer.
fn archive(name: &str, layer: &[u8], command: &[&str]) -> Vec<u8> {
    let layer_digest = digest(layer);
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Cmd": command,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        "history": [{ "created_by": "catamaran" }],
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(config.as_bytes()),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer_digest,
            "size": layer.len(),
        }],
    })
    .to_string();
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(manifest.as_bytes()),
            "size": manifest.len(),
            "platform": { "architecture": architecture, "os": "linux" },
            "annotations": { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name },
        }],
    })
    .to_string();
    let mut out = Tar::default();
    out.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644);
    out.file("index.json", index.as_bytes(), 0o644);
    for blob in [layer, config.as_bytes(), manifest.as_bytes()] {
        out.file(&format!("blobs/sha256/{}", &digest(blob)["sha256:".len()..]), blob, 0o644);
    }
    out.finish()
}

fn digest(bytes: &[u8]) -> String {
    let mut out = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// Imports an archive into the containerd at `socket`, into the namespace of the CRI plugin.
pub async fn import(socket: &Path, tar: &Path) -> Result<(), ImageError> {
    let output = tokio::process::Command::new("ctr")
        .arg("--address")
        .arg(socket)
        .args(["--namespace", CONTAINERD_NAMESPACE, "images", "import"])
        .arg(tar)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(ImageError::Ctr)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ImageError::Import(tar.to_owned(), text))
}

/// Writes an archive to a file atomically.
pub fn write(path: &Path, archive: &[u8]) -> Result<(), ImageError> {
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let partial = path.with_extension("partial");
        std::fs::write(&partial, archive)?;
        std::fs::rename(&partial, path)
    };
    write().map_err(|e| ImageError::Write(path.to_owned(), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_reproducible() {
        let (first, second) = (archive("x:1", b"layer", &["a"]), archive("x:1", b"layer", &["a"]));
        assert_eq!(first, second);
        assert_eq!(first.len() % 512, 0);
    }
}
