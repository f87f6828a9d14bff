//! The log on standard error: filter, and text or JSON lines. Executors inherit both through the environment.

use std::{io::IsTerminal, sync::OnceLock};

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// The log filter, as `CATAMARAN_LOG=info` or `CATAMARAN_LOG=kernel=debug`.
const FILTER_VARIABLE: &str = "CATAMARAN_LOG";
/// The log format of processes that an agent starts.
const FORMAT_VARIABLE: &str = "CATAMARAN_LOG_FORMAT";

/// The format of this process's log, which is global as the log itself.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line, for log collectors
    Json,
}

impl LogFormat {
    fn name(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }

    /// The format of this process: `--log-format`, or that of the process that started it.
    fn chosen(flag: Option<LogFormat>) -> LogFormat {
        let inherited = || std::env::var(FORMAT_VARIABLE).is_ok_and(|name| name == LogFormat::Json.name());
        flag.unwrap_or_else(|| if inherited() { LogFormat::Json } else { LogFormat::Text })
    }
}

/// Starts the log; without a filter from level `warn` up.
pub fn init(flag: Option<LogFormat>) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new("warn"));
    let format = LogFormat::chosen(flag);
    FORMAT.set(format).expect("invariant: the log is started once");
    let subscriber = subscriber(format, filter, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).expect("invariant: the log is started once");
}

/// The variables with which processes started by this one log in the same way.
pub fn environment() -> Vec<(String, String)> {
    let filter = std::env::var(FILTER_VARIABLE).ok().map(|filter| (FILTER_VARIABLE.to_owned(), filter));
    let format = FORMAT.get().map(|format| (FORMAT_VARIABLE.to_owned(), format.name().to_owned()));
    filter.into_iter().chain(format).collect()
}

fn subscriber<W>(format: LogFormat, filter: EnvFilter, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    match format {
        // Colours on a terminal only.
        LogFormat::Text => Box::new(builder.with_ansi(std::io::stderr().is_terminal()).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_span_list(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    //! Tests of the JSON lines.

    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_lines_have_the_fields_of_event_and_span() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(LogFormat::Json, EnvFilter::new("info"), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("pod", pod_uid = "u1").entered();
            tracing::warn!(task_id = "u1", error = %"disk full", "container not started");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "container not started");
        assert_eq!(line["task_id"], "u1");
        assert_eq!(line["error"], "disk full");
        assert_eq!(line["span"]["pod_uid"], "u1");
    }
}
