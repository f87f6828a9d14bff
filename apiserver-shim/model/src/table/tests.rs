//! Tests of columns.

use crate::resource::{Resource, builtin};
use crate::schema::testing::schema;
use expect_test::expect;

fn resource(plural: &str) -> Resource {
    builtin(schema()).into_iter().find(|r| r.is("", plural)).unwrap()
}

#[test]
fn every_resource_has_a_column_of_names() {
    for resource in builtin(schema()) {
        assert!(resource.columns.iter().any(|c| c.format == "name"), "{resource}");
    }
    let pods: Vec<String> = resource("pods")
        .columns
        .iter()
        .map(|c| format!("{}/{}/{}/{}", c.name, c.ty, c.format, c.priority))
        .collect();
    expect!["Name/string/name/0 Ready/string//0 Status/string//0 Restarts/string//0 Age/string//0 IP/string//1 Node/string//1 Nominated Node/string//1 Readiness Gates/string//1"].assert_eq(&pods.join(" "));
    assert_eq!(resource("bindings").columns[1].name, "Created At");
}
