//! Prints a PodSpec one member per line, absent members included. The error for a refused update shows the difference
//! of two of these.

use serde_json::{Map, Value};
use shim_model::access;

const TABLE: &str = include_str!("../../../data/pod_spec.tsv");

/// Prints a spec.
pub(super) fn lines(spec: &Value) -> Vec<String> {
    let spec = with_moved(spec);
    let mut printer = Printer { out: vec![String::new()], depth: 0, compact: false };
    printer.structure("PodSpec", &spec);
    printer.out
}

/// A value of a type of the table in one line, as errors show it; a value without a type as JSON.
pub(in super::super) fn compact(ty: &str, value: &Value) -> String {
    if value.is_null() || ty.is_empty() {
        return value.to_string();
    }
    let mut printer = Printer { out: vec![String::new()], depth: 0, compact: true };
    printer.structure(ty, value);
    printer.out.concat()
}

/// A Pod template in one line. Its metadata has no member of its own.
pub(in super::super) fn compact_template(template: &Value) -> String {
    let spec = with_moved(template.get("spec").unwrap_or(&Value::Null));
    template_of("PodSpec", template, &spec)
}

/// A Pod spec in one line.
pub(in super::super) fn compact_spec(spec: &Value) -> String {
    compact("PodSpec", &with_moved(spec))
}

/// The same of a template of another type.
pub(in super::super) fn template_of(ty: &str, template: &Value, spec: &Value) -> String {
    const METADATA: [&str; 5] = ["name", "namespace", "labels", "annotations", "finalizers"];
    let metadata = METADATA.iter().filter_map(|key| {
        let value = access::get(template, &["metadata", key]).filter(|v| !access::is_zero(v))?;
        Some(format!("{}:{value},", Value::from(*key)))
    });
    format!("{{{}\"Spec\":{}}}", metadata.collect::<String>(), compact(ty, spec))
}

/// The difference from one value of a type to another, in hunks of lines.
pub(in super::super) fn difference(ty: &str, from: &Value, to: &Value) -> String {
    let lines = |value: &Value| {
        let mut printer = Printer { out: vec![String::new()], depth: 0, compact: false };
        printer.structure(ty, value);
        printer.out
    };
    super::line_diff::hunks(&lines(from), &lines(to))
}

fn with_moved(spec: &Value) -> Value {
    let mut spec = spec.clone();
    // Upstream prints these with the security context.
    const MOVED: [&str; 5] = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];
    for key in MOVED {
        if let Some(value) = access::remove(&mut spec, &[key]) {
            access::object_mut(&mut spec, &["securityContext"]).insert(key.into(), value);
        }
    }
    spec
}

struct Printer {
    out: Vec<String>,
    depth: usize,
    /// Without line breaks and spaces.
    compact: bool,
}

impl Printer {
    /// Appends to the current line.
    fn put(&mut self, text: &str) {
        if let Some(line) = self.out.last_mut() {
            line.push_str(text);
        }
    }

    fn name(&mut self, name: &str) {
        let colon = if self.compact { ":" } else { ": " };
        self.put(&format!("{}{colon}", Value::from(name)));
    }

    fn line(&mut self) {
        if self.compact {
            return;
        }
        self.out.push(" ".repeat(self.depth));
    }

    /// Prints a bracketed list, one item per line.
    fn group<T>(
        &mut self,
        brackets: [&str; 2],
        items: impl Iterator<Item = T>,
        mut item: impl FnMut(&mut Printer, T),
    ) {
        self.put(brackets[0]);
        self.depth += 1;
        let mut empty = true;
        for each in items {
            if !std::mem::take(&mut empty) {
                self.put(",");
            }
            self.line();
            item(self, each);
        }
        self.depth -= 1;
        if !empty {
            self.line();
        }
        self.put(brackets[1]);
    }

    fn structure(&mut self, name: &str, value: &Value) {
        let members = TABLE.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('\t')).unwrap_or("");
        self.group(["{", "}"], members.split(' '), |printer, member| {
            let (name, kind) = member.split_once(':').unwrap_or((member, "v"));
            printer.name(name);
            printer.member(kind, value.get(json_name(name)).unwrap_or(&Value::Null));
        });
    }

    fn member(&mut self, kind: &str, value: &Value) {
        let absent = value.is_null();
        match (kind.chars().next(), kind.get(1..).unwrap_or("")) {
            (Some('s'), _) if absent => self.put("\"\""),
            (Some('i'), _) if absent => self.put("0"),
            (Some('b'), _) if absent => self.put("false"),
            (Some('q'), _) if absent => self.put("\"0\""),
            (Some('='), name) => self.structure(name, value),
            _ if absent => self.put("null"),
            (Some('*'), name) => self.structure(name, value),
            (Some('['), name) => {
                let items = value.as_array().into_iter().flatten();
                self.group(["[", "]"], items, |printer, item| printer.structure(name, item));
            }
            (Some('p'), _) if value.is_object() => self.named(value.as_object()),
            _ => self.plain(value),
        }
    }

    /// Prints an object without a known type.
    fn named(&mut self, members: Option<&Map<String, Value>>) {
        self.group(["{", "}"], members.into_iter().flatten(), |printer, (key, value)| {
            let (first, rest) = key.split_at(key.chars().next().map_or(0, char::len_utf8));
            printer.name(&format!("{}{rest}", first.to_uppercase()));
            printer.plain(value);
        });
    }

    fn plain(&mut self, value: &Value) {
        match value {
            Value::Array(items) => self.group(["[", "]"], items.iter(), |printer, i| printer.plain(i)),
            Value::Object(members) => {
                // The labels come first in selectors.
                let (labels, others): (Vec<_>, Vec<_>) =
                    members.iter().partition(|(name, _)| *name == "matchLabels");
                self.group(["{", "}"], labels.into_iter().chain(others), |printer, (key, value)| {
                    printer.name(key);
                    printer.plain(value);
                });
            }
            scalar => self.put(&scalar.to_string()),
        }
    }
}

/// The JSON name of a Go field: `DNSPolicy` is `dnsPolicy`.
fn json_name(name: &str) -> String {
    match name {
        "CephFS" => return "cephfs".into(),
        "StorageOS" => return "storageos".into(),
        "CephMonitors" => return "monitors".into(),
        "RBDImage" => return "image".into(),
        "RBDPool" => return "pool".into(),
        "RadosUser" => return "user".into(),
        "DiscoveryCHAPAuth" => return "chapAuthDiscovery".into(),
        "SessionCHAPAuth" => return "chapAuthSession".into(),
        "WWIDs" => return "wwids".into(),
        "DataDiskURI" => return "diskURI".into(),
        _ => {}
    }
    let capitals = name.bytes().take_while(u8::is_ascii_uppercase).count();
    let lowered = if capitals > 1 && capitals < name.len() { capitals - 1 } else { capitals };
    name[..lowered].to_ascii_lowercase() + &name[lowered..]
}
