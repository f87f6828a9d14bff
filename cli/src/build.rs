//! From which sources this binary was built: for `--version` and `/version`.

use std::sync::LazyLock;

use apiserver_shim::server::BuildInfo;
use jiff::Timestamp;

/// The build, as `build.rs` found it.
pub fn info() -> BuildInfo {
    let seconds = env!("CATAMARAN_BUILD_EPOCH").parse().unwrap_or(0);
    BuildInfo {
        commit: env!("CATAMARAN_COMMIT").to_owned(),
        modified: env!("CATAMARAN_MODIFIED") == "yes",
        date: Timestamp::from_second(seconds).unwrap_or_default().to_string(),
    }
}

/// The version with commit and date, for `--version`.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let BuildInfo { commit, modified, date } = info();
    let version = env!("CARGO_PKG_VERSION");
    let changed = if modified { ", modified" } else { "" };
    format!(
        "{version} (commit {commit}{changed}, {date}; Kubernetes 1.{MINOR}, Mesos 1.11)",
        MINOR = apiserver_shim::http::version::MINOR
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_tells_commit_and_date() {
        let pattern = format!("{} (commit {}", env!("CARGO_PKG_VERSION"), info().commit);
        assert!(VERSION.starts_with(&pattern), "{}", *VERSION);
        assert!(info().date.ends_with('Z'), "{}", info().date);
    }
}
