//! How long a request may take: its `timeout`, if that is less than the server's limit. The time begins with the arrival of the
//! request, so waiting for seats is part of it.

use std::time::{Duration, Instant};

use shim_core::cel::go_duration;
use shim_model::status::{self, Status};

use crate::pipeline::REQUEST_TIMEOUT;
use crate::request::info::RequestInfo;
use shim_model::go_quote::go_quote;

/// Longer than any watch or stream.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The end of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    arrived: Instant,
    limit: Duration,
    /// Watches and streams take as long as they want.
    long_running: bool,
}

impl Deadline {
    /// The deadline of a request that has arrived.
    ///
    /// # Errors
    /// Its `timeout` is no duration.
    pub fn new(info: &RequestInfo, arrived: Instant) -> Result<Deadline, Status> {
        let long_running = info.is_long_running();
        let limit = if long_running { REQUEST_TIMEOUT } else { limit(info)? };
        Ok(Deadline { arrived, limit, long_running })
    }

    /// When the request must be answered; in a year for long-running ones.
    pub fn end(self) -> Instant {
        self.arrived + if self.long_running { NEVER } else { self.limit }
    }

    /// Until when admission may call webhooks.
    pub fn of_admission(self) -> Instant {
        self.arrived + self.limit
    }

    /// Until when it may wait for its seats: a quarter of its time, as upstream.
    pub fn of_wait(self) -> Instant {
        self.arrived + self.limit / 4
    }
}

fn limit(info: &RequestInfo) -> Result<Duration, Status> {
    let Some(text) = info.query.get("timeout").filter(|text| !text.is_empty()) else {
        return Ok(REQUEST_TIMEOUT);
    };
    let nanoseconds = go_duration(text).ok_or_else(|| {
        let why = if text.ends_with(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok() {
            "missing unit in duration"
        } else {
            "invalid duration"
        };
        status::bad_request(format!(
            "invalid timeout specified in the request URL - time: {why} {}",
            go_quote(text)
        ))
    })?;
    match u64::try_from(nanoseconds) {
        Ok(wanted @ 1..) => Ok(Duration::from_nanos(wanted).min(REQUEST_TIMEOUT)),
        _ => Ok(REQUEST_TIMEOUT),
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Uri};

    use super::*;

    #[test]
    fn the_time_of_a_request_begins_with_its_arrival() {
        let arrived = Instant::now();
        let of = |path: &'static str| {
            let info = RequestInfo::new(&Method::GET, &Uri::from_static(path));
            Deadline::new(&info, arrived).map(|deadline| {
                let since = |at: Instant| (at - arrived).as_millis();
                (since(deadline.end()), since(deadline.of_wait()))
            })
        };
        assert_eq!(of("/api/v1/pods?timeout=2s"), Ok((2000, 500)));
        assert_eq!(of("/api/v1/pods"), Ok((60_000, 15_000)));
        assert_eq!(of("/api/v1/pods?timeout=0s"), Ok((60_000, 15_000)));
        assert_eq!(of("/api/v1/pods?timeout=1h"), Ok((60_000, 15_000)));
        assert_eq!(of("/api/v1/pods?watch=1&timeout=2s"), Ok((NEVER.as_millis(), 15_000)));
        let refused = of("/api/v1/pods?timeout=2").unwrap_err();
        assert_eq!(
            refused.message,
            "invalid timeout specified in the request URL - time: missing unit in duration \"2\""
        );
    }
}
