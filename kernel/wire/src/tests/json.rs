//! One test per rule of the JSON mapping.

use bytes::Bytes;
use expect_test::{Expect, expect};

use crate::{
    codec::{ContentType, decode, encode},
    v1::{self, scheduler::Call},
};

/// Parses JSON into a scheduler call, and prints the decoded call or the error.
fn check(input: &str, expected: Expect) {
    let parsed: Result<Call, _> = decode(ContentType::Json, &Bytes::copy_from_slice(input.as_bytes()));
    let shown = match parsed {
        Ok(call) => String::from_utf8(encode(ContentType::Json, &call).to_vec()).expect("we print UTF-8"),
        Err(e) => format!("error: {e}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn unknown_keys_nulls_and_camel_case_are_ignored() {
    check(
        r#"{"type":"DECLINE","frameworkId":{"value":"no"},"framework_id":null,"x":[1],"decline":{"offer_ids":[{"value":"o","more":{}}],"filters":null}}"#,
        expect![[r#"{"type":"DECLINE","decline":{"offer_ids":[{"value":"o"}]}}"#]],
    );
}

#[test]
fn unknown_enum_names_leave_the_field_unset() {
    check(r#"{"type":"FOO"}"#, expect!["{}"]);
    check(
        r#"{"type":3}"#,
        expect![
            "error: Failed to convert JSON into Call protobuf: Not expecting a JSON number for field 'type'"
        ],
    );
}

#[test]
fn missing_required_fields_are_listed_with_their_paths() {
    check(
        r#"{"type":"SUBSCRIBE","subscribe":{}}"#,
        expect![
            "error: Failed to convert JSON into Call protobuf: Missing required fields: subscribe.framework_info"
        ],
    );
    check(
        r#"{"type":"ACCEPT","accept":{"offer_ids":[{"value":"a"},{}],"operations":[{"launch":{"task_infos":[{"name":"t"}]}}]}}"#,
        expect![
            "error: Failed to convert JSON into Call protobuf: Missing required fields: accept.offer_ids[1].value, accept.operations[0].launch.task_infos[0].task_id, accept.operations[0].launch.task_infos[0].agent_id"
        ],
    );
    let unnamed = v1::FrameworkId::default();
    let ok: Result<v1::FrameworkId, _> =
        decode(ContentType::Protobuf, &encode(ContentType::Protobuf, &unnamed));
    assert_eq!(ok, Ok(unnamed));
    let bad: Result<v1::FrameworkId, _> = decode(ContentType::Protobuf, &Bytes::new());
    expect!["Failed to parse body into FrameworkID protobuf"]
        .assert_eq(&bad.expect_err("nothing is there").to_string());
}

#[test]
fn defaults_are_printed_where_declared_and_not_deprecated() {
    check(
        r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}"#,
        expect![[
            r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false}}}"#
        ]],
    );
}

#[test]
fn numbers_are_taken_as_numbers_or_text_and_printed_as_numbers() {
    check(
        r#"{"kill":{"task_id":{"value":"t"},"kill_policy":{"grace_period":{"nanoseconds":"9223372036854775807"}}},"decline":{"filters":{"refuse_seconds":5}}}"#,
        expect![[
            r#"{"decline":{"filters":{"refuse_seconds":5.0}},"kill":{"task_id":{"value":"t"},"kill_policy":{"grace_period":{"nanoseconds":9223372036854775807}}}}"#
        ]],
    );
    check(
        r#"{"decline":{"filters":{"refuse_seconds":1e300}}}"#,
        expect![[r#"{"decline":{"filters":{"refuse_seconds":1.0e300}}}"#]],
    );
    check(
        r#"{"kill":{"task_id":{"value":5}}}"#,
        expect![
            "error: Failed to convert JSON into Call protobuf: Not expecting a JSON number for field 'value'"
        ],
    );
    check(
        r#"{"kill":{"task_id":{"value":"t"},"kill_policy":{"grace_period":{"nanoseconds":1e40}}}}"#,
        expect![
            "error: Failed to convert JSON into Call protobuf: Failed to parse the number in field 'nanoseconds'"
        ],
    );
}

#[test]
fn bytes_are_base64() {
    check(
        r#"{"message":{"agent_id":{"value":"a"},"executor_id":{"value":"e"},"data":"aGk="}}"#,
        expect![[r#"{"message":{"agent_id":{"value":"a"},"executor_id":{"value":"e"},"data":"aGk="}}"#]],
    );
    check(
        r#"{"message":{"agent_id":{"value":"a"},"executor_id":{"value":"e"},"data":"*"}}"#,
        expect![
            "error: Failed to convert JSON into Call protobuf: Failed to base64 decode bytes field 'data': Invalid character '*'"
        ],
    );
}

#[test]
fn shapes_must_fit() {
    check("[]", expect!["error: Failed to convert JSON into Call protobuf: Expecting a JSON object"]);
    check("{", expect!["error: Failed to parse body into JSON: syntax error at line 1 near: "]);
    check(
        r#"{"decline":[]}"#,
        expect![
            "error: Failed to convert JSON into Call protobuf: Not expecting a JSON array for field 'decline'"
        ],
    );
}

/// As in stout's parser: each value is read by its own type, and only a single field refuses an array.
#[test]
fn single_values_nulls_and_nested_arrays_of_repeated_fields() {
    check(
        r#"{"decline":{"offer_ids":{"value":"a"}}}"#,
        expect![[r#"{"decline":{"offer_ids":[{"value":"a"}]}}"#]],
    );
    check(
        r#"{"decline":{"offer_ids":[null,{"value":"a"},[{"value":"b"},[null]]]}}"#,
        expect![[r#"{"decline":{"offer_ids":[{"value":"a"},{"value":"b"}]}}"#]],
    );
    check(
        r#"{"revive":{"roles":"a"},"suppress":{"roles":["b",null]}}"#,
        expect![[r#"{"revive":{"roles":["a"]},"suppress":{"roles":["b"]}}"#]],
    );
    check(
        r#"{"decline":{"offer_ids":"a"}}"#,
        expect![
            "error: Failed to convert JSON into Call protobuf: Not expecting a JSON string for field 'offer_ids'"
        ],
    );
    check(
        r#"{"decline":{"offer_ids":{}}}"#,
        expect![
            "error: Failed to convert JSON into Call protobuf: Missing required fields: decline.offer_ids[0].value"
        ],
    );
    let map = |value: &str| {
        format!(
            r#"{{"subscribe":{{"framework_info":{{"user":"u","name":"n","failover_timeout":"1.5","checkpoint":"true","offer_filters":{value}}}}}}}"#
        )
    };
    let with_map = |shown: &str| {
        format!(
            r#"{{"subscribe":{{"framework_info":{{"user":"u","name":"n","failover_timeout":1.5,"checkpoint":true,"offer_filters":{shown}}}}}}}"#
        )
    };
    for value in [r#"{"r":{}}"#, r#"[{"r":{}}]"#, r#"{"r":null}"#] {
        let parsed: Call = decode(ContentType::Json, &Bytes::from(map(value))).expect("Mesos reads it");
        let shown = String::from_utf8(encode(ContentType::Json, &parsed).to_vec()).expect("text");
        assert_eq!(shown, with_map(r#"{"r":{}}"#), "{value}");
    }
}

#[test]
fn maps_are_objects_and_text_is_escaped() {
    check(
        r#"{"subscribe":{"framework_info":{"user":"\"ü\n\u0001","name":"","offer_filters":{"r/x":{"min_allocatable_resources":{"quantities":[{"quantities":{"cpus":{"value":1}}}]}}}}}}"#,
        expect![[
            r#"{"subscribe":{"framework_info":{"user":"\"\u00fc\n\u0001","name":"","failover_timeout":0.0,"checkpoint":false,"offer_filters":{"r/x":{"min_allocatable_resources":{"quantities":[{"quantities":{"cpus":{"value":1.0}}}]}}}}}}"#
        ]],
    );
}

/// prost leaves values that are zero out of its maps; Mesos' classes refuse an entry without the value that is required.
#[test]
fn amounts_of_zero_are_in_maps() {
    let zero = r#"{"cpus":{"value":0.0},"mem":{"value":1.0}}"#;
    let filters =
        format!(r#"{{"r":{{"min_allocatable_resources":{{"quantities":[{{"quantities":{zero}}}]}}}}}}"#);
    let framework = format!(
        r#"{{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false,"offer_filters":{filters}}}"#
    );
    let task =
        format!(r#"{{"name":"n","task_id":{{"value":"t"}},"agent_id":{{"value":"a"}},"limits":{zero}}}"#);
    let call = format!(
        r#"{{"subscribe":{{"framework_info":{framework}}},"accept":{{"operations":[{{"type":"LAUNCH","launch":{{"task_infos":[{task}]}}}}]}}}}"#
    );
    let quota = format!(r#"{{"role":"r","guarantees":{zero},"limits":{zero}}}"#);
    assert_eq!(again::<Call>(&call), call);
    assert_eq!(again::<v1::quota::QuotaConfig>(&quota), quota);
}

/// JSON, read and sent as protobuf, read again and printed.
fn again<M: prost::Message + prost::Name + Default>(text: &str) -> String {
    let message: M = decode(ContentType::Json, &Bytes::copy_from_slice(text.as_bytes())).expect("it is JSON");
    let message: M =
        decode(ContentType::Protobuf, &encode(ContentType::Protobuf, &message)).expect("nothing is missing");
    String::from_utf8(encode(ContentType::Json, &message).to_vec()).expect("text")
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let mut deep = r#"{"value":"x"}"#.to_owned();
    for _ in 0..120 {
        deep = format!(r#"{{"value":"x","parent":{deep}}}"#);
    }
    let parsed: Result<v1::ContainerId, _> = decode(ContentType::Json, &Bytes::from(deep));
    assert!(parsed.is_err());
}
