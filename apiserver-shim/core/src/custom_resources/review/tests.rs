//! Tests of the checks of a conversion webhook's response.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

fn original() -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", "uid": "1", "labels": {"k": "v"}},
        "spec": {"size": 1}})
}

fn converted() -> Value {
    json!({"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "a", "uid": "1", "labels": {"k": "w"},
        "generation": 9}, "spec": {"count": 1}})
}

fn check(change: impl Fn(&mut Value), expect: Expect) {
    let review = Review::new(&[json!("v1")], "example.com/v2", "u").expect("a known version");
    let mut response = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response":
        {"uid": "u", "result": {"status": "Success"}, "convertedObjects": [converted()]}});
    change(&mut response);
    let shown = match review.converted(&[original()], response) {
        Ok(objects) => Value::from(objects).to_string(),
        Err(why) => why,
    };
    expect.assert_eq(&shown);
}

#[test]
fn a_webhook_changes_labels_and_no_other_metadata() {
    check(
        |_| {},
        expect![[
            r#"[{"apiVersion":"example.com/v2","kind":"Widget","metadata":{"labels":{"k":"w"},"name":"a","uid":"1"},"spec":{"count":1}}]"#
        ]],
    );
}

#[test]
fn wrong_responses_are_refused_in_upstream_s_words() {
    check(
        |r| r["kind"] = "Other".into(),
        expect![
            "conversion webhook for example.com/v1, Kind=Widget failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind=Other"
        ],
    );
    check(
        |r| r["response"]["uid"] = "x".into(),
        expect![[
            r#"conversion webhook for example.com/v1, Kind=Widget failed: expected response.uid="u", got "x""#
        ]],
    );
    check(
        |r| r["response"]["result"] = json!({"status": "Failure", "message": "no"}),
        expect!["conversion webhook for example.com/v1, Kind=Widget failed: no"],
    );
    check(
        |r| r["response"]["result"] = json!({}),
        expect![
            "conversion webhook for example.com/v1, Kind=Widget failed: response.result.status was '', not 'Success'"
        ],
    );
    check(
        |r| r["response"]["convertedObjects"] = json!([]),
        expect!["conversion webhook for example.com/v1, Kind=Widget returned 0 objects, expected 1"],
    );
    check(
        |r| r["response"]["convertedObjects"][0]["apiVersion"] = "example.com/v3".into(),
        expect![
            "conversion webhook for example.com/v1, Kind=Widget returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v3)"
        ],
    );
    check(
        |r| r["response"]["convertedObjects"][0]["metadata"]["name"] = "b".into(),
        expect![
            "conversion webhook for example.com/v1, Kind=Widget returned invalid object: must have the same name: a != b"
        ],
    );
    check(
        |r| r["response"]["convertedObjects"][0]["metadata"]["labels"] = json!({"k": 1}),
        expect![
            "conversion webhook for example.com/v1, Kind=Widget returned invalid metadata: metadata.labels[k] must be a string, but is int64 in converted object"
        ],
    );
}

#[test]
fn the_first_version_that_both_know_is_used() {
    assert_eq!(Review::new(&[json!("v7")], "example.com/v2", "u"), None);
    let older = Review::new(&[json!("v7"), json!("v1beta1"), json!("v1")], "example.com/v2", "u");
    let body = older.expect("a known version").body(&[original()]);
    assert_eq!(body["apiVersion"], "apiextensions.k8s.io/v1beta1");
}
