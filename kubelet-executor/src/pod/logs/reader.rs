//! Reads logs: tail, filters, and following a growing file.

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

/// Polling interval while following.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Size of the pieces sent to the client.
const PIECE_BYTES: usize = 32 << 10;
/// Size of the blocks read backwards.
const BLOCK_BYTES: u64 = 64 << 10;
/// Limit of a record; the runtime splits lines at 16 KiB.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// Renders records for the client.
struct Renderer<'a> {
    options: &'a LogOptions,
    out: BytesMut,
    left: u64,
    /// Within a line that spans records: no new timestamp.
    within: bool,
}

impl<'a> Renderer<'a> {
    fn new(options: &'a LogOptions) -> Self {
        Self { options, out: BytesMut::new(), left: options.limit_bytes.unwrap_or(u64::MAX), within: false }
    }

    fn take(&mut self, record: &[u8]) {
        let Some(line) = log_line::parse(record) else { return };
        if let Some(since) = self.options.since
            && line.timestamp.parse::<Timestamp>().is_ok_and(|at| at < since)
        {
            return;
        }
        if self.options.timestamps && !self.within {
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

/// Reads a whole file.
pub(crate) fn read_file(path: &Path, options: &LogOptions) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let lines = options.tail_lines.unwrap_or(u64::MAX);
    let (start, _) = tail_start(&mut file, lines)?;
    file.seek(SeekFrom::Start(start))?;
    let mut renderer = Renderer::new(options);
    let mut reader = BufReader::new(file);
    while let Some(record) = next_record(&mut reader)? {
        renderer.take(&record);
    }
    Ok(renderer.out.freeze())
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
    let mut renderer = Renderer::new(options);
    let mut file = File::open(&live)?;
    let (start, missing) = tail_start(&mut file, options.tail_lines.unwrap_or(u64::MAX))?;
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
        // Checked before reading: everything the container wrote before its end is in the file by then.
        let last = !runs();
        if !drain(&mut reader, &mut renderer, pieces).await? || !options.follow {
            return Ok(());
        }
        match live.metadata() {
            // Checked before the end: the last lines may be in a file that was created since the last check.
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

/// Renders all complete records. Returns false if the client is gone or the byte limit is reached.
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

/// Reads a record with its line feed. An incomplete record is left for the next call.
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

/// The offset of the last `lines` lines, and how many lines the file lacks.
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
    // The first line has no line feed before it.
    let has = if end == 0 { 0 } else { found + 1 };
    Ok((0, lines - has.min(lines)))
}

/// The rotated files with the missing lines, oldest first, and the start offset in each.
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
