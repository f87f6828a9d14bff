//! The hash of a Pod template, which names ReplicaSets and the revisions of DaemonSets. It is upstream's, so that a
//! control plane that takes over the objects of another finds its own names: FNV-1a of the template as Go's dump library
//! prints it, with Go's names and types. `data/pod_template.tsv` has them.

mod quantity;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use serde_json::Value;

use super::revisions::safe_encode;

const TABLE: &str = include_str!("../../data/pod_template.tsv");

/// A member of a Go struct.
struct Member {
    name: &'static str,
    /// The name in JSON; empty if the member is embedded.
    json: String,
    ty: &'static str,
}

static TYPES: LazyLock<BTreeMap<&'static str, Vec<Member>>> = LazyLock::new(|| {
    let rows = TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'));
    rows.map(|(ty, members)| (ty, members.split(' ').filter_map(member).collect())).collect()
});

fn member(text: &'static str) -> Option<Member> {
    let (names, ty) = text.split_once(':')?;
    let (name, json) = match names.split_once('=') {
        Some((name, json)) => (name, json.to_owned()),
        None => (names, names[..1].to_lowercase() + &names[1..]),
    };
    Some(Member { name, json, ty })
}

/// The hash of a template, spelled with consonants and digits so that it forms no words. `collisions` counts the
/// hashes that were taken.
pub(super) fn template_hash(template: &Value, collisions: i64) -> String {
    let mut hash: u32 = 0x811c_9dc5;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    feed(dump(template).as_bytes());
    if collisions > 0 {
        feed(&collisions.to_le_bytes());
    }
    safe_encode(hash)
}

fn dump(template: &Value) -> String {
    let mut out = String::new();
    write(&mut out, "v1.PodTemplateSpec", Some(template), true);
    out
}

/// Appends a value of a Go type. The type is named except for elements and behind pointers.
fn write(out: &mut String, ty: &str, value: Option<&Value>, is_named: bool) {
    let value = value.filter(|value| !value.is_null());
    if is_named {
        append(out, format_args!("({ty})"));
    }
    if let Some(target) = ty.strip_prefix('*') {
        return match value {
            None => out.push_str("<nil>"),
            Some(_) => write(out, target, value, false),
        };
    }
    if let Some(element) = ty.strip_prefix("[]") {
        let items = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        return list(out, "[", items, |out, item| write(out, element, Some(item), false));
    }
    if let Some(element) = map_of(ty) {
        let entries: Vec<_> = value.and_then(Value::as_object).into_iter().flatten().collect();
        return list(out, "map[", &entries, |out, (key, item)| {
            append(out, format_args!("{key}:"));
            write(out, element, Some(item), false);
        });
    }
    match ty {
        "v1.Time" => {
            out.push_str("{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}")
        }
        "resource.Quantity" => out.push_str(&quantity::dump(value.and_then(Value::as_str).unwrap_or(""))),
        "intstr.IntOrString" => int_or_string(out, value),
        _ => match TYPES.get(ty) {
            Some(members) => {
                list_always(out, "{", "}", members, |out, member| {
                    append(out, format_args!("{}:", member.name));
                    let inner =
                        if member.json.is_empty() { value } else { value.and_then(|v| v.get(&member.json)) };
                    write(out, member.ty, inner, true);
                });
            }
            None => scalar(out, ty, value),
        },
    }
}

/// The type of a map's values.
fn map_of(ty: &str) -> Option<&str> {
    match ty {
        "v1.ResourceList" => Some("resource.Quantity"),
        _ => ty.strip_prefix("map[string]"),
    }
}

/// Appends a list or map; an empty one is stored as none.
fn list<T>(out: &mut String, open: &str, items: &[T], each: impl Fn(&mut String, &T)) {
    match items {
        [] => out.push_str("<nil>"),
        items => list_always(out, open, "]", items, each),
    }
}

fn list_always<T>(out: &mut String, open: &str, close: &str, items: &[T], each: impl Fn(&mut String, &T)) {
    out.push_str(open);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        each(out, item);
    }
    out.push_str(close);
}

fn int_or_string(out: &mut String, value: Option<&Value>) {
    let number = value.and_then(Value::as_i64).unwrap_or(0);
    let text = value.and_then(Value::as_str);
    let (kind, text) = (i32::from(text.is_some()), text.unwrap_or(""));
    append(out, format_args!("{{Type:(intstr.Type){kind} IntVal:(int32){number} StrVal:(string){text}}}"));
}

fn scalar(out: &mut String, ty: &str, value: Option<&Value>) {
    match (ty, value) {
        (_, Some(Value::String(text))) => out.push_str(text),
        (_, Some(value)) => append(out, format_args!("{value}")),
        ("bool", None) => out.push_str("false"),
        ("int32" | "int64", None) => out.push('0'),
        (_, None) => {}
    }
}

fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn values_are_printed_as_go_dumps_them() {
        let mut out = String::new();
        let probe =
            json!({"httpGet": {"port": "web"}, "periodSeconds": 10, "terminationGracePeriodSeconds": 5});
        write(&mut out, "v1.Probe", Some(&probe), true);
        expect![[r#"(v1.Probe){ProbeHandler:(v1.ProbeHandler){Exec:(*v1.ExecAction)<nil> HTTPGet:(*v1.HTTPGetAction){Path:(string) Port:(intstr.IntOrString){Type:(intstr.Type)1 IntVal:(int32)0 StrVal:(string)web} Host:(string) Scheme:(v1.URIScheme) HTTPHeaders:([]v1.HTTPHeader)<nil>} TCPSocket:(*v1.TCPSocketAction)<nil> GRPC:(*v1.GRPCAction)<nil>} InitialDelaySeconds:(int32)0 TimeoutSeconds:(int32)0 PeriodSeconds:(int32)10 SuccessThreshold:(int32)0 FailureThreshold:(int32)0 TerminationGracePeriodSeconds:(*int64)5}"#]]
            .assert_eq(&out);
        let mut out = String::new();
        write(&mut out, "v1.ResourceList", Some(&json!({"cpu": "500m"})), true);
        expect![[r#"(v1.ResourceList)map[cpu:{i:(resource.int64Amount){value:(int64)500 scale:(resource.Scale)-3} d:(resource.infDecAmount){Dec:(*inf.Dec)<nil>} s:(string)500m Format:(resource.Format)DecimalSI}]"#]]
            .assert_eq(&out);
    }

    /// The name that upstream's controllers gave to a ReplicaSet and to a DaemonSet's revision of this template.
    #[test]
    fn the_hash_is_upstreams() {
        let template = json!({
            "metadata": {"labels": {"a": "b", "z": "y"}, "annotations": {"k": "v w"}},
            "spec": {
                "containers": [{"name": "c", "image": "i", "resources": {}, "imagePullPolicy": "Always",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "securityContext": {}, "schedulerName": "default-scheduler"}});
        assert_eq!(template_hash(&template, 0), "69bd5cc59d");
    }

    #[test]
    fn each_type_of_the_table_is_known() {
        for member in TYPES.values().flatten() {
            let name = member.ty.trim_start_matches(['*', '[', ']']);
            let is_scalar = ["string", "bool", "int32", "int64", "types.UID"].contains(&name);
            let is_special = ["v1.Time", "resource.Quantity", "intstr.IntOrString"].contains(&name);
            assert!(is_scalar || is_special || map_of(name).is_some() || name.starts_with("v1."), "{name}");
        }
    }
}
