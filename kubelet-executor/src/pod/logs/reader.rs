//! Reads logs: the last lines, and a growing file.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use executor_core::log_render::LogRenderer;
use tokio::sync::mpsc;

use super::{
    LogOptions, files,
    records::{self, Position, Records, Starts},
};

/// Polling interval while following.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Size of the pieces sent to the client.
const PIECE_BYTES: usize = 32 << 10;

/// Reads a whole file.
pub(crate) fn read_file(path: &Path, options: &LogOptions) -> io::Result<Vec<u8>> {
    let mut files = [File::open(path)?];
    let starts = starts(&mut files, options)?;
    let [file] = files;
    let mut records = Records::open(file, 0, starts.first.offset)?;
    let mut renderer = LogRenderer::new(options.render);
    let mut out = Vec::new();
    while let Some(at) = records.next_record()? {
        if !starts.exclude(at, records.record()) {
            renderer.render(records.record(), &mut out);
        }
    }
    Ok(out)
}

/// Reads the log of an attempt into `pieces`. With `follow`, it continues while `runs` returns true.
pub(crate) async fn read(
    dir: &Path,
    attempt: u32,
    options: &LogOptions,
    runs: impl Fn() -> bool,
    pieces: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let live = files::live(dir, attempt);
    let mut files = open_all(dir, attempt)?;
    let starts = starts(&mut files, options)?;
    let mut output = Output { renderer: LogRenderer::new(options.render), starts, out: Vec::new(), pieces };
    let newest = files.len() - 1;
    let mut current = None;
    for (index, file) in files.into_iter().enumerate().skip(starts.first.file) {
        let offset = if index == starts.first.file { starts.first.offset } else { 0 };
        let mut records = Records::open(file, index, offset)?;
        if index == newest {
            if !options.follow {
                // A container that writes all the time must not keep the request from ending.
                records.end_at(records.length()?);
            }
            current = Some(records);
        } else if !output.drain(&mut records).await? {
            return Ok(());
        }
    }
    let Some(mut records) = current else { return Ok(()) };
    loop {
        // Checked before reading: everything the container wrote before its end is in the file by then.
        let last = !runs();
        if !output.drain(&mut records).await? || !options.follow {
            return Ok(());
        }
        match live.metadata() {
            // Checked before the end: the last lines may be in a file that was created since the last check.
            Ok(now) if now.ino() != records.inode()? => {
                output.drain(&mut records).await?;
                records = Records::open(File::open(&live)?, records.file() + 1, 0)?;
                continue;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if last {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = pieces.closed() => return Ok(()),
        }
    }
}

/// Opens the files of an attempt, oldest first.
fn open_all(dir: &Path, attempt: u32) -> io::Result<Vec<File>> {
    let live = File::open(files::live(dir, attempt))?;
    let inode = live.metadata()?.ino();
    let mut opened = Vec::new();
    for path in files::rotated(dir, attempt) {
        let Some(file) = open_existing(&path)? else { continue };
        // A rotation may have renamed the live file since it was opened.
        if file.metadata()?.ino() != inode {
            opened.push(file);
        }
    }
    opened.push(live);
    Ok(opened)
}

/// Opens a rotated file; `None` if a rotation has removed it.
fn open_existing(path: &PathBuf) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn starts(files: &mut [File], options: &LogOptions) -> io::Result<Starts> {
    match options.tail_lines {
        Some(lines) => records::last_lines(files, lines),
        None => Ok(Starts::at(Position { file: 0, offset: 0 })),
    }
}

/// Renders records and sends them to the client.
struct Output<'a> {
    renderer: LogRenderer,
    starts: Starts,
    out: Vec<u8>,
    pieces: &'a mpsc::Sender<Bytes>,
}

impl Output<'_> {
    /// Renders all complete records. Returns false if the client is gone or the byte limit is reached.
    async fn drain(&mut self, records: &mut Records) -> io::Result<bool> {
        loop {
            let at = records.next_record()?;
            if let Some(at) = at
                && !self.starts.exclude(at, records.record())
            {
                self.renderer.render(records.record(), &mut self.out);
            }
            let full = self.renderer.is_full();
            if (at.is_none() || full || self.out.len() >= PIECE_BYTES)
                && !self.out.is_empty()
                && self.pieces.send(std::mem::take(&mut self.out).into()).await.is_err()
            {
                return Ok(false);
            }
            if full || at.is_none() {
                return Ok(!full);
            }
        }
    }
}

#[cfg(test)]
mod tests;
