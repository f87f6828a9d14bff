//! The log on standard error: filter, and text or JSON lines. Executors inherit both through the environment.

use std::{env::VarError, io::IsTerminal, sync::OnceLock};

use anyhow::{Context, bail};
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use self::one_line::OneLine;

mod one_line;

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

/// The levels of a filter.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Targets of log lines: the crates of this program, and those of others that are worth a filter.
const TARGETS: [&str; 24] = [
    "apiserver_shim",
    "catamaran",
    "cri",
    "executor_core",
    "h2",
    "hyper",
    "hyper_util",
    "kernel",
    "kernel_core",
    "kernel_model",
    "kernel_wire",
    "kube",
    "kubelet_executor",
    "quantity",
    "reqwest",
    "rustls",
    "shim_core",
    "shim_model",
    "shim_pki",
    "store",
    "tokio",
    "tonic",
    "tower",
    "transport",
];

/// Reads a filter: levels, or targets with levels. A word that is neither is a mistake, though the library takes it for a
/// target.
fn parse_filter(text: &str) -> anyhow::Result<EnvFilter> {
    for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let word = directive.split('=').next().unwrap_or_default();
        let is_level = |word: &str| {
            LEVELS.contains(&word.to_lowercase().as_str()) || word.parse::<u8>().is_ok_and(|n| n <= 5)
        };
        let root = word.split("::").next().unwrap_or_default();
        // With brackets it names a span.
        if !word.contains('[') && !is_level(word) && !TARGETS.contains(&root) {
            bail!(
                "{FILTER_VARIABLE}: '{word}' is neither a level ({}) nor a part of this program, as in {FILTER_VARIABLE}=info \
                 or {FILTER_VARIABLE}=warn,kernel=debug",
                LEVELS.join(", ")
            );
        }
        if let Some((_, level)) = directive.split_once('=')
            && !word.contains('[')
            && !is_level(level)
        {
            bail!(
                "{FILTER_VARIABLE}: '{level}' in '{directive}' is no level: give one of {}",
                LEVELS.join(", ")
            );
        }
    }
    EnvFilter::builder().parse(text).with_context(|| format!("{FILTER_VARIABLE}: '{text}' is no filter"))
}

/// Starts the log; without a filter from level `warn` up.
pub fn init(flag: Option<LogFormat>) -> anyhow::Result<()> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(text) if !text.trim().is_empty() => parse_filter(&text)?,
        Ok(_) | Err(VarError::NotPresent) => EnvFilter::new("warn"),
        Err(VarError::NotUnicode(_)) => bail!("{FILTER_VARIABLE} is not UTF-8"),
    };
    let format = LogFormat::chosen(flag);
    FORMAT.set(format).expect("invariant: the log is started once");
    let subscriber = subscriber(format, filter, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).expect("invariant: the log is started once");
    Ok(())
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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(OneLine(writer))
        .log_internal_errors(false);
    match format {
        // Colours on a terminal only.
        LogFormat::Text => Box::new(builder.with_ansi(std::io::stderr().is_terminal()).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_span_list(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    //! Tests of the filter and the JSON lines.

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
    fn a_client_cannot_add_lines_to_the_log() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = Lines::default();
            let writer = lines.clone();
            let subscriber = subscriber(format, EnvFilter::new("info"), move || writer.clone());
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(error = %"x\r\ny", "Role '\n2026-01-01 ERROR fake' is invalid");
                tracing::warn!("next");
            });
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.matches(['\n', '\r']).count(), 2, "{text}");
            assert!(text.contains("Role '\\n2026-01-01 ERROR fake' is invalid"), "{text}");
            assert!(text.contains("x\\r\\ny"), "{text}");
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

    #[test]
    fn a_filter_that_would_do_something_else_is_an_error() {
        for good in [
            "info",
            "INFO",
            "warn,kernel=debug",
            "kernel::task_trace=debug",
            "info,h2=off,",
            "2",
            "kernel",
            "[pod]=debug",
        ] {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        for bad in [
            "inof",
            "verbose",
            "kernl=debug",
            "kernel=loud",
            "kernel=",
            "info;debug",
            "a b",
            "kernel=debug=info",
        ] {
            let error = format!("{:#}", parse_filter(bad).unwrap_err());
            assert!(error.starts_with("CATAMARAN_LOG: '"), "{error}");
        }
    }
}
