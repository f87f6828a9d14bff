//! The files of an installation, laid out as below `/`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// Files of the repository: source, place, mode.
const FILES: &[(&str, &str, u32)] = &[
    ("packaging/systemd/catamaran.service", "usr/lib/systemd/system", 0o644),
    ("packaging/systemd/catamaran-server.service", "usr/lib/systemd/system", 0o644),
    ("packaging/systemd/catamaran-agent.service", "usr/lib/systemd/system", 0o644),
    ("packaging/default/catamaran", "etc/default", 0o644),
    ("packaging/default/catamaran-server", "etc/default", 0o644),
    // It may name a file with a join token, or one.
    ("packaging/default/catamaran-agent", "etc/default", 0o640),
    ("README.md", "usr/share/doc/catamaran", 0o644),
    ("CHANGELOG.md", "usr/share/doc/catamaran", 0o644),
    ("LICENSE", "usr/share/doc/catamaran", 0o644),
    ("manifests/examples/web.yaml", "usr/share/doc/catamaran/examples", 0o644),
];

/// Completions: shell, place, name.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/catamaran"),
    ("zsh", "usr/share/zsh/vendor-completions/_catamaran"),
    ("fish", "usr/share/fish/vendor_completions.d/catamaran.fish"),
];

/// Lays out all files in `root`. Completions and manual pages are printed by the binary itself.
pub fn build(root: &Path, binary: &Path) -> anyhow::Result<()> {
    place(binary, &root.join("usr/bin/catamaran"), 0o755)?;
    for (source, directory, mode) in FILES {
        let source = Path::new(source);
        let name = source.file_name().context("a file of the repository has a name")?;
        place(source, &root.join(directory).join(name), *mode)?;
    }
    for (shell, path) in COMPLETIONS {
        write(&root.join(path), &printed(binary, &["completions", shell])?, 0o644)?;
    }
    let manuals = root.join("usr/share/man/man1");
    make_directory(&manuals)?;
    printed(binary, &["man-pages", &manuals.to_string_lossy()])?;
    for page in files_below(&manuals)? {
        fs::set_permissions(&page, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// The output of the binary.
fn printed(binary: &Path, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(binary)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{} {} failed: {}", binary.display(), arguments.join(" "), why.trim());
    }
    Ok(output.stdout)
}

fn place(source: &Path, target: &Path, mode: u32) -> anyhow::Result<()> {
    let content = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
    write(target, &content, mode)
}

/// Writes a file and the directories above it.
pub fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Creates directories with the mode that they have on a system, whatever the umask is.
fn make_directory(path: &Path) -> anyhow::Result<()> {
    for directory in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
        if directory.as_os_str().is_empty() || directory.exists() {
            continue;
        }
        fs::create_dir(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// All files below a directory, sorted, so that equal trees give equal packages.
pub fn files_below(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in
            fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?
        {
            let path = entry?.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}
