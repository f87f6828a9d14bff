//! Which handler a path leads to, by the rules of libprocess: trailing slashes do not matter, and an endpoint also answers
//! the paths below it.

/// The first result for the path or one of its parents; `exact` gets paths without trailing slash. Relative paths lead
/// nowhere.
pub(crate) fn resolve<T>(path: &str, exact: impl Fn(&str) -> Option<T>) -> Option<T> {
    if path.starts_with("/metrics/") && !path.starts_with("/metrics/snapshot") {
        // Mesos has nothing at our `/metrics`.
        return None;
    }
    if path.contains("/..") {
        return None;
    }
    // All slashes at the start are one.
    let slashes = path.len() - path.trim_start_matches('/').len();
    let mut path = path[slashes.saturating_sub(1)..].trim_end_matches('/');
    loop {
        if let Some(found) = exact(path.strip_suffix(".json").unwrap_or(path)) {
            return Some(found);
        }
        path = path.rsplit_once('/')?.0;
    }
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn parents_and_slashes() {
        let found = |path: &str| {
            resolve(path, |path| {
                ["/state", "/api/v1", "/api/v1/scheduler"].iter().find(|known| **known == path).copied()
            })
        };
        for (path, endpoint) in [
            ("/state", Some("/state")),
            ("/state/", Some("/state")),
            ("/state///", Some("/state")),
            ("//state", Some("/state")),
            ("/state.json", Some("/state")),
            ("/state.json/", Some("/state")),
            ("/state/x/y", Some("/state")),
            ("/api/v1/", Some("/api/v1")),
            ("/api/v1/x", Some("/api/v1")),
            ("/api/v1/scheduler/", Some("/api/v1/scheduler")),
            ("/api", None),
            ("/stat", None),
            ("/", None),
            ("", None),
            ("/state/../state", None),
        ] {
            assert_eq!(found(path), endpoint, "{path}");
        }
    }
}
