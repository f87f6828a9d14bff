//! Lines of container logs in the CRI format: `2026-11-22T03:05:00.123456789Z stdout F text`.

/// An output stream of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Zero or one, for tables by stream.
    pub fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}

/// A parsed record that borrows from its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// RFC 3339 with nanoseconds.
    pub timestamp: &'a str,
    /// Where the container wrote it.
    pub stream: Stream,
    /// Whether the line continues in the next record of the same stream.
    pub partial: bool,
    /// The text without its line feed.
    pub content: &'a [u8],
}

/// Parses a record with or without its line feed; `None` if it is malformed.
pub fn parse(record: &[u8]) -> Option<LogLine<'_>> {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    let (timestamp, rest) = split(record)?;
    let (stream, rest) = split(rest)?;
    let (tags, content) = split(rest).unwrap_or((rest, b""));
    let timestamp = std::str::from_utf8(timestamp).ok().filter(|text| !text.is_empty())?;
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
    Some(LogLine { timestamp, stream, partial, content })
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    Some((&bytes[..space], &bytes[space + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_partial_empty_and_malformed_lines() {
        let line = parse(b"2026-01-01T00:00:00.1Z stdout F hello world\n").unwrap();
        assert_eq!((line.stream, line.partial, line.content), (Stream::Stdout, false, &b"hello world"[..]));
        assert!(parse(b"2026-01-01T00:00:00Z stderr P part").unwrap().partial);
        assert_eq!(parse(b"2026-01-01T00:00:00Z stdout F \n").unwrap().content, b"");
        assert_eq!(parse(b"2026-01-01T00:00:00Z stdout F\n").unwrap().content, b"");
        assert_eq!(parse(b"just text here now"), None);
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
        }
    }
}
