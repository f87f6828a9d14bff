//! Ownership checks.

use std::path::{Path, PathBuf};

use expect_test::expect;
use serde_json::json;

use super::{OrphanScan, network, processes};
use crate::machine::mounts;

#[test]
fn only_rules_of_this_network_are_removed() {
    // As nft 1.0.6 lists the rules of iptables-nft: masquerading of two networks, a host port, a chain without a rule.
    let chain =
        |table: &str, name: &str| json!({ "chain": { "family": "ip", "table": table, "name": name } });
    let rule = |chain: &str, handle: u32, target: &str| {
        json!({ "rule": { "family": "ip", "table": "nat", "chain": chain, "handle": handle, "expr": [
            { "match": { "op": "==", "left": { "payload": { "protocol": "ip", "field": "saddr" } }, "right": "10.244.0.5" } },
            { "xt": { "type": "match", "name": "comment" } },
            { "counter": { "packets": 0, "bytes": 0 } },
            { "jump": { "target": target } },
        ] } })
    };
    let id = "ad4b29773bb065de206d9d295d211ca088414b77894a6fde3d4acc110ae1bd04";
    let (masquerade, dnat) = ("CNI-a05798abedcacfa74809f3f2", "CNI-DN-a05798abedcacfa74809f");
    let listing = json!({ "nftables": [
        { "metainfo": { "version": "1.0.6" } },
        { "table": { "family": "ip", "name": "nat", "handle": 1 } },
        chain("nat", "POSTROUTING"), chain("nat", "CNI-HOSTPORT-DNAT"), chain("nat", "CNI-ffffffffffffffffffffffff"),
        chain("nat", masquerade), chain("nat", dnat), chain("filter", "CNI-SN-a05798abedcacfa74809f"),
        rule("POSTROUTING", 4, masquerade),
        rule("POSTROUTING", 5, "CNI-ffffffffffffffffffffffff"),
        rule(masquerade, 6, "CNI-HOSTPORT-DNAT"),
        rule("CNI-HOSTPORT-DNAT", 7, dnat),
    ] });
    let ruleset: network::Ruleset = serde_json::from_value(listing).unwrap();
    // Of a sandbox whose creation was interrupted, the log may be the only trace.
    let log = format!("msg=x path=/d/{id} pid=1 id=00ff");
    let ids = super::mentioned_containers(log.as_bytes());
    assert_eq!(ids.len(), 1);
    let transaction = network::nat_removal(&ruleset, "catamaran-196b1e37", &ids).unwrap();
    let commands: Vec<String> =
        transaction["nftables"].as_array().unwrap().iter().map(ToString::to_string).collect();
    expect![[r#"
        {"delete":{"rule":{"chain":"POSTROUTING","family":"ip","handle":4,"table":"nat"}}}
        {"delete":{"rule":{"chain":"CNI-HOSTPORT-DNAT","family":"ip","handle":7,"table":"nat"}}}
        {"flush":{"chain":{"family":"ip","name":"CNI-DN-a05798abedcacfa74809f","table":"nat"}}}
        {"flush":{"chain":{"family":"ip","name":"CNI-a05798abedcacfa74809f3f2","table":"nat"}}}
        {"delete":{"chain":{"family":"ip","name":"CNI-DN-a05798abedcacfa74809f","table":"nat"}}}
        {"delete":{"chain":{"family":"ip","name":"CNI-a05798abedcacfa74809f3f2","table":"nat"}}}"#]]
    .assert_eq(&commands.join("\n"));
    let other = network::nat_removal(&ruleset, "catamaran-196b1e3", &ids);
    assert_eq!(other, None, "a name with the same prefix");
}

#[test]
fn runtime_processes_are_identified_by_program_and_argument() {
    let scan = OrphanScan {
        socket: "/d/node/containerd/containerd.sock".into(),
        config: "/d/node/containerd/config.toml".into(),
        state: "/d/node/containerd/state".into(),
        mounts: Default::default(),
    };
    let table = [
        ("/usr/bin/containerd --config /d/node/containerd/config.toml", true),
        (
            "/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id a -address /d/node/containerd/containerd.sock",
            true,
        ),
        ("runc --log /d/node/containerd/state/x/log.json create", true),
        (
            "/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id a -address /run/containerd/containerd.sock",
            false,
        ),
        ("/usr/bin/containerd --config /d/node/containerd/config.toml.old", false),
        ("tail -f /d/node/containerd/state/log", false),
        ("", false),
    ];
    for (line, ours) in table {
        let command = line.replace(' ', "\0");
        assert_eq!(processes::is_of_runtime(command.as_bytes(), &scan), ours, "{line}");
    }
}

#[test]
fn mount_points_are_unescaped() {
    let text =
        b"36 35 0:32 / /d/a\\040b rw - tmpfs shm rw\n37 35 0:3 / /run/netns/cni-1 rw - nsfs nsfs rw\nshort\n";
    let points: Vec<PathBuf> = mounts::points(text).collect();
    assert_eq!(points, [Path::new("/d/a b"), Path::new("/run/netns/cni-1")]);
}

#[test]
fn shim_sockets_are_named_by_container() {
    // Recorded from containerd 1.6.
    let socket = super::shim_socket(
        Path::new("/tmp/cm-a3/data/node/containerd/containerd.sock"),
        "795a9f33d56448336ba759db2c3d4f1cbcce9b20446aabdaa11b85749b6cbcf8",
    );
    let expected = "/run/containerd/s/42d1bde1ad06dc5eae431b88bffed0411525073ee24d8259381cecc952bc517b";
    assert_eq!(socket, Path::new(expected));
}
