//! `/version`: the compatible Kubernetes version and the build of this server.

use serde_json::{Value, json};

/// The minor version of the Kubernetes API that is served.
pub const MINOR: &str = "36";
/// The patch version reported to clients.
const PATCH: &str = "0";

/// The version string, `v1.36.0+catamaran-0.1.0`.
pub fn git_version() -> String {
    format!("v1.{MINOR}.{PATCH}+catamaran-{}", env!("CARGO_PKG_VERSION"))
}

/// The response of `/version`.
pub fn value() -> Value {
    json!({
        "major": "1",
        "minor": MINOR,
        "emulationMajor": "1",
        "emulationMinor": MINOR,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": git_version(),
        "gitCommit": option_env!("CATAMARAN_COMMIT").unwrap_or("unknown"),
        "gitTreeState": "clean",
        "buildDate": option_env!("CATAMARAN_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
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
