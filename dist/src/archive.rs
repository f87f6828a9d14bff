//! The archive for every distribution: the installation's files below one folder, with `install.sh` beside them.

use std::{fs::File, os::unix::fs::PermissionsExt, path::Path};

use anyhow::Context;
use flate2::{Compression, GzBuilder};
use tar::{Builder, Header};

use crate::{Release, tree};

/// Packs `staging`.
pub fn pack(staging: &Path, release: &Release, path: &Path) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    // No time in the header of gzip: equal content gives equal bytes.
    let gzip = GzBuilder::new().mtime(0).write(file, Compression::best());
    let mut archive = Builder::new(gzip);
    let root = release.name();
    for file in tree::files_below(staging)? {
        let name = file.strip_prefix(staging).context("the files lie below the staging directory")?;
        append(&mut archive, &Path::new(&root).join(name), &file, release.epoch)?;
    }
    append(
        &mut archive,
        &Path::new(&root).join("install.sh"),
        Path::new("packaging/install.sh"),
        release.epoch,
    )?;
    archive.into_inner()?.finish()?;
    Ok(())
}

fn append<W: std::io::Write>(
    archive: &mut Builder<W>,
    name: &Path,
    source: &Path,
    epoch: u64,
) -> anyhow::Result<()> {
    let content = std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(std::fs::metadata(source)?.permissions().mode() & 0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    archive.append_data(&mut header, name, content.as_slice())?;
    Ok(())
}
