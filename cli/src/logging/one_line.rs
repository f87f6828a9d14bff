//! One line per event: what a client or a file contains must not look like a line of this program.

use std::{borrow::Cow, io::Write};

use tracing_subscriber::fmt::MakeWriter;

/// A writer of events. Each is written with one call, and ends with a line break.
#[derive(Debug, Clone)]
pub(super) struct OneLine<W>(pub(super) W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine(self.0.make_writer())
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        OneLine(self.0.make_writer_for(meta))
    }
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(&escaped(event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// An event whose line breaks are escaped, except the last one. Other control characters are escaped by the formatter.
fn escaped(event: &[u8]) -> Cow<'_, [u8]> {
    let (line, end) = match event {
        [line @ .., b'\n'] => (line, "\n"),
        line => (line, ""),
    };
    if !line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(event);
    }
    let mut text = Vec::with_capacity(event.len() + 8);
    for byte in line {
        match byte {
            b'\n' => text.extend(b"\\n"),
            b'\r' => text.extend(b"\\r"),
            byte => text.push(*byte),
        }
    }
    text.extend(end.as_bytes());
    Cow::Owned(text)
}
