//! Records of log files, forwards and backwards.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
};

use executor_core::{
    log_line::{self, Stream},
    log_render::TailFinder,
};

/// Size of the blocks read backwards.
const BLOCK_BYTES: u64 = 64 << 10;
/// Limit of a record; the runtime splits lines at 16 KiB.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// The place of a record: the index of its file, oldest first, and its offset there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub file: usize,
    pub offset: u64,
}

/// Where the requested part of a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Starts {
    /// The first position to read.
    pub first: Position,
    /// From here on, every record is requested.
    all_from: Position,
    /// By [`Stream::index`].
    of_streams: [Position; 2],
}

impl Starts {
    /// Everything from a position on.
    pub fn at(position: Position) -> Self {
        Self { first: position, all_from: position, of_streams: [position; 2] }
    }

    /// Whether a record is before the start of its stream.
    pub fn exclude(&self, at: Position, record: &[u8]) -> bool {
        at < self.all_from
            && log_line::parse(record).is_some_and(|line| at < self.of_streams[line.stream.index()])
    }
}

/// Reads records of one file, oldest first.
pub(super) struct Records {
    reader: BufReader<File>,
    file: usize,
    offset: u64,
    end: u64,
    record: Vec<u8>,
}

impl Records {
    /// Starts at an offset of an open file; `file` is its index.
    pub fn open(mut opened: File, file: usize, offset: u64) -> io::Result<Self> {
        opened.seek(SeekFrom::Start(offset))?;
        Ok(Self { reader: BufReader::new(opened), file, offset, end: u64::MAX, record: Vec::new() })
    }

    pub fn file(&self) -> usize {
        self.file
    }

    pub fn inode(&self) -> io::Result<u64> {
        Ok(self.reader.get_ref().metadata()?.ino())
    }

    pub fn length(&self) -> io::Result<u64> {
        Ok(self.reader.get_ref().metadata()?.len())
    }

    /// Ignores everything from an offset on.
    pub fn end_at(&mut self, end: u64) {
        self.end = end;
    }

    /// Reads the next record with its line feed and returns its position. An incomplete record is left for the next
    /// call.
    pub fn next_record(&mut self) -> io::Result<Option<Position>> {
        self.record.clear();
        let limit = self.end.saturating_sub(self.offset).min(RECORD_BYTES_MAX as u64);
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.record)?;
        if read == 0 {
            return Ok(None);
        }
        if self.record.last() != Some(&b'\n') && read < RECORD_BYTES_MAX {
            self.reader.seek_relative(-i64::try_from(read).unwrap_or(0))?;
            return Ok(None);
        }
        let at = Position { file: self.file, offset: self.offset };
        self.offset += read as u64;
        Ok(Some(at))
    }

    /// The record that [`Self::next_record`] read.
    pub fn record(&self) -> &[u8] {
        &self.record
    }
}

/// Finds where the last `lines` lines of the files begin. The files are in order of age, the oldest first.
pub(super) fn last_lines(files: &mut [File], lines: u64) -> io::Result<Starts> {
    let mut finder = TailFinder::new(lines);
    let mut end = None;
    'files: for (index, file) in files.iter_mut().enumerate().rev() {
        let mut backwards = Backwards::from_end(file)?;
        end = end.or(Some(Position { file: index, offset: backwards.end() }));
        while !finder.is_done() {
            let Some((offset, record)) = backwards.previous()? else { continue 'files };
            finder.take(record, Position { file: index, offset });
        }
        break;
    }
    let end = end.unwrap_or(Position { file: 0, offset: 0 });
    let of_streams = [Stream::Stdout, Stream::Stderr].map(|stream| finder.start(stream).unwrap_or(end));
    let [stdout, stderr] = of_streams;
    Ok(Starts { first: stdout.min(stderr), all_from: stdout.max(stderr), of_streams })
}

/// Reads complete records of a file, newest first.
struct Backwards<'a> {
    file: &'a mut File,
    /// The bytes from `at` up to the last record returned.
    bytes: Vec<u8>,
    at: u64,
    /// The length of the record that was returned last; it is the end of `bytes`.
    returned: usize,
}

impl<'a> Backwards<'a> {
    /// Begins at the last line feed; what follows it is an incomplete record.
    fn from_end(file: &'a mut File) -> io::Result<Self> {
        let at = file.metadata()?.len();
        let mut backwards = Self { file, bytes: Vec::new(), at, returned: 0 };
        while !backwards.bytes.contains(&b'\n')
            && backwards.bytes.len() < RECORD_BYTES_MAX
            && backwards.read_block()?
        {}
        let end = backwards.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        backwards.bytes.truncate(end);
        Ok(backwards)
    }

    /// The offset behind the record that is returned next.
    fn end(&self) -> u64 {
        self.at + (self.bytes.len() - self.returned) as u64
    }

    /// The record before those returned so far, with its offset.
    fn previous(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        self.bytes.truncate(self.bytes.len() - self.returned);
        self.returned = 0;
        // How many bytes at the end are known to have no line feed but the last.
        let mut searched = 0;
        let begin = loop {
            let before_feed = self.bytes.len().saturating_sub(1);
            let unknown = &self.bytes[..before_feed.saturating_sub(searched)];
            match unknown.iter().rposition(|byte| *byte == b'\n') {
                Some(feed) => break feed + 1,
                None if self.bytes.len() >= RECORD_BYTES_MAX => break 0,
                None => {
                    searched = before_feed;
                    if !self.read_block()? {
                        break 0;
                    }
                }
            }
        };
        if self.bytes.is_empty() {
            return Ok(None);
        }
        self.returned = self.bytes.len() - begin;
        Ok(Some((self.at + begin as u64, &self.bytes[begin..])))
    }

    /// Reads the block before `at`. Returns false at the beginning of the file.
    fn read_block(&mut self) -> io::Result<bool> {
        let size = self.at.min(BLOCK_BYTES);
        if size == 0 {
            return Ok(false);
        }
        self.at -= size;
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut block = vec![0; usize::try_from(size).unwrap_or(0)];
        self.file.read_exact(&mut block)?;
        block.append(&mut self.bytes);
        self.bytes = block;
        Ok(true)
    }
}
