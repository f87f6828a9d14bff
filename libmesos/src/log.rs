//! Lines on the standard error output, as the Java library's native part writes them, with its environment variables
//! `MESOS_LOGGING_LEVEL` (INFO, WARNING, ERROR) and `MESOS_QUIET`.

use std::sync::Once;

use tracing::level_filters::LevelFilter;

/// Installs the subscriber of this library, once. Rust libraries in the same process have their own.
pub(crate) fn init() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let level = level(&variable("MESOS_QUIET"), &variable("MESOS_LOGGING_LEVEL"));
        let subscriber = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_target(false)
            .with_max_level(level)
            .finish();
        // It fails only if there is one already.
        let _ = tracing::subscriber::set_global_default(subscriber);
    });
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn level(quiet: &str, level: &str) -> LevelFilter {
    match (quiet, level) {
        ("1" | "true", _) | (_, "ERROR") => LevelFilter::ERROR,
        (_, "WARNING") => LevelFilter::WARN,
        _ => LevelFilter::INFO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for (quiet, name, wanted) in [
            ("", "", LevelFilter::INFO),
            ("1", "INFO", LevelFilter::ERROR),
            ("true", "", LevelFilter::ERROR),
            ("0", "WARNING", LevelFilter::WARN),
            ("", "ERROR", LevelFilter::ERROR),
        ] {
            assert_eq!(level(quiet, name), wanted, "{quiet} {name}");
        }
    }
}
