//! What a Pod occupies on its node while it is resized in place: per resource the largest of what its spec asks for, what
//! the node has allocated, and what the cgroup has. A resize that the node can never grant asks for nothing.

use expect_test::expect;

use super::*;

/// The CPU and the memory that are counted for a Pod with these containers (`name request allocated actual`, in CPUs;
/// `-` for none) on the node `n0`.
fn counted(pending: Option<&str>, spec: Value, containers: &[&str]) -> String {
    let mut f = Fixture::new();
    let status = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let list = |text: &str| (text != "-").then(|| json!({ "cpu": text }));
        let mut status = json!({ "name": words[0] });
        if let Some(list) = list(words[2]) {
            status["allocatedResources"] = list;
        }
        if let Some(list) = list(words[3]) {
            status["resources"] = json!({ "requests": list });
        }
        status
    };
    let container = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let requests = if words[1] == "-" { json!({}) } else { json!({ "cpu": words[1] }) };
        json!({ "name": words[0], "resources": { "requests": requests } })
    };
    let (init, main): (Vec<&str>, Vec<&str>) = containers.iter().partition(|line| line.starts_with('i'));
    f.pod["spec"] = spec;
    f.pod["spec"]["nodeName"] = json!("n0");
    f.pod["spec"]["containers"] = main.iter().map(container).collect();
    f.pod["spec"]["initContainers"] = init.iter().map(container).collect();
    f.pod["metadata"]["generation"] = json!(2);
    f.pod["status"] = json!({
        "phase": "Running",
        "containerStatuses": main.iter().map(status).collect::<Value>(),
        "initContainerStatuses": init.iter().map(status).collect::<Value>(),
    });
    if let Some(reason) = pending {
        f.pod["status"]["conditions"] =
            json!([{ "type": "PodResizePending", "status": "True", "reason": reason }]);
    }
    f.revision += 1;
    f.show_pod();
    let requested = &f.machine.node_infos.get("n0").unwrap().requested;
    format!("{}m {}", requested.cpu_milli, requested.memory)
}

#[test]
fn each_resource_counts_with_the_largest_of_spec_allocation_and_cgroup() {
    let none = || json!({});
    let table = [
        ("settled", counted(None, none(), &["a 1 1 1"])),
        ("not seen by the node", counted(None, none(), &["a 2 1 1"])),
        ("deferred", counted(Some("Deferred"), none(), &["a 2 1 1"])),
        ("infeasible", counted(Some("Infeasible"), none(), &["a 100 1 1"])),
        ("infeasible, of two", counted(Some("Infeasible"), none(), &["a 100 1 1", "b 100m 100m 100m"])),
        ("infeasible, not started", counted(Some("Infeasible"), none(), &["a 100 1 1", "b 3 - -"])),
        ("lowered, not allocated", counted(None, none(), &["a 500m 1 1"])),
        ("lowered, cgroup not yet", counted(None, none(), &["a 500m 500m 1"])),
        ("raised, cgroup not yet", counted(None, none(), &["a 2 2 1"])),
        ("sums, not containers, are compared", counted(None, none(), &["a 1 2 2", "b 2 1 1"])),
        ("init container above", counted(Some("Infeasible"), none(), &["i 2 2 2", "a 100 1 1"])),
        ("overhead", counted(Some("Infeasible"), json!({ "overhead": { "cpu": "1" } }), &["a 100 1 1"])),
        (
            "requests of the Pod replace",
            counted(
                Some("Infeasible"),
                json!({ "resources": { "requests": { "cpu": "3", "memory": "1" } } }),
                &["a 2 1 1"],
            ),
        ),
        ("without requests", counted(Some("Infeasible"), none(), &["a 100 - -"])),
    ];
    let shown: String = table.iter().map(|(what, amount)| format!("{amount:9} {what}\n")).collect();
    expect![[r#"
        1000m 0   settled
        2000m 0   not seen by the node
        2000m 0   deferred
        1000m 0   infeasible
        1100m 0   infeasible, of two
        1000m 0   infeasible, not started
        1000m 0   lowered, not allocated
        1000m 0   lowered, cgroup not yet
        2000m 0   raised, cgroup not yet
        3000m 0   sums, not containers, are compared
        2000m 0   init container above
        2000m 0   overhead
        3000m 1   requests of the Pod replace
        1m 0      without requests
    "#]]
    .assert_eq(&shown);
}

#[test]
fn a_resize_that_becomes_infeasible_gives_room_back() {
    let mut f = Fixture::new();
    let requested = |f: &Fixture| f.machine.node_infos.get("n0").unwrap().requested.cpu_milli;
    f.pod["spec"]["nodeName"] = json!("n0");
    f.pod["metadata"]["generation"] = json!(2);
    f.pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("100");
    f.pod["status"] = json!({
        "phase": "Running",
        "containerStatuses": [{ "name": "c", "allocatedResources": { "cpu": "1" } }],
    });
    f.revision += 1;
    f.show_pod();
    assert_eq!(requested(&f), 100_000);
    f.pod["status"]["conditions"] =
        json!([{ "type": "PodResizePending", "status": "True", "reason": "Infeasible" }]);
    f.revision += 1;
    f.show_pod();
    assert_eq!(requested(&f), 1000);
    f.step(Event::PodGone(UID.into()));
    assert_eq!(requested(&f), 0);
}
