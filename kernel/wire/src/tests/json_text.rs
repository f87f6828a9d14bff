//! JSON text: syntax errors as picojson gives them, and text where another type belongs.

use crate::{
    codec::{ContentType, decode},
    json::parse,
    v1::{self, scheduler::Call},
};

/// What is quoted is the rest of the line after the last character that was read.
#[test]
fn syntax_errors_have_the_line_and_what_follows() {
    let table = [
        ("", "syntax error at line 1 near: "),
        ("  ", "syntax error at line 1 near: "),
        ("xx", "syntax error at line 1 near: xx"),
        ("{", "syntax error at line 1 near: "),
        ("{\n", "syntax error at line 1 near: "),
        ("{\n x", "syntax error at line 2 near: x"),
        ("{\n\n\tx\ty\n", "syntax error at line 3 near: xy"),
        ("{'a':1}", "syntax error at line 1 near: 'a':1}"),
        (r#"{"a" 1}"#, "syntax error at line 1 near: 1}"),
        (r#"{"a":}"#, "syntax error at line 1 near: }"),
        (r#"{"a":1,}"#, "syntax error at line 1 near: }"),
        (r#"{"a":1 "b":2}"#, r#"syntax error at line 1 near: "b":2}"#),
        (r#"{"a":tru}"#, "syntax error at line 1 near: }"),
        (r#"{"a":True}"#, "syntax error at line 1 near: True}"),
        (r#"{"a":nul"#, "syntax error at line 1 near: "),
        (r#"{"a":[1,]}"#, "syntax error at line 1 near: ]}"),
        (r#"{"a":[1 2]}"#, "syntax error at line 1 near: 2]}"),
        (r#"{"a":1-2}"#, "syntax error at line 1 near: }"),
        (r#"{"a":1e}"#, "syntax error at line 1 near: }"),
        (r#"{"a":-}"#, "syntax error at line 1 near: }"),
        (r#"{"a":.5}"#, "syntax error at line 1 near: .5}"),
        (r#"{"a":+5}"#, "syntax error at line 1 near: +5}"),
        (r#"{"a":NaN}"#, "syntax error at line 1 near: NaN}"),
        (r#"{"a":1e999}"#, "Value out of range"),
        (r#"{"a":"x"#, "syntax error at line 1 near: "),
        ("{\"a\":\"x\ny\"}", "syntax error at line 1 near: "),
        ("{\"a\":\"x\ty\"}", "syntax error at line 1 near: y\"}"),
        (r#"{"a":"\q"}"#, r#"syntax error at line 1 near: "}"#),
        (r#"{"a":"\u12g4"}"#, r#"syntax error at line 1 near: g4"}"#),
        (r#"{"a":"\udc00"}"#, r#"syntax error at line 1 near: "}"#),
        (r#"{"a":"\ud800x"}"#, r#"syntax error at line 1 near: x"}"#),
        ("{} {}", "Parsed JSON included non-whitespace trailing characters:  {}"),
        ("{}\n// end\n", "Parsed JSON included non-whitespace trailing characters: \n// end"),
    ];
    for (input, message) in table {
        assert_eq!(parse(input.as_bytes()).unwrap_err().to_string(), message, "{input:?}");
    }
}

#[test]
fn valid_and_nearly_valid_json_is_read_as_picojson_does() {
    let table = [
        (" {} \r\n", "{}"),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"b":[],"a":[ 1 , -2.5e1 ,null]}"#, r#"{"a":[1,-25.0,null],"b":[]}"#),
        (r#"[01,1.,-.5,1e2]"#, "[1,1.0,-0.5,100.0]"),
        ("[9223372036854775807,-9223372036854775808]", "[9223372036854775807,-9223372036854775808]"),
        ("[18446744073709551615]", "[18446744073709551615]"),
        (r#""\"\\\/\b\f\n\r\t""#, r#""\"\\/\b\f\n\r\t""#),
        (r#""\u00fc\ud83d\ude00""#, "\"\u{fc}\u{1f600}\""),
        ("true", "true"),
        ("5x", "5"),
    ];
    for (input, value) in table {
        assert_eq!(parse(input.as_bytes()).unwrap().to_string(), value, "{input}");
    }
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(200).as_bytes()).is_ok());
    let deeper = parse(nested(201).as_bytes()).unwrap_err().to_string();
    assert_eq!(deeper, format!("syntax error at line 1 near: {}", "]".repeat(201)));
    assert!(parse(nested(1_000_000).as_bytes()).is_err());
    assert!(parse(b"\"\xff\"").is_err());
}

#[test]
fn text_becomes_a_number_or_a_boolean_where_one_belongs() {
    let info = |more: &str| {
        format!(r#"{{"type":"SUBSCRIBE","subscribe":{{"framework_info":{{"user":"u","name":"n",{more}}}}}}}"#)
    };
    let call = |more: &str| decode::<Call>(ContentType::Json, &info(more).into());
    for (more, message) in [
        (
            r#""checkpoint":"yes""#,
            "Failed to parse 'yes' as a JSON boolean for field 'checkpoint': syntax error at line 1 near: yes",
        ),
        (
            r#""checkpoint":"True""#,
            "Failed to parse 'True' as a JSON boolean for field 'checkpoint': syntax error at line 1 near: True",
        ),
        (
            r#""checkpoint":"1""#,
            "Failed to parse '1' as a JSON boolean for field 'checkpoint': Unexpected JSON type parsed",
        ),
        (
            r#""checkpoint":"""#,
            "Failed to parse '' as a JSON boolean for field 'checkpoint': syntax error at line 1 near: ",
        ),
        (
            r#""failover_timeout":"week""#,
            "Failed to parse 'week' as a JSON number for field 'failover_timeout': syntax error at line 1 near: week",
        ),
        (
            r#""failover_timeout":"true""#,
            "Failed to parse 'true' as a JSON number for field 'failover_timeout': Unexpected JSON type parsed",
        ),
        (
            r#""failover_timeout":"5 secs""#,
            "Failed to parse '5 secs' as a JSON number for field 'failover_timeout': \
             Parsed JSON included non-whitespace trailing characters: secs",
        ),
        (r#""checkpoint":1"#, "Not expecting a JSON number for field 'checkpoint'"),
        (r#""failover_timeout":true"#, "Not expecting a JSON boolean for field 'failover_timeout'"),
        (r#""user":true"#, "Not expecting a JSON boolean for field 'user'"),
        (r#""user":{}"#, "Not expecting a JSON object for field 'user'"),
        (r#""id":"x""#, "Not expecting a JSON string for field 'id'"),
    ] {
        let refused = call(more).unwrap_err().to_string();
        assert_eq!(refused, format!("Failed to convert JSON into Call protobuf: {message}"), "{more}");
    }
    let accepted = |more: &str| call(more).unwrap().subscribe.unwrap().framework_info;
    assert_eq!(accepted(r#""checkpoint":"true""#).checkpoint, Some(true));
    assert_eq!(accepted(r#""failover_timeout":"1e3""#).failover_timeout, Some(1000.0));
    assert_eq!(accepted(r#""failover_timeout":"Infinity""#).failover_timeout, Some(f64::INFINITY));
}

#[test]
fn integers_are_cast_to_the_type_of_their_field() {
    let port = |port: &str| {
        let body = format!(r#"{{"id":"m","ip":0,"port":{port},"hostname":"h"}}"#);
        let parsed: v1::MasterInfo = decode(ContentType::Json, &body.into()).unwrap();
        parsed.port
    };
    assert_eq!(port("5050"), 5050);
    assert_eq!(port("5050.9"), 5050);
    assert_eq!(port("-1"), u32::MAX);
    assert_eq!(port("4294967297"), 1);
    assert_eq!(port(r#""80""#), 80);
}

#[test]
fn base64_is_read_leniently() {
    let data = |text: &str| {
        let body = format!(
            r#"{{"type":"MESSAGE","message":{{"agent_id":{{"value":"a"}},"executor_id":{{"value":"e"}},"data":"{text}"}}}}"#
        );
        decode::<Call>(ContentType::Json, &body.into()).map(|call| call.message.unwrap().data)
    };
    for text in ["aGk=", "aGk", "aG k", "aGk=ignored", "aGl=", "aGkx Yw=="] {
        assert!(data(text).unwrap().starts_with(b"hi"), "{text}");
    }
    let refused = data("aG-k").unwrap_err().to_string();
    assert!(
        refused.ends_with("Failed to base64 decode bytes field 'data': Invalid character '-'"),
        "{refused}"
    );
}
