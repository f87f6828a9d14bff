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
        "application/vnd.kubernetes.protobuf;q=0.5, application/json",
        "*/*;q=0.9, application/vnd.kubernetes.protobuf;q=0.5",
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        "application/vnd.kubernetes.protobuf;stream=watch",
        "application/vnd.kubernetes.protobuf;type=watch",
        "application/json;stream=other",
        "application/*, application/json",
    ] {
        let mut headers = HeaderMap::new();
        if !text.is_empty() {
            headers.insert(ACCEPT, text.parse().unwrap());
        }
        let shown = match accept(&headers, Endpoint::DOCUMENT) {
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
        application/vnd.kubernetes.protobuf,application/json -> Protobuf Object
        application/vnd.kubernetes.protobuf -> Protobuf Object
        application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json -> Json Table
        application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io -> Json MetadataList
        application/json;as=Table;v=v1;g=nope.io -> 406 only the following media types
        application/json;as=Table;v=v1;g=nope.io,application/json -> Json Object
        application/json;stream=watch -> Json Object
        application/* -> 406 406: Not Acceptable

        Available
        text/html -> 406 406: Not Acceptable

        Available
        application/vnd.kubernetes.protobuf;q=0.5, application/json -> Json Object
        */*;q=0.9, application/vnd.kubernetes.protobuf;q=0.5 -> Protobuf Object
        application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io -> 406 only the following media types
        application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io -> Json Table
        application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io -> Protobuf Metadata
        application/vnd.kubernetes.protobuf;stream=watch -> Protobuf Object
        application/vnd.kubernetes.protobuf;type=watch -> Protobuf Object
        application/json;stream=other -> 406 only the following media types
        application/*, application/json -> Json Object
    "#]].assert_eq(&out);
}
