//! Where a redirect leads: a `Location` is a reference relative to the URI of the request (RFC 9110, section 10.2.2).

use http::Uri;
use http::uri::PathAndQuery;

/// Resolves a `Location` against the URI of the request that it answers (RFC 3986, section 5.2). `None` if the result is not
/// an absolute URI of HTTP or HTTPS.
pub fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let resolved: Uri = match location {
        "" => from.clone(),
        _ if has_scheme(location) => location.parse().ok()?,
        _ if location.starts_with("//") => format!("{}:{location}", from.scheme_str()?).parse().ok()?,
        _ => {
            let path: PathAndQuery = beside(from, location).parse().ok()?;
            let mut parts = from.clone().into_parts();
            parts.path_and_query = Some(path);
            Uri::from_parts(parts).ok()?
        }
    };
    let is_http = matches!(resolved.scheme_str(), Some("http" | "https"));
    (is_http && resolved.host().is_some_and(|host| !host.is_empty())).then_some(resolved)
}

fn has_scheme(location: &str) -> bool {
    let scheme = location.split([':', '/', '?']).next().unwrap_or_default();
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme && location[scheme.len()..].starts_with(':')
}

/// Path and query of a reference without a host.
fn beside(from: &Uri, location: &str) -> String {
    let (path, query) =
        location.split_once('?').map_or((location, None), |(path, query)| (path, Some(query)));
    let path = match path {
        "" => from.path().to_owned(),
        absolute if absolute.starts_with('/') => without_dots(absolute),
        relative => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            without_dots(&format!("{folder}/{relative}"))
        }
    };
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// Removes the segments `.` and `..`, and with each `..` the segment before it.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => {
                kept.push(other);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_as_rfc_3986_says() {
        let from: Uri = "http://a/b/c/d?q".parse().unwrap();
        let cases = [
            ("g", "http://a/b/c/g"),
            ("./g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g/x", "http://g/x"),
            ("?y", "http://a/b/c/d?y"),
            ("g?y#s", "http://a/b/c/g?y"),
            ("", "http://a/b/c/d?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../../../g", "http://a/g"),
            ("/./g/../h", "http://a/h"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("https://h:8443/x?y:z", "https://h:8443/x?y:z"),
        ];
        for (location, wanted) in cases {
            assert_eq!(resolve(&from, location).unwrap().to_string(), wanted, "{location}");
        }
        for location in ["ftp://h/x", "http:///x", "mailto:a@b"] {
            assert_eq!(resolve(&from, location), None, "{location}");
        }
    }
}
