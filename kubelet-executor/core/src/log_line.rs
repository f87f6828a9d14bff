//! Lines of container logs in the CRI format: `2026-11-22T03:05:00.123456789Z stdout F text`.

/// A parsed line that borrows from its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// RFC 3339 with nanoseconds.
    pub timestamp: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
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
    let (timestamp, stream) = (std::str::from_utf8(timestamp).ok()?, std::str::from_utf8(stream).ok()?);
    if timestamp.is_empty() || !matches!(stream, "stdout" | "stderr") {
        return None;
    }
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
        assert_eq!((line.stream, line.partial, line.content), ("stdout", false, &b"hello world"[..]));
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
