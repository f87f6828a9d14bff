//! What needs no etcd: configuration, versions, key ranges.

use super::*;

#[test]
fn progress_of_old_versions_is_not_trusted() {
    let trusted = ["3.4.25", "3.4.34", "3.5.8", "3.5.21", "3.6.0", "3.6.0-rc.3", "4.0.0"];
    let not_trusted = ["3.3.27", "3.4.23", "3.5.7", "2.3.8", "", "etcd"];
    assert!(trusted.iter().all(|version| progress_is_reliable(version)));
    assert!(!not_trusted.iter().any(|version| progress_is_reliable(version)));
}

#[test]
fn configuration_is_checked() {
    let error = |endpoints, prefix| EtcdConfig::new(endpoints, prefix).unwrap_err().to_string();
    assert!(EtcdConfig::new("http://a:2379, http://b:2379", "/catamaran").is_ok());
    assert!(error("https://a:2379", "/c").contains("TLS"));
    assert!(error("a:2379", "/c").contains("no etcd endpoint"));
    assert!(error("", "/c").contains("no etcd endpoint"));
    assert!(error("http://a:2379", "c").contains("key prefix"));
    assert!(error("http://a:2379", "").contains("key prefix"));
    assert!(error("http://a:2379", "/c/").contains("key prefix"));
}

#[test]
fn prefix_ranges_hold_exactly_the_prefix() {
    let namespace = Namespace::new("/c".to_owned());
    assert_eq!(namespace.end("/pods/"), b"/c/pods0");
    assert_eq!(namespace.end(""), b"/d");
    let page = ListRequest { prefix: "/b".into(), start_after: Some(Key::new("/a")), ..Default::default() };
    assert_eq!(namespace.start(&page), b"/c/b", "a start before the prefix is the prefix");
    assert_eq!(namespace.after(&Key::new("/b/x")), b"/c/b/x\0");
}
