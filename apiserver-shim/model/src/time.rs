//! Time stamps as the API prints them, and ages as tables print them. An instant is in microseconds since 1970 and
//! comes from the caller; nothing here reads a clock.

mod rfc3339;
mod zone;

pub use rfc3339::{civil, parse_nanoseconds, rfc3339_nano};
pub use zone::{Civil, Zone, rfc1123};

const MICROS: i64 = 1_000_000;
const NANOS: i128 = 1_000;

/// Microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(pub i64);

impl Instant {
    /// An instant from seconds since 1970.
    pub const fn from_seconds(seconds: i64) -> Self {
        Instant(seconds.saturating_mul(MICROS))
    }

    /// Seconds since 1970, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// The format of `metav1.Time`: UTC, whole seconds.
    pub fn to_rfc3339(self) -> String {
        rfc3339_nano(i128::from(self.seconds()) * 1_000_000_000)
    }

    /// The format of `metav1.MicroTime`: UTC, six decimals.
    pub fn to_rfc3339_micro(self) -> String {
        rfc3339::print(i128::from(self.0) * NANOS, 6)
    }

    /// Parses either format, with any offset.
    pub fn parse(text: &str) -> Option<Self> {
        let micros = parse_nanoseconds(text)?.div_euclid(NANOS);
        i64::try_from(micros).ok().map(Instant)
    }

    /// Seconds since `earlier`; negative if `self` is before it.
    pub const fn since(self, earlier: Instant) -> i64 {
        (self.0 - earlier.0) / MICROS
    }
}

/// The age of a time stamp as a table cell; `<unknown>` without one.
pub fn age(then: &str, now: Instant) -> String {
    Instant::parse(then).map_or_else(|| "<unknown>".to_owned(), |then| human_duration(now.since(then)))
}

/// A duration as a short text, less precise the longer it is: `5s`, `2m10s`, `15m`, `3h20m`, `2d4h`, `90d`, `2y30d`.
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |big: i64, big_unit: char, small: i64, small_unit: char| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    match seconds {
        i64::MIN..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds / MINUTE, 'm', seconds % MINUTE, 's'),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds / HOUR, 'h', seconds % HOUR / MINUTE, 'm'),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds / DAY, 'd', seconds % DAY / HOUR, 'h'),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(seconds / YEAR, 'y', seconds / DAY % 365, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
#[path = "time/tests.rs"]
mod tests;
