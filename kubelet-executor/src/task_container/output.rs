//! Copies the output of a container from the runtime's log, whose lines have a time and a stream, to plain streams.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use executor_core::log_line::{self, Stream};

/// A log that was read up to here is replaced by a new one: the output is kept twice until then.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// Bytes that are read at a time: enough for the longest record of containerd (16 KiB and its head).
const READ_BYTES: usize = 64 << 10;

/// A log, and how far it was copied.
pub(super) struct Output {
    path: PathBuf,
    file: Option<File>,
    copied: u64,
    /// A record whose end was not there yet.
    rest: Vec<u8>,
}

impl Output {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, copied: 0, rest: Vec::new() }
    }

    /// Copies what is new. A log that does not exist yet is empty.
    pub(super) fn copy(&mut self, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<()> {
        if self.file.is_none() {
            self.file = match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                opened => Some(opened?),
            };
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        // The process's own streams write each line by itself.
        let mut out = BufWriter::with_capacity(READ_BYTES, out);
        let mut errors = BufWriter::with_capacity(READ_BYTES, errors);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            self.copied += read as u64;
            self.rest.extend_from_slice(&buffer[..read]);
            let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { continue };
            for record in self.rest[..=end].split_inclusive(|byte| *byte == b'\n') {
                write(record, &mut out, &mut errors)?;
            }
            self.rest.drain(..=end);
        }
        out.flush()?;
        errors.flush()
    }

    /// Whether the log is large enough to be replaced.
    pub(super) fn is_large(&self) -> bool {
        self.copied > LOG_BYTES_MAX
    }

    /// Moves the log aside; the runtime has to be told, and then [`Output::discard_old`] is due.
    pub(super) fn move_aside(&self) -> io::Result<()> {
        fs::rename(&self.path, self.old())
    }

    /// Puts the log back, because the runtime still writes it.
    pub(super) fn move_back(&self) {
        if !self.path.exists()
            && let Err(error) = fs::rename(self.old(), &self.path)
        {
            tracing::warn!(%error, "a log is lost");
        }
    }

    /// Copies the rest of the old log, and goes on with the new one.
    pub(super) fn discard_old(&mut self, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<()> {
        self.copy(out, errors)?;
        self.file = None;
        self.copied = 0;
        fs::remove_file(self.old())
    }

    fn old(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".old");
        Path::new(&name).to_owned()
    }
}

/// Writes the text of a record to its stream. What is no record was not written by a container.
fn write(record: &[u8], out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<()> {
    let Some(line) = log_line::parse(record) else { return Ok(()) };
    let to: &mut dyn Write = match line.stream {
        Stream::Stdout => out,
        Stream::Stderr => errors,
    };
    to.write_all(line.content)?;
    if line.partial { Ok(()) } else { to.write_all(b"\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the writes and their bytes.
    #[derive(Default)]
    struct Counted(usize, usize);

    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            self.1 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn short_lines_are_written_together() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "2026-01-01T00:00:00Z stdout F 1\n".repeat(100_000)).unwrap();
        let (mut out, mut errors) = (Counted::default(), Counted::default());
        Output::new(path).copy(&mut out, &mut errors).unwrap();
        assert_eq!((out.1, errors.0), (200_000, 0));
        assert!(out.0 <= 200_000 / READ_BYTES + 1, "{} writes", out.0);
    }

    #[test]
    fn records_arrive_whole_on_their_streams() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut output = Output::new(path.clone());
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        output.copy(&mut out, &mut errors).unwrap();
        let mut log = File::create(&path).unwrap();
        let mut append = |text: &str, output: &mut Output| {
            log.write_all(text.as_bytes()).unwrap();
            output.copy(&mut out, &mut errors).unwrap();
        };
        append("2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr P tw", &mut output);
        append("o\n2026-01-01T00:00:00Z stderr F  three\n", &mut output);
        output.move_aside().unwrap();
        append("2026-01-01T00:00:00Z stdout F four\n", &mut output);
        fs::write(&path, "2026-01-01T00:00:00Z stdout F five\n").unwrap();
        output.discard_old(&mut out, &mut errors).unwrap();
        output.copy(&mut out, &mut errors).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "one\nfour\nfive\n");
        assert_eq!(String::from_utf8(errors).unwrap(), "two three\n");
        assert!(!output.old().exists());
    }
}
