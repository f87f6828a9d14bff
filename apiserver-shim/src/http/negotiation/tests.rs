//! Table-driven: Accept headers and the formats negotiated from them.

use expect_test::expect;

use super::*;

#[test]
fn accept_headers_are_parsed_as_upstream_does() {
    let mut out = String::new();
    for text in [
        "",
        "*/*",
        "application/json",
        "application/yaml,application/json",
        "application/json;q=0.5, application/yaml",
        "application/vnd.kubernetes.protobuf,application/json",
        "application/vnd.kubernetes.protobuf",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        "application/json;as=Table;v=v1;g=nope.io",
        "application/json;as=Table;v=v1;g=nope.io,application/json",
        "application/json;stream=watch",
        "application/*",
        "text/html",
    ] {
        let mut headers = HeaderMap::new();
        if !text.is_empty() {
            headers.insert(ACCEPT, text.parse().unwrap());
        }
        let shown = match accept(&headers, false) {
            Ok(a) => format!("{:?} {:?}", a.media, a.shape),
            Err(s) => format!("{} {}", s.code, &s.message[..30]),
        };
        out.push_str(&format!("{text} -> {shown}\n"));
    }
    expect![[r#"
         -> Json Object
        */* -> Json Object
        application/json -> Json Object
        application/yaml,application/json -> Yaml Object
        application/json;q=0.5, application/yaml -> Yaml Object
        application/vnd.kubernetes.protobuf,application/json -> Json Object
        application/vnd.kubernetes.protobuf -> 406 only the following media types
        application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json -> Json Table
        application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io -> Json MetadataList
        application/json;as=Table;v=v1;g=nope.io -> 406 only the following media types
        application/json;as=Table;v=v1;g=nope.io,application/json -> Json Object
        application/json;stream=watch -> Json Object
        application/* -> 406 406: Not Acceptable

        Available
        text/html -> 406 406: Not Acceptable

        Available
    "#]].assert_eq(&out);
}
