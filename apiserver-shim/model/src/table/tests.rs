//! Tests of columns.

use super::*;
use crate::resource::builtin;
use expect_test::expect;

fn resource(plural: &str) -> Resource {
    builtin().into_iter().find(|r| r.is("", plural)).unwrap()
}

#[test]
fn every_resource_has_a_column_of_names() {
    for resource in builtin() {
        assert!(columns(&resource).iter().any(|c| c.format == "name"), "{resource}");
    }
    let pods: Vec<String> = columns(&resource("pods"))
        .iter()
        .map(|c| format!("{}/{}/{}/{}", c.name, c.ty, c.format, c.priority))
        .collect();
    expect!["Name/string/name/0 Ready/string//0 Status/string//0 Restarts/string//0 Age/string//0 IP/string//1 Node/string//1 Nominated Node/string//1 Readiness Gates/string//1"].assert_eq(&pods.join(" "));
    assert_eq!(columns(&resource("bindings"))[1].name, "Created At");
}
