//! `/statusz` and `/flagz`: what a component says of itself, as text for people or as an object of `config.k8s.io` for programs
//! (upstream's `apiserver/pkg/server/statusz` and `flagz`). Not the HTTP of it, which the servers have.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// What can be negotiated, for the refusal of a client that accepts nothing of it.
pub const AVAILABLE: [&str; 3] = ["application/json", "application/yaml", "text/plain"];

/// Paths of a server that are for its clients, and not for whoever looks for a fault.
const NOT_FOR_DEBUGGING: [&str; 5] = ["/apis", "/api", "/openid", "/openapi", "/.well-known"];

const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";

/// One of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Page {
    Statusz,
    Flagz,
}

impl Page {
    /// The page at a path.
    pub fn at(path: &str) -> Option<Page> {
        match path {
            "/statusz" => Some(Page::Statusz),
            "/flagz" => Some(Page::Flagz),
            _ => None,
        }
    }

    /// The kind of its object.
    pub fn kind(self) -> &'static str {
        match self {
            Page::Statusz => "Statusz",
            Page::Flagz => "Flagz",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Page::Statusz => "statusz",
            Page::Flagz => "flagz",
        }
    }
}

/// A version of the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Version {
    V1Alpha1,
    V1Beta1,
}

impl Version {
    fn as_str(self) -> &'static str {
        match self {
            Version::V1Alpha1 => "v1alpha1",
            Version::V1Beta1 => "v1beta1",
        }
    }

    /// The warning that answers in this version carry.
    pub fn warning(self, page: Page) -> Option<String> {
        let name = page.name();
        let deprecated = self == Version::V1Alpha1;
        deprecated.then(|| {
            format!("This version of the {name} endpoint is deprecated. Please use a newer version.")
        })
    }
}

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Form {
    Text,
    Json(Version),
    Yaml(Version),
}

impl Form {
    /// The `Content-Type` of an answer.
    pub fn media_type(self, page: Page) -> String {
        let (media, version) = match self {
            Form::Text => return "text/plain; charset=utf-8".to_owned(),
            Form::Json(version) => ("application/json", version),
            Form::Yaml(version) => ("application/yaml", version),
        };
        format!("{media};g=config.k8s.io;v={};as={}", version.as_str(), page.kind())
    }
}

/// One clause of an `Accept` header: a type and the parameters that name a kind, empty if absent.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Wanted<'a> {
    pub media: &'a str,
    pub kind: &'a str,
    pub group: &'a str,
    pub version: &'a str,
}

impl<'a> Wanted<'a> {
    /// Parses a header; the clauses are tried in their order.
    pub fn parse(accept: &'a str) -> Vec<Wanted<'a>> {
        let clause = |text: &'a str| {
            let mut parts = text.split(';').map(str::trim);
            let mut wanted = Wanted { media: parts.next().unwrap_or_default(), ..Wanted::default() };
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "as" => wanted.kind = value.trim(),
                    "g" => wanted.group = value.trim(),
                    "v" => wanted.version = value.trim(),
                    _ => {}
                }
            }
            wanted
        };
        accept.split(',').map(str::trim).filter(|text| !text.is_empty()).map(clause).collect()
    }
}

/// The form that a client gets; `None` if it accepts nothing that there is. An object must be asked for with its kind, group
/// and version, so that nobody comes to depend on a form that may change. Without a clause, it is text.
pub fn negotiate<'a>(page: Page, wanted: impl IntoIterator<Item = Wanted<'a>>) -> Option<Form> {
    let mut any = false;
    for Wanted { media, kind, group, version } in wanted {
        any = true;
        let version = match (kind == page.kind() && group == "config.k8s.io", version) {
            (true, "v1alpha1") => Some(Version::V1Alpha1),
            (true, "v1beta1") => Some(Version::V1Beta1),
            _ => None,
        };
        let form = match (media, version) {
            ("application/json" | "application/*" | "*/*", Some(version)) => Some(Form::Json(version)),
            ("application/yaml", Some(version)) => Some(Form::Yaml(version)),
            ("text/plain" | "text/*" | "*/*", None) if kind.is_empty() => Some(Form::Text),
            _ => None,
        };
        if form.is_some() {
            return form;
        }
    }
    (!any).then_some(Form::Text)
}

/// What `/statusz` says.
#[derive(Debug, Clone)]
pub struct Status<'a> {
    /// The component's name, such as `apiserver`.
    pub component: &'a str,
    /// When the process was started, in seconds since 1970.
    pub started: i64,
    /// The time, in seconds since 1970.
    pub now: i64,
    /// The version of the binary.
    pub version: &'a str,
    /// The version of Kubernetes whose API is served, as in `1.36`.
    pub emulated: &'a str,
    /// The paths that the server has.
    pub paths: &'a [String],
}

impl Status<'_> {
    fn uptime(&self) -> i64 {
        (self.now - self.started).max(0)
    }

    /// The first elements of the paths, without those that are not for debugging.
    fn folders(&self) -> BTreeSet<String> {
        let first = |path: &String| path.split('/').nth(1).map(|first| format!("/{first}"));
        let folders = self.paths.iter().filter_map(first);
        folders.filter(|folder| folder != "/" && !NOT_FOR_DEBUGGING.contains(&folder.as_str())).collect()
    }

    /// The page as text.
    pub fn text(&self) -> String {
        let started = Timestamp::from_second(self.started).unwrap_or_default().to_zoned(TimeZone::UTC);
        let started = started.strftime("%a %b %e %H:%M:%S UTC %Y");
        let up = self.uptime();
        let up = format!("{} hr {:02} min {:02} sec", up / 3600, up / 60 % 60, up % 60);
        let paths = self.folders().into_iter().collect::<Vec<_>>().join(" ");
        let (component, version, emulated) = (self.component, self.version, self.emulated);
        format!(
            "\n{component} statusz\n{WARNING}\n\nStarted: {started}\nUp: {up}\nGo version: none\n\
             Binary version: {version}\nEmulation version: {emulated}\nPaths: {paths}\n"
        )
    }

    /// The page as an object.
    pub fn object(&self, version: Version) -> Value {
        json!({
            "kind": "Statusz",
            "apiVersion": format!("config.k8s.io/{}", version.as_str()),
            "metadata": {"name": self.component},
            "startTime": Timestamp::from_second(self.started).unwrap_or_default().to_string(),
            "uptimeSeconds": self.uptime(),
            "goVersion": "none",
            "binaryVersion": self.version,
            "emulationVersion": self.emulated,
            "paths": self.folders(),
        })
    }
}

/// `/flagz` as text.
pub fn flags_text(component: &str, flags: &BTreeMap<String, String>) -> String {
    let lines: String = flags.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    format!("\n{component} flagz\n{WARNING}\n{lines}")
}

/// `/flagz` as an object.
pub fn flags_object(component: &str, flags: &BTreeMap<String, String>, version: Version) -> Value {
    json!({
        "kind": "Flagz",
        "apiVersion": format!("config.k8s.io/{}", version.as_str()),
        "metadata": {"name": component},
        "flags": flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_an_object_only_if_it_names_the_kind() {
        let of = |accept: &str| negotiate(Page::Statusz, Wanted::parse(accept));
        for text in ["", "text/plain", "text/*", "*/*", "application/json, */*", "image/png, text/plain"] {
            assert_eq!(of(text), Some(Form::Text), "{text}");
        }
        let named = "application/json;as=Statusz;v=v1beta1;g=config.k8s.io";
        assert_eq!(of(named), Some(Form::Json(Version::V1Beta1)));
        let old = "application/yaml;g=config.k8s.io;v=v1alpha1;as=Statusz";
        assert_eq!(of(old), Some(Form::Yaml(Version::V1Alpha1)));
        for none in [
            "application/json",
            "application/yaml",
            "application/json;as=Flagz;v=v1beta1;g=config.k8s.io",
            "application/json;as=Statusz;v=v2;g=config.k8s.io",
            "text/plain;as=Statusz;v=v1beta1;g=config.k8s.io",
            "application/vnd.kubernetes.protobuf;as=Statusz;v=v1beta1;g=config.k8s.io",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(
            Form::Json(Version::V1Beta1).media_type(Page::Flagz),
            "application/json;g=config.k8s.io;v=v1beta1;as=Flagz"
        );
        assert!(Version::V1Alpha1.warning(Page::Flagz).is_some_and(|text| text.contains("flagz")));
        assert_eq!(Version::V1Beta1.warning(Page::Flagz), None);
    }

    #[test]
    fn a_page_says_what_runs_since_when() {
        let paths = ["/", "/api", "/apis/apps", "/metrics", "/metrics/slis", "/readyz/ping", "/flagz"];
        let paths = paths.map(str::to_owned);
        let status = Status {
            component: "apiserver",
            started: 1_700_000_000,
            now: 1_700_003_725,
            version: "1.36.0",
            emulated: "1.36",
            paths: &paths,
        };
        let wanted = format!(
            "\napiserver statusz\n{WARNING}\n\nStarted: Tue Nov 14 22:13:20 UTC 2023\nUp: 1 hr 02 min 05 sec\n\
             Go version: none\nBinary version: 1.36.0\nEmulation version: 1.36\nPaths: /flagz /metrics /readyz\n"
        );
        assert_eq!(status.text(), wanted);
        let object = status.object(Version::V1Beta1);
        assert_eq!(object["startTime"], "2023-11-14T22:13:20Z");
        assert_eq!(object["uptimeSeconds"], 3725);
        assert_eq!(object["paths"], json!(["/flagz", "/metrics", "/readyz"]));
        let flags = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), String::new())]);
        assert_eq!(flags_text("kubelet", &flags), format!("\nkubelet flagz\n{WARNING}\na=\nb=2\n"));
        assert_eq!(flags_object("kubelet", &flags, Version::V1Alpha1)["flags"], json!({"a": "", "b": "2"}));
    }
}
