//! Tests of the schema against the tables, and of decoding against upstream's messages.

use super::testing::{object_type, schema};
use super::*;
use crate::resource::builtin;
use expect_test::{Expect, expect};
use proptest::prelude::*;

#[test]
fn every_resource_and_rule_has_its_type() {
    for resource in builtin(schema()) {
        assert!(schema().root(resource.kind_ref()).is_some(), "{resource}");
    }
    for (ty, field) in rules::Rules::embedded().0.keys() {
        let known = schema().structs.iter().find(|s| rules::short(&s.name) == *ty);
        if let Some(found) = known.filter(|_| field != "-") {
            assert!(found.field(field).is_some(), "{ty}.{field}");
        }
    }
    let pod_spec = schema().at(schema().named("io.k8s.api.core.v1.PodSpec").unwrap());
    let containers = pod_spec.field("containers").unwrap();
    assert_eq!(
        (containers.patch.merge_key.as_str(), &containers.list),
        ("name", &ListKind::Map(vec!["name".into()]))
    );
    assert!(pod_spec.field("nodeSelector").unwrap().atomic);
}

#[test]
fn members_are_found_by_their_whole_names() {
    for ty in &schema().structs {
        for field in &ty.fields {
            assert_eq!(ty.field(&field.name).map(|f| &f.name), Some(&field.name), "{}", ty.name);
            for other in [format!("{}x", field.name), field.name[1..].to_owned(), format!("{}\0", field.name)]
            {
                assert_eq!(ty.field(&other).is_some(), ty.fields.iter().any(|f| f.name == other), "{other}");
            }
        }
        assert!(ty.field("").is_none());
    }
}

fn check(body: &str, strictness: Strictness, expect: Expect) {
    let kind = &object_type("", "v1", "Pod");
    let media = if body.starts_with("yaml") { Media::Yaml } else { Media::Json };
    let text = match decode(body.trim_start_matches("yaml\n").as_bytes(), media, kind, strictness) {
        Ok(d) => format!("{} {:?}", d.value, d.warnings),
        Err(status) => format!("{} {}", status.code, status.message),
    };
    expect.assert_eq(&text);
}

#[test]
fn decoding_normalises() {
    check(
        r#"{"metadata":{"name":"p","labels":{},"creationTimestamp":null},"spec":{"hostNetwork":false,"automountServiceAccountToken":false,"volumes":[],"nodeName":"",
            "containers":[{"name":"c","image":"i","command":[],"resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}},"env":[{"name":"A","value":""}],"ports":[{"containerPort":1,"hostPort":0}]}]}}"#,
        Strictness::Strict,
        expect![[
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"automountServiceAccountToken":false,"containers":[{"env":[{"name":"A"}],"image":"i","name":"c","ports":[{"containerPort":1}],"resources":{"limits":{"cpu":"500m","memory":"1Gi"}}}]},"status":{}} []"#
        ]],
    );
    check(
        "yaml\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - {name: c, image: i, bogus: 1}\n",
        Strictness::Warn,
        expect![[
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"image":"i","name":"c","resources":{}}]},"status":{}} ["unknown field \"spec.containers[0].bogus\""]"#
        ]],
    );
}

#[test]
fn decoding_errors_equal_upstreams() {
    let strict = Strictness::Strict;
    check(
        r#"{"y":2,"metadata":{"labels":{"a":"1","a":"2"},"managedFields":[{"fieldsV1":{"f":1,"f":2}}]},"spec":{"x":{"z":1,"z":2},"nodeName":"a","containers":[{"b":1},{"b":2,"name":"a","name":"b"}],"x":1,"nodeName":"b"},"y":3,"spec":{"x":3}}"#,
        strict,
        expect![[
            r#"400 Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "y", duplicate field "metadata.labels.a", unknown field "spec.x", unknown field "spec.containers[0].b", unknown field "spec.containers[1].b", duplicate field "spec.containers[1].name", duplicate field "spec.nodeName", duplicate field "spec""#
        ]],
    );
    check(
        r#"{"spec":{"nodeName":"a","nodeName":"b","x":1},"y":2}"#,
        strict,
        expect![[
            r#"400 Pod in version "v1" cannot be handled as a Pod: strict decoding error: duplicate field "spec.nodeName", unknown field "spec.x", unknown field "y""#
        ]],
    );
    check(
        r#"{"spec":{"terminationGracePeriodSeconds":"x"}}"#,
        strict,
        expect![
            "400 Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64"
        ],
    );
    check(
        r#"{"spec":{"containers":[{"ports":[{"containerPort":99999999999}]}]}}"#,
        strict,
        expect![
            "400 Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number 99999999999 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32"
        ],
    );
    check(
        r#"{"kind":"Podd","apiVersion":"v1"}"#,
        strict,
        expect![[
            r#"400 Podd in version "v1" cannot be handled as a Pod: no kind "Podd" is registered for version "v1" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30""#
        ]],
    );
    check(
        r#"{"kind":"Secret","apiVersion":"v1"}"#,
        strict,
        expect![[
            r#"400 Secret in version "v1" cannot be handled as a Pod: converting (v1.Secret) to (core.Pod): unknown conversion"#
        ]],
    );
    check(
        "",
        strict,
        expect![
            "400 the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"
        ],
    );
    check(
        "{\"a\":1,}",
        strict,
        expect![[
            r#"400 the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: invalid character '}' looking for beginning of object key string ({"a":1,})"#
        ]],
    );
    check(
        "[]",
        strict,
        expect![[
            r#"400 the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5d)"#
        ]],
    );
    check(
        &"[".repeat(100_000),
        strict,
        expect![[
            r#"400 the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: unexpected end of JSON input (5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b ...)"#
        ]],
    );
}

proptest! {
    #[test]
    fn garbage_never_panics(body in "[\\[\\]{}\",:a-z0-9\\\\ .-]{0,80}", yaml in any::<bool>()) {
        let kind = &object_type("", "v1", "Pod");
        let _ = decode(body.as_bytes(), if yaml { Media::Yaml } else { Media::Json }, kind, Strictness::Strict);
    }

    #[test]
    fn go_agrees_with_serde_on_what_is_json(body in "[\\[\\]{}\",:a-e0-9. \\-]{0,24}|true|nulll|\\{\"a\":[0-9.eE+-]{1,6}\\}") {
        let serde = serde_json::from_str::<serde_json::Value>(&body).is_ok();
        let go = go_json::complaint(body.as_bytes()).is_none();
        // Go accepts numbers that are out of range as well-formed.
        prop_assert!(serde == go || go && body.contains(['e', 'E']), "{body}");
    }
}

#[test]
fn texts_are_read_as_go_reads_them() {
    let read = |body: &[u8], media| {
        let kind = &object_type("", "v1", "ConfigMap");
        match decode(body, media, kind, Strictness::Strict) {
            Ok(d) => d.value["data"].to_string(),
            Err(status) => format!("{} {}", status.code, status.message),
        }
    };
    // Invalid UTF-8 and lone surrogates become replacement characters; pairs and escapes are kept.
    assert_eq!(read(b"{\"data\":{\"a\":\"x\xff\xc3\"}}", Media::Json), "{\"a\":\"x\u{fffd}\u{fffd}\"}");
    let pairs = br#"{"data":{"a":"\ud800 \ud83d\ude00 \\ud800 \udc00\n"}}"#;
    assert_eq!(read(pairs, Media::Json), "{\"a\":\"\u{fffd} \u{1f600} \\\\ud800 \u{fffd}\\n\"}");
    assert_eq!(read(b"data: {a: b}\n---\nbogus: 1\n", Media::Yaml), r#"{"a":"b"}"#);
    expect![[r#"400 the object provided is unrecognized (must be of type ConfigMap): yaml: mapping values are not allowed in this context (613a20623a2063)"#]]
    .assert_eq(&read(b"a: b: c", Media::Yaml));
    expect![[r#"400 the object provided is unrecognized (must be of type ConfigMap): yaml: line 2: mapping values are not allowed in this context (643a20310a613a20623a2063)"#]]
    .assert_eq(&read(b"d: 1\na: b: c", Media::Yaml));
}

#[test]
fn what_follows_the_padding_of_base64_is_wrong() {
    for (text, at) in [("Zm8=x", 4), ("Zg==Zg==", 4), ("Zm8?", 3), ("Zg=x", 2)] {
        let body = format!(r#"{{"apiVersion":"v1","kind":"Secret","data":{{"a":"{text}"}}}}"#);
        let expected = format!("illegal base64 data at input byte {at}");
        let ty = object_type("", "v1", "Secret");
        let refused = decode(body.as_bytes(), Media::Json, &ty, Strictness::Strict).unwrap_err();
        assert!(refused.message.contains(&expected), "{}", refused.message);
    }
}

#[test]
fn a_wrong_kind_is_distinguished_from_an_unknown_one() {
    let kind = &object_type("apps", "v1", "Deployment");
    let complaint =
        |body: &str| decode(body.as_bytes(), Media::Json, kind, Strictness::Warn).unwrap_err().message;
    expect!["the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)"]
        .assert_eq(&complaint(r#"{"apiVersion":"apps/v1beta1","kind":"Deployment"}"#));
    expect![[r#"StatefulSet in version "v1" cannot be handled as a Deployment: converting (v1.StatefulSet) to (apps.Deployment): unknown conversion"#]]
        .assert_eq(&complaint(r#"{"apiVersion":"apps/v1","kind":"StatefulSet"}"#));
    expect![[r#"Gadget in version "v1" cannot be handled as a Deployment: no kind "Gadget" is registered for version "apps/v1" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30""#]]
        .assert_eq(&complaint(r#"{"apiVersion":"apps/v1","kind":"Gadget"}"#));
}

/// Found by fuzzing: serde_json's fast parser is off by one in the last place of some numbers.
#[test]
fn a_number_is_printed_as_the_one_that_was_sent() {
    for text in ["1.111113111111111e52", "0.1", "5e-324", "1.7976931348623157e308"] {
        let value = plain_json(text.as_bytes()).unwrap();
        assert_eq!(value.as_f64(), text.parse().ok(), "{text}");
        assert_eq!(plain_json(value.to_string().as_bytes()), Ok(value));
    }
    let digits = "11111131111111111111111111111111111111111111111111111";
    assert_eq!(plain_json(digits.as_bytes()).unwrap().as_f64(), digits.parse().ok());
}

#[test]
fn bytes_may_be_a_list_of_numbers() {
    let ty = object_type("certificates.k8s.io", "v1", "CertificateSigningRequest");
    let request = |list: &str| {
        let body = format!("{{\"spec\":{{\"request\":{list},\"signerName\":\"e.com/x\"}}}}");
        match decode(body.as_bytes(), Media::Json, &ty, Strictness::Warn) {
            Ok(decoded) => decoded.value["spec"]["request"].to_string(),
            Err(status) => status.message,
        }
    };
    assert_eq!(request("[65,66,null]"), "\"QUIA\"");
    let field = "of type uint8";
    assert!(request("[{}]").ends_with(field), "{}", request("[{}]"));
    assert!(request("[256]").contains("cannot unmarshal number 256 into"), "{}", request("[256]"));
}

#[test]
fn a_null_element_has_what_go_writes_of_an_empty_struct() {
    let ty = object_type("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration");
    let decoded = decode(br#"{"webhooks":[null]}"#, Media::Json, &ty, Strictness::Warn).unwrap();
    assert_eq!(decoded.value["webhooks"][0]["name"], "");
}

#[test]
fn the_registry_of_types_depends_on_the_group() {
    for (group, kind, registry) in [
        (
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "apiextensions-apiserver/pkg/apiserver/apiserver.go:55",
        ),
        ("apiregistration.k8s.io", "APIService", "kube-aggregator/pkg/apiserver/scheme/scheme.go:28"),
    ] {
        let body = format!("{{\"apiVersion\":\"{group}/v1\",\"kind\":\"Foo\"}}");
        let ty = object_type(group, "v1", kind);
        let message = decode(body.as_bytes(), Media::Json, &ty, Strictness::Warn).unwrap_err().message;
        assert!(message.ends_with(&format!("in scheme \"k8s.io/{registry}\"")), "{message}");
    }
}
