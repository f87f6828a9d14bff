//! Images built on this machine without a registry or a compiler: one layer with busybox, as an OCI archive.
//!
//! The sandbox image and the example image are built here. busybox must be static (Debian: `busybox-static`).

mod names;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::Stdio,
};

use oci_spec::{
    OciSpecError,
    image::{
        Arch, ConfigBuilder, Descriptor, HistoryBuilder, ImageConfigurationBuilder, ImageIndexBuilder,
        ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, PlatformBuilder, RootFsBuilder, Sha256Digest,
    },
};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

const BUSYBOX: &str = "/bin/busybox";
/// The containerd namespace of the CRI plugin.
const CONTAINERD_NAMESPACE: &str = "k8s.io";

/// Why an image cannot be built or imported.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ImageError {
    #[error("reading {BUSYBOX} (Debian's package busybox-static has it)")]
    Busybox(#[source] std::io::Error),
    #[error("building the archive")]
    Tar(#[source] std::io::Error),
    #[error("building the image's metadata")]
    Metadata(#[from] OciSpecError),
    #[error("writing {0}")]
    Write(PathBuf, #[source] std::io::Error),
    #[error("reading {0}: {1}")]
    Archive(PathBuf, #[source] io::Error),
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
    let mut layer = Archive::default();
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "usr", "usr/bin", "var", "var/tmp"] {
        layer.directory(dir, 0o755)?;
    }
    layer.directory("tmp", 0o1777)?;
    layer.file("bin/busybox", &busybox, 0o755)?;
    for applet in applets() {
        layer.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    layer.symlink("usr/bin/env", "../../bin/busybox")?;
    layer.file(
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        0o644,
    )?;
    layer.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)?;
    let mut made = std::collections::BTreeSet::new();
    for (path, content, mode) in extra_files {
        for (slash, _) in path.match_indices('/') {
            if made.insert(path[..slash].to_owned()) {
                layer.directory(&path[..slash], 0o755)?;
            }
        }
        layer.file(path, content, *mode)?;
    }
    image_archive(name, &layer.finish()?, ConfigBuilder::default().cmd(owned(command)))
}

/// Builds the archive of an image that runs one static binary, with root as its only user.
pub fn build_program_image(name: &str, program: &str, binary: &[u8]) -> Result<Vec<u8>, ImageError> {
    let mut layer = Archive::default();
    for dir in ["etc", "proc", "sys", "usr", "usr/bin", "var", "var/lib"] {
        layer.directory(dir, 0o755)?;
    }
    layer.directory("tmp", 0o1777)?;
    layer.file(&format!("usr/bin/{program}"), binary, 0o755)?;
    layer.file(
        "etc/passwd",
        b"root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
        0o644,
    )?;
    layer.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)?;
    let entrypoint = ConfigBuilder::default().entrypoint([format!("/usr/bin/{program}")]);
    image_archive(name, &layer.finish()?, entrypoint)
}

/// Builds the archive of the sandbox image: a shell that waits, reaps zombies and ends on SIGTERM.
pub fn build_pause_image(name: &str) -> Result<Vec<u8>, ImageError> {
    let busybox = std::fs::read(BUSYBOX).map_err(ImageError::Busybox)?;
    let mut layer = Archive::default();
    layer.directory("bin", 0o755)?;
    layer.file("bin/busybox", &busybox, 0o755)?;
    for applet in ["sh", "sleep"] {
        layer.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    // PID 1 of a namespace ignores signals without a handler, hence the trap.
    let script = "trap 'exit 0' TERM INT; while :; do sleep 2147483647 & wait; done";
    let command = ConfigBuilder::default().cmd(owned(&["/bin/sh", "-c", script]));
    image_archive(name, &layer.finish()?, command)
}

/// A tar archive in memory. All entries belong to root and have the time 0, so that equal content gives equal bytes.
struct Archive(tar::Builder<Vec<u8>>);

impl Default for Archive {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Archive {
    fn header(kind: EntryType, size: usize, mode: u32) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header
    }

    fn file(&mut self, path: &str, content: &[u8], mode: u32) -> Result<(), ImageError> {
        let mut header = Self::header(EntryType::Regular, content.len(), mode);
        self.0.append_data(&mut header, path, content).map_err(ImageError::Tar)
    }

    fn directory(&mut self, path: &str, mode: u32) -> Result<(), ImageError> {
        let mut header = Self::header(EntryType::Directory, 0, mode);
        self.0.append_data(&mut header, format!("{path}/"), std::io::empty()).map_err(ImageError::Tar)
    }

    fn symlink(&mut self, path: &str, target: &str) -> Result<(), ImageError> {
        let mut header = Self::header(EntryType::Symlink, 0, 0o777);
        self.0.append_link(&mut header, path, target).map_err(ImageError::Tar)
    }

    fn finish(self) -> Result<Vec<u8>, ImageError> {
        self.0.into_inner().map_err(ImageError::Tar)
    }
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

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Builds an OCI archive with one layer. `process` has the command or entry point.
fn image_archive(name: &str, layer: &[u8], process: ConfigBuilder) -> Result<Vec<u8>, ImageError> {
    let process = process
        .env(owned(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]))
        .working_dir("/")
        .build()?;
    let config = ImageConfigurationBuilder::default()
        .architecture(Arch::default())
        .os(Os::Linux)
        .config(process)
        .rootfs(RootFsBuilder::default().diff_ids([format!("sha256:{}", sha256(layer))]).build()?)
        .history([HistoryBuilder::default().created_by("catamaran").build()?])
        .build()?
        .to_string()?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, config.as_bytes())?)
        .layers([descriptor(MediaType::ImageLayer, layer)?])
        .build()?
        .to_string()?;
    let mut image = descriptor(MediaType::ImageManifest, manifest.as_bytes())?;
    image.set_platform(Some(PlatformBuilder::default().architecture(Arch::default()).os(Os::Linux).build()?));
    image.set_annotations(Some([("io.containerd.image.name".to_owned(), name.to_owned())].into()));
    let index = ImageIndexBuilder::default().schema_version(2_u32).manifests([image]).build()?.to_string()?;
    let layout = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?.to_string()?;
    let mut archive = Archive::default();
    archive.file("oci-layout", layout.as_bytes(), 0o644)?;
    archive.file("index.json", index.as_bytes(), 0o644)?;
    for blob in [layer, config.as_bytes(), manifest.as_bytes()] {
        archive.file(&format!("blobs/sha256/{}", sha256(blob)), blob, 0o644)?;
    }
    archive.finish()
}

fn descriptor(media_type: MediaType, blob: &[u8]) -> Result<Descriptor, ImageError> {
    Ok(Descriptor::new(media_type, blob.len() as u64, sha256(blob).parse::<Sha256Digest>()?))
}

/// The SHA-256 digest in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Imports an archive, plain or compressed with gzip, into the containerd at `socket`, into the namespace of the CRI plugin.
/// Returns the names of its images.
pub async fn import(socket: &Path, tar: &Path) -> Result<Vec<String>, ImageError> {
    let path = tar.to_owned();
    let prepare = move || prepare(&path);
    let (names, plain) = tokio::task::spawn_blocking(prepare)
        .await
        .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
        .map_err(|error| ImageError::Archive(tar.to_owned(), error))?;
    let output = tokio::process::Command::new("ctr")
        .arg("--address")
        .arg(socket)
        .args(["--namespace", CONTAINERD_NAMESPACE, "images", "import"])
        .arg(plain.as_ref().map_or(tar, |plain| &plain.0))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(ImageError::Ctr)?;
    if output.status.success() {
        return Ok(names);
    }
    let mut text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if let Some(plain) = &plain {
        text = text.replace(&plain.0.display().to_string(), &tar.display().to_string());
    }
    Err(ImageError::Import(tar.to_owned(), text))
}

/// The names of an archive's images.
pub async fn names_of(tar: &Path) -> Result<Vec<String>, ImageError> {
    let path = tar.to_owned();
    let read = move || names::of_archive(names::open(&path)?.0);
    let names = tokio::task::spawn_blocking(read).await;
    let names = names.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
    names.map_err(|error| ImageError::Archive(tar.to_owned(), error))
}

/// A decompressed copy of an archive, which is removed when it is dropped.
struct Plain(PathBuf);

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Reads the names of an archive's images, and decompresses it if necessary, because `ctr` does not.
fn prepare(path: &Path) -> io::Result<(Vec<String>, Option<Plain>)> {
    let (mut archive, compressed) = names::open(path)?;
    if !compressed {
        return Ok((names::of_archive(archive)?, None));
    }
    let name = format!(".{}.plain", path.file_name().unwrap_or_default().to_string_lossy());
    let plain = Plain(path.with_file_name(name));
    io::copy(&mut archive, &mut std::fs::File::create(&plain.0)?)?;
    Ok((names::of_archive(std::fs::File::open(&plain.0)?)?, Some(plain)))
}

/// Writes an archive to a file atomically.
pub fn write(path: &Path, archive: &[u8]) -> Result<(), ImageError> {
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let partial = path.with_extension("partial");
        let mut file = std::fs::File::create(&partial)?;
        file.write_all(archive)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(|e| ImageError::Write(path.to_owned(), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_reproducible() {
        let build = || image_archive("x:1", b"layer", ConfigBuilder::default().cmd(owned(&["a"]))).unwrap();
        let archive = build();
        assert_eq!(archive, build());
        assert_eq!(archive.len() % 512, 0);
        let mut read = tar::Archive::new(&archive[..]);
        let paths = read.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
        let paths: Vec<String> = paths.collect();
        assert_eq!(paths[..2], ["oci-layout", "index.json"]);
        assert_eq!(paths[2], format!("blobs/sha256/{}", sha256(b"layer")));
    }

    #[test]
    fn the_image_of_a_program_starts_it() {
        let archive = build_program_image("x:1", "program", b"ELF").unwrap();
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains(r#""Entrypoint":["/usr/bin/program"]"#), "{text}");
        assert!(!text.contains(r#""Cmd""#), "{text}");
    }
}
