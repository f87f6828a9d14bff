//! Container logs on disk.
//!
//! The runtime writes `<pod's directory>/<container>/<attempt>.log`; rotation renames it to
//! `<attempt>.log.<timestamp>`.

pub(crate) mod files;
pub(crate) mod reader;
mod records;

use std::{collections::BTreeMap, path::Path};

use executor_core::{log_render::RenderOptions, spec};
use k8s_openapi::api::core::v1::Pod;

/// How much of the log a termination message includes, as upstream.
const LAST_LINES: u64 = 80;
const LAST_BYTES: usize = 2048;

/// Which part of a log a client requests.
#[derive(Debug, Default, Clone)]
pub(crate) struct LogOptions {
    pub follow: bool,
    /// The log of the instance that ended last, not that of the current one.
    pub previous: bool,
    pub tail_lines: Option<u64>,
    pub render: RenderOptions,
}

/// The newest attempt with a log of each container, in a Pod's log directory.
pub(crate) fn newest_attempts(dir: &Path, pod: &Pod) -> BTreeMap<String, u32> {
    let newest = |name: &String| Some((name.clone(), *files::attempts(&dir.join(name)).last()?));
    spec::all_containers(pod).filter_map(|(_, container)| newest(&container.name)).collect()
}

/// The end of a log, for a container without a termination message.
pub(crate) fn last_lines(path: &Path) -> String {
    let options = LogOptions { tail_lines: Some(LAST_LINES), ..Default::default() };
    let bytes = reader::read_file(path, &options).unwrap_or_default();
    let start = bytes.len().saturating_sub(LAST_BYTES);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_log_of_each_container_counts() {
        let dir = tempfile::tempdir().unwrap();
        for file in
            ["web/0.log", "web/9.log", "web/10.log", "web/12.log.20260101-000000", "gone/4.log", "look/0.log"]
        {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "spec": {
                "initContainers": [{ "name": "prepare" }], "containers": [{ "name": "web" }],
                "ephemeralContainers": [{ "name": "look" }, { "name": "gone2" }],
            }
        }))
        .unwrap();
        assert_eq!(
            newest_attempts(dir.path(), &pod),
            BTreeMap::from([("web".to_owned(), 10), ("look".to_owned(), 0)])
        );
    }
}
