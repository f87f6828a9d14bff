//! Table-driven tests: object and delete options in, decision out.

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::storage::catalog::testing::definition;

fn check(plural: &str, object: Value, options: DeleteOptions) -> String {
    let resource = &definition("", plural);
    match decide(resource, &object, &options, Instant::from_seconds(100)) {
        Decision::Remove(o) => format!("remove {}", o["metadata"]),
        Decision::Mark(o) => format!("mark {}", o["metadata"]),
        Decision::Nothing => "nothing".to_owned(),
    }
}

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() }
}

fn propagate(propagation: Propagation) -> DeleteOptions {
    DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
}

#[test]
fn pods_get_a_grace_period() {
    let pod = |node: &str, meta: Value| json!({"metadata": meta, "spec": {"nodeName": node, "terminationGracePeriodSeconds": 20}});
    let fresh = || json!({"generation": 1});
    let dying = || json!({"deletionTimestamp": "1970-01-01T00:02:00Z", "deletionGracePeriodSeconds": 20});
    let cases = [
        check("pods", pod("", fresh()), DeleteOptions::default()),
        check("pods", pod("n", fresh()), DeleteOptions::default()),
        check("pods", pod("n", fresh()), grace(0)),
        check("pods", pod("n", fresh()), grace(-5)),
        check("pods", pod("n", dying()), DeleteOptions::default()),
        check("pods", pod("n", dying()), grace(30)),
        check("pods", pod("n", dying()), grace(5)),
        check("pods", pod("n", dying()), grace(0)),
        check("pods", pod("n", json!({"finalizers": ["x"]})), grace(0)),
    ];
    expect![[r#"
        remove {"deletionGracePeriodSeconds":0,"deletionTimestamp":"1970-01-01T00:01:40Z","generation":2}
        mark {"deletionGracePeriodSeconds":20,"deletionTimestamp":"1970-01-01T00:02:00Z","generation":2}
        remove {"deletionGracePeriodSeconds":0,"deletionTimestamp":"1970-01-01T00:01:40Z","generation":2}
        mark {"deletionGracePeriodSeconds":1,"deletionTimestamp":"1970-01-01T00:01:41Z","generation":2}
        nothing
        nothing
        mark {"deletionGracePeriodSeconds":5,"deletionTimestamp":"1970-01-01T00:01:45Z"}
        remove {"deletionGracePeriodSeconds":0,"deletionTimestamp":"1970-01-01T00:01:40Z"}
        mark {"deletionGracePeriodSeconds":0,"deletionTimestamp":"1970-01-01T00:01:40Z","finalizers":["x"]}
    "#]]
    .assert_eq(&(cases.join("\n") + "\n"));
}

#[test]
fn finalizers_block_removal() {
    let cm = |meta: Value| json!({"metadata": meta});
    let ns = json!({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}});
    let cases = [
        check("configmaps", cm(json!({})), DeleteOptions::default()),
        check("configmaps", cm(json!({"finalizers": ["x"]})), DeleteOptions::default()),
        check("configmaps", cm(json!({})), propagate(Propagation::Foreground)),
        check("configmaps", cm(json!({})), propagate(Propagation::Orphan)),
        check(
            "configmaps",
            cm(json!({"finalizers": ["orphan"], "deletionTimestamp": "x"})),
            propagate(Propagation::Background),
        ),
        check(
            "configmaps",
            cm(json!({"finalizers": ["x"], "deletionTimestamp": "x"})),
            DeleteOptions::default(),
        ),
        check("namespaces", ns, DeleteOptions::default()),
    ];
    expect![[r#"
        remove {}
        mark {"deletionGracePeriodSeconds":0,"deletionTimestamp":"1970-01-01T00:01:40Z","finalizers":["x"]}
        mark {"deletionGracePeriodSeconds":0,"deletionTimestamp":"1970-01-01T00:01:40Z","finalizers":["foregroundDeletion"]}
        mark {"deletionGracePeriodSeconds":0,"deletionTimestamp":"1970-01-01T00:01:40Z","finalizers":["orphan"]}
        remove {"deletionTimestamp":"x"}
        nothing
        mark {"deletionTimestamp":"1970-01-01T00:01:40Z"}
    "#]]
    .assert_eq(&(cases.join("\n") + "\n"));
}
