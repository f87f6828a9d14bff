//! The scheduler's configuration file: YAML or JSON in the shape of `KubeSchedulerConfiguration`.

use std::path::{Path, PathBuf};

use shim_core::scheduler::{ConfigurationError, SchedulerConfiguration};
use shim_model::schema::plain_yaml;

/// Why a configuration file is rejected.
#[derive(Debug, thiserror::Error)]
#[error("scheduler configuration {}", path.display())]
pub struct ConfigurationFileError {
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
    Content(#[from] ConfigurationError),
}

/// Reads a configuration file.
pub fn read_configuration(path: &Path) -> Result<SchedulerConfiguration, ConfigurationFileError> {
    read(path).map_err(|cause| ConfigurationFileError { path: path.to_owned(), cause })
}

fn read(path: &Path) -> Result<SchedulerConfiguration, Cause> {
    let bytes = std::fs::read(path)?;
    let value = plain_yaml(&bytes).map_err(Cause::Yaml)?;
    Ok(SchedulerConfiguration::decode(&value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let error = read_configuration(file.path()).expect_err("the file is refused");
        std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn a_valid_file_is_read_and_an_invalid_one_explained() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- schedulerName: batch\n";
        std::fs::write(file.path(), text).unwrap();
        let configuration = read_configuration(file.path()).unwrap();
        assert_eq!(configuration.profiles.find("batch"), Some(0));
        assert!(error("a: [").starts_with("invalid YAML"));
        assert!(error("kind: Pod").starts_with("expected KubeSchedulerConfiguration"));
    }
}
