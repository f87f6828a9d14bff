//! Unpacks archives of every kind; [`super::unpack`] writes their entries.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use tokio_util::sync::CancellationToken;

use super::{
    Interruptible, copy_until,
    unpack::{untar, unzip},
};
use crate::runtime::sandbox::Sandbox;

/// How a file is compressed, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Lzma,
    Zstd,
}

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tar(Compression),
    Zip,
    /// A single compressed file.
    Gzip,
}

/// Names that Mesos' fetcher recognises, longest first.
const ENDINGS: [(&str, Kind); 12] = [
    (".tar.lzma", Kind::Tar(Compression::Lzma)),
    (".tar.bz2", Kind::Tar(Compression::Bzip2)),
    (".tar.zst", Kind::Tar(Compression::Zstd)),
    (".tar.gz", Kind::Tar(Compression::Gzip)),
    (".tar.xz", Kind::Tar(Compression::Xz)),
    (".tbz2", Kind::Tar(Compression::Bzip2)),
    (".tar", Kind::Tar(Compression::None)),
    (".tbz", Kind::Tar(Compression::Bzip2)),
    (".tgz", Kind::Tar(Compression::Gzip)),
    (".txz", Kind::Tar(Compression::Xz)),
    (".zip", Kind::Zip),
    (".gz", Kind::Gzip),
];

/// Unpacks the archive that lies at `name` in the sandbox, if the name says that it is one; other files stay as they are.
pub(super) fn extract(
    archive: File,
    name: &str,
    sandbox: &Sandbox,
    stop: &CancellationToken,
) -> io::Result<()> {
    let Some((ending, kind)) = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)) else {
        return Ok(());
    };
    let file = BufReader::new(archive);
    match kind {
        Kind::Tar(compression) => {
            untar(Interruptible { inner: decompress(file, *compression)?, stop }, sandbox)
        }
        Kind::Zip => unzip(file, sandbox, stop),
        Kind::Gzip => {
            let to = name.strip_suffix(ending).expect("invariant: the name has this ending");
            let mut output = sandbox.create_file(Path::new(to))?;
            copy_until(stop, &mut flate2::read::MultiGzDecoder::new(file), &mut output)
        }
    }
}

fn decompress(file: BufReader<File>, compression: Compression) -> io::Result<Box<dyn Read>> {
    Ok(match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(file, true)),
        Compression::Lzma => {
            Box::new(lzma_rust2::LzmaReader::new_mem_limit(file, LZMA_MEMORY_MAX_KIB, None)?)
        }
        Compression::Zstd => {
            Box::new(ruzstd::decoding::StreamingDecoder::new(file).map_err(io::Error::other)?)
        }
    })
}

/// Memory for the dictionary of an LZMA file: the format's largest preset takes 64 MiB.
const LZMA_MEMORY_MAX_KIB: u32 = 128 * 1024;
