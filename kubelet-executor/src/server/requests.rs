//! Parses requests to the node's server.

use std::time::Duration;

use executor_core::log_render::{RenderOptions, StreamSelection};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::StatusError;
use crate::pod::logs::LogOptions;

/// A parsed query string; names may repeat.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        };
        Self(text.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
    }

    pub fn is_set(&self, name: &str) -> bool {
        self.first(name).is_some_and(|value| matches!(value, "1" | "true" | "True" | "TRUE" | "t" | "T"))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, StatusError> {
        let Some(text) = self.first(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse()
            .map(Some)
            .map_err(|_| StatusError::bad_request(format!("{name} is not a number: {text:?}")))
    }
}

/// Decodes percent escapes and `+`; malformed escapes stay as they are.
fn decode(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

/// A Pod, with a container where the request names one.
#[derive(Debug)]
pub(crate) struct Target {
    pub namespace: String,
    pub pod: String,
    pub container: String,
}

impl Target {
    /// Names come from a URL and become file paths, so anything else is refused.
    pub fn new(namespace: &str, pod: &str, container: Option<&str>) -> Result<Self, StatusError> {
        let container = container.unwrap_or_default();
        let is_name =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        if [namespace, pod, container].into_iter().any(|text| !is_name(text) || text.starts_with('.')) {
            return Err(StatusError::bad_request("invalid namespace, pod or container name"));
        }
        Ok(Self { namespace: namespace.to_owned(), pod: pod.to_owned(), container: container.to_owned() })
    }
}

/// Reads the options of a log request from its query.
pub(crate) fn log_options(query: &Query) -> Result<LogOptions, StatusError> {
    let seconds = query.number("sinceSeconds")?;
    let since =
        match (seconds, query.first("sinceTime").filter(|text| !text.is_empty())) {
            (Some(seconds), _) => Timestamp::now().checked_sub(Duration::from_secs(seconds)).ok(),
            (None, Some(text)) => {
                let parsed: Result<Timestamp, _> = text.parse();
                Some(parsed.map_err(|_| {
                    StatusError::bad_request(format!("sinceTime is not a timestamp: {text:?}"))
                })?)
            }
            (None, None) => None,
        };
    let streams = match query.first("stream") {
        None => StreamSelection::All,
        Some(name) => StreamSelection::parse(name)
            .ok_or_else(|| StatusError::bad_request(format!("invalid stream type {name:?}")))?,
    };
    Ok(LogOptions {
        follow: query.is_set("follow"),
        previous: query.is_set("previous"),
        tail_lines: query.number("tailLines")?,
        render: RenderOptions {
            timestamps: query.is_set("timestamps"),
            since,
            limit_bytes: query.number("limitBytes")?,
            streams,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_names() {
        let query =
            Query::parse("command=sh&command=-c&command=echo+%22a%22%20%zz&stdin=true&tty=0&tailLines=5");
        assert_eq!(query.all("command"), ["sh", "-c", "echo \"a\" %zz"]);
        assert!(query.is_set("stdin") && !query.is_set("tty") && !query.is_set("nothing"));
        assert_eq!(log_options(&query).ok().and_then(|r| r.tail_lines), Some(5));
        assert!(log_options(&Query::parse("tailLines=-1")).is_err());
        let stderr = log_options(&Query::parse("stream=Stderr")).ok().map(|options| options.render.streams);
        assert_eq!(stderr, StreamSelection::parse("Stderr"));
        assert!(log_options(&Query::parse("stream=stderr")).is_err());
        assert!(Target::new("ns", "..", None).is_err() && Target::new("ns", "a%2fb", None).is_err());
    }
}
