//! The file of `--admission-control-config-file`: `AdmissionConfiguration`, with the configuration of each plugin inline or
//! in a file of its own.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use shim_core::pod_security::{PodSecurityConfiguration, PodSecurityConfigurationError};
use shim_model::schema::plain_yaml;

/// The group of the file; its versions are equal.
const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1alpha1"];
const KIND: &str = "AdmissionConfiguration";

/// The configuration of the built-in plugins.
#[derive(Clone, Debug, Default)]
pub struct AdmissionConfiguration {
    /// That of `PodSecurity`.
    pub pod_security: PodSecurityConfiguration,
}

/// Why the file is refused.
#[derive(Debug, thiserror::Error)]
#[error("admission configuration {}", path.display())]
pub struct AdmissionConfigurationError {
    path: PathBuf,
    #[source]
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("cannot read the file")]
    Read(#[from] std::io::Error),
    #[error("invalid YAML: {0}")]
    Yaml(String),
    #[error(transparent)]
    Content(#[from] serde_json::Error),
    #[error("expected {KIND} of apiserver.config.k8s.io/v1, found {0}")]
    Kind(String),
    #[error("plugin {0} has no configuration in this server; only PodSecurity has one")]
    Plugin(String),
    #[error("plugin {0} is configured twice")]
    Twice(String),
    #[error("PodSecurity")]
    PodSecurity(#[from] PodSecurityConfigurationError),
    #[error("file {} of PodSecurity", .0.display())]
    File(PathBuf, #[source] Box<Cause>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    plugins: Option<Vec<Plugin>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Plugin {
    name: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    configuration: Option<Value>,
}

impl AdmissionConfiguration {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read or is not valid, and plugins that have no configuration here.
    pub fn read(path: &Path) -> Result<Self, AdmissionConfigurationError> {
        read(path).map_err(|cause| AdmissionConfigurationError { path: path.to_owned(), cause })
    }
}

fn read(path: &Path) -> Result<AdmissionConfiguration, Cause> {
    let value = yaml(path)?;
    let text = |member: &str| value.get(member).and_then(Value::as_str).unwrap_or("nothing");
    if text("kind") != KIND || !VERSIONS.contains(&text("apiVersion")) {
        return Err(Cause::Kind(format!("{} of {}", text("kind"), text("apiVersion"))));
    }
    let file = File::deserialize(&value)?;
    debug_assert!(file.kind == KIND && VERSIONS.contains(&file.api_version.as_str()));
    let mut pod_security = None;
    for plugin in file.plugins.unwrap_or_default() {
        if plugin.name != super::POD_SECURITY {
            return Err(Cause::Plugin(plugin.name));
        }
        if pod_security.is_some() {
            return Err(Cause::Twice(plugin.name));
        }
        // As upstream, a configuration in the file prevails over a path, which is relative to the file.
        pod_security = Some(match (plugin.configuration, plugin.path.as_str()) {
            (Some(configuration), _) => PodSecurityConfiguration::decode(&configuration)?,
            (None, "") => PodSecurityConfiguration::default(),
            (None, other) => {
                let path = path.parent().unwrap_or(Path::new("")).join(other);
                let decoded = yaml(&path).and_then(|value| Ok(PodSecurityConfiguration::decode(&value)?));
                decoded.map_err(|cause| Cause::File(path, Box::new(cause)))?
            }
        });
    }
    Ok(AdmissionConfiguration { pod_security: pod_security.unwrap_or_default() })
}

fn yaml(path: &Path) -> Result<Value, Cause> {
    plain_yaml(&std::fs::read(path)?).map_err(Cause::Yaml)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n";
    const POD_SECURITY: &str =
        "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n";

    /// Reads a file that is called `a`, beside a file `b`; the directory is cut out of errors.
    fn check(a: &str, b: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, a).unwrap();
        std::fs::write(directory.path().join("b"), b).unwrap();
        match AdmissionConfiguration::read(&path) {
            Ok(configuration) => configuration.pod_security.defaults.enforce.to_string(),
            Err(error) => {
                let mut chain = vec![error.to_string()];
                let mut source = std::error::Error::source(&error);
                while let Some(error) = source {
                    chain.push(error.to_string());
                    source = error.source();
                }
                chain.join(": ").replace(&directory.path().display().to_string(), "")
            }
        }
    }

    #[test]
    fn plugins_are_configured_in_the_file_or_in_their_own() {
        let baseline = format!("{POD_SECURITY}defaults: {{enforce: baseline}}\n");
        let inline = baseline.replace('\n', "\n    ");
        let table = [
            check(HEAD, ""),
            check(&format!("{HEAD}plugins:\n- name: PodSecurity\n"), ""),
            check(&format!("{HEAD}plugins:\n- name: PodSecurity\n  configuration:\n    {inline}"), ""),
            check(&format!("{HEAD}plugins:\n- name: PodSecurity\n  path: b\n"), &baseline),
            check(&format!("{HEAD}plugins:\n- name: PodSecurity\n  path: b\n"), "kind: x"),
            check(&format!("{HEAD}plugins:\n- name: PodSecurity\n  path: c\n"), ""),
            check(&format!("{HEAD}plugins:\n- name: EventRateLimit\n  path: b\n"), ""),
            check(&format!("{HEAD}plugins:\n- name: PodSecurity\n- name: PodSecurity\n"), ""),
            check(&format!("{HEAD}plugin: []\n"), ""),
            check("kind: Policy\n", ""),
            check("a: [", ""),
        ];
        expect![[r#"
            privileged:latest
            privileged:latest
            baseline:latest
            baseline:latest
            admission configuration /a: file /b of PodSecurity: PodSecurity: expected PodSecurityConfiguration of pod-security.admission.config.k8s.io/v1, found x of nothing
            admission configuration /a: file /c of PodSecurity: cannot read the file: No such file or directory (os error 2)
            admission configuration /a: plugin EventRateLimit has no configuration in this server; only PodSecurity has one
            admission configuration /a: plugin PodSecurity is configured twice
            admission configuration /a: unknown field `plugin`, expected one of `apiVersion`, `kind`, `plugins`
            admission configuration /a: expected AdmissionConfiguration of apiserver.config.k8s.io/v1, found Policy of nothing
            admission configuration /a: invalid YAML: yaml: line 2: did not find expected node content"#]].assert_eq(&table.join("\n"));
    }
}
