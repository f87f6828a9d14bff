//! The files of ConfigMap, Secret, downward API and projected volumes: path, content and mode.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, KeyToPath, Secret};

/// The mode of files without a mode in the volume.
pub const DEFAULT_MODE: u32 = 0o644;

/// By relative path.
pub type Files = BTreeMap<String, File>;

/// Content, mode and owner of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct File {
    pub bytes: Vec<u8>,
    pub mode: u32,
    /// The user that it belongs to; root if `None`.
    pub owner: Option<u32>,
}

/// Why the files cannot be selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadError {
    /// An item names a missing key.
    MissingKey(String),
    /// An item's path leaves the volume.
    UnsafePath(String),
}

impl std::fmt::Display for PayloadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MissingKey(key) => write!(f, "references non-existent config key: {key}"),
            Self::UnsafePath(path) => write!(f, "path leaves the volume: {path}"),
        }
    }
}

impl std::error::Error for PayloadError {}

/// The values of a ConfigMap, `data` and `binaryData` together.
pub fn config_map_values(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

/// The values of a Secret.
pub fn secret_values(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// Adds the selected values to `files`, or all of them.
pub fn select(
    files: &mut Files,
    values: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
) -> Result<(), PayloadError> {
    let default = mode(default_mode, DEFAULT_MODE);
    match items.filter(|items| !items.is_empty()) {
        None => {
            for (key, bytes) in values {
                add(files, key, bytes.clone(), default)?;
            }
        }
        Some(items) => {
            for item in items {
                match values.get(&item.key) {
                    Some(bytes) => add(files, &item.path, bytes.clone(), mode(item.mode, default))?,
                    None if optional => {}
                    None => return Err(PayloadError::MissingKey(item.key.clone())),
                }
            }
        }
    }
    Ok(())
}

/// Adds one file after checking its path.
pub fn add(files: &mut Files, path: &str, bytes: Vec<u8>, mode: u32) -> Result<(), PayloadError> {
    if !is_safe(path) {
        return Err(PayloadError::UnsafePath(path.to_owned()));
    }
    files.insert(path.to_owned(), File { bytes, mode, owner: None });
    Ok(())
}

/// Adds a token, which nobody but the Pod's users may read if it is known who they are: `owner` is the user of all containers, if they
/// have the same. With a group, the volume gives it the right to read.
pub fn add_token(
    files: &mut Files,
    path: &str,
    token: Vec<u8>,
    mode: u32,
    (owner, group): (Option<u32>, Option<u32>),
) -> Result<(), PayloadError> {
    let mode = if owner.or(group).is_some() { 0o600 } else { mode };
    add(files, path, token, mode)?;
    if let Some(file) = files.get_mut(path) {
        file.owner = owner;
    }
    Ok(())
}

/// Permission bits from an API value.
pub fn mode(given: Option<i32>, default: u32) -> u32 {
    given.and_then(|mode| u32::try_from(mode).ok()).map_or(default, |mode| mode & 0o777)
}

/// Whether a relative path stays below its base directory.
pub fn is_safe(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && !path.starts_with("..")
        && !path.contains('\0')
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_select_values_and_paths_are_checked() {
        let values = BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        let item = |key: &str, path: &str, mode| KeyToPath { key: key.into(), path: path.into(), mode };
        let mut files = Files::new();
        select(&mut files, &values, Some(&[item("b", "dir/b", Some(0o400))]), Some(0o640), false).unwrap();
        assert_eq!(
            files,
            Files::from([("dir/b".to_owned(), File { bytes: b"2".to_vec(), mode: 0o400, owner: None })])
        );
        let gone = select(&mut files, &values, Some(&[item("c", "c", None)]), None, false);
        assert_eq!(gone, Err(PayloadError::MissingKey("c".into())));
        assert_eq!(select(&mut files, &values, Some(&[item("c", "c", None)]), None, true), Ok(()));
        for path in ["../x", "/x", "a/../../x", "", "a//b", "..data"] {
            assert!(add(&mut files, path, Vec::new(), 0).is_err(), "{path}");
        }
    }

    #[test]
    fn tokens_are_for_the_users_of_the_pod() {
        let added = |of: (Option<u32>, Option<u32>)| {
            let mut files = Files::new();
            add_token(&mut files, "token", b"t".to_vec(), 0o644, of).unwrap();
            let file = files.into_values().next().unwrap();
            (file.mode, file.owner)
        };
        assert_eq!(added((None, None)), (0o644, None));
        assert_eq!(added((Some(0), None)), (0o600, Some(0)));
        assert_eq!(added((None, Some(1000))), (0o600, None));
        assert_eq!(added((Some(7), Some(1000))), (0o600, Some(7)));
    }
}
