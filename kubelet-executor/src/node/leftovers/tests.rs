//! Ownership checks.

use std::path::{Path, PathBuf};

use expect_test::expect;

use super::{OrphanScan, mounts, network, processes};

#[test]
fn only_rules_of_this_network_are_removed() {
    let listing = r#"-P POSTROUTING ACCEPT
-N CNI-9048fc14501e054dfe60235f
-N CNI-HOSTPORT-DNAT
-N CNI-DN-1234567890abcdef12345
-N CNI-ffffffffffffffffffffffff
-N CNI-a05798abedcacfa74809f3f2
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A POSTROUTING -s 10.244.0.5/32 -m comment --comment "name: \"catamaran-196b1e37\" id: \"x\"" -j CNI-9048fc14501e054dfe60235f
-A POSTROUTING -s 10.244.0.5/32 -m comment --comment "name: \"other\" id: \"x\"" -j CNI-ffffffffffffffffffffffff
-A CNI-9048fc14501e054dfe60235f -d 10.244.0.0/24 -m comment --comment "name: \"catamaran-196b1e37\" id: \"x\"" -j ACCEPT
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"catamaran-196b1e37\" id: \"x\"" -m multiport --dports 80 -j CNI-DN-1234567890abcdef12345
"#;
    // A chain whose rule was never added is found by the sandbox id alone.
    let log = "msg=x path=/d/ad4b29773bb065de206d9d295d211ca088414b77894a6fde3d4acc110ae1bd04 pid=1 id=00ff";
    let ids = super::mentioned_containers(log.as_bytes());
    assert_eq!(ids.len(), 1);
    let script = network::nat_removal(listing, "catamaran-196b1e37", &ids).unwrap();
    expect![[r#"
        *nat
        -D POSTROUTING -s 10.244.0.5/32 -m comment --comment "name: \"catamaran-196b1e37\" id: \"x\"" -j CNI-9048fc14501e054dfe60235f
        -D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"catamaran-196b1e37\" id: \"x\"" -m multiport --dports 80 -j CNI-DN-1234567890abcdef12345
        -F CNI-9048fc14501e054dfe60235f
        -F CNI-DN-1234567890abcdef12345
        -F CNI-a05798abedcacfa74809f3f2
        -X CNI-9048fc14501e054dfe60235f
        -X CNI-DN-1234567890abcdef12345
        -X CNI-a05798abedcacfa74809f3f2
        COMMIT
    "#]]
    .assert_eq(&script);
    assert_eq!(
        network::nat_removal(listing, "catamaran-196b1e3", &Default::default()),
        None,
        "a name with the same prefix"
    );
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
