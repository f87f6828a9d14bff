//! Tests without an etcd: configuration and key ranges.

use super::*;

#[test]
fn configuration_is_checked() {
    let error = |endpoints, prefix| EtcdConfig::new(endpoints, prefix).unwrap_err().to_string();
    assert!(EtcdConfig::new("http://a:2379, http://b:2379", "/catamaran").is_ok());
    assert!(error("https://a:2379", "/c").contains("TLS"));
    assert!(error("a:2379", "/c").contains("not an etcd endpoint"));
    assert!(error("", "/c").contains("not an etcd endpoint"));
    assert!(error("http://a:2379", "c").contains("key prefix"));
    assert!(error("http://a:2379", "").contains("key prefix"));
    assert!(error("http://a:2379", "/c:d").contains("key prefix"));
    assert!(error("http://a:2379", "/c/").contains("key prefix"));
}

#[test]
fn prefix_ranges_hold_exactly_the_prefix() {
    let namespace = Namespace::new("/c");
    assert_eq!(namespace.end("/pods/"), "/c:/pods0");
    assert_eq!(namespace.end(""), "/c;");
    let everything = namespace.start(&ListRequest::default());
    assert!(everything > namespace.progress_key() && everything < "/c:/", "the progress key is hidden");
    let page = ListRequest { prefix: "/b".into(), start_after: Some(Key::new("/a")), ..Default::default() };
    assert_eq!(namespace.start(&page), "/c:/b", "a start before the prefix is the prefix");
    assert_eq!(namespace.after(&Key::new("/b/x")), "/c:/b/x\0");
}
