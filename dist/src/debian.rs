//! The Debian package, built by dpkg-deb.

use std::{fs, io::Write, path::Path, process::Command};

use anyhow::{Context, bail};
use flate2::{Compression, GzBuilder};

use crate::{Release, tree};

/// The maintainer scripts.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

/// Packs a copy of `staging` into `out`.
pub fn pack(staging: &Path, release: &Release, out: &Path) -> anyhow::Result<()> {
    let root = out.join("debian");
    copy(staging, &root)?;
    let documents = root.join("usr/share/doc/catamaran");
    // Debian's names and form of changelog, licence and manual pages.
    compress(&documents.join("CHANGELOG.md"), &documents.join("changelog.gz"))?;
    fs::rename(documents.join("LICENSE"), documents.join("copyright"))?;
    for page in tree::files_below(&root.join("usr/share/man"))? {
        let mut compressed = page.clone().into_os_string();
        compressed.push(".gz");
        compress(&page, Path::new(&compressed))?;
    }
    let settings = tree::files_below(&root.join("etc"))?;
    let conffiles: Vec<String> = settings
        .iter()
        .filter_map(|file| Some(format!("/{}\n", file.strip_prefix(&root).ok()?.display())))
        .collect();
    let architecture = debian_architecture(&release.architecture)?;
    let size: u64 =
        tree::files_below(&root)?.iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum();
    let control = fs::read_to_string("packaging/debian/control").context("packaging/debian/control")?;
    let control = control
        .replace("@VERSION@", &release.version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", &size.div_ceil(1024).to_string());
    tree::write(&root.join("DEBIAN/control"), control.as_bytes(), 0o644)?;
    tree::write(&root.join("DEBIAN/conffiles"), conffiles.concat().as_bytes(), 0o644)?;
    for script in SCRIPTS {
        let source = Path::new("packaging/debian").join(script);
        let text = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        tree::write(&root.join("DEBIAN").join(script), &text, 0o755)?;
    }
    let package = out.join(format!("catamaran_{}_{architecture}.deb", release.version));
    let status = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args([&root, &package])
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string())
        .stdout(std::process::Stdio::null())
        .status()
        .context("cannot start dpkg-deb (Debian's package dpkg)")?;
    if !status.success() {
        bail!("dpkg-deb failed with {status}");
    }
    fs::remove_dir_all(&root)?;
    Ok(())
}

/// Debian's name of an architecture.
fn debian_architecture(rust: &str) -> anyhow::Result<&'static str> {
    match rust {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("Debian's name of the architecture {other} is not known"),
    }
}

/// Replaces a file by its compressed form, without a time in it.
fn compress(source: &Path, target: &Path) -> anyhow::Result<()> {
    let content = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(&content)?;
    tree::write(target, &gzip.finish()?, 0o644)?;
    Ok(fs::remove_file(source)?)
}

fn copy(source: &Path, target: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for file in tree::files_below(source)? {
        let name = file.strip_prefix(source).context("the files lie below the directory")?;
        let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
        tree::write(&target.join(name), &fs::read(&file)?, mode)?;
    }
    Ok(())
}
