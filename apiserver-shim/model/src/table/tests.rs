//! Columns as kubectl sees them.

use super::*;
use crate::resource::{all, find};
use expect_test::expect;

#[test]
fn every_resource_has_a_column_of_names() {
    for resource in all() {
        assert!(columns(resource).iter().any(|c| c.format == "name"), "{resource}");
    }
    let pods: Vec<String> = columns(find("", "v1", "pods").unwrap())
        .iter()
        .map(|c| format!("{}/{}/{}/{}", c.name, c.ty, c.format, c.priority))
        .collect();
    expect!["Name/string/name/0 Ready/string//0 Status/string//0 Restarts/string//0 Age/string//0 IP/string//1 Node/string//1 Nominated Node/string//1 Readiness Gates/string//1"].assert_eq(&pods.join(" "));
    assert_eq!(columns(find("", "v1", "bindings").unwrap())[1].name, "Created At");
}
