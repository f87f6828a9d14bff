//! `/version`: the compatible Kubernetes version and the build of this server.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The minor version of the Kubernetes API that is served.
pub const MINOR: &str = "36";
/// The version of Kubernetes whose API is served.
pub const EMULATED: &str = "1.36";
/// The patch version reported to clients.
const PATCH: &str = "0";

/// The version string, `v1.36.0+catamaran-0.1.0`.
pub fn git_version() -> String {
    format!("v1.{MINOR}.{PATCH}+catamaran-{}", env!("CARGO_PKG_VERSION"))
}

/// From which sources the binary was built, and when.
#[derive(Debug, Clone)]
pub struct BuildInfo {
    /// The commit in hexadecimal; `unknown` outside a repository.
    pub commit: String,
    /// Whether the sources differed from the commit.
    pub modified: bool,
    /// RFC 3339, UTC.
    pub date: String,
}

impl Default for BuildInfo {
    fn default() -> Self {
        Self { commit: "unknown".to_owned(), modified: false, date: "1970-01-01T00:00:00Z".to_owned() }
    }
}

/// The process that a server is in.
#[derive(Debug, Default)]
pub struct ServerProcess {
    /// What `/version` says.
    pub build: BuildInfo,
    /// The flags with their values, as `/flagz` shows them.
    pub flags: BTreeMap<String, String>,
    /// Cancelled when the server stops.
    pub stopping: CancellationToken,
}

/// The response of `/version`.
pub fn value(build: &BuildInfo) -> Value {
    json!({
        "major": "1",
        "minor": MINOR,
        "emulationMajor": "1",
        "emulationMinor": MINOR,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": git_version(),
        "gitCommit": build.commit,
        "gitTreeState": if build.modified { "dirty" } else { "clean" },
        "buildDate": build.date,
        "goVersion": "none",
        "compiler": "rustc",
        "platform": concat_platform(),
    })
}

fn concat_platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
}
