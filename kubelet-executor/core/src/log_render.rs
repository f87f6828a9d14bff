//! Renders log records for a client, and finds where the last lines of a log begin.
//!
//! A line of a container may span several records: the runtime splits long lines, and marks all parts but the last as
//! partial. Records of the two streams may interleave, so the parts of a line are followed per stream.

use jiff::Timestamp;

use crate::log_line::{self, LogLine, Stream};

/// Digits of the fraction in upstream's timestamps.
const FRACTION_DIGITS: usize = 9;

/// The streams that a client requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StreamSelection {
    /// Both, in the order of the log.
    #[default]
    All,
    /// One of them.
    Only(Stream),
}

impl StreamSelection {
    /// Parses the API's name: `All`, `Stdout` or `Stderr`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "All" => Some(Self::All),
            "Stdout" => Some(Self::Only(Stream::Stdout)),
            "Stderr" => Some(Self::Only(Stream::Stderr)),
            _ => None,
        }
    }

    fn contains(self, stream: Stream) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only == stream,
        }
    }
}

/// What a client wants to see of each line.
#[derive(Debug, Clone, Copy, Default)]
pub struct RenderOptions {
    /// Prefix each line with its time.
    pub timestamps: bool,
    /// Lines that began earlier are omitted.
    pub since: Option<Timestamp>,
    /// Limit of the rendered bytes.
    pub limit_bytes: Option<u64>,
    /// Only these streams are rendered, and only their bytes count.
    pub streams: StreamSelection,
}

/// Renders records, oldest first.
#[derive(Debug)]
pub struct LogRenderer {
    options: RenderOptions,
    left: u64,
    /// The line in progress of each stream, by [`Stream::index`].
    lines: [LineState; 2],
    /// The next byte of the output begins a line.
    at_line_start: bool,
}

/// A stream's line in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineState {
    /// The next record begins a line.
    Between,
    Shown,
    /// The line began before `since`.
    Omitted,
}

impl LogRenderer {
    /// Creates a renderer for a log from its beginning or from the start of a line.
    pub fn new(options: RenderOptions) -> Self {
        let left = options.limit_bytes.unwrap_or(u64::MAX);
        Self { options, left, lines: [LineState::Between; 2], at_line_start: true }
    }

    /// Appends the rendered record to `out`. Malformed records are skipped.
    pub fn render(&mut self, record: &[u8], out: &mut Vec<u8>) {
        let Some(line) = log_line::parse(record) else { return };
        let state = match self.lines[line.stream.index()] {
            LineState::Between if self.is_omitted(&line) => LineState::Omitted,
            LineState::Between => LineState::Shown,
            begun => begun,
        };
        self.lines[line.stream.index()] = if line.partial { state } else { LineState::Between };
        if state == LineState::Omitted || !self.options.streams.contains(line.stream) {
            return;
        }
        if self.options.timestamps && self.at_line_start {
            let mut prefix = fixed_width(line.timestamp);
            prefix.push(' ');
            self.put(prefix.as_bytes(), out);
        }
        self.put(line.content, out);
        if !line.partial {
            self.put(b"\n", out);
        }
        self.at_line_start = !line.partial;
    }

    /// Whether the byte limit is reached.
    pub fn is_full(&self) -> bool {
        self.left == 0
    }

    fn is_omitted(&self, line: &LogLine<'_>) -> bool {
        let began = || line.timestamp.parse::<Timestamp>().ok();
        self.options.since.is_some_and(|since| began().is_some_and(|began| began < since))
    }

    fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        out.extend_from_slice(&bytes[..fits]);
        self.left -= fits as u64;
    }
}

/// A timestamp with nine digits of fraction, as upstream prints it; the runtime omits trailing zeros.
fn fixed_width(timestamp: &str) -> String {
    let zone = timestamp.find(['Z', '+']).or_else(|| timestamp.rfind('-')).unwrap_or(timestamp.len());
    let (moment, zone) = timestamp.split_at(zone);
    let (seconds, fraction) = moment.split_once('.').unwrap_or((moment, ""));
    format!("{seconds}.{fraction:0<FRACTION_DIGITS$}{zone}")
}

/// Finds where the last lines of a log begin; takes records in reverse order.
///
/// Each stream has a start of its own: between the parts of a chosen line, the other stream may have older lines.
#[derive(Debug)]
pub struct TailFinder<P> {
    wanted: u64,
    found: u64,
    streams: [TailState<P>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TailState<P> {
    /// No record seen.
    Unseen,
    /// The start of the oldest chosen line is at or before this position.
    Open(P),
    /// Known; `None` if no line of the stream is chosen.
    Closed(Option<P>),
}

impl<P: Copy> TailFinder<P> {
    /// Creates a finder for the last `lines` lines.
    pub fn new(lines: u64) -> Self {
        Self { wanted: lines, found: 0, streams: [TailState::Unseen; 2] }
    }

    /// Takes the record before those taken so far. Malformed records belong to no line.
    pub fn take(&mut self, record: &[u8], position: P) {
        let Some(line) = log_line::parse(record) else { return };
        let index = line.stream.index();
        self.streams[index] = match self.streams[index] {
            TailState::Closed(start) => TailState::Closed(start),
            TailState::Open(_) if line.partial => TailState::Open(position),
            // The end of an older line; or of the newest one, which may still be incomplete.
            TailState::Open(_) | TailState::Unseen if self.found < self.wanted => {
                self.found += 1;
                TailState::Open(position)
            }
            TailState::Open(start) => TailState::Closed(Some(start)),
            TailState::Unseen => TailState::Closed(None),
        };
    }

    /// Whether no older record can change the result.
    pub fn is_done(&self) -> bool {
        self.found == self.wanted && !self.streams.iter().any(|state| matches!(state, TailState::Open(_)))
    }

    /// Where the chosen lines of a stream begin; `None` if there are none.
    pub fn start(&self, stream: Stream) -> Option<P> {
        match self.streams[stream.index()] {
            TailState::Unseen => None,
            TailState::Open(start) => Some(start),
            TailState::Closed(start) => start,
        }
    }
}

#[cfg(test)]
mod tests;
