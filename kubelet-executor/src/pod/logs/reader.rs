//! Reading: from the right line on, rendered as wanted, following the file as it grows.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use executor_core::log_line;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{LogOptions, files};

/// How often a followed file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What is handed on at once.
const PIECE_BYTES: usize = 32 << 10;
/// What is read backwards at once.
const BLOCK_BYTES: u64 = 64 << 10;
/// A record longer than this is no record of the runtime, which splits lines at 16 KiB.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// Turns records into what the client wants to see.
struct Renderer<'a> {
    wanted: &'a LogOptions,
    out: BytesMut,
    left: u64,
    /// The stream's line goes on: no new timestamp.
    within: bool,
}

impl<'a> Renderer<'a> {
    fn new(wanted: &'a LogOptions) -> Self {
        Self { wanted, out: BytesMut::new(), left: wanted.limit_bytes.unwrap_or(u64::MAX), within: false }
    }

    fn take(&mut self, record: &[u8]) {
        let Some(line) = log_line::parse(record) else { return };
        if let Some(since) = self.wanted.since
            && line.timestamp.parse::<Timestamp>().is_ok_and(|at| at < since)
        {
            return;
        }
        if self.wanted.timestamps && !self.within {
            self.put(line.timestamp.as_bytes());
            self.put(b" ");
        }
        self.put(line.content);
        self.within = line.partial;
        if !line.partial {
            self.put(b"\n");
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.out.put_slice(&bytes[..fits]);
        self.left -= fits as u64;
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }
}

/// A whole file, for those who need no stream.
pub(crate) fn read_file(path: &Path, wanted: &LogOptions) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let lines = wanted.tail_lines.unwrap_or(u64::MAX);
    let (start, _) = tail_start(&mut file, lines)?;
    file.seek(SeekFrom::Start(start))?;
    let mut renderer = Renderer::new(wanted);
    let mut reader = BufReader::new(file);
    while let Some(record) = next_record(&mut reader)? {
        renderer.take(&record);
    }
    Ok(renderer.out.freeze())
}

/// Reads an attempt's log into `pieces`; with `follow`, for as long as `runs` says that its container does.
pub(crate) async fn read(
    dir: &Path,
    attempt: u32,
    wanted: &LogOptions,
    runs: impl Fn() -> bool,
    pieces: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let live = files::live(dir, attempt);
    let mut renderer = Renderer::new(wanted);
    let mut file = File::open(&live)?;
    let (start, missing) = tail_start(&mut file, wanted.tail_lines.unwrap_or(u64::MAX))?;
    for (older, start) in older_files(dir, attempt, missing)? {
        let mut older = File::open(older)?;
        older.seek(SeekFrom::Start(start))?;
        if !drain(&mut BufReader::new(older), &mut renderer, pieces).await? {
            return Ok(());
        }
    }
    file.seek(SeekFrom::Start(start))?;
    let mut inode = file.metadata()?.ino();
    let mut reader = BufReader::new(file);
    loop {
        // Asked before reading: what the container wrote before its end is in the file by then.
        let last = !runs();
        if !drain(&mut reader, &mut renderer, pieces).await? || !wanted.follow {
            return Ok(());
        }
        match live.metadata() {
            // Before the end is believed: the last lines may be in a file that was begun since the last look.
            Ok(now) if now.ino() != inode => {
                drain(&mut reader, &mut renderer, pieces).await?;
                inode = now.ino();
                reader = BufReader::new(File::open(&live)?);
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
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = pieces.closed() => return Ok(()),
        }
    }
}

/// Renders all whole records up to the end. False when nobody listens, or all that may be sent is sent.
async fn drain(
    reader: &mut BufReader<File>,
    renderer: &mut Renderer<'_>,
    pieces: &mpsc::Sender<Bytes>,
) -> io::Result<bool> {
    loop {
        let record = next_record(reader)?;
        let at_end = record.is_none();
        if let Some(record) = record {
            renderer.take(&record);
        }
        if (at_end || renderer.is_full() || renderer.out.len() >= PIECE_BYTES)
            && !renderer.out.is_empty()
            && pieces.send(renderer.out.split().freeze()).await.is_err()
        {
            return Ok(false);
        }
        if renderer.is_full() {
            return Ok(false);
        }
        if at_end {
            return Ok(true);
        }
    }
}

/// A record with its line feed. One that is still being written is left for the next time.
fn next_record(reader: &mut BufReader<File>) -> io::Result<Option<Vec<u8>>> {
    let mut record = Vec::new();
    let read = reader.by_ref().take(RECORD_BYTES_MAX).read_until(b'\n', &mut record)?;
    if read == 0 {
        return Ok(None);
    }
    if record.last() != Some(&b'\n') && (read as u64) < RECORD_BYTES_MAX {
        reader.seek_relative(-i64::try_from(read).unwrap_or(0))?;
        return Ok(None);
    }
    Ok(Some(record))
}

/// Where the last `lines` lines of a file begin, and how many it lacks.
fn tail_start(file: &mut File, lines: u64) -> io::Result<(u64, u64)> {
    if lines == u64::MAX {
        return Ok((0, u64::MAX));
    }
    let end = file.metadata()?.len();
    if lines == 0 {
        return Ok((end, 0));
    }
    let (mut at, mut found) = (end, 0);
    while at > 0 {
        let size = at.min(BLOCK_BYTES);
        at -= size;
        file.seek(SeekFrom::Start(at))?;
        let mut block = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact(&mut block)?;
        for (i, byte) in block.iter().enumerate().rev() {
            let place = at + i as u64;
            if *byte == b'\n' && place + 1 < end {
                found += 1;
                if found == lines {
                    return Ok((place + 1, 0));
                }
            }
        }
    }
    // The file's first line has no line feed before it.
    let has = if end == 0 { 0 } else { found + 1 };
    Ok((0, lines - has.min(lines)))
}

/// The rotated files that hold the lines which the live file lacks, oldest first, and where in them to begin.
fn older_files(dir: &Path, attempt: u32, mut missing: u64) -> io::Result<Vec<(std::path::PathBuf, u64)>> {
    let mut chosen = Vec::new();
    for path in files::rotated(dir, attempt).into_iter().rev() {
        if missing == 0 {
            break;
        }
        let (start, still) = tail_start(&mut File::open(&path)?, missing)?;
        chosen.push((path, start));
        missing = still;
    }
    chosen.reverse();
    Ok(chosen)
}

#[cfg(test)]
mod tests;
