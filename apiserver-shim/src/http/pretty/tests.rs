//! Which responses are pretty-printed, and how.

use expect_test::expect;

use super::*;

#[test]
fn indentation_keeps_the_order_of_members() {
    let text = indent(br#"{"z":{},"a":[ ],"b":[1,{"c":"x\"{,}"},[true]],"d":null}"#);
    expect![[r#"
        {
          "z": {},
          "a": [],
          "b": [
            1,
            {
              "c": "x\"{,}"
            },
            [
              true
            ]
          ],
          "d": null
        }"#]]
    .assert_eq(std::str::from_utf8(&text).unwrap());
}

#[test]
fn the_parameter_or_an_interactive_client_asks_for_it() {
    let wanted = |uri: &str, agent: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        is_wanted(&uri.parse().unwrap(), &headers)
    };
    assert!(wanted("/api/v1/pods", "curl/8.5"));
    assert!(!wanted("/api/v1/pods?pretty=false", "curl/8.5"));
    assert!(wanted("/api/v1/pods?pretty=1", "kubectl"));
    assert!(!wanted("/api/v1/pods", "kubectl"));
    assert!(wanted("/version", "kubectl"));
    assert!(!wanted("/openapi/v2", "curl/8.5"));
}
