//! Health checks of Services (`healthCheckNodePort`): load balancers ask each node whether it has endpoints of its own, and send
//! packets to those that have. The answer is kube-proxy's (`pkg/proxy/healthcheck/service_health.go`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use super::routes::{ObjectKey, ServiceView, SliceView};

/// What a node says of a Service, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheck {
    /// The port at the node's address.
    pub port: u16,
    /// The ready endpoints on this node.
    pub local_endpoints: usize,
}

/// The health checks of all Services that have one.
pub fn health_checks(
    services: &BTreeMap<ObjectKey, ServiceView>,
    slices: &BTreeMap<ObjectKey, SliceView>,
) -> BTreeMap<ObjectKey, HealthCheck> {
    let with_port = services.iter().filter_map(|(key, service)| Some((key, service.health_check_port?)));
    let mut checks: BTreeMap<ObjectKey, HealthCheck> =
        with_port.map(|(key, port)| (key.clone(), HealthCheck { port, local_endpoints: 0 })).collect();
    // An endpoint with several ports, or in several slices, is one endpoint.
    let mut local: BTreeMap<&ObjectKey, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for slice in slices.values().filter(|slice| checks.contains_key(slice.service())) {
        local.entry(slice.service()).or_default().extend(slice.local_ready());
    }
    for (key, addresses) in local {
        if let Some(check) = checks.get_mut(key) {
            check.local_endpoints = addresses.len();
        }
    }
    checks
}

/// The answer's status and body. `rules_are_set`: packets to the Service reach its endpoints here.
pub fn answer((namespace, name): &ObjectKey, local_endpoints: usize, rules_are_set: bool) -> (u16, String) {
    let status = if local_endpoints > 0 && rules_are_set { 200 } else { 503 };
    let service =
        format!("\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n");
    let rest =
        format!("\t\"localEndpoints\": {local_endpoints},\n\t\"serviceProxyHealthy\": {rules_are_set}\n");
    (status, format!("{{\n{service}{rest}}}"))
}

#[cfg(test)]
mod tests {
    //! Which Services have a health check, and what it says.

    use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
    use serde_json::{Value, json};

    use super::*;
    use crate::services::routes::key;

    fn service(name: &str, changes: Value) -> (ObjectKey, ServiceView) {
        let mut spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30100,
            "clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}]});
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let object = json!({"metadata": {"namespace": "ns", "name": name}, "spec": spec});
        let service: Service = serde_json::from_value(object).unwrap();
        (key(&service.metadata), ServiceView::of(&service).unwrap())
    }

    fn slice(name: &str, ports: Value, endpoints: Value) -> (ObjectKey, SliceView) {
        let object = json!({"addressType": "IPv4", "ports": ports, "endpoints": endpoints, "metadata":
            {"namespace": "ns", "name": name, "labels": {"kubernetes.io/service-name": "web"}}});
        let slice: EndpointSlice = serde_json::from_value(object).unwrap();
        (key(&slice.metadata), SliceView::of(&slice, "here").unwrap())
    }

    fn found(
        services: Vec<(ObjectKey, ServiceView)>,
        slices: Vec<(ObjectKey, SliceView)>,
    ) -> Vec<(String, u16, usize)> {
        let checks = health_checks(&services.into_iter().collect(), &slices.into_iter().collect());
        checks.into_iter().map(|(key, check)| (key.1, check.port, check.local_endpoints)).collect()
    }

    #[test]
    fn balancers_with_the_local_policy_have_one() {
        let services = vec![
            service("web", json!({})),
            service("idle", json!({"healthCheckNodePort": 30101})),
            service("everywhere", json!({"externalTrafficPolicy": "Cluster"})),
            service("ports", json!({"type": "NodePort"})),
            service("none", json!({"healthCheckNodePort": 0})),
        ];
        assert_eq!(found(services, vec![]), [("idle".to_owned(), 30101, 0), ("web".to_owned(), 30100, 0)]);
    }

    #[test]
    fn ready_endpoints_of_the_node_count_once_each() {
        let endpoint = |address: &str, node: &str, conditions: Value| json!({"addresses": [address], "nodeName": node, "conditions": conditions});
        let ports = json!([{"name": "http", "port": 80}, {"name": "https", "port": 443}]);
        let ready = endpoint("10.244.0.2", "here", json!({"ready": true}));
        let draining = json!({"ready": false, "serving": true, "terminating": true});
        let slices = vec![
            slice("a", ports.clone(), json!([ready.clone(), endpoint("10.244.0.3", "here", json!({}))])),
            slice("b", ports.clone(), json!([ready, endpoint("10.244.0.4", "here", draining)])),
            slice("c", ports, json!([endpoint("10.244.1.2", "there", json!({"ready": true}))])),
            slice("d", json!([]), json!([endpoint("10.244.0.5", "here", json!({"ready": true}))])),
        ];
        assert_eq!(found(vec![service("web", json!({}))], slices), [("web".to_owned(), 30100, 2)]);
    }

    #[test]
    fn the_answer_is_that_of_kube_proxy() {
        let key = ("ns".to_owned(), "web".to_owned());
        let (status, body) = answer(&key, 2, true);
        let expected = "{\n\t\"service\": {\n\t\t\"namespace\": \"ns\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}";
        assert_eq!((status, body.as_str()), (200, expected));
        assert!(serde_json::from_str::<Value>(&body).is_ok());
        assert_eq!([answer(&key, 0, true).0, answer(&key, 2, false).0], [503, 503]);
    }
}
