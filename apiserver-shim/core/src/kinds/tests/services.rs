//! What upstream refuses in Services and endpoints.

use super::*;

fn refusal(kind: &str, body: Value) -> String {
    match create(kind, body) {
        Ok(_) => "accepted".to_owned(),
        Err(status) => status
            .message
            .split_once(" is invalid: ")
            .map_or(status.message.clone(), |(_, why)| why.to_owned()),
    }
}

#[test]
fn services_that_upstream_refuses() {
    let service = |extra: Value| {
        let mut spec = json!({"ports": [{"port": 80}]});
        access::object_mut(&mut spec, &[]).extend(extra.as_object().unwrap().clone());
        refusal("services", json!({"metadata": {"name": "s"}, "spec": spec}))
    };
    let table = [
        service(json!({"type": "LoadBalancer", "healthCheckNodePort": 30001})),
        service(
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 70000}),
        ),
        service(json!({"type": "LoadBalancer", "loadBalancerClass": "a b"})),
        service(json!({"clusterIPs": ["10.96.0.1", "10.96.0.2", "10.96.0.3"]})),
        service(json!({"clusterIPs": ["10.96.0.1", "fd00::1"]})),
        service(json!({"clusterIPs": ["None", "10.96.0.1"]})),
        service(json!({"clusterIPs": ["10.96.0.1", "x"]})),
    ];
    expect![[r#"
        spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'
        spec.healthCheckNodePort: Invalid value: 70000: must be between 1 and 65535, inclusive
        spec.loadBalancerClass: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        [spec.clusterIPs: Invalid value: ["10.96.0.1","10.96.0.2","10.96.0.3"]: may only hold up to 2 values, spec.clusterIPs: Invalid value: ["10.96.0.1","10.96.0.2","10.96.0.3"]: may specify no more than one IP for each IP family]
        accepted
        spec.clusterIPs: Invalid value: ["None","10.96.0.1"]: 'None' must be the first and only value
        spec.clusterIPs[1]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#]].assert_eq(&table.join("\n"));
}

#[test]
fn a_load_balancer_keeps_its_class() {
    let with = |kind: &str, class: Value| {
        let spec = json!({"type": kind, "loadBalancerClass": class, "ports": [{"port": 80}]});
        json!({"metadata": {"name": "s"}, "spec": spec})
    };
    let check = |new: Value, old: Value| {
        let errors = resource("services").strategy().validate_update(&new, &old);
        errors.iter().any(|error| error.field == "spec.loadBalancerClass")
    };
    assert!(check(with("LoadBalancer", json!("a/b")), with("LoadBalancer", json!("a/c"))));
    assert!(check(with("LoadBalancer", json!("a/b")), with("LoadBalancer", Value::Null)));
    assert!(!check(with("LoadBalancer", json!("a/b")), with("ClusterIP", Value::Null)));
}

#[test]
fn endpoints_that_upstream_refuses() {
    let endpoints =
        |subset: Value| refusal("endpoints", json!({"metadata": {"name": "e"}, "subsets": [subset]}));
    let slice = |endpoint: Value, ports: Value| {
        let mut one = json!({"addresses": ["10.0.0.1"]});
        access::object_mut(&mut one, &[]).extend(endpoint.as_object().unwrap().clone());
        let body =
            json!({"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": [one], "ports": ports});
        refusal("endpointslices", body)
    };
    let none = || json!({});
    let table = [
        endpoints(
            json!({"addresses": [{"ip": "10.0.0.1", "hostname": "A", "nodeName": "B c"}], "ports": [{"port": 80}, {"port": 0, "protocol": "X"}]}),
        ),
        endpoints(json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80, "appProtocol": "a b"}]})),
        slice(
            none(),
            json!([{"name": "a", "port": 1}, {"name": "a", "port": 2, "protocol": "X"}, {"name": "B"}]),
        ),
        slice(json!({"nodeName": "A b", "hostname": "A", "deprecatedTopology": {"a b": "c"}}), json!([])),
        slice(json!({"hints": {"forZones": [{"name": "a"}, {"name": "a"}, {"name": "a b"}]}}), json!([])),
        slice(json!({"hints": {"forZones": vec![json!({"name": "a"}); 9]}}), json!([])),
        slice(json!({"addresses": vec!["10.0.0.1"; 101]}), json!([])),
    ];
    expect![[r#"
        [subsets[0].addresses[0].hostname: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'), subsets[0].addresses[0].nodeName: Invalid value: "B c": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), subsets[0].ports[0].name: Required value, subsets[0].ports[1].name: Required value, subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive, subsets[0].ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"]
        subsets[0].ports[0].appProtocol: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        [ports[1].name: Duplicate value: "a", ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP", ports[2].name: Invalid value: "B": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')]
        [endpoints[0].nodeName: Invalid value: "A b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), endpoints[0].hostname: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')]
        [endpoints[0].hints.forZones[1].name: Duplicate value: "a", endpoints[0].hints.forZones[2].name: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')]
        endpoints[0].hints.forZones: Too many: 9: must have at most 8 items
        endpoints[0].addresses: Too many: 101: must have at most 100 items"#]].assert_eq(&table.join("\n"));
}

/// Fields of a feature that is off are accepted and not stored.
#[test]
fn leases_have_no_strategy() {
    let spec = json!({"holderIdentity": "a", "strategy": "X", "preferredHolder": "b"});
    let lease = create("leases", json!({"metadata": {"name": "l"}, "spec": spec})).unwrap();
    assert_eq!(lease["spec"], json!({"holderIdentity": "a"}));
}

#[test]
fn addresses_of_load_balancers_have_a_mode() {
    let ingress =
        json!([{"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "ipMode": "Proxy"}, {"hostname": "example.com"}]);
    let modes = |ty: &str| {
        let mut object = json!({"spec": {"type": ty}, "status": {"loadBalancer": {"ingress": ingress}}});
        resource("services").strategy().default(&mut object);
        let ingress = access::list(&object, &["status", "loadBalancer", "ingress"]);
        ingress.iter().map(|one| one["ipMode"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(modes("LoadBalancer"), [json!("VIP"), json!("Proxy"), Value::Null]);
    assert_eq!(modes("ClusterIP"), [Value::Null, json!("Proxy"), Value::Null]);
}
