//! Routes of Services and slices, and the transactions that they become.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    routes::{Route, ServiceView, SliceView, key, routes},
    ruleset::{Networks, Ruleset},
    stale_flows::{Flow, UdpBackends},
};

const NODE: &str = "here";

fn networks() -> Networks {
    Networks {
        virtual_ranges: vec!["10.96.0.0/12".to_owned()],
        pod_cidr: Some("10.244.0.0/24".to_owned()),
        bridged_packets_pass: true,
    }
}

fn routes_of(services: Value, slices: Value) -> Vec<Route> {
    let services: Vec<Service> = serde_json::from_value(services).unwrap();
    let slices: Vec<EndpointSlice> = serde_json::from_value(slices).unwrap();
    let services: BTreeMap<_, _> =
        services.iter().filter_map(|s| Some((key(&s.metadata), ServiceView::of(s)?))).collect();
    let slices: BTreeMap<_, _> =
        slices.iter().filter_map(|s| Some((key(&s.metadata), SliceView::of(s, NODE)?))).collect();
    routes(&services, &slices)
}

fn service(spec: Value) -> Value {
    let mut service = json!({"metadata": {"namespace": "ns", "name": "web"}, "spec": {
        "clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}});
    service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    service
}

fn slice(endpoints: Value) -> Value {
    json!({"metadata": {"namespace": "ns", "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints})
}

fn endpoint(address: &str, node: &str, conditions: Value) -> Value {
    json!({"addresses": [address], "nodeName": node, "conditions": conditions})
}

fn check(routes: &[Route], expected: Expect) {
    let text: String = routes
        .iter()
        .map(|route| {
            let list = |endpoints: &[super::routes::Endpoint]| {
                let shown = endpoints.iter().map(|e| format!("{}:{}", e.address, e.port));
                shown.collect::<Vec<_>>().join(" ")
            };
            format!("{}: {}; here: {}\n", route.name, list(&route.endpoints), list(&route.local_endpoints))
        })
        .collect();
    expected.assert_eq(&text);
}

#[test]
fn ready_endpoints_are_used_and_draining_ones_if_there_is_no_other() {
    let draining = json!({"ready": false, "serving": true, "terminating": true});
    let endpoints = json!([
        endpoint("10.244.0.2", NODE, draining.clone()),
        endpoint("10.244.1.2", "there", json!({"ready": true})),
        endpoint("10.244.1.3", "there", json!({})),
        endpoint("10.244.1.4", "there", json!({"ready": false})),
    ]);
    check(
        &routes_of(json!([service(json!({}))]), json!([slice(endpoints)])),
        expect![[r#"
            ns/web/tcp/http: 10.244.1.2:8080 10.244.1.3:8080; here: 10.244.0.2:8080
        "#]],
    );
    let unready = json!([endpoint(
        "10.244.1.4",
        "there",
        json!({"ready": false, "serving": false, "terminating": true})
    )]);
    check(
        &routes_of(json!([service(json!({}))]), json!([slice(unready)])),
        expect![[r#"
            ns/web/tcp/http: ; here: 
        "#]],
    );
}

#[test]
fn what_has_no_address_has_no_route() {
    let mut labelled = service(json!({}));
    labelled["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "other"});
    let without = json!([
        service(json!({"clusterIP": "None"})),
        service(json!({"type": "ExternalName", "externalName": "a.example"})),
        service(json!({"clusterIP": "fd00::1"})),
        labelled,
    ]);
    for service in without.as_array().unwrap() {
        assert_eq!(routes_of(json!([service]), json!([])), []);
    }
    // A slice's ports are those of the same name and protocol, and its addresses of version 4.
    let mut other = slice(json!([endpoint("10.244.0.2", NODE, json!({}))]));
    other["ports"] = json!([{"name": "http", "port": 8080, "protocol": "UDP"}, {"name": "x", "port": 8080}]);
    let mut six = slice(json!([{"addresses": ["fd00::2"]}]));
    six["addressType"] = json!("IPv6");
    let loopback = slice(json!([endpoint("127.0.0.1", NODE, json!({}))]));
    for slice in [other, six, loopback] {
        assert_eq!(routes_of(json!([service(json!({}))]), json!([slice]))[0].endpoints, []);
    }
}

#[test]
fn a_service_becomes_rules() {
    let spec = json!({"type": "NodePort", "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP",
        "externalIPs": ["192.0.2.7"], "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
    let endpoints =
        json!([endpoint("10.244.0.2", NODE, json!({})), endpoint("10.244.1.2", "there", json!({}))]);
    let routes = routes_of(json!([service(spec)]), json!([slice(endpoints)]));
    let ruleset = Ruleset::new(&networks(), &routes);
    expect![[r#"
        table ip t {}
        delete table ip t
        add table ip t
        add map ip t service-addresses { type ipv4_addr . inet_proto . inet_service : verdict; }
        add map ip t unanswered { type ipv4_addr . inet_proto . inet_service : verdict; }
        add map ip t node-ports { type inet_proto . inet_service : verdict; }
        add set ip t clients-of-endpoint-59371140c1a510be8f4c7dbe3ef69add { type ipv4_addr; flags dynamic, timeout; timeout 10800s; }
        add set ip t clients-of-endpoint-8c9f8d259b7f230ed02156e50f65a3ee { type ipv4_addr; flags dynamic, timeout; timeout 10800s; }
        add chain ip t cluster-c7a03e8853ad97740af1c25fe0b80319
        add chain ip t endpoint-59371140c1a510be8f4c7dbe3ef69add
        add chain ip t endpoint-8c9f8d259b7f230ed02156e50f65a3ee
        add chain ip t external-c7a03e8853ad97740af1c25fe0b80319
        add chain ip t forward { type filter hook forward priority 0; policy accept; }
        add chain ip t local-c7a03e8853ad97740af1c25fe0b80319
        add chain ip t nat-output { type nat hook output priority -100; policy accept; }
        add chain ip t nat-postrouting { type nat hook postrouting priority 100; policy accept; }
        add chain ip t nat-prerouting { type nat hook prerouting priority -100; policy accept; }
        add chain ip t output { type filter hook output priority 0; policy accept; }
        add chain ip t rejections
        add chain ip t services
        add rule ip t cluster-c7a03e8853ad97740af1c25fe0b80319 ip saddr @clients-of-endpoint-8c9f8d259b7f230ed02156e50f65a3ee goto endpoint-8c9f8d259b7f230ed02156e50f65a3ee
        add rule ip t cluster-c7a03e8853ad97740af1c25fe0b80319 ip saddr @clients-of-endpoint-59371140c1a510be8f4c7dbe3ef69add goto endpoint-59371140c1a510be8f4c7dbe3ef69add
        add rule ip t cluster-c7a03e8853ad97740af1c25fe0b80319 numgen random mod 2 vmap { 0 : goto endpoint-8c9f8d259b7f230ed02156e50f65a3ee, 1 : goto endpoint-59371140c1a510be8f4c7dbe3ef69add }
        add rule ip t endpoint-59371140c1a510be8f4c7dbe3ef69add ip saddr 10.244.1.2 meta mark set meta mark | 0x4000
        add rule ip t endpoint-59371140c1a510be8f4c7dbe3ef69add update @clients-of-endpoint-59371140c1a510be8f4c7dbe3ef69add { ip saddr }
        add rule ip t endpoint-59371140c1a510be8f4c7dbe3ef69add meta l4proto tcp dnat to 10.244.1.2:8080
        add rule ip t endpoint-8c9f8d259b7f230ed02156e50f65a3ee ip saddr 10.244.0.2 meta mark set meta mark | 0x4000
        add rule ip t endpoint-8c9f8d259b7f230ed02156e50f65a3ee update @clients-of-endpoint-8c9f8d259b7f230ed02156e50f65a3ee { ip saddr }
        add rule ip t endpoint-8c9f8d259b7f230ed02156e50f65a3ee meta l4proto tcp dnat to 10.244.0.2:8080
        add rule ip t external-c7a03e8853ad97740af1c25fe0b80319 ip saddr 10.244.0.0/24 goto cluster-c7a03e8853ad97740af1c25fe0b80319
        add rule ip t external-c7a03e8853ad97740af1c25fe0b80319 fib saddr type local meta mark set meta mark | 0x4000 goto cluster-c7a03e8853ad97740af1c25fe0b80319
        add rule ip t external-c7a03e8853ad97740af1c25fe0b80319 goto local-c7a03e8853ad97740af1c25fe0b80319
        add rule ip t forward ct state new ip daddr . meta l4proto . th dport vmap @unanswered
        add rule ip t forward ct state new ip daddr { 10.96.0.0/12 } goto rejections
        add rule ip t local-c7a03e8853ad97740af1c25fe0b80319 ip saddr @clients-of-endpoint-8c9f8d259b7f230ed02156e50f65a3ee goto endpoint-8c9f8d259b7f230ed02156e50f65a3ee
        add rule ip t local-c7a03e8853ad97740af1c25fe0b80319 numgen random mod 1 vmap { 0 : goto endpoint-8c9f8d259b7f230ed02156e50f65a3ee }
        add rule ip t nat-output jump services
        add rule ip t nat-postrouting meta mark & 0x4000 == 0x4000 meta mark set meta mark & 0xffffbfff masquerade
        add rule ip t nat-prerouting jump services
        add rule ip t output ct state new ip daddr . meta l4proto . th dport vmap @unanswered
        add rule ip t output ct state new ip daddr { 10.96.0.0/12 } goto rejections
        add rule ip t rejections meta l4proto tcp reject with tcp reset
        add rule ip t rejections reject
        add rule ip t services ip daddr . meta l4proto . th dport vmap @service-addresses
        add rule ip t services fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @node-ports
        add element ip t node-ports { tcp . 30080 : goto external-c7a03e8853ad97740af1c25fe0b80319 }
        add element ip t service-addresses { 10.96.0.7 . tcp . 80 : goto cluster-c7a03e8853ad97740af1c25fe0b80319 }
        add element ip t service-addresses { 192.0.2.7 . tcp . 80 : goto external-c7a03e8853ad97740af1c25fe0b80319 }
    "#]].assert_eq(&ruleset.replacement("t"));
}

#[test]
fn load_balancers_serve_their_source_ranges() {
    let ranges = json!(["198.51.100.0/24", " 203.0.113.0/24", "fd00::/8"]);
    let mut one = service(json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ranges}));
    let ingress = json!([{"ip": "192.0.2.9"}, {"ip": "192.0.2.8", "ipMode": "Proxy"}]);
    one["status"] = json!({"loadBalancer": {"ingress": ingress}});
    let slices = json!([slice(json!([endpoint("10.244.0.2", NODE, json!({}))]))]);
    let text = Ruleset::new(&networks(), &routes_of(json!([one]), slices)).replacement("t");
    let lines = text.lines().filter(|line| line.contains("admitted") || line.contains("192.0.2"));
    expect![[r#"
        add chain ip t admitted-c7a03e8853ad97740af1c25fe0b80319
        add rule ip t admitted-c7a03e8853ad97740af1c25fe0b80319 ip saddr { 198.51.100.0/24, 203.0.113.0/24 } goto external-c7a03e8853ad97740af1c25fe0b80319
        add element ip t service-addresses { 192.0.2.9 . tcp . 80 : goto admitted-c7a03e8853ad97740af1c25fe0b80319 }
        add element ip t unanswered { 192.0.2.9 . tcp . 80 : drop }
    "#]].assert_eq(&(lines.collect::<Vec<_>>().join("\n") + "\n"));
}

#[test]
fn a_change_leaves_the_rest() {
    let before = json!([endpoint("10.244.0.2", NODE, json!({})), endpoint("10.244.1.2", "there", json!({}))]);
    let after = json!([endpoint("10.244.0.2", NODE, json!({}))]);
    let of = |endpoints: Value| {
        let spec = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}});
        Ruleset::new(&networks(), &routes_of(json!([service(spec)]), json!([slice(endpoints)])))
    };
    let (before, after) = (of(before), of(after));
    expect![[r#"
        flush chain ip t cluster-c7a03e8853ad97740af1c25fe0b80319
        add rule ip t cluster-c7a03e8853ad97740af1c25fe0b80319 ip saddr @clients-of-endpoint-88cffeeb53e5e22cc95859429df2ac0f goto endpoint-88cffeeb53e5e22cc95859429df2ac0f
        add rule ip t cluster-c7a03e8853ad97740af1c25fe0b80319 numgen random mod 1 vmap { 0 : goto endpoint-88cffeeb53e5e22cc95859429df2ac0f }
        flush chain ip t endpoint-be93c3705179e7436962c5fcb76d1f46
        delete chain ip t endpoint-be93c3705179e7436962c5fcb76d1f46
        delete set ip t clients-of-endpoint-be93c3705179e7436962c5fcb76d1f46
    "#]].assert_eq(&after.changes(&before, "t"));
    let none = Ruleset::new(&networks(), &[]);
    expect![[r#"
        delete element ip t service-addresses { 10.96.0.7 . tcp . 80 : goto cluster-c7a03e8853ad97740af1c25fe0b80319 }
        flush chain ip t cluster-c7a03e8853ad97740af1c25fe0b80319
        flush chain ip t endpoint-88cffeeb53e5e22cc95859429df2ac0f
        delete chain ip t cluster-c7a03e8853ad97740af1c25fe0b80319
        delete chain ip t endpoint-88cffeeb53e5e22cc95859429df2ac0f
        delete set ip t clients-of-endpoint-88cffeeb53e5e22cc95859429df2ac0f
    "#]]
    .assert_eq(&none.changes(&after, "t"));
}

#[test]
fn pods_of_one_bridge_are_masqueraded_where_their_packets_pass_no_rules() {
    let ruleset = Ruleset::new(&Networks { bridged_packets_pass: false, ..networks() }, &[]);
    let text = ruleset.changes(&Ruleset::new(&networks(), &[]), "t");
    expect![[r#"
        flush chain ip t nat-postrouting
        add rule ip t nat-postrouting meta mark & 0x4000 == 0x4000 meta mark set meta mark & 0xffffbfff masquerade
        add rule ip t nat-postrouting ct status dnat ip saddr 10.244.0.0/24 ip daddr 10.244.0.0/24 masquerade
    "#]].assert_eq(&text);
}

proptest! {
    #[test]
    fn a_second_look_changes_nothing(ports in proptest::collection::vec((1u16..9, any::<bool>(), 0usize..4), 0..4)) {
        let mut services = Vec::new();
        let mut slices = Vec::new();
        for (at, (port, affinity, endpoints)) in ports.iter().enumerate() {
            let spec = json!({"clusterIP": format!("10.96.0.{at}"), "sessionAffinity": if *affinity { "ClientIP" } else { "None" },
                "ports": [{"name": "http", "port": port, "nodePort": 30000 + at}]});
            let mut one = service(spec);
            one["metadata"]["name"] = json!(format!("s{at}"));
            services.push(one);
            let list: Vec<_> = (0..*endpoints).map(|n| endpoint(&format!("10.244.0.{n}"), NODE, json!({}))).collect();
            let mut one = slice(json!(list));
            one["metadata"]["name"] = json!(format!("s{at}-x"));
            one["metadata"]["labels"]["kubernetes.io/service-name"] = json!(format!("s{at}"));
            slices.push(one);
        }
        let ruleset = Ruleset::new(&networks(), &routes_of(json!(services), json!(slices)));
        prop_assert_eq!(ruleset.changes(&ruleset.clone(), "t"), "");
    }
}

/// The elements of a map.
fn elements(ruleset: &Ruleset, map: &str) -> Vec<String> {
    let start = format!("add element ip t {map} {{ ");
    let text = ruleset.replacement("t");
    text.lines()
        .filter_map(|line| Some(line.strip_prefix(&start)?.strip_suffix(" }")?.split("-").next()?.to_owned()))
        .collect()
}

#[test]
fn addresses_of_the_cluster_cannot_be_taken_over() {
    let named = |name: &str, address: &str, external: Value| {
        let mut service = service(json!({"clusterIP": address, "externalIPs": external}));
        service["metadata"]["name"] = json!(name);
        let mut slice = slice(json!([endpoint("10.244.0.2", NODE, json!({}))]));
        slice["metadata"] = json!({"namespace": "ns", "name": format!("{name}-x"),
            "labels": {"kubernetes.io/service-name": name}});
        (service, slice)
    };
    let (web, of_web) = named("web", "10.96.0.7", json!(["192.0.2.7"]));
    let taken = json!(["10.96.0.7", "10.96.0.99", "10.244.0.1", "192.0.2.7", "192.0.2.8"]);
    let (evil, of_evil) = named("zz", "10.96.0.8", taken);
    let ruleset = Ruleset::new(&networks(), &routes_of(json!([web, evil]), json!([of_web, of_evil])));
    let expected = [
        "10.96.0.7 . tcp . 80 : goto cluster",
        "10.96.0.8 . tcp . 80 : goto cluster",
        "192.0.2.7 . tcp . 80 : goto external",
        "192.0.2.8 . tcp . 80 : goto external",
    ];
    assert_eq!(elements(&ruleset, "service-addresses"), expected);
    let verdicts = |ruleset: &Ruleset| -> Vec<String> {
        let text = ruleset.replacement("t");
        let lines = text.lines().filter(|line| line.contains("element") && line.contains("192.0.2.7"));
        lines.map(|line| line.rsplit(' ').nth(1).unwrap_or_default().to_owned()).collect()
    };
    let (web, of_web) = named("web", "10.96.0.7", json!(["192.0.2.7"]));
    let alone = Ruleset::new(&networks(), &routes_of(json!([web]), json!([of_web])));
    assert_eq!(verdicts(&ruleset), verdicts(&alone), "of two Services, the first has an address");
}

#[test]
fn what_nobody_answers_at_an_address_from_outside_does_not_leave_the_machine() {
    let of = |spec: Value, endpoints: Value| {
        let spec = service(spec);
        let ruleset = Ruleset::new(&networks(), &routes_of(json!([spec]), json!([slice(endpoints)])));
        elements(&ruleset, "unanswered")
    };
    let external = json!({"externalIPs": ["192.0.2.7"]});
    assert_eq!(of(external.clone(), json!([])), ["192.0.2.7 . tcp . 80 : goto rejections"]);
    let here = json!([endpoint("10.244.0.2", NODE, json!({}))]);
    assert!(of(external, here.clone()).is_empty());
    let local = json!({"externalIPs": ["192.0.2.7"], "externalTrafficPolicy": "Local"});
    let there = json!([endpoint("10.244.1.2", "there", json!({}))]);
    assert_eq!(of(local.clone(), there), ["192.0.2.7 . tcp . 80 : drop"]);
    assert!(of(local, here).is_empty());
}

#[test]
fn udp_flows_to_endpoints_that_do_not_serve_are_stale() {
    let udp = |name: &str| json!([{"name": name, "port": 53, "protocol": "UDP", "nodePort": 30053}]);
    let mut ported = slice(json!([
        endpoint("10.244.0.5", NODE, json!({"ready": true})),
        // It terminates, and its clients stay with it meanwhile.
        endpoint("10.244.0.6", NODE, json!({"ready": false, "serving": true, "terminating": true})),
        endpoint("10.244.0.7", NODE, json!({"ready": false, "serving": false, "terminating": true})),
    ]));
    ported["ports"] = json!([{"name": "dns", "port": 5353, "protocol": "UDP"}]);
    let routes = routes_of(
        json!([service(json!({"type": "NodePort", "externalIPs": ["198.51.100.7"], "ports": udp("dns")}))]),
        json!([ported]),
    );
    let backends = UdpBackends::of(&routes);
    let at = |address: &str, port: u16| super::routes::Endpoint { address: address.parse().unwrap(), port };
    let is_stale = |destination, backend| backends.is_stale(&Flow { destination, backend });
    for reached in [at("10.96.0.7", 53), at("198.51.100.7", 53), at("192.0.2.1", 30053)] {
        assert!(!is_stale(reached, at("10.244.0.5", 5353)));
        assert!(!is_stale(reached, at("10.244.0.6", 5353)));
        assert!(is_stale(reached, at("10.244.0.7", 5353)));
        assert!(is_stale(reached, at("10.244.0.5", 53)), "another port");
        assert!(
            is_stale(reached, at("10.96.0.7", 53)),
            "sent to the address itself, before there was a rule"
        );
    }
    // Flows of others, and of Services that have nobody else to send them to.
    assert!(!is_stale(at("10.96.0.8", 53), at("10.244.0.7", 5353)));
    assert!(!is_stale(at("10.96.0.7", 54), at("10.244.0.7", 5353)));
    let alone = routes_of(json!([service(json!({"ports": udp("dns")}))]), json!([]));
    assert!(UdpBackends::of(&alone).is_empty());
}
